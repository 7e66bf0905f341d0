"""`ReconValidation`: how well held-out pictures are seen while a network trains.

Pictures of the split ``val`` as they are, at most `ReconOptions.validated` of them, evenly chosen.
Figures: `heatmap`, `saliency`, `tau` as in the loss; `peak_px`, how far the highest point of a
visible joint's heatmap lies from the joint, in pixels of a 256 pixels wide picture; and, end to
end, `mpjpe_mm` and `mpvpe_mm` in the protocol root9_scaled (`metrics.protocols`: the paper's),
`tau_mm`. None where the phase or the variant has none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.image import imread
from torch import Tensor

from interaction_prior.data.pairs import Split
from interaction_prior.features import Features, feature_loss, feature_targets
from interaction_prior.fusion import ReconNetwork, Reconstruction
from interaction_prior.hands import HandLayer
from interaction_prior.images import ImageBatch, ImagePairs, LabelledImages, read_images
from interaction_prior.metrics import errors, joint_errors
from interaction_prior.recon_training.network import picture_size, trained_network
from interaction_prior.recon_training.options import ReconOptions
from interaction_prior.recon_training.pictures import Predicted, draw_predictions
from interaction_prior.recon_training.steps import FEATURE_TERMS
from interaction_prior.training.metrics import Metrics
from twohand500k.conventions import N_JOINTS
from twohand500k.hand import HandPair
from twohand500k.shards import Dataset
from twohand500k.shards.schema import IMAGE_SIZE

PROTOCOL = "root9_scaled"
_BATCH = 32
_DRAWN = 4
# The part of the pictures that counts as the most hidden.
_MOST_HIDDEN = 0.1


@dataclass(frozen=True, eq=False)
class Errors:
    """Of n pictures: mpjpe_mm, mpvpe_mm (n,), both hands' mean, NaN where there is no skin; tau_mm
    (n,); hidden (n,), the share of the more hidden hand.
    """

    mpjpe_mm: np.ndarray
    mpvpe_mm: np.ndarray
    tau_mm: np.ndarray
    hidden: np.ndarray

    def figures(self) -> dict[str, Any]:
        """Means over all pictures and over the most hidden tenth; None where not known."""
        n = max(1, round(_MOST_HIDDEN * len(self.hidden)))
        worst = np.argsort(-self.hidden, kind="stable")[:n]
        return {
            "mpjpe_mm": _mean(self.mpjpe_mm),
            "mpvpe_mm": _mean(self.mpvpe_mm),
            "tau_mm": _mean(self.tau_mm),
            "hidden_mpjpe_mm": _mean(self.mpjpe_mm[worst]),
            "hidden_mpvpe_mm": _mean(self.mpvpe_mm[worst]),
            "pictures": len(self.hidden),
        }


class ReconValidation:
    """Held-out pictures on the device, and what a network makes of them."""

    def __init__(
        self, images: ImagePairs, hands: HandPair, options: ReconOptions, device: torch.device
    ) -> None:
        self.images = LabelledImages.opened(
            images, picture_size(options), device, resident=True, orientation=options.orientation
        )
        self.hands, self.options = hands, options
        self.layer = HandLayer(hands).to(device)

    @torch.no_grad()
    def figures(
        self, network: ReconNetwork, step: int, picture: Path, metrics: Metrics | None
    ) -> dict[str, Any]:
        """Figures after `step` steps; pictures of the first few written to `picture`."""
        second = step > self.options.feature_steps
        totals = torch.zeros(len(FEATURE_TERMS), dtype=torch.float64)
        peaks: list[Tensor] = []
        found: list[Errors] = []
        network.eval()
        try:
            for batch in self.images.in_order(_BATCH):
                made = network(batch.image) if second else None
                features = made.features if made is not None else network.features(batch.image)
                targets = feature_targets(batch, network.features.options)
                terms = feature_loss(features, targets)
                each = torch.stack([getattr(terms, name) for name in FEATURE_TERMS])
                totals += len(batch) * each.double().cpu()
                peaks.append(peak_errors(features, batch).cpu())
                if made is not None:
                    found.append(errors_of(made, batch, self.layer, self.hands))
            self._draw(network, step, picture, second, metrics)
        finally:
            network.train()
        means = dict(zip(FEATURE_TERMS, (totals / len(self.images)).tolist(), strict=True))
        apart = torch.cat(peaks)
        names = ("mpjpe_mm", "mpvpe_mm", "tau_mm", "hidden_mpjpe_mm", "hidden_mpvpe_mm")
        of_hands = joined_errors(found).figures() if found else dict.fromkeys(names)
        return {
            **means,
            "peak_px": apart.mean().item() if len(apart) else None,
            **{name: of_hands[name] for name in names},
            "pictures": len(self.images),
        }

    def _draw(
        self, network: ReconNetwork, step: int, path: Path, second: bool, metrics: Metrics | None
    ) -> None:
        n = len(self.images)
        rows = torch.linspace(0, n - 1, min(_DRAWN, n)).long()
        batch = self.images.batch(rows)
        made = network(batch.image) if second else None
        features = made.features if made is not None else network.features(batch.image)
        targets = feature_targets(batch, network.features.options)
        joints = None
        if made is not None:
            joints = made.joints.clone()
            joints[:, 1] += made.tau[:, None]
        predicted = Predicted(
            image=_numpy(batch.image.permute(0, 2, 3, 1)),
            uv=_numpy(batch.uv),
            heatmaps=_optional(features.heatmaps),
            true_heatmaps=_optional(targets.heatmaps),
            saliency=_optional(features.saliency),
            mask=_numpy(batch.mask),
            joints=_optional(joints),
        )
        draw_predictions(path, predicted, f"{self.options.variant}, after step {step:,}")
        if metrics is not None and path.exists():
            metrics.picture("predictions", imread(path)[..., :3], step)


def validation_images(
    folders: Sequence[str | Path], hands: HandPair, options: ReconOptions
) -> ImagePairs | None:
    """Held-out pictures of those folders that have any; None without, or where all are trained on.

    Raises DataError as `read_images` does.
    """
    if options.split != "train":
        return None
    having = [folder for folder in folders if "val" in Dataset(folder).array("split")]
    if not having:
        return None
    images = read_images(having, hands, "val")
    if len(images) > options.validated:
        rows = np.linspace(0, len(images) - 1, options.validated).astype(np.int64)
        images = images.select(rows)
    return images


def peak_errors(features: Features, batch: ImageBatch) -> Tensor:
    """How far heatmaps' highest points lie from visible joints (k,), pixels of 256; empty without
    a map for each joint.
    """
    maps = features.heatmaps
    if maps is None or maps.shape[1] != 2 * N_JOINTS:
        return batch.uv.new_zeros(0)
    m = maps.shape[-1]
    at = maps.float().flatten(2).argmax(-1)
    peak = torch.stack([at % m, at // m], dim=-1) + 0.5
    apart = (peak - batch.uv.flatten(1, 2)).norm(dim=-1) * (IMAGE_SIZE / m)
    return apart[batch.visible.flatten(1)]


def errors_of(made: Reconstruction, batch: ImageBatch, layer: HandLayer, hands: HandPair) -> Errors:
    """Of one batch. layer: those hands, on its device."""
    true = _numpy(layer.vertices(batch.rotations, batch.betas))
    if made.representation.name == "joints":
        found = joint_errors(PROTOCOL, _numpy(made.joints), true, hands)
    else:
        found = errors(PROTOCOL, _numpy(made.vertices), true, hands)
    return Errors(
        mpjpe_mm=found.mpjpe_mm.mean(-1),
        mpvpe_mm=found.mpvpe_mm.mean(-1),
        tau_mm=1e3 * _numpy((made.tau.float() - batch.tau).norm(dim=-1)),
        hidden=_numpy(batch.hidden.amax(-1)),
    )


def joined_errors(parts: Sequence[Errors]) -> Errors:
    """Of all of them."""
    names = Errors.__dataclass_fields__
    return Errors(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})


@torch.no_grad()
def errors_of_run(
    run: Path,
    folders: Sequence[str | Path],
    hands: HandPair,
    *,
    device: str | torch.device = "cpu",
    split: Split = "test",
) -> Errors:
    """Errors of a finished run's network on a split of image datasets.

    Raises DataError for a run that is not finished, and as `read_images` does.
    """
    device = torch.device(device)
    network, options = trained_network(run, hands, device)
    images = LabelledImages.opened(
        read_images(folders, hands, split), network.architecture.size, device,
        resident=False, orientation=options.orientation,
    )  # fmt: skip
    layer = HandLayer(hands).to(device)
    batches = images.in_order(_BATCH)
    return joined_errors([errors_of(network(b.image), b, layer, hands) for b in batches])


def _mean(values: np.ndarray) -> float | None:
    return None if np.isnan(values).all() else float(values.mean())


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def _optional(tensor: Tensor | None) -> np.ndarray | None:
    return None if tensor is None else _numpy(tensor)
