"""Pairs of hands drawn within the anatomy, side by side, and ways to spoil them."""

from dataclasses import dataclass

import numpy as np

from twohand500k.hand import HandPair, load_hands
from twohand500k.hand.anatomy import Anatomy

HANDS = load_hands("open")
APART = 0.4  # metres between the wrists: no overlap


@dataclass(frozen=True, eq=False)
class Pairs:
    """pose (n, 2, 16, 3), betas (n, 2, 10), transl (n, 2, 3) on the open hand."""

    pose: np.ndarray
    betas: np.ndarray
    transl: np.ndarray

    def _both(self, what: str, hands: HandPair = HANDS) -> np.ndarray:
        each = [
            getattr(
                hands[s].with_shape(self.betas[:, s]).with_pose(self.pose[:, s], self.transl[:, s]),
                what,
            )
            for s in (0, 1)
        ]
        return np.stack(each, axis=1)

    @property
    def joints(self) -> np.ndarray:
        return self._both("joints")

    @property
    def vertices(self) -> np.ndarray:
        return self._both("vertices")


def draw(n: int, seed: int = 0, together: bool = False) -> Pairs:
    """`n` pairs, fingers plainly bent, every angle well inside its limits, far apart; or together:
    with the middle fingers' knuckles in one place, so that they overlap."""
    rng = np.random.default_rng(seed)
    pose = np.empty((n, 2, 16, 3))
    for side in (0, 1):
        anatomy = Anatomy.of(HANDS[side])
        low, high = anatomy.limits[..., 0], anatomy.limits[..., 1]
        share = rng.uniform(0.25, 0.75, size=(n, 15, 3))
        angles = low + share * (high - low)
        angles[:, :12, 0] = np.radians(rng.uniform(20, 55, size=(n, 12)))
        angles[..., 1:] *= 0.3
        orientation = rng.normal(scale=0.5, size=(n, 3))
        pose[:, side] = anatomy.pose_from_angles(angles, orientation)
    betas = np.repeat(rng.normal(scale=0.5, size=(n, 1, 10)), 2, axis=1)
    transl = np.zeros((n, 2, 3))
    transl[:, 1, 0] = APART
    if together:
        joints = Pairs(pose, betas, transl).joints
        transl[:, 1] += joints[:, 0, 9] - joints[:, 1, 9]
    return Pairs(pose, betas, transl)


def bent(pairs: Pairs, rows: np.ndarray, side: int = 0, degrees: float = -75.0) -> Pairs:
    """The same with the index finger's middle joint bent back on some hands."""
    anatomy = Anatomy.of(HANDS[side])
    angles = anatomy.angles_from_pose(pairs.pose[:, side])
    angles[rows, 1, 0] = np.radians(degrees)
    pose = pairs.pose.copy()
    pose[:, side] = anatomy.pose_from_angles(angles, pose[:, side, 0])
    return Pairs(pose, pairs.betas, pairs.transl)


def mirrored(points: np.ndarray) -> np.ndarray:
    """Points (..., 3) seen in a mirror."""
    return points * np.array([-1.0, 1.0, 1.0])
