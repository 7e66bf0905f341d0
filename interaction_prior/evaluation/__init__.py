"""How good a prior is: reconstruction, latents, samples, against PCA and a Gaussian."""
