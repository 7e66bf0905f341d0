"""A network that starts where linear models end: probabilistic PCA, in the paper's own layers.

Comes in: a fresh `PriorNetwork`, normalised vectors, the weight lambda of the squared error. Goes
out: the same network with other first weights, no other structure: its encoder and decoder then
compute exactly the best *linear* VAE of these vectors, and training goes on from there.

Equation 4 with linear maps is solved in closed form (Tipping and Bishop, "Probabilistic Principal
Component Analysis", 1999; Lucas et al., "Don't Blame the ELBO!", NeurIPS 2019). With s2 =
1 / (2 lambda), principal axes u_i and variances v_i of x,

    decoder   x = mean + sum_i sqrt(v_i - s2) z_i u_i
    encoder   z_i ~ N(sqrt(v_i - s2) / v_i * u_i.(x - mean), s2 / v_i)      (v_i > s2, else N(0, 1))

ReLU layers carry a number a as the pair (max(a, 0), max(-a, 0)), so 2 d_z of the hidden units pass
the codes on unchanged and the others start at random (He), not heard by the last layer yet.
"""

import torch
from torch import Tensor, nn

from interaction_prior.prior.network import PriorNetwork
from twohand500k.errors import DataError


@torch.no_grad()
def initialise_as_pca(network: PriorNetwork, x: Tensor, weight: float) -> None:
    """Set the network's weights in place; x (N, D) normalised, weight lambda of the summed error.

    Raises DataError when the hidden layers are too narrow to carry the codes.
    """
    a = network.architecture
    if a.hidden < 2 * a.latents:
        raise DataError(
            f"hidden layers of {a.hidden} cannot carry {a.latents} codes through ReLU: the linear "
            f"start needs at least {2 * a.latents}; choose --init he"
        )
    mean, axes, variances = principal_axes(x, a.latents)
    noise = 1.0 / (2.0 * weight)
    if a.model == "ae":
        # No divergence to pay for: whitened codes, undone exactly.
        alive = variances > 1e-12
        gain = torch.where(alive, variances.clamp_min(1e-12).sqrt(), 0.0)
        into = torch.where(alive, 1.0 / variances.clamp_min(1e-12).sqrt(), 0.0)
    else:
        gain = (variances - noise).clamp_min(0.0).sqrt()
        into = gain / variances.clamp_min(noise)
    encoder, decoder = _linears(network.encoder), _linears(network.decoder)
    _carry(encoder, first=into[:, None] * axes, offset=-into * (axes @ mean), codes=a.latents)
    _carry(decoder, first=torch.eye(a.latents), offset=torch.zeros(a.latents), codes=a.latents)
    last = encoder[-1]
    last.weight.zero_()
    last.bias.zero_()
    last.weight[: a.latents, : a.latents] = torch.eye(a.latents)
    last.weight[: a.latents, a.latents : 2 * a.latents] = -torch.eye(a.latents)
    if a.model == "vae":
        last.bias[a.latents :] = torch.where(
            variances > noise, (noise / variances.clamp_min(noise)).log(), 0.0
        )
    out = (gain[:, None] * axes).T
    decoder[-1].weight.zero_()
    decoder[-1].weight[:, : a.latents] = out
    decoder[-1].weight[:, a.latents : 2 * a.latents] = -out
    decoder[-1].bias.copy_(mean)


def principal_axes(x: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (D,), the k axes of most variance (k, D), unit rows, and their variances (k,).

    Axes beyond the D there are come out as zeros with no variance.
    """
    mean = x.double().mean(0)
    centred = x.double() - mean
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(x))
    variances, axes = variances.flip(0).clamp_min(0.0), axes.flip(1).T
    n = min(k, len(variances))
    out_axes, out_variances = torch.zeros(k, x.shape[1]), torch.zeros(k)
    out_axes[:n], out_variances[:n] = axes[:n].float().cpu(), variances[:n].float().cpu()
    return mean.float().cpu(), out_axes, out_variances


def _linears(layers: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in layers if isinstance(layer, nn.Linear)]


def _carry(linears: list[nn.Linear], *, first: Tensor, offset: Tensor, codes: int) -> None:
    """All layers but the last: `first` applied, then passed on as positive and negative parts."""
    start = linears[0]
    start.weight[: 2 * codes] = torch.cat([first, -first])
    start.bias[: 2 * codes] = torch.cat([offset, -offset])
    for layer in linears[1:-1]:
        layer.weight[: 2 * codes] = 0.0
        layer.weight[: 2 * codes, : 2 * codes] = torch.eye(2 * codes)
