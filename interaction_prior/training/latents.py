"""The aggregate posterior: mean and covariance of the codes of the whole training set.

What latents are drawn from as "fitted" (`prior.prior.Latents`): the moments of z where a pair is
drawn as training draws it and z from its posterior. By the law of total variance that is the mean
of the means, and the covariance of the means plus the mean posterior variance.
"""

import torch
from torch import Tensor

from interaction_prior.data.batches import Rows
from interaction_prior.prior import PriorNetwork
from interaction_prior.representations import Normalisation
from interaction_prior.training.options import TrainOptions
from interaction_prior.training.rows import wide_batches

# Added to the diagonal, relative to its mean, so that latents that never move can be drawn too.
_RIDGE = 1e-6
_LEAST = 8192


@torch.no_grad()
def aggregate_posterior(
    network: PriorNetwork,
    rows: Rows,
    normalisation: Normalisation,
    options: TrainOptions,
    device: torch.device,
    weights: Tensor | None,
) -> dict[str, Tensor]:
    """{"mean" (d_z,), "covariance" (d_z, d_z)}, float64 sums, float32 results."""
    d = options.latents
    n = 0
    total = torch.zeros(d, dtype=torch.float64, device=device)
    products = torch.zeros(d, d, dtype=torch.float64, device=device)
    variance = torch.zeros(d, dtype=torch.float64, device=device)
    least = max(len(rows), _LEAST)
    for x in wide_batches(rows, options, normalisation, device, weights, least, purpose=2):
        mean, log_variance = network.encode(x)
        mean = mean.double()
        n += len(x)
        total += mean.sum(0)
        products += mean.T @ mean
        # An AE's log-variance is -inf: its variance is 0.
        variance += log_variance.double().exp().sum(0)
    mean = total / n
    covariance = products / n - torch.outer(mean, mean) + torch.diag(variance / n)
    covariance += _RIDGE * covariance.diagonal().mean() * torch.eye(d, device=device)
    return {"mean": mean.float().cpu(), "covariance": covariance.float().cpu()}
