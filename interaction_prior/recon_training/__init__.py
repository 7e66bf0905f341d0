"""Training the network from an image to the prior: options, steps, and the loop that joins them."""

from interaction_prior.recon_training.loop import ReconPlan, plan_recon, train_recon
from interaction_prior.recon_training.options import PRESETS, ReconOptions

__all__ = ["PRESETS", "ReconOptions", "ReconPlan", "plan_recon", "train_recon"]
