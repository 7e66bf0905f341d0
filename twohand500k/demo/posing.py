"""Two hands posed by hand: angles and places written down, then made to touch without overlap.

In: a `TwoHandPose` that a person wrote down, roughly. Out: the nearest pose in which the named
bones touch, no two fingers share the same space and every joint is within its limits (`settle`).
Skin is stood in for by one capsule per bone, as thick as the hand model's skin is there, so a pose
written once fits whatever hand and shape it is given.

Both hands are written in their own side's space: the left hand's numbers are those of the right
hand seen in the mirror x = 0. A symmetric pose has the same numbers twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import least_squares

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.capsules import (
    BONES,
    PHALANGES,
    bone_radii,
    capsule_ends,
    segment_distance,
)
from twohand500k.hand.model import HandPair
from twohand500k.hand.rotations import (
    Array,
    axis_angle_from_matrix,
    matrix_from_axis_angle,
    mirror_axis_angle,
    mirror_points,
)

_FINGER = (BONES - 1) // 4
# Pairs of one hand that may not overlap: phalanges of different fingers, and the two outer
# phalanges of a finger against the other fingers' palm bones (a fist closing on the palm).
_SELF_PAIRS = np.array(
    [
        (a, b)
        for a in PHALANGES
        for b in PHALANGES
        if a < b and _FINGER[a - 1] != _FINGER[b - 1] and (a - 1) % 4 + (b - 1) % 4 > 2
    ]
    + [(a, b) for a in PHALANGES if (a - 1) % 4 >= 2 for b in (5, 9, 13, 17)]
)


@dataclass(frozen=True, eq=False)
class TwoHandPose:
    """Poses of a right and a left hand, each in its own side's space (see the module).

    angles (..., 2, 15, 3) rad, anatomical; orientation (..., 2, 3) axis-angle; wrist (..., 2, 3) m.
    """

    angles: Array
    orientation: Array
    wrist: Array


@dataclass(frozen=True, eq=False)
class Body:
    """One subject's two hands: models, shape, and how thick every bone's flesh is."""

    hands: HandPair
    betas: Array

    @cached_property
    def anatomy(self) -> Anatomy:
        return Anatomy.of(self.hands.right)

    @cached_property
    def radius(self) -> Array:
        """Capsule radius of every bone (20,), metres: the median distance of its skin."""
        return bone_radii(self.hands.right, self.betas)

    def mano(self, posed: TwoHandPose) -> tuple[Array, Array]:
        """MANO pose (..., 2, 16, 3) and transl (..., 2, 3) in the world, right and left."""
        own = self.anatomy.pose_from_angles(posed.angles, posed.orientation)
        root = self.hands.right.with_shape(self.betas).rest_joints[0]
        transl = posed.wrist - root
        pose, place = own.copy(), transl.copy()
        pose[..., LEFT, :, :] = mirror_axis_angle(own[..., LEFT, :, :])
        left_root = self.hands.left.with_shape(self.betas).rest_joints[0]
        place[..., LEFT, :] = mirror_points(posed.wrist[..., LEFT, :]) - left_root
        return pose, place

    def joints(self, posed: TwoHandPose) -> Array:
        """Joints (..., 2, 21, 3) in the world, metres, right and left."""
        pose, transl = self.mano(posed)
        return np.stack(
            [
                self.hands[side]
                .with_shape(self.betas)
                .with_pose(pose[..., side, :, :], transl[..., side, :])
                .joints
                for side in (RIGHT, LEFT)
            ],
            axis=-3,
        )

    def gaps(self, joints: Array) -> Array:
        """Room between the hands' bones (..., 20 right, 20 left), metres, negative = overlap."""
        ends = capsule_ends(joints, self.radius)
        distance = segment_distance(
            *(end[..., RIGHT, :, None, :] for end in ends),
            *(end[..., LEFT, None, :, :] for end in ends),
        )
        return distance - self.radius[:, None] - self.radius


@dataclass(frozen=True)
class Touch:
    """Right bone and left bone (far joints, 1..20) whose skins are to be `gap` metres apart."""

    right: int
    left: int
    gap: float = 0.0


# What `settle` may change, and the change that costs as much as 1 mm of overlap does below.
_FREE_ANGLES = [(joint, 0) for joint in range(15)] + [(joint, 1) for joint in (0, 3, 6, 9, 12)]
_SIGMA_ANGLE = np.radians([12.0] * 15 + [7.0] * 5)
_SIGMA_TURN = np.radians(10.0)
_SIGMA_WRIST = 0.02
_SIGMA_GAP = 0.0006
_LIMIT_MARGIN = np.radians(1.5)


def settle(
    body: Body, start: TwoHandPose, touches: Sequence[Touch] = (), clearance: float = 0.0
) -> TwoHandPose:
    """The nearest pose to `start` that makes its touches and overlaps nowhere.

    start: one pose (no batch axis). clearance: room kept between the two hands everywhere but at
    the touches, metres. Least squares over the angles, turns and places of both hands, Jacobian by
    one batched pass of finite differences.
    """
    joint, kind = np.array(_FREE_ANGLES).T
    n_angles = len(joint)
    n_hand = n_angles + 6
    sigma = np.concatenate([_SIGMA_ANGLE, np.full(3, _SIGMA_TURN), np.full(3, _SIGMA_WRIST)])
    low = body.anatomy.limits[joint, kind, 0] + _LIMIT_MARGIN
    high = body.anatomy.limits[joint, kind, 1] - _LIMIT_MARGIN
    base = matrix_from_axis_angle(start.orientation)
    start_angles = start.angles[:, joint, kind]

    def posed(x: Array) -> TwoHandPose:
        step = x.reshape(*x.shape[:-1], 2, n_hand) * sigma
        angles = np.broadcast_to(start.angles, (*x.shape[:-1], 2, 15, 3)).copy()
        angles[..., joint, kind] = np.clip(start_angles + step[..., :n_angles], low, high)
        turn = matrix_from_axis_angle(step[..., n_angles : n_angles + 3])
        return TwoHandPose(
            angles, axis_angle_from_matrix(turn @ base), start.wrist + step[..., n_angles + 3 :]
        )

    right = np.array([touch.right - 1 for touch in touches], dtype=np.int64)
    left = np.array([touch.left - 1 for touch in touches], dtype=np.int64)
    wanted = np.array([touch.gap for touch in touches])
    room = np.full((20, 20), clearance)
    room[right, left] = wanted

    def residuals(x: Array) -> Array:
        joints = body.joints(posed(x))
        gaps = body.gaps(joints)
        step = x.reshape(*x.shape[:-1], 2, n_hand) * sigma
        beyond = start_angles + step[..., :n_angles]
        beyond = np.maximum(np.maximum(low - beyond, beyond - high), 0)
        parts = [
            x,
            (beyond / np.radians(1.0)).reshape(*x.shape[:-1], -1),
            (np.maximum(room - gaps, 0) / _SIGMA_GAP).reshape(*x.shape[:-1], -1),
            (gaps[..., right, left] - wanted) / _SIGMA_GAP,
        ]
        ends = capsule_ends(joints, body.radius)
        a, b = (_SELF_PAIRS - 1).T
        distance = segment_distance(*(e[..., a, :] for e in ends), *(e[..., b, :] for e in ends))
        overlap = body.radius[a] + body.radius[b] - 0.0015 - distance
        parts.append((np.maximum(overlap, 0) / _SIGMA_GAP).reshape(*x.shape[:-1], -1))
        return np.concatenate(parts, axis=-1)

    def jacobian(x: Array) -> Array:
        h = 1e-5
        moved = residuals(np.concatenate([x[None], x + h * np.eye(len(x))]))
        return ((moved[1:] - moved[0]) / h).T

    solution = least_squares(
        residuals, np.zeros(2 * n_hand), jacobian, method="trf", max_nfev=60, ftol=1e-3, xtol=1e-3
    )
    return posed(solution.x)
