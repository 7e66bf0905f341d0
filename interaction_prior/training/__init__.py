"""Training: options, run folder, checkpoints, steps, and the loop that joins them."""

from interaction_prior.training.loop import plan_training, train_prior
from interaction_prior.training.options import PRESETS, TrainOptions
from interaction_prior.training.summary import Progress, Provenance, TrainingPlan, TrainSummary

__all__ = [
    "PRESETS",
    "Progress",
    "Provenance",
    "TrainOptions",
    "TrainSummary",
    "TrainingPlan",
    "plan_training",
    "train_prior",
]
