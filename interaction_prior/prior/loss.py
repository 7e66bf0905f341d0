"""The loss of the prior, equation 4 of the paper:

    L = KL(q(z | x) || N(0, I)) + lambda_3 |x_hat - x|^2,   lambda_3 = 100

The divergence is summed over the latents and the squared error over the numbers of the vector, both
averaged over the batch; x is normalised (`representations.normalisation`). An error *averaged* over
the numbers (`reduction="mean"`) is offered because much code does so; beside a summed divergence it
is worth D times less, and the latents collapse.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

Reduction = Literal["sum", "mean"]
REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)


@dataclass(frozen=True)
class LossTerms:
    """total = kl + weight * error, each averaged over the batch."""

    total: Tensor
    kl: Tensor
    error: Tensor


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) of every latent (..., d_z), nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance)


def prior_loss(
    x: Tensor,
    reconstruction: Tensor,
    mean: Tensor,
    log_variance: Tensor,
    *,
    weight: float = 100.0,
    reduction: Reduction = "sum",
    variational: bool = True,
) -> LossTerms:
    """Equation 4 over a batch (B, D). weight is lambda_3; an AE has no divergence."""
    squared = (reconstruction - x).square()
    error = (squared.sum(-1) if reduction == "sum" else squared.mean(-1)).mean()
    kl = divergence(mean, log_variance).sum(-1).mean() if variational else error.new_zeros(())
    return LossTerms(kl + weight * error, kl, error)
