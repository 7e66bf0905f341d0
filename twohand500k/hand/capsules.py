"""One capsule a bone: the hand as twenty thick segments, for quick answers about distance.

Comes in: 21 joints (..., 21, 3) and how thick the flesh is about each bone (`bone_radii`, from the
model's skin). Goes out: the capsules' ends and the distance between any two of them. Capsules are
what one asks before the skin: a hundred times cheaper than 778 vertices, and wrong by millimetres,
the difference between a round stick and a finger.
"""

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from twohand500k.conventions import JOINT_PARENTS, MANO_CARRIER, TIP_JOINTS
from twohand500k.hand.model import HandModel
from twohand500k.hand.rotations import Array

# A bone is named by its far joint, 1..20 in the order of the 21; it runs from that one's parent.
BONES = np.arange(1, 21)
# The bones of the fingers and the thumb beyond the palm.
PHALANGES = np.array([b for b in BONES if (b - 1) % 4 != 0 and b != 2])
_PARENT = np.array(JOINT_PARENTS)[BONES]


def bone_radii(model: HandModel, betas: ArrayLike) -> Array:
    """How thick (20,) m the flesh is about each bone, at rest in the given shape.

    betas (10,). A phalanx: the median distance of its own skin. The palm's bones and the thumb's
    metacarpal, about which the skin is far from round: the distance of the skin nearest to the
    bone's middle.
    """
    rest = model.with_shape(betas).with_pose()
    joints, vertices = rest.joints, rest.vertices
    owner = np.argmax(model.weights, axis=1)
    radius = np.empty(len(BONES))
    for k, bone in enumerate(BONES):
        start, end = joints[_PARENT[k]], joints[bone]
        if bone in PHALANGES:
            skin = vertices[owner == MANO_CARRIER[_PARENT[k]]]
            radius[k] = np.median(segment_distance(start, end, skin, skin))
        else:
            along = start + np.linspace(0.4, 0.8, 5)[:, None] * (end - start)
            nearest = np.linalg.norm(vertices - along[:, None], axis=-1).min(axis=1)
            radius[k] = np.mean(nearest)
    return radius


def capsule_ends(joints: Array, radius: Array) -> tuple[Array, Array]:
    """Ends (..., 20, 3) of the bones' capsules; a tip's cap ends at the tip's skin point.

    joints (..., 21, 3) m; radius (20,) m, or (..., 20) for hands of several shapes.
    """
    start, end = joints[..., _PARENT, :], joints[..., BONES, :].copy()
    tips = np.array(TIP_JOINTS) - 1
    along = end[..., tips, :] - start[..., tips, :]
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    end[..., tips, :] -= along * radius[..., tips, None]
    return start, end


def segment_distance(a0: Array, a1: Array, b0: Array, b1: Array) -> Array:
    """Distance between segments a0-a1 and b0-b1, (..., 3) each, broadcast; a point is a segment."""
    shape = np.broadcast_shapes(a0.shape, a1.shape, b0.shape, b1.shape)
    ends = [np.broadcast_to(end, shape).reshape(-1, 3) for end in (a0, a1, b0, b1)]
    return _segment_distances(*ends).reshape(shape[:-1])


@njit(cache=True)
def one_segment_distance(a0: Array, a1: Array, b0: Array, b1: Array) -> float:
    """Distance of two segments with ends (3,), for callers that are compiled themselves.

    Closest points by Ericson, Real-Time Collision Detection, 2005, 5.1.9.
    """
    a = b = c = e = f = 0.0
    for k in range(3):
        d1, d2, r = a1[k] - a0[k], b1[k] - b0[k], a0[k] - b0[k]
        a += d1 * d1
        b += d1 * d2
        c += d1 * r
        e += d2 * d2
        f += d2 * r
    s = 0.0
    denominator = a * e - b * b
    if denominator > 1e-12 * a * e:  # else parallel, or one of them a point: any s will do
        s = min(max((b * f - c * e) / denominator, 0.0), 1.0)
    t = (b * s + f) / e if e > 0.0 else 0.0
    clamped = min(max(t, 0.0), 1.0)
    if a > 0.0 and (t != clamped or e == 0.0):
        s = min(max((b * clamped - c) / a, 0.0), 1.0)
    total = 0.0
    for k in range(3):
        gap = a0[k] + s * (a1[k] - a0[k]) - b0[k] - clamped * (b1[k] - b0[k])
        total += gap * gap
    return np.sqrt(total)


@njit(cache=True)
def _segment_distances(a0: Array, a1: Array, b0: Array, b1: Array) -> Array:
    """`one_segment_distance` of N pairs with ends (N, 3)."""
    out = np.empty(len(a0))
    for n in range(len(a0)):
        out[n] = one_segment_distance(a0[n], a1[n], b0[n], b1[n])
    return out
