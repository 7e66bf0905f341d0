"""Equation 2: what the features of a picture are held to, and how.

    L_2D = sum_j |H_j - H_j*|^2 + lambda_1 |M - M*|^2 + lambda_2 |tau - tau*|^2

Squares are summed over cells and channels and averaged over the batch; tau is in metres;
lambda_1 = 1, lambda_2 = 2000. Terms of maps that a variant does not have are zero.
"""

from dataclasses import dataclass

from torch import Tensor

from interaction_prior.features.heatmaps import adjacency_heatmaps, all_in_one
from interaction_prior.features.network import FeatureOptions, Features
from interaction_prior.images import ImageBatch

SALIENCY_WEIGHT = 1.0
TAU_WEIGHT = 2000.0


@dataclass(frozen=True, eq=False)
class FeatureTargets:
    """heatmaps (B, H, m, m) and saliency (B, 2, m, m), None where the variant has none; tau."""

    heatmaps: Tensor | None
    saliency: Tensor | None
    tau: Tensor


@dataclass(frozen=True, eq=False)
class FeatureTerms:
    """The three terms, weights included, and their sum."""

    heatmap: Tensor
    saliency: Tensor
    tau: Tensor

    @property
    def total(self) -> Tensor:
        """L_2D."""
        return self.heatmap + self.saliency + self.tau


def feature_targets(batch: ImageBatch, options: FeatureOptions) -> FeatureTargets:
    """The starred quantities of equation 2 for a batch of labelled pictures."""
    o = options
    heatmaps = None
    if o.heatmaps:
        heatmaps = adjacency_heatmaps(
            batch.uv.flatten(1, 2), size=o.map_size, sigma=o.sigma, alpha=o.alpha,
            distance=o.distance, reading=o.reading, kernel=o.kernel, neighbours=o.neighbours,
        )  # fmt: skip
        if o.heatmaps == 1:
            heatmaps = all_in_one(heatmaps)
    return FeatureTargets(heatmaps, batch.mask if o.saliency else None, batch.tau)


def feature_loss(features: Features, targets: FeatureTargets) -> FeatureTerms:
    """Equation 2, in float32 whatever the network ran in."""
    tau = TAU_WEIGHT * (features.tau.float() - targets.tau).square().sum(-1).mean()
    return FeatureTerms(
        heatmap=_squared(features.heatmaps, targets.heatmaps, tau),
        saliency=SALIENCY_WEIGHT * _squared(features.saliency, targets.saliency, tau),
        tau=tau,
    )


def _squared(said: Tensor | None, true: Tensor | None, like: Tensor) -> Tensor:
    if said is None or true is None:
        return like.new_zeros(())
    return (said.float() - true).square().flatten(1).sum(-1).mean()
