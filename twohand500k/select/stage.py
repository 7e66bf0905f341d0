"""What a worker does for `twohand select`: chosen rows of several datasets, as one shard.

In: rows of datasets made on the same hands. Out: their samples in one frame of space, with the same
optional groups. A pair that changes its frame is moved rigidly, and what was judged stays true; its
joints follow from the parameters as they are stored. Of a repaired pair the before is brought to
the right wrist as well, to its own: that is where a repair in that frame leaves it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from twohand500k.conventions import LEFT, N_JOINTS, RIGHT
from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.hand.measure import pair_displacement
from twohand500k.hand.rigid import in_right_wrist
from twohand500k.pipeline import UnitResult
from twohand500k.shards import FIELDS, Dataset, Samples
from twohand500k.shards.schema import OPTIONAL_GROUPS

Array = np.ndarray

RIGHT_WRIST = "right wrist"


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows (n,) of one shard of one dataset, ascending; the shard is known by its hash."""

    dataset: int
    shard: int
    arrays_sha256: str
    rows: Array


@dataclass(frozen=True, eq=False)
class SelectUnit:
    """One shard to be written."""

    name: str
    parts: tuple[Rows, ...]
    inputs: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class SelectStage:
    """folders: the input datasets. moved: which of them are brought to the right wrist. groups: the
    optional groups the result has."""

    folders: tuple[Path, ...]
    moved: tuple[bool, ...]
    groups: tuple[str, ...]
    hands: HandPair

    def __call__(self, unit: SelectUnit) -> UnitResult:
        samples = Samples.concat([self._read(part) for part in unit.parts])
        return UnitResult(samples, (), n_in=len(samples))

    def _read(self, part: Rows) -> Samples:
        folder = self.folders[part.dataset]
        samples = _shard(folder, part.shard, part.arrays_sha256).select(part.rows)
        samples = with_groups(samples, self.groups)
        return to_right_wrist(samples, self.hands) if self.moved[part.dataset] else samples


def with_groups(samples: Samples, groups: Sequence[str]) -> Samples:
    """The samples with exactly these optional groups; a group they lack is filled with unknown."""
    changed: dict[str, Any] = {}
    for spec in FIELDS:
        if spec.group not in OPTIONAL_GROUPS or (spec.group in groups) == samples.has(spec.group):
            continue
        # An empty group is filled as Samples fills a field that is not given.
        changed[spec.attribute] = (
            _unknown(spec.kind, (len(samples), *spec.tail)) if spec.group in groups else None
        )
    return dataclasses.replace(samples, **changed) if changed else samples


def to_right_wrist(samples: Samples, hands: HandPair) -> Samples:
    """The same pairs with the right wrist in the origin, unturned. Every sample has a right hand.

    Judged values, limits and fit stay; joints and displacement are computed again from the
    parameters as they are stored, so that both agree to the last bit of their float32.
    """
    pose, transl = (
        _stored(a) for a in in_right_wrist(hands, samples.pose, samples.betas, samples.transl)
    )
    joints = _joints(hands, pose, samples.betas, transl)
    changed = {"pose": pose, "transl": transl, "joints": joints}
    if samples.pose_before is not None and samples.transl_before is not None:
        pose_before, transl_before = (
            _stored(a)
            for a in in_right_wrist(
                hands, samples.pose_before, samples.betas, samples.transl_before
            )
        )
        before = _joints(hands, pose_before, samples.betas, transl_before)
        changed |= {
            "pose_before": pose_before,
            "transl_before": transl_before,
            "displacement": np.array(
                [pair_displacement(a, b) for a, b in zip(before, joints, strict=True)]
            ),
        }
    return dataclasses.replace(samples, **changed)


def _joints(hands: HandPair, pose: Array, betas: Array, transl: Array) -> Array:
    """Joints (n, 2, 21, 3) m of stored parameters, NaN where a hand is absent."""
    joints = np.full((len(pose), 2, N_JOINTS, 3), np.nan)
    for side in (RIGHT, LEFT):
        there = np.isfinite(transl[:, side]).all(axis=1)
        shaped = hands[side].with_shape(betas[there, side].astype(np.float64))
        joints[there, side] = shaped.with_pose(pose[there, side], transl[there, side]).joints
    return joints


def _stored(values: Array) -> Array:
    """As the numbers are on the disk, in float64."""
    stored: Array = values.astype(np.float32).astype(np.float64)
    return stored


def _unknown(kind: str, shape: tuple[int, ...]) -> Array:
    if kind in ("text", "name"):
        return np.full(shape, "", dtype="<U1")
    return np.full(shape, np.nan) if kind in ("f4", "f8") else np.full(shape, -1)


@lru_cache(maxsize=2)
def _shard(folder: Path, number: int, arrays_sha256: str) -> Samples:
    """An input shard, checked against its hash, kept for the unit that follows."""
    dataset = Dataset(folder)
    entries = dataset.index.shards
    if number >= len(entries) or entries[number].arrays_sha256 != arrays_sha256:
        raise DataError(
            f"{folder} is another dataset than when this run began: it was made again; choose "
            "another --out"
        )
    return dataset.shard(number)
