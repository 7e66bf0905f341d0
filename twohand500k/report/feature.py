"""The feature that diversity and the map are measured on: 42 joints as the right wrist sees them.

Comes in: the joints of pairs and the right hands' global orientation, in any frame of space. Goes
out: (N, 126) float32. Anyone can compute it from any two-hand data with MANO parameters:

    p_right_wrist = R^T (p - p_wrist)     R the right hand's global orientation, p_wrist its wrist
    feature = p_right_wrist * 0.095 m / s

with s the mean over both hands of the distance from wrist to middle knuckle, the one bone of a hand
that no pose changes. So a feature does not know where the pair is, nor how large its people are,
but knows how large one hand is against the other. The order is side (right, left), joint (OpenPose
order), axis; the first three numbers are zero. Units are metres on a hand whose middle metacarpal
is 95 mm, an adult's; `distance_mm` makes a distance of two features something a hand can be held
against.

The paper measures diversity with a feature of its own network, which is not public (its FHID); no
number made of this feature is an FHID.
"""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from twohand500k.conventions import JOINT_NAMES, LEFT, N_JOINTS, RIGHT
from twohand500k.hand.rotations import Array, matrix_from_axis_angle, mirror_points

NAME: Final = "joints in the right wrist"
DIMENSIONS: Final = 2 * N_JOINTS * 3
STANDARD_M: Final = 0.095
DEFINITION: Final = (
    "the 42 joints (right, left; OpenPose order; x, y, z) in the frame of the right wrist (origin "
    "in its joint, axes of MANO's rest frame turned by its global orientation), times 95 mm over "
    "the mean distance of both hands from wrist to middle knuckle"
)

_MIDDLE_KNUCKLE: Final = JOINT_NAMES.index("middle1")
_INDEX_KNUCKLE: Final = JOINT_NAMES.index("index1")


def pair_features(joints: ArrayLike, right_orientation: ArrayLike) -> Array:
    """Features (N, 126) float32 of pairs.

    joints (N, 2, 21, 3) m and right_orientation (N, 3), the right hand's global orientation as
    axis-angle (`mano/pose[:, 0, 0]`), both in one frame. A row is NaN where a joint is, or where a
    hand has no size. Raises ValueError for other shapes.
    """
    joints = np.asarray(joints, dtype=np.float64)
    orientation = np.asarray(right_orientation, dtype=np.float64)
    n = len(joints)
    if joints.shape != (n, 2, N_JOINTS, 3) or orientation.shape != (n, 3):
        raise ValueError(
            f"joints must be (N, 2, {N_JOINTS}, 3) and right_orientation (N, 3), got "
            f"{joints.shape} and {orientation.shape}"
        )
    R = matrix_from_axis_angle(orientation)
    from_wrist = joints - joints[:, RIGHT, None, None, 0]
    in_wrist = np.einsum("nji,nskj->nski", R, from_wrist)
    bone = joints[:, [RIGHT, LEFT], _MIDDLE_KNUCKLE] - joints[:, [RIGHT, LEFT], 0]
    size = np.linalg.norm(bone, axis=-1).mean(axis=1)
    size[size == 0.0] = np.nan
    return (in_wrist * (STANDARD_M / size)[:, None, None, None]).reshape(n, -1).astype(np.float32)


def hand_features(features: ArrayLike) -> Array:
    """Every hand of pairs' features (N, 126) alone: (N, 2, 63) float32, right, left.

    A hand's 21 joints in the frame of its own palm (origin in the wrist, x along the middle
    metacarpal, z out of the palm's plane, which wrist, index and middle knuckle span; no pose moves
    them against each other), left hands mirrored into right ones. What is left is the fingers: in
    the pair's feature the place of the other hand outweighs them by far.
    """
    joints = np.array(features, dtype=np.float64).reshape(-1, 2, N_JOINTS, 3)
    joints[:, LEFT] = mirror_points(joints[:, LEFT])
    joints -= joints[:, :, :1]
    along, aside = joints[:, :, _MIDDLE_KNUCKLE], joints[:, :, _INDEX_KNUCKLE]
    x = along / np.linalg.norm(along, axis=-1, keepdims=True)
    z = np.cross(x, aside)
    z /= np.linalg.norm(z, axis=-1, keepdims=True)
    R = np.stack([x, np.cross(z, x), z], axis=-2)
    in_palm = np.einsum("nsij,nskj->nski", R, joints)
    return in_palm.reshape(len(joints), 2, 3 * N_JOINTS).astype(np.float32)


def distance_mm(distance: ArrayLike, joints: int = 2 * N_JOINTS) -> Array:
    """Euclidean distances of features as root mean square distance of their joints, in mm."""
    return np.asarray(distance, dtype=np.float64) * 1e3 / np.sqrt(joints)
