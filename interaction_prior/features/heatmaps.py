"""Interaction adjacency heatmaps, equation 1 of the paper, for a batch at once.

    H_j(u, v) = 1 / (2 sigma) exp(-(|u - u_j| + |v - v_j|) / sigma)
              + sum over k in A_j(d) of
                1 / (2 alpha sigma) exp(-(|u - u_k| + |v - v_k|) / (alpha sigma))

A_j(d), the "d x d image adjacency" of joint j, holds the joints of both hands within it, but for j
itself. What d = 2.5 is measured in the paper does not say; `READINGS`: the square's half side is
d sigma, d, or d / 2 pixels of the map. In pixels nearly every joint stands alone; the default,
d sigma, gives the crowded maps of the paper's Fig. 3c.

sigma and d are those of a map of 64 cells, as the paper's; on a smaller one they shrink with it, so
that the picture is the same, and the factors before the exponentials stay as printed.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

Reading = Literal["sigma", "pixels", "half-pixels"]
READINGS: tuple[Reading, ...] = get_args(Reading)
Kernel = Literal["laplacian", "gaussian"]
KERNELS: tuple[Kernel, ...] = get_args(Kernel)

# Cells along a side of the paper's maps.
FULL_MAP = 64


def adjacency_heatmaps(
    uv: Tensor,
    *,
    size: int,
    sigma: float = 2.0,
    alpha: float = 2.0,
    distance: float = 2.5,
    reading: Reading = "sigma",
    kernel: Kernel = "laplacian",
    neighbours: bool = True,
) -> Tensor:
    """Heatmaps (B, J, size, size), rows v, of joints uv (B, J, 2) in cells of the map.

    The centre of the first cell is (0.5, 0.5); joints outside the map count as well. neighbours:
    the second term of the equation. kernel "gaussian": exp(-r^2 / (2 sigma^2)) behind the same
    factors.
    """
    own = _kernels(uv, size, sigma, kernel)
    if not neighbours:
        return own
    near = adjacency(uv, size=size, sigma=sigma, distance=distance, reading=reading)
    wide = _kernels(uv, size, alpha * sigma, kernel)
    return own + (near.to(wide.dtype) @ wide.flatten(-2)).unflatten(-1, (size, size))


def adjacency(
    uv: Tensor, *, size: int, sigma: float = 2.0, distance: float = 2.5, reading: Reading = "sigma"
) -> Tensor:
    """Which joints k lie in A_j(d), (B, J, J) bool, for joints uv (B, J, 2) in cells."""
    half = {"sigma": distance * sigma, "pixels": distance, "half-pixels": distance / 2}[reading]
    half *= size / FULL_MAP
    apart = (uv[..., :, None, :] - uv[..., None, :, :]).abs().amax(-1)
    itself = torch.eye(uv.shape[-2], dtype=torch.bool, device=uv.device)
    return (apart <= half) & ~itself


def neighbours_per_joint(
    uv: Tensor, *, size: int, sigma: float = 2.0, distance: float = 2.5, reading: Reading = "sigma"
) -> float:
    """Mean size of A_j(d) over the joints uv (B, J, 2), in cells of a map of that size."""
    near = adjacency(uv, size=size, sigma=sigma, distance=distance, reading=reading)
    return near.sum(-1).float().mean().item()


def all_in_one(maps: Tensor) -> Tensor:
    """One map (B, 1, m, m) for all joints: the highest of their maps (B, J, m, m) at each cell."""
    return maps.amax(dim=1, keepdim=True)


def _kernels(uv: Tensor, size: int, sigma: float, kernel: Kernel) -> Tensor:
    """One kernel (B, J, size, size) about each joint: a product of one in u and one in v."""
    cells = torch.arange(size, dtype=uv.dtype, device=uv.device) + 0.5
    r = (cells - uv[..., None]) / (sigma * size / FULL_MAP)
    along = torch.exp(-r.abs()) if kernel == "laplacian" else torch.exp(-0.5 * r.square())
    return along[..., 1, :, None] * along[..., 0, None, :] / (2.0 * sigma)
