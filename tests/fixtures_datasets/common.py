"""Hands to fill fixture datasets with: known poses on the open hand, which stands in for MANO.

In: how many, a seed. Out: `PosedHands` in the house's conventions (flat hand, left shapedirs
mirrored, metres), with joints and skin. A fixture writer turns them into its dataset's own
conventions with code of its own, and a test compares what the reader makes of the files with these.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from twohand500k.conventions import OPENPOSE_FROM_MANO21, TIP_SETS
from twohand500k.hand import HandPair, load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.model import PosedHand
from twohand500k.hand.open_hand.natural_poses import natural_poses

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class PosedHands:
    """n frames of a right and a left hand.

    pose (n, 2, 16, 3) rad relative to the flat hand, betas (n, 2, 10), transl (n, 2, 3) m.
    tips: the tip set of `joints`.
    """

    pair: HandPair
    pose: Array
    betas: Array
    transl: Array
    tips: str = "smplx"

    def __len__(self) -> int:
        return len(self.pose)

    @cached_property
    def posed(self) -> tuple[PosedHand, PosedHand]:
        """The right and the left hands on the model."""
        right, left = (
            self.pair[side]
            .with_shape(self.betas[:, side])
            .with_pose(self.pose[:, side], self.transl[:, side])
            for side in (0, 1)
        )
        return right, left

    @cached_property
    def vertices(self) -> Array:
        """Skin (n, 2, 778, 3), metres."""
        return np.stack([hand.vertices for hand in self.posed], axis=1)

    @cached_property
    def chain(self) -> Array:
        """The kinematic chain (n, 2, 16, 3) in MANO's order, metres."""
        return np.stack([hand.T_world_joint[..., :3, 3] for hand in self.posed], axis=1)

    @cached_property
    def joints(self) -> Array:
        """21 kinematic joints (n, 2, 21, 3), OpenPose order, metres."""
        return self._with_tips(self.chain)

    @cached_property
    def regressed(self) -> Array:
        """21 regressed joints (n, 2, 21, 3): J_regressor on the posed skin, OpenPose order, m."""
        return self._with_tips(np.stack([hand.regressed_joints for hand in self.posed], axis=1))

    def _with_tips(self, mano16: Array) -> Array:
        tips = self.vertices[:, :, list(TIP_SETS[self.tips])]
        return np.concatenate([mano16, tips], axis=2)[:, :, list(OPENPOSE_FROM_MANO21)]

    def pose_from_mean(self, side: int) -> Array:
        """Pose (n, 48) of one side as smplx takes it with flat_hand_mean=False."""
        pose = self.pose[:, side].reshape(len(self), 48).copy()
        pose[:, 3:] -= self.pair[side].hands_mean
        return pose


def random_hands(
    n: int,
    seed: int = 0,
    *,
    tips: str = "smplx",
    one_shape: bool = True,
    centre: tuple[float, float, float] = (0.0, 0.0, 0.7),
) -> PosedHands:
    """n frames of natural poses within the limits on the open hand.

    one_shape: the same betas in every frame and on both sides, else others in each frame.
    centre m: about where the hands are; the two wrists lie about 0.2 m apart.
    """
    rng = np.random.default_rng(seed)
    pair = load_hands("open")
    pool = natural_poses(Anatomy.of(pair.right)).reshape(-1, 15, 3)
    pose = np.empty((n, 2, 16, 3))
    mirror = np.array([1.0, -1.0, -1.0])
    pose[:, 0, 1:] = pool[rng.choice(len(pool), n, replace=n > len(pool))]
    pose[:, 1, 1:] = pool[rng.choice(len(pool), n, replace=n > len(pool))] * mirror
    pose[:, :, 0] = rng.normal(scale=0.9, size=(n, 2, 3))
    shape = rng.normal(scale=0.8, size=(1 if one_shape else n, 1 if one_shape else 2, 10))
    transl = np.array(centre) + rng.normal(scale=0.03, size=(n, 2, 3))
    transl[:, 0, 0] += 0.1
    transl[:, 1, 0] -= 0.1
    betas = np.broadcast_to(shape, (n, 2, 10)).copy()
    return PosedHands(pair, pose, betas, transl, tips)


def save_as_mano(folder: Path) -> Path:
    """The open hand as MANO_RIGHT.npz and MANO_LEFT.npz called "mano": the toolkit takes it so."""
    pair = load_hands("open")
    for model in (pair.right, pair.left):
        replace(model, name="mano").save(folder / f"MANO_{model.side.upper()}.npz")
    return folder
