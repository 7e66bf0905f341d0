"""Placement: which hands may interlock, and what real hands teach about relative poses.

Comes in: a bank, or two-hand datasets. Goes out: the bank's hands whose fingers are spread and
straight enough for another hand's to pass between them; the relative wrist poses of the two-hand
data with the regions that touch there (`LearnedPoses`), by split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.hand.contact_regions import ContactRegions
from twohand500k.hand.rotations import matrix_from_axis_angle
from twohand500k.shards import Dataset
from twohand500k.shards.files import INDEX, sha256_of_file
from twohand500k.splice.bank import Bank, check_hand_model

Array = np.ndarray

# Fingers of two hands can lie side by side if a hand's own lie this far apart, 45 % of the way from
# knuckle to tip, and each is this straight (knuckle to tip over the length of its bones).
_SPREAD_M, _STRAIGHT = 0.0235, 0.85
# Hands of a two-hand dataset whose skins come no nearer teach nothing about contact, m.
_TEACHES_M = 0.02
_KNUCKLES, _TIPS = [5, 9, 13, 17], [8, 12, 16, 20]


def open_hands(bank: Bank, hands: HandPair) -> Array:
    """Which hands (2, H), as right and as left, have room for fingers between their own."""
    out = np.empty((2, len(bank)), dtype=np.bool_)
    for side in (RIGHT, LEFT):
        for part in np.array_split(np.arange(len(bank)), max(1, len(bank) // 4096)):
            shaped = hands[side].with_shape(bank.betas[side, part])
            out[side, part] = is_open(shaped.with_pose(bank.pose[side, part]).joints)
    return out & bank.serves


def is_open(joints: Array) -> Array:
    """Whether the four fingers of hands (..., 21, 3) are spread and straight enough."""
    chains = joints[..., 5:21, :].reshape(*joints.shape[:-2], 4, 4, 3)
    bones = np.linalg.norm(np.diff(chains, axis=-2), axis=-1).sum(axis=-1)
    straight = np.linalg.norm(chains[..., 3, :] - chains[..., 0, :], axis=-1) / bones
    row = 0.55 * joints[..., _KNUCKLES, :] + 0.45 * joints[..., _TIPS, :]
    spread = np.linalg.norm(np.diff(row, axis=-2), axis=-1)
    return np.asarray((spread.min(axis=-1) > _SPREAD_M) & (straight.min(axis=-1) > _STRAIGHT))


@dataclass(frozen=True, eq=False)
class LearnedPoses:
    """M relative poses: the left wrist's frame in the right wrist's, R (M, 3, 3), t (M, 3) m.

    region (M, 2): the right and the left region whose skins are nearest there; split (M,) str.
    inputs, history: of the datasets.
    """

    R: Array
    t: Array
    region: Array
    split: Array
    inputs: Mapping[str, str]
    history: tuple[Mapping[str, Any], ...]


def learn_poses(folders: Sequence[str | Path], hands: HandPair) -> LearnedPoses:
    """Relative poses of every frame of these datasets whose two skins come within 2 cm.

    Raises DataError if a folder is no dataset, on another hand model, or none has such a frame.
    """
    region = [ContactRegions.of(hands[side]).of_vertex for side in (RIGHT, LEFT)]
    parts: list[tuple[Array, Array, Array, Array]] = []
    inputs: dict[str, str] = {}
    history: list[Mapping[str, Any]] = []
    both = 0
    for number, folder in enumerate(folders, start=1):
        dataset = Dataset(folder)
        check_hand_model(dataset, hands)
        inputs[f"learned from {number}"] = sha256_of_file(Path(folder) / INDEX)
        history += [record for record in dataset.index.history if record not in history]
        for samples in dataset.shards() if len(dataset) else ():
            rows = np.flatnonzero(samples.present.all(axis=1) & ~samples.side_ambiguous.any(axis=1))
            both += len(rows)
            R_world = matrix_from_axis_angle(samples.pose[rows, :, 0])
            R_right = np.swapaxes(R_world[:, RIGHT], -1, -2)
            wrist = samples.joints[rows, :, 0].astype(np.float64)
            tau = wrist[:, LEFT] - wrist[:, RIGHT]
            touching = _nearest_regions(samples, rows, hands, region)
            near = np.flatnonzero(touching[:, 0] >= 0)
            parts.append((
                (R_right @ R_world[:, LEFT])[near],
                np.einsum("nij,nj->ni", R_right, tau)[near],
                touching[near],
                samples.split[rows[near]],
            ))  # fmt: skip
    where = ", ".join(str(folder) for folder in folders)
    if not sum(len(part[0]) for part in parts):
        raise DataError(
            f"no two hands within {_TEACHES_M * 1e3:g} mm of each other in {where} ({both:,} "
            "frames with both hands): relative poses are learned from datasets of interacting hands"
        )
    R, t, touching, split = (np.concatenate(column) for column in zip(*parts, strict=True))
    return LearnedPoses(R, t, touching, split, inputs, tuple(history))


def _nearest_regions(samples: Any, rows: Array, hands: HandPair, region: Sequence[Array]) -> Array:
    """Regions (n, 2) of the two nearest vertices of the skins, -1 where they are too far apart."""
    out = np.full((len(rows), 2), -1, dtype=np.int64)
    for k, row in enumerate(rows.tolist()):
        skins = [
            hands[side]
            .with_shape(samples.betas[row, side])
            .with_pose(samples.pose[row, side], samples.transl[row, side])
            .vertices
            for side in (RIGHT, LEFT)
        ]
        distance, nearest = cKDTree(skins[LEFT]).query(
            skins[RIGHT], distance_upper_bound=_TEACHES_M
        )
        at = int(np.argmin(distance))
        if np.isfinite(distance[at]):
            out[k] = region[RIGHT][at], region[LEFT][nearest[at]]
    return out
