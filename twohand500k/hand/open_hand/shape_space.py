"""Ten shape coefficients with a meaning, one unit of each about one standard deviation.

Every coefficient is a set of affine maps, one per bone, that agree at the joints: v' = v + (linear
in beta). Vertices blend the maps of their bones, joints follow theirs exactly.
"""

from dataclasses import dataclass

import numpy as np

from twohand500k.conventions import MANO_CHAINS, MANO_PARENTS, N_BETAS, N_MANO_JOINTS
from twohand500k.hand.open_hand import anthropometry as a
from twohand500k.hand.open_hand.skeleton import Skeleton
from twohand500k.hand.rotations import Array

BETA_NAMES = (
    "size",
    "finger length against palm length",
    "palm breadth",
    "thickness",
    "thumb length",
    "index length against ring length",
    "thumb's first phalanx against its neighbours",
    "little length",
    "first and middle phalanges against last",
    "slope of the knuckle row",
)


@dataclass(frozen=True, eq=False)
class ShapeSpace:
    """vertices (V, 3, 10), joints (16, 3, 10): change per unit beta, mm."""

    vertices: Array
    joints: Array


def shape_space(skeleton: Skeleton, vertices: Array, weights: Array) -> ShapeSpace:
    """Directions for a mesh (V, 3) mm whose vertices follow the bones by weights (V, 16)."""
    maps = np.stack([_maps(skeleton, beta) for beta in range(N_BETAS)], axis=-1)  # (16, 3, 3, 10)
    joints = np.zeros((N_MANO_JOINTS, 3, N_BETAS))
    for joint in range(1, N_MANO_JOINTS):
        parent = MANO_PARENTS[joint]
        bone = skeleton.joints[joint] - skeleton.joints[parent]
        joints[joint] = joints[parent] + np.einsum("abk,b->ak", maps[parent], bone)
    arm = vertices[:, None] - skeleton.joints[None]
    each = joints[None] + np.einsum("jabk,vjb->vjak", maps, arm)
    return ShapeSpace(np.einsum("vj,vjak->vak", weights, each), joints)


def _maps(skeleton: Skeleton, beta: int) -> Array:
    """Linear part (16, 3, 3) of every bone's map for one unit of one coefficient."""
    x, y, z = np.eye(3)
    maps = np.zeros((N_MANO_JOINTS, 3, 3))

    def stretch(finger: int, factors: tuple[float, float, float]) -> None:
        axis = skeleton.digits[finger].distal
        for joint, factor in zip(MANO_CHAINS[finger], factors, strict=True):
            maps[joint] += factor * np.outer(axis, axis)

    fingers = (1, 2, 3, 4)
    if beta == 0:
        maps += a.SD_SIZE * np.eye(3)
    elif beta == 1:
        for f in fingers:
            stretch(f, (a.SD_FINGERS,) * 3)
        maps[0] -= a.SD_PALM_LENGTH * np.outer(x, x)
    elif beta == 2:
        maps[0] += a.SD_PALM_BREADTH * np.outer(z, z)
    elif beta == 3:
        maps[0] += a.SD_THICKNESS * np.outer(y, y)
        for f, chain in enumerate(MANO_CHAINS):
            digit = skeleton.digits[f]
            for joint in chain:
                maps[joint] += a.SD_GIRTH * (np.eye(3) - np.outer(digit.distal, digit.distal))
    elif beta == 4:
        stretch(0, (a.SD_THUMB,) * 3)
    elif beta == 5:
        stretch(1, (a.SD_INDEX,) * 3)
        stretch(3, (-a.SD_RING,) * 3)
    elif beta == 6:
        stretch(0, (-a.SD_THUMB_METACARPAL, a.SD_THUMB_FIRST, -a.SD_THUMB_LAST))
    elif beta == 7:
        stretch(4, (a.SD_LITTLE,) * 3)
    elif beta == 8:
        for f in fingers:
            stretch(f, (a.SD_FIRST_PHALANX, a.SD_MIDDLE_PHALANX, -a.SD_LAST_PHALANX))
    else:
        # The little finger's knuckle towards the wrist, the index finger's away from it.
        maps[0] += -a.SD_KNUCKLE_SLOPE * np.outer(x, z)
    return maps
