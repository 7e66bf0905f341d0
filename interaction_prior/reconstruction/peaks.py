"""Where the joints are in a picture: the peaks of their heatmaps, finer than a cell."""

from dataclasses import dataclass

import torch
from torch import Tensor

# Logarithms are taken of no less than this share of the peak: predicted maps have zeros and noise.
_FLOOR = 0.05


@dataclass(frozen=True, eq=False)
class Peaks:
    """Peaks of (B, n) maps. uv (B, n, 2) cells, the first cell's centre (0.5, 0.5); height (B, n);
    cut_off (B, n) bool: in the outermost cells, so that the joint may lie outside.
    """

    uv: Tensor
    height: Tensor
    cut_off: Tensor


def peaks_of(maps: Tensor) -> Peaks:
    """The highest cell of each map (B, n, m, m), and where in it the peak lies.

    The kernel of equation 1 is exp(-|u|/sigma) along each axis: a tent in its logarithm. Through
    three points of a tent of equal slopes goes one tent, its top (r - l) / (2 (c - min(l, r))) from
    the middle point: exact for a joint without neighbours, whatever sigma is.
    """
    m = maps.shape[-1]
    maps = maps.float()
    height, at = maps.flatten(-2).max(-1)
    row, column = at // m, at % m
    step = torch.tensor([-1, 0, 1], device=maps.device)

    def off(across: Tensor, along: Tensor, axis: int) -> Tensor:
        near = (across[..., None] + step).clamp(0, m - 1)
        other = along[..., None].expand(*along.shape, 3)
        index = other * m + near if axis == 0 else near * m + other
        values = maps.flatten(-2).gather(-1, index)
        floor = (_FLOOR * height).clamp_min(1e-12)[..., None]
        left, middle, right = values.maximum(floor).log().unbind(-1)
        drop = middle - torch.minimum(left, right)
        top = (right - left) / (2.0 * drop.clamp_min(1e-6))
        return top.clamp(-0.5, 0.5)

    cut_off = (row == 0) | (row == m - 1) | (column == 0) | (column == m - 1)
    uv = torch.stack([column + 0.5 + off(column, row, 0), row + 0.5 + off(row, column, 1)], dim=-1)
    return Peaks(uv, height, cut_off)
