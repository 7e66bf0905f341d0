"""Pairs on the open hand as something else might draw them, for the tests of `drawn`.

Poses lie within the anatomy; `Planted` draws the same pair under a number whoever asks, some of
them no hands at all, as a Draw of the sampling stage.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from twohand500k.drawn import DrawnPairs
from twohand500k.hand import HandPair, load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.pipeline import rng_for, runner

# The plan of a run holds a hash of the code; see shards_fixture.
VERSIONS = {"twohand500k": "1.2.3", "numpy": "2.1"}
runner.versions = lambda: VERSIONS  # type: ignore[assignment]

# Draws that are no hands, by the reason they are refused for.
NOT_FINITE, NO_SHAPE, NO_HAND = 5, 17, 66


@cache
def hands() -> HandPair:
    return load_hands("open")


def parameters(numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """pose (n, 2, 16, 3), betas (n, 2, 10), place (n, 3) of pairs by number, turned any way."""
    n = len(numbers)
    pose, betas, place = np.empty((n, 2, 16, 3)), np.empty((n, 2, 10)), np.empty((n, 3))
    for i, number in enumerate(numbers):
        rng = rng_for(0, str(number))
        for side in (0, 1):
            anatomy = Anatomy.of(hands()[side])
            low, high = np.moveaxis(anatomy.limits, -1, 0)
            angles = np.zeros((15, 3))
            angles[:, 0] = rng.uniform(0.1, 0.7, size=15)
            angles[:, 1] = rng.normal(scale=0.05, size=15)
            angles = np.clip(angles, 0.9 * low, 0.9 * high)
            pose[i, side] = anatomy.pose_from_angles(angles, rng.normal(scale=1.2, size=3))
        betas[i] = rng.normal(scale=0.7, size=10)
        place[i] = rng.normal(scale=0.08, size=3)
    return pose, betas, place


def points_of(pose: np.ndarray, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joints (n, 2, 21, 3) and skins (n, 2, V, 3), each hand from its own wrist."""
    posed = [hands()[s].with_shape(betas[:, s]).with_pose(pose[:, s]) for s in (0, 1)]
    joints = np.stack([p.joints for p in posed], axis=1)
    skins = np.stack([p.vertices for p in posed], axis=1)
    return joints - joints[:, :, :1], skins - joints[:, :, :1]


def drawn(form: str, numbers: Sequence[int], placed: bool = True) -> DrawnPairs:
    """Pairs by number in one of the three forms."""
    pose, betas, place = parameters(numbers)
    ids = np.array([f"drawn/{number:04d}" for number in numbers])
    where = place if placed else None
    if form == "mano":
        return DrawnPairs(ids, where, pose=pose, betas=betas)
    joints, skins = points_of(pose, betas)
    if form == "joints":
        return DrawnPairs(ids, where, joints=joints)
    return DrawnPairs(ids, where, vertices=skins)


@dataclass(frozen=True)
class Planted:
    """A Draw of pairs by number; three of them are no hands."""

    form: str

    def __call__(self, first: int, last: int) -> DrawnPairs:
        numbers = list(range(first, last))
        pairs = drawn(self.form, numbers)
        given = {
            name: array.copy()
            for name in ("pose", "betas", "joints", "vertices")
            if (array := getattr(pairs, name)) is not None
        }
        for row, number in enumerate(numbers):
            for name, array in given.items():
                if number == NOT_FINITE:
                    array[row, 1, 3] = np.nan
                if number == NO_SHAPE and name == "betas":
                    array[row, 0, 0] = 11.0
                if number == NO_HAND and name in ("joints", "vertices"):
                    scatter = rng_for(1, str(number)).normal(scale=0.04, size=array[row].shape)
                    array[row] = scatter
        return DrawnPairs(pairs.sample_id, pairs.place, **given)
