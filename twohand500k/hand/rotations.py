"""Rotations between axis-angle and matrices, any batch shape, exact near 0 and near pi.

Comes in: axis-angle vectors (..., 3) in radians or rotation matrices (..., 3, 3), float64.
Goes out: the other form. Written out rather than taken from scipy because scipy's `Rotation`
takes one leading axis only and the hand model is used with any batch shape.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def skew(v: ArrayLike) -> Array:
    """Cross-product matrix (..., 3, 3) of vectors (..., 3): ``skew(a) @ b == cross(a, b)``."""
    v = np.asarray(v, dtype=np.float64)
    out = np.zeros((*v.shape[:-1], 3, 3))
    out[..., 0, 1], out[..., 0, 2] = -v[..., 2], v[..., 1]
    out[..., 1, 0], out[..., 1, 2] = v[..., 2], -v[..., 0]
    out[..., 2, 0], out[..., 2, 1] = -v[..., 1], v[..., 0]
    return out


def matrix_from_axis_angle(axis_angle: ArrayLike) -> Array:
    """Rodrigues' formula: axis-angle (..., 3) in radians to rotation matrices (..., 3, 3)."""
    axis_angle = np.asarray(axis_angle, dtype=np.float64)
    angle_sq = np.sum(axis_angle * axis_angle, axis=-1)
    angle = np.sqrt(angle_sq)
    # sin(a)/a and (1-cos(a))/a^2 through sinc: no division by a small angle.
    sinc = np.sinc(angle / np.pi)
    half_sinc = np.sinc(angle / (2 * np.pi))
    k = skew(axis_angle)
    return (
        np.eye(3)
        + sinc[..., None, None] * k
        + 0.5 * (half_sinc * half_sinc)[..., None, None] * (k @ k)
    )


def axis_angle_from_matrix(matrix: ArrayLike) -> Array:
    """Rotation matrices (..., 3, 3) to axis-angle (..., 3) with angle in [0, pi].

    Goes through the quaternion by its largest component, so it stays exact near 0 and near pi.
    """
    m = np.asarray(matrix, dtype=np.float64)
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    trace = m00 + m11 + m22
    # Four ways to write 4*q*q_k (k = w, x, y, z); take the best conditioned for each rotation.
    candidates = np.stack(
        [
            np.stack([1 + trace, m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0],
                      m[..., 1, 0] - m[..., 0, 1]], axis=-1),
            np.stack([m[..., 2, 1] - m[..., 1, 2], 1 + m00 - m11 - m22, m[..., 0, 1] + m[..., 1, 0],
                      m[..., 0, 2] + m[..., 2, 0]], axis=-1),
            np.stack([m[..., 0, 2] - m[..., 2, 0], m[..., 0, 1] + m[..., 1, 0], 1 - m00 + m11 - m22,
                      m[..., 1, 2] + m[..., 2, 1]], axis=-1),
            np.stack([m[..., 1, 0] - m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0],
                      m[..., 1, 2] + m[..., 2, 1], 1 - m00 - m11 + m22], axis=-1),
        ],
        axis=-2,
    )  # fmt: skip
    best = np.argmax(np.stack([trace, m00, m11, m22], axis=-1), axis=-1)
    q = np.take_along_axis(candidates, best[..., None, None], axis=-2)[..., 0, :]
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    q = np.where(q[..., :1] < 0, -q, q)
    sin_half = np.linalg.norm(q[..., 1:], axis=-1)
    angle = 2 * np.arctan2(sin_half, q[..., 0])
    # angle / sin(angle/2) tends to 2 at zero.
    scale = np.where(sin_half < 1e-12, 2.0, angle / np.where(sin_half < 1e-12, 1.0, sin_half))
    return q[..., 1:] * scale[..., None]


def mirror_points(points: ArrayLike) -> Array:
    """Points (..., 3) seen in the mirror plane x = 0: x -> -x."""
    return np.asarray(points, dtype=np.float64) * np.array([-1.0, 1.0, 1.0])


def mirror_axis_angle(axis_angle: ArrayLike) -> Array:
    """Axis-angle (..., 3) of the mirrored rotation: (x, y, z) -> (x, -y, -z)."""
    return np.asarray(axis_angle, dtype=np.float64) * np.array([1.0, -1.0, -1.0])
