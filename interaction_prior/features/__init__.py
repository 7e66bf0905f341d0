"""Features of a picture (paper, section 3.1): F, interaction adjacency heatmaps, saliency, tau."""

from interaction_prior.features.heatmaps import adjacency_heatmaps, neighbours_per_joint
from interaction_prior.features.loss import (
    FeatureTargets,
    FeatureTerms,
    feature_loss,
    feature_targets,
)
from interaction_prior.features.network import FeatureNetwork, FeatureOptions, Features

__all__ = [
    "FeatureNetwork",
    "FeatureOptions",
    "FeatureTargets",
    "FeatureTerms",
    "Features",
    "adjacency_heatmaps",
    "feature_loss",
    "feature_targets",
    "neighbours_per_joint",
]
