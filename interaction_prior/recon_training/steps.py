"""`ReconStepper`: one step of training an image network, in either of its two phases.

Phase one: equation 2 on the feature network alone. Phase two: equation 2 and the losses of the
reconstruction, end to end. Each has an Adam of its own. The terms of the loss stay on the device;
whoever wants them fetches them, seldom.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from interaction_prior.features import feature_loss, feature_targets
from interaction_prior.features.heatmaps import neighbours_per_joint
from interaction_prior.fusion import ReconNetwork, reconstruction_loss
from interaction_prior.images import ImageBatch
from interaction_prior.recon_training.options import ReconOptions
from interaction_prior.training.adam import Named, adam_moments, restore_adam
from interaction_prior.training.compiled import compiled
from interaction_prior.training.distributed import Processes

# The loss's terms in their order, and as one says them; the first is their sum.
FEATURE_TERMS = ("heatmap", "saliency", "tau")
RECON_TERMS = ("parameters", "joints", "vertices", "normal", "penetration")
TERMS: Mapping[str, str] = {
    "loss": "loss",
    "heatmap": "squared error of the heatmaps",
    "saliency": "squared error of the masks",
    "tau": "squared error of tau",
    "parameters": "error of the parameters",
    "joints": "error of the joints",
    "vertices": "error of the vertices",
    "normal": "normal loss",
    "penetration": "penetration loss",
}
_FIELDS = tuple(f.name for f in fields(ImageBatch))


class ReconStepper:
    """``terms = stepper(batch, step, rate)``: the network one step further; terms as in `TERMS`."""

    def __init__(self, network: ReconNetwork, options: ReconOptions, processes: Processes) -> None:
        self.network, self._options, self._processes = network, options, processes
        self._second: bool | None = None
        self._forward: Callable[..., tuple[Tensor, Tensor]] = self._terms
        if options.compile:
            self._forward = compiled(self._terms, processes.device)

    def __call__(self, batch: ImageBatch, step: int, rate: float) -> Tensor:
        second = step >= self._options.feature_steps
        if second != self._second:
            self._begin(second)
        # Before the forward pass: its memory is the first to be used again.
        self._adam.zero_grad(set_to_none=True)
        loss, terms = self._forward(second, *(getattr(batch, name) for name in _FIELDS))
        loss.backward()
        self._processes.average([p.grad for _, p in self._parameters if p.grad is not None])
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        return terms

    def _begin(self, second: bool) -> None:
        """A phase, with a new Adam."""
        part = self.network if second else self.network.features
        self._second = second
        self._parameters: Named = [(n, p) for n, p in part.named_parameters() if p.requires_grad]
        # One kernel over all parameters instead of some ten for each.
        self._adam = torch.optim.Adam(
            [p for _, p in self._parameters], lr=self._options.learning_rate, fused=True
        )

    def _terms(self, second: bool, *arrays: Tensor) -> tuple[Tensor, Tensor]:
        batch = ImageBatch(*arrays)
        image = batch.image
        if self._options.channels_last:
            image = image.contiguous(memory_format=torch.channels_last)
        low = self._options.precision == "bfloat16"
        with torch.autocast(image.device.type, torch.bfloat16, enabled=low):
            made = self.network(image) if second else None
            features = made.features if made is not None else self.network.features(image)
        # Squares, sums over pixels and rotations want float32's digits; the losses take them.
        of_features = feature_loss(features, feature_targets(batch, self.network.features.options))
        total = of_features.total
        parts = [getattr(of_features, name) for name in FEATURE_TERMS]
        if made is None:
            parts += [total.new_zeros(())] * len(RECON_TERMS)
        else:
            of_hands = reconstruction_loss(made, batch)
            total = total + of_hands.total
            parts += [getattr(of_hands, name) for name in RECON_TERMS]
        return total, torch.stack([total, *parts]).detach()

    def known(self, means: Mapping[str, float]) -> dict[str, float | None]:
        """Terms' means, without those that the phase does not have."""
        gone = () if self._second else RECON_TERMS
        return {name: None if name in gone else value for name, value in means.items()}

    @torch.no_grad()
    def start(self, batch: ImageBatch) -> dict[str, float]:
        """Equation 2 on a batch before any step, and the neighbours in its heatmaps."""
        part, options = self.network.features, self.network.features.options
        was = {name: buffer.clone() for name, buffer in part.named_buffers()}
        terms = feature_loss(part(batch.image), feature_targets(batch, options))
        # Batch normalisation has counted a batch that no step saw.
        for name, buffer in part.named_buffers():
            buffer.copy_(was[name])
        near = neighbours_per_joint(
            batch.uv.flatten(1, 2), size=options.map_size, sigma=options.sigma,
            distance=options.distance, reading=options.reading,
        )  # fmt: skip
        told = torch.tensor([getattr(terms, name).item() for name in FEATURE_TERMS] + [near])
        told = told.to(batch.image.device)
        self._processes.average([told])
        return dict(zip((*FEATURE_TERMS, "neighbours_per_joint"), told.tolist(), strict=True))

    def moments(self) -> dict[str, Tensor]:
        """Adam's two moments of the parameters of the phase."""
        return {} if self._second is None else adam_moments(self._adam, self._parameters)

    def restore(self, moments: Mapping[str, Tensor], step: int) -> None:
        """Adam as it was after `step` steps of the run."""
        first = self._options.feature_steps
        # After the last step of phase one, phase two begins anew.
        if step == first or not moments:
            return
        self._begin(step > first)
        restore_adam(self._adam, self._parameters, moments, step - first * (step > first))


def start_text(told: Mapping[str, Any]) -> str:
    """`ReconStepper.start` in words."""
    return (
        f"before the first step, equation 2: heatmaps {told['heatmap']:,.1f}, masks "
        f"{told['saliency']:,.1f}, tau {told['tau']:,.1f} (weights included); "
        f"{told['neighbours_per_joint']:.2f} neighbours per joint"
    )
