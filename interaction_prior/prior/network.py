"""The network of the prior (paper, section 3.2): a VAE of fully connected layers, or an AE.

Encoder: four linear layers with ReLU between them, to the mean and the logarithm of the variance
of d_z = 128 latents. Decoder: six linear layers. The paper gives no hidden width. Vectors come
and go normalised.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn

Model = Literal["vae", "ae"]
MODELS: tuple[Model, ...] = get_args(Model)

ENCODER_LAYERS = 4
DECODER_LAYERS = 6


@dataclass(frozen=True)
class Architecture:
    """dim: numbers of a vector; latents: d_z; hidden: width of every hidden layer."""

    dim: int
    model: Model = "vae"
    latents: int = 128
    hidden: int = 512


class PriorNetwork(nn.Module):
    """Encoder and decoder. `forward` is one training pass; see `encode` and `decode` for use."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        codes = 2 * a.latents if a.model == "vae" else a.latents
        self.encoder = _layers([a.dim, *[a.hidden] * (ENCODER_LAYERS - 1), codes])
        self.decoder = _layers([a.latents, *[a.hidden] * (DECODER_LAYERS - 1), a.dim])

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (..., d_z) of the posterior of vectors (..., D).

        An AE knows no variance: -inf.
        """
        code = self.encoder(x)
        if self.architecture.model == "ae":
            return code, torch.full_like(code, -torch.inf)
        mean, log_variance = code.chunk(2, dim=-1)
        return mean, log_variance

    def decode(self, z: Tensor) -> Tensor:
        """Vectors (..., D) of latents (..., d_z)."""
        return self.decoder(z)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction of x (B, D), and the posterior's mean and log-variance.

        z = mean + exp(log_variance / 2) * noise, noise (B, d_z) standard normal (an AE ignores it).
        """
        mean, log_variance = self.encode(x)
        if self.architecture.model == "ae":
            return self.decode(mean), mean, log_variance
        return self.decode(mean + (0.5 * log_variance).exp() * noise), mean, log_variance


def _layers(widths: list[int]) -> nn.Sequential:
    """Linear layers of these widths with ReLU between them, He-initialised, biases zero."""
    modules: list[nn.Module] = []
    for k, (n_in, n_out) in enumerate(pairwise(widths)):
        if k:
            modules.append(nn.ReLU())
        linear = nn.Linear(n_in, n_out)
        last = k == len(widths) - 2
        nn.init.kaiming_normal_(linear.weight, nonlinearity="linear" if last else "relu")
        nn.init.zeros_(linear.bias)
        modules.append(linear)
    return nn.Sequential(*modules)
