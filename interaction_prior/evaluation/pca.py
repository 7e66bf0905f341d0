"""The baseline: principal components of the same normalised vectors, and a Gaussian on them.

Comes in: normalised vectors, as the network sees them. Goes out: reconstructions through k
components, and draws from the Gaussian of those k. It is the best linear model of k numbers, so a
prior has to beat it to be worth its weights. With k = D a vector comes back whole: the identity, a
reconstruction error of nothing and draws from the full Gaussian of the data.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

COMPONENTS = (8, 16, 32, 48, 64, 96, 128)


@dataclass(frozen=True, eq=False)
class PcaGaussian:
    """mean (D,); axes (D, D), unit rows by falling variance; variances (D,); float64."""

    mean: Tensor
    axes: Tensor
    variances: Tensor

    @classmethod
    def fit(cls, x: Tensor) -> "PcaGaussian":
        """Of normalised vectors (N, D), N at least 2."""
        if len(x) < 2:
            raise ValueError("principal components take two vectors or more")
        x = x.double()
        mean = x.mean(0)
        variances, axes = torch.linalg.eigh((x - mean).mT @ (x - mean) / (len(x) - 1))
        return cls(mean, axes.mT.flip(0).contiguous(), variances.flip(0).clamp_min(0.0))

    @property
    def dim(self) -> int:
        """D."""
        return len(self.mean)

    def capped(self, k: int) -> int:
        """k, at most D."""
        if k < 1:
            raise ValueError(f"{k} components")
        return min(k, self.dim)

    def is_identity(self, k: int) -> bool:
        """Whether k components are all there are."""
        return k >= self.dim

    def reconstruct(self, x: Tensor, k: int) -> Tensor:
        """Vectors (..., D) through the first k components."""
        axes = self.axes[: self.capped(k)]
        return (self.mean + ((x.double() - self.mean) @ axes.mT) @ axes).to(x.dtype)

    def sample(self, n: int, k: int, seed: int = 0) -> Tensor:
        """n vectors (n, D) float32 of the Gaussian of the first k components."""
        k = self.capped(k)
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(n, k, generator=generator, dtype=torch.float64)
        return (self.mean + (z * self.variances[:k].sqrt()) @ self.axes[:k]).float()

    def explained(self, k: int) -> float:
        """Share of the variance that k components hold."""
        return float(self.variances[: self.capped(k)].sum() / self.variances.sum())
