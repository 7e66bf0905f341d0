"""How good a prior is: reconstruction, latents, samples, against PCA and a Gaussian."""

from interaction_prior.evaluation.latents import latent_figures
from interaction_prior.evaluation.measure import Measured, measure
from interaction_prior.evaluation.pca import PcaGaussian
from interaction_prior.evaluation.reconstruction import PairErrors, pair_errors

__all__ = ["Measured", "PairErrors", "PcaGaussian", "latent_figures", "measure", "pair_errors"]
