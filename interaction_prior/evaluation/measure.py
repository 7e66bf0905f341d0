"""A prior measured on held-out pairs: what comes back, and what its latents hold.

Comes in: an `InteractionPrior` and the pairs of a split. Goes out: `Measured`, with numbers that go
into `evaluation.json` as they are. Pairs are seen as training drew them (mirrored, turned by its
distribution of rotations; one fixed draw) and as the dataset has them (in the right wrist's frame);
decoded from the posterior's mean, and from one z drawn from it.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interaction_prior.data import Draw, Pairs, augmented
from interaction_prior.data.batches import Rotation
from interaction_prior.evaluation.half_turn import half_turn
from interaction_prior.evaluation.latents import latent_figures
from interaction_prior.evaluation.reconstruction import PairErrors, definition, pair_errors
from interaction_prior.prior import InteractionPrior, Posterior
from interaction_prior.prior.energy import turns_freely

_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class Measured:
    """What was found. posterior: of the pairs as training drew them; errors: from its mean.

    x, x_unrotated (N, D): the pairs as raw vectors, as training drew them and as they lie.
    """

    figures: dict[str, Any]
    posterior: Posterior
    errors: PairErrors
    x: Tensor
    x_unrotated: Tensor


@torch.no_grad()
def measure(prior: InteractionPrior, pairs: Pairs, *, seed: int = 0) -> Measured:
    """Reconstruction and latents of pairs. seed: of the augmentation and of the drawn z."""
    still = raw_vectors(prior, pairs)
    seen = as_trained(prior, still, seed)
    rows: dict[str, Any] = {}
    kept: list[tuple[Posterior, PairErrors]] = []
    for name, x in (("training_rotation", seen), ("unrotated", still)):
        posterior = prior.encode(x)
        errors = _errors(prior, x, posterior.mean)
        rows[name] = {"posterior_mean": errors.to_json(), "sampled_z": None}
        if prior.model == "vae":
            z = posterior.draw(torch.Generator().manual_seed(seed))
            rows[name]["sampled_z"] = _errors(prior, x, z).to_json()
        kept.append((posterior, errors))
    posterior, errors = kept[0]
    turned_any_way = turns_freely(prior.record)
    figures = {
        "definition": definition(prior.representation),
        "rotation": "uniform" if turned_any_way else "none",
        **rows,
        "by_wrist_angle": errors.by_wrist_angle(),
        # A prior that never saw turned pairs has nothing to say of half a turn.
        "half_turn": half_turn(prior, still, seed=seed) if turned_any_way else None,
        "latents": latent_figures(posterior),
    }
    return Measured(figures, posterior, errors, seen, still)


@torch.no_grad()
def raw_vectors(prior: InteractionPrior, pairs: Pairs) -> Tensor:
    """Pairs (N) as the prior's raw vectors (N, D), in the frame they lie in."""
    parts = []
    for start in range(0, len(pairs), _CHUNK):
        rows = slice(start, start + _CHUNK)
        arrays = (pairs.pose[rows], pairs.betas[rows], pairs.place[rows])
        parts.append(prior.pairs_from_mano(*(torch.from_numpy(a) for a in arrays)).x)
    return torch.cat(parts)


def as_trained(prior: InteractionPrior, x: Tensor, seed: int) -> Tensor:
    """Raw vectors (N, D) mirrored and turned once as the prior's training draws them."""
    swap = bool(prior.training.get("options", {}).get("swap", True))
    rotation: Rotation = "uniform" if turns_freely(prior.record) else "none"
    draw = Draw(batch=1, latents=prior.latents, seed=seed, rotation=rotation, swap=swap)
    return augmented(x, prior.representation, draw, number=0)


def _errors(prior: InteractionPrior, x: Tensor, z: Tensor) -> PairErrors:
    return pair_errors(prior.representation, prior.layer, x, prior.decode(z).x)
