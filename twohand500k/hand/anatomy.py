"""Flexion, abduction and twist of every joint, and how far they may go.

A hand model comes in; out comes its `Anatomy`: for each of MANO's joints 1..15 a frame ``A[j]``
whose columns are the flexion, abduction and twist axes in the model's rest frame, and the limits
of the three angles. A local rotation and its angles are two names for one thing:

    R_j = A E A^T,   E = Rot(e0, flexion) Rot(e1, abduction) Rot(e2, twist)

Positive flexion bends towards the palm, positive abduction goes towards the thumb's side, positive
twist supinates, on both hands alike: a mirrored pose has the same angles on the mirrored model. The
columns are axes for the right-hand rule and ``A[j]`` is a proper rotation; so on the right hand the
twist axis points along the bone to the tip, and on the left hand, where the same turn seen in a
mirror goes the other way round, it points back to the wrist.

Twist lies along the bone to the child joint, for the last bone to the fingertip. The fingers'
dorsal direction is the normal of the palm (wrist and the four knuckles); the thumb's is a constant
of MANO's rest frame, because its nail faces sideways and no joint tells where. Both are made
orthogonal to each bone. Frames are taken at zero betas: an angle means the same for every shape.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from twohand500k.conventions import (
    DEFAULT_TIP_SET,
    MANO_CHAINS,
    MANO_JOINT_NAMES,
    N_MANO_JOINTS,
    TIP_SETS,
)
from twohand500k.hand.model import HandModel
from twohand500k.hand.rotations import Array, axis_angle_from_matrix, matrix_from_axis_angle

ANGLE_NAMES = ("flexion", "abduction", "twist")
FLEXION, ABDUCTION, TWIST = range(3)


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Frames and limits of one hand model's 15 joints (MANO order, 1..15).

    A (15, 3, 3): columns flexion, abduction and twist axis in the rest frame, proper rotations.
    limits (15, 3, 2) rad: least and most of each angle.
    """

    A: Array
    limits: Array

    @staticmethod
    def of(model: HandModel) -> "Anatomy":
        """The anatomy of a model, from its rest joints at zero betas and the table of limits."""
        table = _table()
        limits = np.radians(
            [[table[name][a] for a in ANGLE_NAMES] for name in MANO_JOINT_NAMES[1:]]
        )
        return Anatomy(_frames(model, np.asarray(table["frame"]["thumb_dorsal_right"])), limits)

    def angles_from_pose(self, pose: ArrayLike) -> Array:
        """Angles (..., 15, 3) rad of a pose (..., 16, 3) axis-angle; its entry 0 is not read.

        Flexion and twist in (-pi, pi], abduction in [-pi/2, pi/2]. At an abduction of 90 degrees,
        far outside every limit, flexion and twist turn about one axis: the turn is called flexion.
        """
        R = matrix_from_axis_angle(np.asarray(pose, dtype=np.float64)[..., 1:, :])
        E = np.swapaxes(self.A, -1, -2) @ R @ self.A
        cos_abduction = np.hypot(E[..., 0, 0], E[..., 0, 1])
        locked = cos_abduction < 1e-9
        flexion = np.where(
            locked,
            np.arctan2(E[..., 2, 1], E[..., 1, 1]),
            np.arctan2(-E[..., 1, 2], E[..., 2, 2]),
        )
        twist = np.where(locked, 0.0, np.arctan2(-E[..., 0, 1], E[..., 0, 0]))
        return np.stack([flexion, np.arctan2(E[..., 0, 2], cos_abduction), twist], axis=-1)

    def pose_from_angles(self, angles: ArrayLike, orientation: ArrayLike | None = None) -> Array:
        """Pose (..., 16, 3) axis-angle of angles (..., 15, 3) rad.

        orientation (..., 3) axis-angle is the global one, entry 0; None is no rotation.
        """
        angles = np.asarray(angles, dtype=np.float64)
        if angles.shape[-2:] != (N_MANO_JOINTS - 1, 3):
            raise ValueError(f"angles must be (..., 15, 3), got shape {angles.shape}")
        E = euler_matrix(angles)
        local = axis_angle_from_matrix(self.A @ E @ np.swapaxes(self.A, -1, -2))
        base = np.zeros(3) if orientation is None else np.asarray(orientation, dtype=np.float64)
        batch = np.broadcast_shapes(local.shape[:-2], base.shape[:-1])
        pose = np.empty((*batch, N_MANO_JOINTS, 3))
        pose[..., 0, :] = base
        pose[..., 1:, :] = local
        return pose

    def limit_excess(self, angles: ArrayLike) -> Array:
        """How far each angle (..., 15, 3) lies outside its limits: radians, >= 0, NaN for NaN."""
        angles = np.asarray(angles, dtype=np.float64)
        # fmax/fmin would hide NaN; maximum lets it through.
        return np.maximum(
            np.maximum(self.limits[..., 0] - angles, angles - self.limits[..., 1]), 0.0
        )


def euler_matrix(angles: Array) -> Array:
    """Rot(e0, a0) Rot(e1, a1) Rot(e2, a2) for angles (..., 3)."""
    (c0, c1, c2), (s0, s1, s2) = (np.moveaxis(f(angles), -1, 0) for f in (np.cos, np.sin))
    rows = [
        [c1 * c2, -c1 * s2, s1],
        [c0 * s2 + s0 * s1 * c2, c0 * c2 - s0 * s1 * s2, -s0 * c1],
        [s0 * s2 - c0 * s1 * c2, s0 * c2 + c0 * s1 * s2, c0 * c1],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _frames(model: HandModel, thumb_dorsal_right: Array) -> Array:
    """Anatomical frames (15, 3, 3) of a model in MANO's rest frame."""
    rest = model.J_template
    tips = model.v_template[list(TIP_SETS[DEFAULT_TIP_SET])]
    hand_sign = 1.0 if model.side == "right" else -1.0
    knuckles = rest[[chain[0] for chain in MANO_CHAINS[1:]]]
    palm = np.concatenate([rest[:1], knuckles])
    # Normal of the plane that fits wrist and knuckles best, turned to the back of the hand: seen
    # from there the right hand's knuckles run from the index to the little one clockwise.
    normal = np.linalg.svd(palm - palm.mean(axis=0))[2][2]
    to_index, to_little = knuckles[0] - rest[0], knuckles[3] - rest[0]
    dorsal = normal * np.sign(hand_sign * normal @ np.cross(to_little, to_index))
    thumb_dorsal = thumb_dorsal_right * np.array([hand_sign, 1.0, 1.0])
    frames = np.empty((N_MANO_JOINTS - 1, 3, 3))
    for finger, chain in enumerate(MANO_CHAINS):
        points = np.concatenate([rest[list(chain)], tips[finger : finger + 1]])
        for joint, bone in zip(chain, np.diff(points, axis=0), strict=True):
            twist = hand_sign * bone / np.linalg.norm(bone)
            up = thumb_dorsal if finger == 0 else dorsal
            abduction = hand_sign * (up - (up @ twist) * twist)
            abduction /= np.linalg.norm(abduction)
            frames[joint - 1] = np.stack([np.cross(abduction, twist), abduction, twist], axis=-1)
    return frames


@cache
def _table() -> dict[str, Any]:
    """physics_assets/anatomy.toml, checked: every joint, every angle, zero inside."""
    text = resources.files("twohand500k.physics_assets").joinpath("anatomy.toml").read_text("utf8")
    table = tomllib.loads(text)
    for name in MANO_JOINT_NAMES[1:]:
        for angle in ANGLE_NAMES:
            low, high = table[name][angle]
            if not low <= 0.0 <= high:
                raise ValueError(f"anatomy.toml: {name} {angle} [{low}, {high}] must contain 0")
    return table
