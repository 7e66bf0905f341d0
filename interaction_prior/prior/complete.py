"""One hand given, the other hidden: pairs of which the given hand may be half.

Comes in: a prior, pairs whose one hand is known. Goes out: several completions of each, the given
hand as it was given, the other with its orientation and place drawn from what the prior allows.

A completion is drawn by randomise-then-optimise (Bardsley, Solonen, Haario, Laine, "Randomize-then-
optimize", SIAM J. Sci. Comput. 2014): a pair is drawn from the prior, turned as a whole until its
hand looks where the given one does, and encoded, zeta; then

    z = argmin  1/2 |z - zeta|^2_C + lambda_3 |x_given(z) - x_given|^2

with the loss's own weight and C = I (of an AE, the covariance of its codes). Were the decoder
linear this would draw from the posterior of z exactly, and it needs no step size. Tried and left:
from several starts towards the mean loses a third of the variety, Langevin steps need a step size,
and pseudo-Gibbs (Rezende, Mohamed, Wierstra 2014, appendix F) walks off the data within a hundred
rounds.
"""

from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from interaction_prior.prior.energy import error_weight, turns_freely
from interaction_prior.representations import Representation
from twohand500k.conventions import LEFT, RIGHT
from twohand500k.errors import DataError

if TYPE_CHECKING:
    from interaction_prior.prior.prior import InteractionPrior, Latents

Given = Literal["right", "left"]
STEPS = 100
# Adam's first step, in latents; it falls to nothing linearly.
_STEP = 0.05


def completions(
    prior: "InteractionPrior", x: Tensor, given: Given, n: int, seed: int, steps: int
) -> Tensor:
    """Raw vectors (..., n, D) that complete raw vectors x (..., D).

    The hidden hand's numbers, the left hand's place among them, are not read: they may be NaN.
    Raises DataError for a given hand that is not finite.
    """
    if given not in get_args(Given):
        raise DataError(f"given is {given!r}: it is 'right' or 'left'")
    if n < 1 or steps < 0:
        raise ValueError(f"n = {n} completions in {steps} steps")
    side = RIGHT if given == "right" else LEFT
    known = numbers_of_hand(prior.representation, side).to(prior.device)
    if not torch.isfinite(x[..., known]).all():
        raise DataError(f"the {given} hand is given, but not all of its numbers are finite")
    x = x[..., None, :].expand(*x.shape[:-1], n, x.shape[-1])
    drawn = _drawn(prior, x.shape[:-1], seed)
    if turns_freely(prior.record):
        drawn = _turned_to(prior.representation, drawn, x, side)
    target = prior.normalisation.applied(x)[..., known]
    with torch.no_grad():
        normalised = prior.normalisation.applied(drawn)
        zeta = prior.network.encode(normalised)[0]
        normalised[..., known] = target
        start = prior.network.encode(normalised)[0]
    z = _optimised(prior, start, zeta, target, known, steps)
    with torch.no_grad():
        found = prior.normalisation.undone(prior.network.decode(z))
    return torch.where(known, x, found)


def numbers_of_hand(representation: Representation, side: int) -> Tensor:
    """Which numbers (D,) bool of a vector are one hand's own; the place is neither's."""
    parts = []
    for block in representation.blocks:
        mask = torch.zeros(block.sides, block.items * block.item_width, dtype=torch.bool)
        if block.sides == 2:
            mask[side] = True
        parts.append(mask.flatten())
    return torch.cat(parts)


def _drawn(prior: "InteractionPrior", shape: tuple[int, ...], seed: int) -> Tensor:
    """Raw vectors (*shape, D) from the prior, as `sample` gives them; an AE's fitted."""
    count = int(torch.Size(shape).numel())
    latents: Latents = "standard" if prior.model == "vae" else "fitted"
    with torch.no_grad():
        return prior.sample(count, seed=seed, latents=latents).x.unflatten(0, shape)


def _turned_to(representation: Representation, x: Tensor, target: Tensor, side: int) -> Tensor:
    """Pairs x (..., D) turned so that one hand of each looks where the target's does."""
    if representation.name == "mano":
        R, R_target = (representation.rotations(v)[0][..., side, 0, :, :] for v in (x, target))
        return representation.turned(x, R_target @ R.mT)
    block = representation.blocks[0]
    points, goal = (block.split(representation.split(v)[0])[..., side, :, :] for v in (x, target))
    # Kabsch 1976: the rotation that brings points nearest to goal, both from their own wrist.
    U, _, Vh = torch.linalg.svd(goal.mT @ points)
    flip = torch.ones_like(U[..., 0])
    flip[..., 2] = torch.linalg.det(U @ Vh).sign()
    return representation.turned(x, (U * flip[..., None, :]) @ Vh)


def _optimised(
    prior: "InteractionPrior",
    start: Tensor,
    zeta: Tensor,
    target: Tensor,
    known: Tensor,
    steps: int,
) -> Tensor:
    """Latents (..., d_z) between the drawn code and the given hand: the module's argmin."""
    weight = error_weight(prior.record)
    precision = prior.codes.precision
    with torch.enable_grad():
        z = start.clone().requires_grad_()
        optimiser = torch.optim.Adam([z], _STEP)
        for k in range(steps):
            optimiser.param_groups[0]["lr"] = _STEP * (1 - k / steps)
            off = z - zeta
            error = prior.network.decode(z)[..., known] - target
            loss = 0.5 * ((off @ precision) * off).sum() + weight * error.square().sum()
            (z.grad,) = torch.autograd.grad(loss, z)
            optimiser.step()
    return z.detach()
