"""What a prior's latents hold: divergence, and how many of them say anything.

Comes in: the posterior of many pairs. Goes out: plain numbers. A latent is *active* where its
posterior mean varies over the data by more than 0.01 (Burda, Grosse, Salakhutdinov, "Importance
Weighted Autoencoders", ICLR 2016, section 5.2); for a VAE the others have collapsed to the prior.
An AE has no posterior variance, so no divergence: nulls, never 0.
"""

from typing import Any

import torch
from torch import Tensor

from interaction_prior.prior.loss import divergence
from interaction_prior.prior.prior import Posterior

ACTIVE = 0.01


def active(mean: Tensor) -> Tensor:
    """Which latents (d_z,) bool are active, from posterior means (N, d_z), N at least 2."""
    if len(mean) < 2:
        raise ValueError("a variance over the data takes two pairs or more")
    return mean.double().var(0) > ACTIVE


def latent_figures(posterior: Posterior) -> dict[str, Any]:
    """KL in nats, summed over latents and of each; active latents; how the codes spread.

    `aggregate`: mean and variance over the data of z drawn from its posterior, averaged over the
    active latents; a standard normal has 0 and 1.
    """
    mean, log_variance = posterior.mean.double(), posterior.log_variance.double()
    variational = bool(torch.isfinite(log_variance).all())
    each = divergence(mean, log_variance).mean(0) if variational else None
    on = active(mean)
    drawn = mean.var(0) + log_variance.exp().mean(0)
    return {
        "latents": mean.shape[-1],
        "active": int(on.sum()),
        "active_threshold": ACTIVE,
        "kl_nats": None if each is None else float(each.sum()),
        "kl_nats_per_latent": None if each is None else each.tolist(),
        "variance_of_mean_per_latent": mean.var(0).tolist(),
        "aggregate": {
            "mean_abs": float(mean.mean(0)[on].abs().mean()) if on.any() else None,
            "variance": float(drawn[on].mean()) if on.any() else None,
        },
    }
