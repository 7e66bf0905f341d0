"""`Normalisation`: raw vectors to the numbers the network sees, and back.

The loss weighs the squared error of *these* numbers against the divergence (equation 4), so the
choice decides how much error a latent is worth: it is part of the prior and stored with it.

- ``geometric``: less their mean, over the change of the number that moves the pair's points by
  `unit_m` in the root mean square (5 mm; points: the skin's for ``vertices``, the 42 joints
  otherwise; one size a block, to first order). Equation 4 then weighs about (error / unit)^2,
  whatever the representation: millimetres, not radians or betas;
- ``block``: less their mean, over one number a block, the root mean square of the block's
  deviations: points keep their geometry, a millimetre is a millimetre wherever it is;
- ``zscore``: every number over its own deviation;
- ``none``: metres, radians and betas as they are.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from interaction_prior.hands.layer import HandLayer
from interaction_prior.representations.representation import Representation

Kind = Literal["geometric", "block", "zscore", "none"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# What a number of a ``geometric`` vector stands for: this much movement of the points, metres.
UNIT_M = 0.005
# Step of the differences and poses they are taken at.
_STEP = 1e-3
_POSES = 64
# A number that hardly varies is left in its own unit rather than blown up.
_CONSTANT = 1e-6


@dataclass(frozen=True, eq=False)
class Normalisation:
    """mean, scale (D,): the network sees (x - mean) / scale."""

    mean: Tensor
    scale: Tensor

    def applied(self, x: Tensor) -> Tensor:
        """Raw vectors (..., D) to normalised ones."""
        return (x - self.mean) / self.scale

    def undone(self, x: Tensor) -> Tensor:
        """Normalised vectors (..., D) to raw ones."""
        return x * self.scale + self.mean

    def to(self, device: torch.device | str) -> "Normalisation":
        """The same on another device."""
        return Normalisation(self.mean.to(device), self.scale.to(device))


def fit_normalisation(
    kind: Kind,
    representation: Representation,
    x: Tensor,
    layer: HandLayer | None = None,
    unit_m: float = UNIT_M,
) -> Normalisation:
    """The normalisation of raw vectors (N, D), turned and mirrored as training will meet them.

    layer: the hands, on x's device; it and unit_m matter for "geometric" alone, which needs it
    (ValueError without).
    """
    x = x.double()
    mean, scale = x.mean(0), torch.ones(x.shape[-1], dtype=x.dtype, device=x.device)
    if kind == "none":
        mean = torch.zeros_like(mean)
    elif kind == "geometric":
        if layer is None:
            raise ValueError("how far a number moves the hands takes the hands: no layer was given")
        at = x[torch.linspace(0, len(x) - 1, min(_POSES, len(x))).long()]
        scale = unit_m / _of_blocks(representation, moved_by_each(representation, layer, at))
    else:
        variance = (x - mean).square().mean(0)
        deviation = variance.sqrt()
        scale = _of_blocks(representation, deviation) if kind == "block" else deviation
        scale = torch.where(scale < _CONSTANT, torch.ones_like(scale), scale)
    return Normalisation(mean.float(), scale.float())


def moved_by_each(representation: Representation, layer: HandLayer, x: Tensor) -> Tensor:
    """How far each number moves the pair's points (D,), m a unit of it: root mean square.

    Over the points of both hands and the raw vectors x (n, D) it is taken at.
    """
    blocks = representation.blocks
    if blocks[0].kind == "points":
        # A coordinate moves its own point and no other.
        moved = torch.ones(representation.dim) / (2 * blocks[0].items) ** 0.5
    else:
        x = x.float()
        still = representation.joints(layer, x)
        moved = torch.empty(representation.dim)
        for k in range(representation.dim):
            stepped = x.clone()
            stepped[:, k] += _STEP
            step = (representation.joints(layer, stepped) - still) / _STEP
            moved[k] = step.square().sum(-1).mean().sqrt()
    if representation.with_translation:
        # The left hand's place moves half of the points.
        moved[-blocks[-1].width :] = 0.5**0.5
    return moved.to(x)


def _of_blocks(representation: Representation, each: Tensor) -> Tensor:
    """The root mean square of every block, for each of its numbers (D,)."""
    parts = representation.split(each.square())
    return torch.cat([part.mean().sqrt().expand(len(part)) for part in parts])
