"""Hands moved rigidly in space: the parameters change, the skin keeps its shape.

In: MANO pose, betas and translation, and a rotation and translation of space. Out: the pose and
translation of the moved hand. MANO turns a hand about its wrist J0(betas), not about the origin, so
a rotation of space changes the translation too:

    wrist' = R wrist + t    with wrist = J0 + transl    gives    transl' = R (J0 + transl) + t - J0
"""

import numpy as np
from numpy.typing import ArrayLike

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.hand.model import HandPair
from twohand500k.hand.rotations import Array, axis_angle_from_matrix, matrix_from_axis_angle


def moved_rigidly(
    pose: ArrayLike, transl: ArrayLike, J0: ArrayLike, R: ArrayLike, t: ArrayLike
) -> tuple[Array, Array]:
    """Pose and translation of hands after every point of space went x -> R x + t.

    pose (..., 16, 3) rad, transl (..., 3) m, J0 (..., 3) m the wrist at rest, R (..., 3, 3),
    t (..., 3) m; they broadcast.
    """
    pose = np.asarray(pose, dtype=np.float64)
    J0 = np.asarray(J0, dtype=np.float64)
    R = np.asarray(R, dtype=np.float64)
    wrist = np.einsum("...ij,...j->...i", R, J0 + np.asarray(transl)) + np.asarray(t)
    turned = axis_angle_from_matrix(R @ matrix_from_axis_angle(pose[..., 0, :]))
    batch = np.broadcast_shapes(turned.shape[:-1], wrist.shape[:-1])
    moved = np.broadcast_to(pose, (*batch, *pose.shape[-2:])).copy()
    moved[..., 0, :] = turned
    return moved, np.broadcast_to(wrist - J0, (*batch, 3)).copy()


def in_right_wrist(
    hands: HandPair, pose: ArrayLike, betas: ArrayLike, transl: ArrayLike
) -> tuple[Array, Array]:
    """Pairs in the frame of their right wrist: it lies in the origin, its orientation is zero.

    pose (..., 2, 16, 3), betas (..., 2, 10), transl (..., 2, 3). The right hand's global
    orientation comes out as exactly zero, its translation as exactly -J0(betas).
    """
    pose = np.asarray(pose, dtype=np.float64)
    betas = np.asarray(betas, dtype=np.float64)
    transl = np.asarray(transl, dtype=np.float64)
    J0 = np.stack(
        [hands[s].with_shape(betas[..., s, :]).rest_joints[..., 0, :] for s in (RIGHT, LEFT)],
        axis=-2,
    )
    R = np.swapaxes(matrix_from_axis_angle(pose[..., RIGHT, 0, :]), -1, -2)[..., None, :, :]
    wrist = (J0 + transl)[..., RIGHT, :]
    t = -np.einsum("...ij,...j->...i", R, wrist[..., None, :])
    pose, transl = moved_rigidly(pose, transl, J0, R, t)
    pose[..., RIGHT, 0, :] = 0.0
    transl[..., RIGHT, :] = -J0[..., RIGHT, :]
    return pose, transl
