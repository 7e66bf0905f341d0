"""How much of the sky a point of the skin sees, past its own fingers and the other hand.

Hands are taken for balls strung along their bones: what they hide of a point's half sky is known in
closed form, smooth, and cheap for a thousand points at once. A ball that a point lies on hides
nothing, as it lies below the point's horizon.
"""

from functools import lru_cache

import numpy as np
from numba import njit

from twohand500k.conventions import JOINT_PARENTS, N_BETAS
from twohand500k.hand import HandModel
from twohand500k.hand.capsules import bone_radii

Array = np.ndarray

_BONES = np.arange(1, 21)
_PARENT = np.array(JOINT_PARENTS)[_BONES]
# Balls along a bone: touching each other or nearly.
_SHARES = (0.1, 0.4, 0.7, 1.0)


def balls_along(joints: Array, radius: Array) -> tuple[Array, Array]:
    """Centres (80, 3) and radii (80,) m of a hand's balls; joints (21, 3), radius (20,) a bone."""
    start, end = joints[_PARENT], joints[_BONES]
    centres = np.concatenate([start + s * (end - start) for s in _SHARES])
    return centres, np.tile(radius, len(_SHARES))


def bone_thickness(model: HandModel, betas: Array) -> Array:
    """`hand.capsules.bone_radii` (20,) m to first order in the shape: enough for shade."""
    mean, slope = _bone_thickness(model)
    return mean + slope @ betas


@lru_cache(maxsize=8)
def _bone_thickness(model: HandModel) -> tuple[Array, Array]:
    shapes = np.eye(N_BETAS)
    slope = [0.5 * (bone_radii(model, b) - bone_radii(model, -b)) for b in shapes]
    return bone_radii(model, np.zeros(N_BETAS)), np.stack(slope, axis=1)


@njit(cache=True, error_model="numpy")
def open_sky(points: Array, normals: Array, centres: Array, radii: Array) -> Array:
    """The share (P,) of each point's half sky, weighted by the cosine, that no ball hides."""
    out = np.empty(len(points))
    for i in range(len(points)):
        sky = 1.0
        for b in range(len(centres)):
            x = centres[b, 0] - points[i, 0]
            y = centres[b, 1] - points[i, 1]
            z = centres[b, 2] - points[i, 2]
            square = x * x + y * y + z * z
            if square > 0.0144:  # 12 cm: hides less than a hundredth
                continue
            away = np.sqrt(square) + 1e-9
            up = (normals[i, 0] * x + normals[i, 1] * y + normals[i, 2] * z) / away
            size = min(radii[b] / away, 1.0)
            if up <= -size:
                continue
            risen = min((up + size) / (2.0 * size), 1.0)
            sky *= 1.0 - 0.75 * size * size * risen * risen * max(up, 0.5 * size)
        # Balls of one finger hide each other, not the sky twice.
        out[i] = sky**0.8
    return out
