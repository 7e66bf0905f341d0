"""The pose bank: every single hand that our datasets hold, ready to be the right or the left one.

Comes in: finished datasets (one side present or both) on one hand model. Goes out: a `Bank`, whose
row is one recorded hand with its parameters as a right hand and as a left hand. A hand of the other
side serves through the mirror. Where the two models mirror each other that is exact, sign by sign;
otherwise the mirrored skin is refitted to the other model and the distance that remains is told.

Fast takes hold the same pose many times over; neighbouring frames are thinned, per take and side:
a frame stays if its joints, wrist on wrist, moved further than a threshold from the last one that
stayed. Hands of which nobody knows the side are left out.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from twohand500k.conventions import LEFT, RIGHT, SIDES
from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.refit import is_mirrored, refit
from twohand500k.hand.rotations import mirror_axis_angle
from twohand500k.shards import Dataset, Samples
from twohand500k.shards.files import INDEX, sha256_of_file

Array = np.ndarray

# Frames of a take that moved no further than this on average are the same pose twice, mm.
THIN_MM = 2.0


@dataclass(frozen=True, eq=False)
class Bank:
    """H recorded hands.

    sample_id, source, split (H,) str; side (H,) int64: the side it was recorded as. pose
    (2, H, 16, 3) float32 rad, first axis the side it serves as, global orientation zero; betas
    (2, H, 10); limit_violation (2, H) rad. serves (2, H) bool: may serve as that side. refit_mean
    (H,) m: mean skin distance left by a refit to the other side's model, NaN where the mirror was
    exact. counts: what was read, left out and thinned. inputs: sha256 of each dataset's index.
    history: of the datasets.
    """

    sample_id: Array
    source: Array
    split: Array
    side: Array
    pose: Array
    betas: Array
    limit_violation: Array
    serves: Array
    refit_mean: Array
    counts: Mapping[str, int]
    inputs: Mapping[str, str]
    history: tuple[Mapping[str, Any], ...]

    def __len__(self) -> int:
        return len(self.sample_id)

    def mirrored(self, hand: Array, as_side: int) -> Array:
        """Whether hands (n,) serve mirrored when they serve as this side."""
        return np.asarray(self.side[hand] != as_side)


def load_bank(
    folders: Sequence[str | Path],
    hands: HandPair,
    *,
    thin_mm: float = THIN_MM,
    mirror: bool = True,
) -> Bank:
    """Every hand of these datasets.

    thin_mm: least mean movement between two hands of a take, 0 keeps all. mirror: let a hand serve
    as the other side too.

    Raises DataError if a folder is no dataset or on another hand model, a sample occurs twice, or
    no hand is left.
    """
    counts = {"hands_read": 0, "hands_side_ambiguous": 0, "hands_thinned": 0}
    inputs: dict[str, str] = {}
    history: list[Mapping[str, Any]] = []
    parts: dict[str, list[Array]] = {key: [] for key in _COLUMNS}
    for number, folder in enumerate(folders, start=1):
        dataset = Dataset(folder)
        check_hand_model(dataset, hands)
        inputs[f"bank {number}"] = sha256_of_file(Path(folder) / INDEX)
        history += [record for record in dataset.index.history if record not in history]
        for key, column in _hands_of(dataset, hands, thin_mm * 1e-3, counts).items():
            parts[key].append(column)
    columns = {key: np.concatenate(part) for key, part in parts.items() if part}
    where = ", ".join(str(folder) for folder in folders) or "no --bank"
    if not columns or not len(columns["sample_id"]):
        raise DataError(
            f"the pose bank is empty: {where} held {counts['hands_read']:,} hands, "
            f"{counts['hands_side_ambiguous']:,} of unknown side; give datasets with hands in them"
        )
    _refuse_repeats(columns, where)
    return _both_ways(columns, hands, mirror, counts, inputs, tuple(history))


def check_hand_model(dataset: Dataset, hands: HandPair) -> None:
    """Raise DataError, naming the command that helps, unless the dataset is on these hands."""
    for side, name in enumerate(SIDES):
        if dataset.conventions[f"hand_model_{name}_sha256"] != hands[side].sha256:
            theirs = dataset.conventions["hand_model"][side]
            raise DataError(
                f"{dataset.path} is on the {name} hand model {theirs!r}, not on "
                f"{hands[side].name!r}: parameters mean nothing on another model; name its model "
                f"with --hand-model, or move it: twohand hand convert --data {dataset.path} …"
            )


_COLUMNS = ("sample_id", "source", "split", "side", "pose", "betas")


def _hands_of(
    dataset: Dataset, hands: HandPair, thin: float, counts: dict[str, int]
) -> dict[str, Array]:
    """Columns of the hands of one dataset that stay, in the dataset's order, right before left."""
    rows: dict[str, list[Array]] = {key: [] for key in (*_COLUMNS, "take", "frame", "joints")}
    for samples in dataset.shards() if len(dataset) else ():
        for side in (RIGHT, LEFT):
            there = samples.present[:, side]
            counts["hands_read"] += int(there.sum())
            unsure = there & samples.side_ambiguous[:, side]
            counts["hands_side_ambiguous"] += int(unsure.sum())
            for key, value in _rows_of(samples, hands, side, there & ~unsure).items():
                rows[key].append(value)
    if not rows["sample_id"]:
        return {}
    columns = {key: np.concatenate(value) for key, value in rows.items()}
    stay = _thinned(columns, thin)
    counts["hands_thinned"] += int((~stay).sum())
    return {key: columns[key][stay] for key in _COLUMNS}


def _rows_of(samples: Samples, hands: HandPair, side: int, rows: Array) -> dict[str, Array]:
    pose = samples.pose[rows, side].copy()
    pose[:, 0] = 0.0
    betas = samples.betas[rows, side]
    joints = hands[side].with_shape(betas).with_pose(pose).joints
    return {
        "sample_id": samples.sample_id[rows],
        "source": samples.source[rows],
        "split": samples.split[rows],
        "side": np.full(int(rows.sum()), side, dtype=np.int64),
        "pose": pose,
        "betas": betas,
        "take": samples.take[rows],
        "frame": samples.frame[rows],
        "joints": joints - joints[:, :1],
    }


def _thinned(columns: Mapping[str, Array], thin: float) -> Array:
    """Which hands stay (n,): per source, take and side, in the order of frames."""
    stay = np.ones(len(columns["side"]), dtype=np.bool_)
    if thin <= 0:
        return stay
    keys = np.stack([columns["source"], columns["take"], columns["side"].astype(np.str_)], axis=1)
    _, group = np.unique(keys, axis=0, return_inverse=True)
    order = np.lexsort((columns["frame"], group.reshape(-1)))
    kept = _moved_enough(columns["joints"][order], group.reshape(-1)[order], thin)
    stay[order] = kept
    return stay


@njit(cache=True)
def _moved_enough(joints: Array, group: Array, thin: float) -> Array:
    """Whether each hand (n, 21, 3) lies further than `thin` from the last one kept of its group."""
    keep = np.zeros(len(joints), dtype=np.bool_)
    last = -1
    for n in range(len(joints)):
        moved = 0.0
        if last >= 0 and group[last] == group[n]:
            for k in range(joints.shape[1]):
                total = 0.0
                for c in range(3):
                    step = joints[n, k, c] - joints[last, k, c]
                    total += step * step
                moved += np.sqrt(total)
            if moved <= thin * joints.shape[1]:
                continue
        keep[n] = True
        last = n
    return keep


def _refuse_repeats(columns: Mapping[str, Array], where: str) -> None:
    """One sample may come with its right and its left hand, but with each of them once."""
    for side in (RIGHT, LEFT):
        ids, times = np.unique(columns["sample_id"][columns["side"] == side], return_counts=True)
        if (times > 1).any():
            raise DataError(
                f"the sample {str(ids[times > 1][0])!r} occurs twice in {where}: one dataset is "
                "given twice, or two share their sample ids; leave one out"
            )


def _both_ways(
    columns: Mapping[str, Array],
    hands: HandPair,
    mirror: bool,
    counts: Mapping[str, int],
    inputs: Mapping[str, str],
    history: tuple[Mapping[str, Any], ...],
) -> Bank:
    """Each hand's parameters as the side it was recorded as, and as the other one."""
    side, n = columns["side"], len(columns["side"])
    pose = np.empty((2, n, 16, 3), dtype=np.float32)
    betas = np.empty((2, n, 10), dtype=np.float32)
    refit_mean = np.full(n, np.nan)
    exact = is_mirrored(hands)
    for recorded in (RIGHT, LEFT):
        rows, other = np.flatnonzero(side == recorded), 1 - recorded
        pose[recorded, rows], betas[recorded, rows] = columns["pose"][rows], columns["betas"][rows]
        image = mirror_axis_angle(columns["pose"][rows]) + 0.0  # -0 as 0
        if exact or not mirror or not len(rows):
            pose[other, rows], betas[other, rows] = image, columns["betas"][rows]
            continue
        found = refit(
            hands[recorded].mirrored(), hands[other], image, columns["betas"][rows],
            np.zeros((len(rows), 3)),
        )  # fmt: skip
        pose[other, rows], betas[other, rows] = found.pose, found.betas
        # Where the hand stands is the placement's to say; a refit may turn it by a hair.
        pose[other, rows, 0] = 0.0
        refit_mean[rows] = found.residual_mean
    serves = np.ones((2, n), dtype=np.bool_)
    if not mirror:
        serves[LEFT], serves[RIGHT] = side == LEFT, side == RIGHT
    violation = np.empty((2, n))
    for as_side in (RIGHT, LEFT):
        anatomy = Anatomy.of(hands[as_side])
        for part in np.array_split(np.arange(n), max(1, n // 4096)):
            angles = anatomy.angles_from_pose(pose[as_side, part])
            violation[as_side, part] = anatomy.limit_excess(angles).max(axis=(1, 2))
    return Bank(
        sample_id=columns["sample_id"],
        source=columns["source"],
        split=columns["split"],
        side=side,
        pose=pose,
        betas=betas,
        limit_violation=violation,
        serves=serves,
        refit_mean=refit_mean,
        counts={**counts, "hands": n},
        inputs=inputs,
        history=history,
    )


def bank_sha256(bank: Bank) -> str:
    """Hash of what a draw can depend on: the hands, their order and what they may serve as."""
    digest = hashlib.sha256()
    for array in (bank.pose, bank.betas, bank.serves, bank.side):
        digest.update(np.ascontiguousarray(array).tobytes())
    for text in (bank.sample_id, bank.source, bank.split):
        digest.update("\n".join(text.tolist()).encode())
    return digest.hexdigest()
