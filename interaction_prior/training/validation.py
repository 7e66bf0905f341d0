"""`Validation`: how well held-out pairs come back while a prior trains.

Up to 4,096 pairs of the split ``val``, mirrored and turned once, as training draws them; decoded
from their posterior's mean. Figures: `mpjpe_mm`, the mean distance of joints (20 a hand, the wrist
is 0 by definition), each hand from its own wrist, unscaled and unaligned; `error` and `kl` as in
the loss; `active`, latents whose posterior mean varies over the pairs by more than 0.01 (Burda,
Grosse, Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016, section 5.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interaction_prior.data import Pairs, augmented, read_pairs
from interaction_prior.hands import HandLayer
from interaction_prior.prior import PriorNetwork
from interaction_prior.prior.loss import prior_loss
from interaction_prior.representations import Normalisation, Representation
from interaction_prior.training.options import TrainOptions
from interaction_prior.training.rows import vectors
from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.shards import Dataset

MOST = 4096
_CHUNK = 1024
_ACTIVE = 0.01


@dataclass(frozen=True, eq=False)
class Validation:
    """Raw vectors x (n, D) of held-out pairs on the device, and their joints (n, 2, 21, 3)."""

    x: Tensor
    joints: Tensor
    representation: Representation
    layer: HandLayer

    @torch.no_grad()
    def figures(
        self, network: PriorNetwork, normalisation: Normalisation, options: TrainOptions
    ) -> dict[str, Any]:
        """{"mpjpe_mm", "error", "kl", "loss", "active", "pairs"}; KL is None for an AE."""
        variational = options.model == "vae"
        totals = torch.zeros(3, dtype=torch.float64)
        distance, means = 0.0, []
        for part in torch.arange(len(self.x), device=self.x.device).split(_CHUNK):
            x = normalisation.applied(self.x[part])
            mean, log_variance = network.encode(x)
            reconstruction = network.decode(mean)
            terms = prior_loss(
                x, reconstruction, mean, log_variance,
                weight=options.weight, reduction=options.reduction, variational=variational,
            )  # fmt: skip
            totals += len(part) * torch.stack([terms.total, terms.kl, terms.error]).double().cpu()
            joints = self.representation.joints(self.layer, normalisation.undone(reconstruction))
            apart = (joints - self.joints[part]).norm(dim=-1)[..., 1:]
            distance += apart.double().mean().item() * len(part)
            means.append(mean)
        loss, kl, error = (totals / len(self.x)).tolist()
        return {
            "mpjpe_mm": 1e3 * distance / len(self.x),
            "error": error,
            "kl": kl if variational else None,
            "loss": loss,
            "active": int((torch.cat(means).var(0) > _ACTIVE).sum().item()),
            "pairs": len(self.x),
        }


def validation_pairs(
    folders: Sequence[str | Path], hands: HandPair, options: TrainOptions
) -> Pairs | None:
    """Held-out pairs of those folders that have any; None without, or where all are trained on.

    Raises DataError as `read_pairs` does.
    """
    if options.split != "train":
        return None
    having = [folder for folder in folders if _has_split(folder, "val")]
    if not having:
        return None
    pairs = read_pairs(having, hands, "val")
    if len(pairs) > MOST:
        pairs = pairs.select(np.linspace(0, len(pairs) - 1, MOST).astype(np.int64))
    return pairs


def make_validation(
    pairs: Pairs, layer: HandLayer, options: TrainOptions, device: torch.device
) -> Validation:
    """layer: on the device."""
    representation = options.representation
    x = torch.cat(list(vectors(pairs, representation, layer, device)))
    x = augmented(x, representation, options.draw, number=0)
    return Validation(x, representation.joints(layer, x), representation, layer)


def _has_split(folder: str | Path, split: str) -> bool:
    dataset = Dataset(folder)
    if not len(dataset):
        raise DataError(f"{folder} holds no samples")
    return bool(((dataset.array("split") == split) & dataset.array("present").all(-1)).any())
