"""Rotations in torch: axis-angle, matrices, and the six numbers of Zhou et al.

The differentiable twin of `twohand500k.hand.rotations`. Any batch shape, any floating type; finite
values and gradients at no turn and at half a turn.

"6D" is the first two columns of the matrix, made orthonormal again on the way back: Zhou, Barnes,
Lu, Yang, Li, "On the Continuity of Rotation Representations in Neural Networks", CVPR 2019. Unlike
axis-angle it has no jump at half a turn, where v and -v are one rotation and far apart as numbers.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

# Below this squared angle (rad2) the series of sin(a)/a and (1 - cos(a))/a2 are used.
_SMALL = 1e-6


def matrix_from_axis_angle(axis_angle: Tensor) -> Tensor:
    """Rotation vectors (..., 3), radians, as matrices (..., 3, 3): Rodrigues' formula."""
    squared = (axis_angle * axis_angle).sum(-1)[..., None, None]
    small = squared < _SMALL
    # Where the series is taken the other branch must stay finite, its gradient too.
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    a = torch.where(small, 1.0 - squared / 6.0, angle.sin() / angle)
    b = torch.where(small, 0.5 - squared / 24.0, (1.0 - angle.cos()) / safe)
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    K = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    outer = axis_angle[..., :, None] * axis_angle[..., None, :]
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    # K K = v v^T - |v|^2 I
    return eye * (1.0 - b * squared) + a * K + b * outer


def axis_angle_from_matrix(R: Tensor) -> Tensor:
    """Rotation vectors (..., 3), angles in [0, pi] radians, of matrices (..., 3, 3)."""
    q = quaternion_from_matrix(R)
    w, v = q[..., :1], q[..., 1:]
    length = v.norm(dim=-1, keepdim=True)
    small = length < 1e-6
    safe = torch.where(small, torch.ones_like(length), length)
    scale = torch.where(small, 2.0 / w.clamp_min(0.5), 2.0 * torch.atan2(length, w) / safe)
    return v * scale


def quaternion_from_matrix(R: Tensor) -> Tensor:
    """Unit quaternions (..., 4), order wxyz with w >= 0, of matrices (..., 3, 3).

    Of the four ways to divide (Shepperd 1978) the best conditioned is taken.
    """
    m00, m11, m22 = R[..., 0, 0], R[..., 1, 1], R[..., 2, 2]
    # Rows: 4 q q^T up to rounding, so each row is the quaternion times one of its entries.
    rows = torch.stack(
        [
            torch.stack([1 + m00 + m11 + m22, R[..., 2, 1] - R[..., 1, 2],
                         R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]], -1),
            torch.stack([R[..., 2, 1] - R[..., 1, 2], 1 + m00 - m11 - m22,
                         R[..., 1, 0] + R[..., 0, 1], R[..., 0, 2] + R[..., 2, 0]], -1),
            torch.stack([R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] + R[..., 0, 1],
                         1 - m00 + m11 - m22, R[..., 2, 1] + R[..., 1, 2]], -1),
            torch.stack([R[..., 1, 0] - R[..., 0, 1], R[..., 0, 2] + R[..., 2, 0],
                         R[..., 2, 1] + R[..., 1, 2], 1 - m00 - m11 + m22], -1),
        ],
        dim=-2,
    )  # fmt: skip
    best = rows.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = rows.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    q = normalize(row, dim=-1)
    return torch.where(q[..., :1] < 0, -q, q)


def sixd_from_matrix(R: Tensor) -> Tensor:
    """The first two columns of matrices (..., 3, 3), one after the other (..., 6)."""
    return R[..., :2].transpose(-1, -2).flatten(-2)


def matrix_from_sixd(sixd: Tensor) -> Tensor:
    """Matrices (..., 3, 3) from six numbers (..., 6), by Gram and Schmidt.

    Six zeros have no direction: they give a matrix of zeros with zero columns, never NaN.
    """
    first, second = sixd[..., :3], sixd[..., 3:]
    x = normalize(first, dim=-1)
    y = normalize(second - (x * second).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y, dim=-1)], dim=-1)


def random_rotations(n: int, generator: torch.Generator) -> Tensor:
    """n rotations (n, 3, 3) drawn evenly from all of them, on the generator's device."""
    return matrix_from_quaternion(torch.randn(n, 4, generator=generator, device=generator.device))


def matrix_from_quaternion(q: Tensor) -> Tensor:
    """Matrices (..., 3, 3) of quaternions (..., 4), order wxyz, of any length but zero."""
    w, x, y, z = normalize(q, dim=-1).unbind(-1)
    return torch.stack(
        [
            1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
            2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
            2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
        ],
        dim=-1,
    ).unflatten(-1, (3, 3))  # fmt: skip
