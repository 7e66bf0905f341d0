"""The kinds of numbers a pose vector is made of: how each is mirrored and turned in space.

A vector is a row of blocks, every block (..., width). Two things are done to whole pairs while
they train, and both are exact on the numbers themselves:

- the pair seen in a mirror, sides swapped: points x -> -x, axis-angle (x, y, z) -> (x, -y, -z),
  matrices R -> S R S with S = diag(-1, 1, 1), the left hand's place (tx, ty, tz) -> (tx, -ty, -tz);
- the pair turned rigidly by Q: points Q p, the wrists' orientations Q R; local rotations and
  shapes stay.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from interaction_prior.hands.rotations import axis_angle_from_matrix, matrix_from_axis_angle

Kind = Literal["points", "axis-angle", "6d", "betas", "place"]

# What a mirror does to the numbers of one item.
_MIRROR = {
    "points": (-1.0, 1.0, 1.0),
    "axis-angle": (1.0, -1.0, -1.0),
    "6d": (1.0, -1.0, -1.0, -1.0, 1.0, 1.0),
    "betas": (1.0,),
    "place": (1.0, -1.0, -1.0),
}


@dataclass(frozen=True)
class Block:
    """Numbers of one kind: `items` of them a hand (the place of the left hand: one a pair).

    turns: whether they change when the pair is turned (points, wrists' orientations, the place).
    unit: of the raw numbers, for people.
    """

    name: str
    kind: Kind
    items: int
    turns: bool
    unit: str

    @property
    def sides(self) -> int:
        """2, or 1 for what belongs to the pair."""
        return 1 if self.kind == "place" else 2

    @property
    def item_width(self) -> int:
        """Numbers of one item."""
        return len(_MIRROR[self.kind])

    @property
    def width(self) -> int:
        """Numbers of the block in a vector."""
        return self.sides * self.items * self.item_width

    def split(self, block: Tensor) -> Tensor:
        """(..., width) as (..., sides, items, item_width)."""
        return block.unflatten(-1, (self.sides, self.items, self.item_width))

    def mirrored(self, block: Tensor) -> Tensor:
        """The block of the mirrored pair, sides swapped."""
        sign = torch.tensor(_MIRROR[self.kind], dtype=block.dtype, device=block.device)
        return (self.split(block).flip(-3) * sign).flatten(-3)

    def turned(self, block: Tensor, Q: Tensor) -> Tensor:
        """The block of the pair turned by rotations Q (..., 3, 3)."""
        if not self.turns:
            return block
        if self.kind == "axis-angle":
            R = matrix_from_axis_angle(self.split(block))
            return axis_angle_from_matrix(Q[..., None, None, :, :] @ R).flatten(-3)
        # Points, and the columns of a matrix, are vectors of space: one product a pair.
        return (block.unflatten(-1, (-1, 3)) @ Q.transpose(-1, -2)).flatten(-2)
