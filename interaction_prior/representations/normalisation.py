"""`Normalisation`: raw vectors to the numbers the network sees, and back.

The loss weighs the squared error of *these* numbers against the divergence (equation 4), so the
choice decides how much error a latent is worth: it is part of the prior and stored with it.

- ``block``: less their mean, over one number a block, the root mean square of the block's
  deviations: points keep their geometry, a millimetre is a millimetre wherever it is;
- ``zscore``: every number over its own deviation;
- ``none``: metres, radians and betas as they are.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from interaction_prior.representations.representation import Representation

Kind = Literal["block", "zscore", "none"]
KINDS: tuple[Kind, ...] = get_args(Kind)
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


def fit_normalisation(kind: Kind, representation: Representation, x: Tensor) -> Normalisation:
    """The normalisation of raw vectors (N, D), turned and mirrored as training will meet them."""
    x = x.double()
    if kind == "none":
        mean, scale = torch.zeros(x.shape[-1]), torch.ones(x.shape[-1])
        return Normalisation(mean.to(x.device), scale.to(x.device))
    mean = x.mean(0)
    variance = (x - mean).square().mean(0)
    if kind == "block":
        parts = representation.split(variance)
        variance = torch.cat([part.mean().expand(len(part)) for part in parts])
    scale = variance.sqrt()
    scale = torch.where(scale < _CONSTANT, torch.ones_like(scale), scale)
    return Normalisation(mean.float(), scale.float())
