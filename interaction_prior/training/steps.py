"""`Stepper`: one step of training, forward, loss (equation 4, and what is added), backward, Adam.

The terms of the loss stay on the device; whoever wants them fetches them, seldom.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from interaction_prior.prior import PriorNetwork
from interaction_prior.prior.loss import prior_loss
from interaction_prior.training.adam import adam_moments, restore_adam
from interaction_prior.training.compiled import compiled
from interaction_prior.training.distributed import Processes
from interaction_prior.training.draws import DrawsLoss
from interaction_prior.training.options import TrainOptions

TERMS = ("loss", "kl", "error", "draws")


class Stepper:
    """``terms = stepper(x, noise, rate)``: the network one step further; terms (4,), `TERMS`.

    draws: the term beside equation 4, if any.
    """

    def __init__(
        self,
        network: PriorNetwork,
        options: TrainOptions,
        processes: Processes,
        draws: DrawsLoss | None = None,
    ) -> None:
        self.network, self._options, self._processes = network, options, processes
        self._draws = draws
        self._parameters = list(network.parameters())
        # One kernel over all parameters instead of some ten for each.
        self._adam = torch.optim.Adam(self._parameters, lr=options.learning_rate, fused=True)
        self._forward: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = self._terms
        if options.compile:
            self._forward = compiled(self._terms, processes.device)

    def __call__(self, x: Tensor, noise: Tensor, learning_rate: float) -> Tensor:
        # Before the forward pass: its memory is the first to be used again.
        self._adam.zero_grad(set_to_none=True)
        loss, terms = self._forward(x, noise)
        loss.backward()
        self._processes.average([p.grad for p in self._parameters if p.grad is not None])
        for group in self._adam.param_groups:
            group["lr"] = learning_rate
        self._adam.step()
        return terms

    def _terms(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        o = self._options
        low = o.precision == "bfloat16"
        with torch.autocast(x.device.type, torch.bfloat16, enabled=low):
            outputs = self.network(x, noise)
        # Squares and exponentials want float32's digits.
        reconstruction, mean, log_variance = (output.float() for output in outputs)
        terms = prior_loss(
            x, reconstruction, mean, log_variance,
            weight=o.weight, reduction=o.reduction, variational=o.model == "vae",
        )  # fmt: skip
        drawn = terms.error.new_zeros(())
        if self._draws is not None:
            drawn = self._draws(self.network.decode, noise, x)
        total = terms.total + drawn
        return total, torch.stack([total, terms.kl, terms.error, drawn]).detach()

    def moments(self) -> dict[str, Tensor]:
        """Adam's two moments of every parameter."""
        return adam_moments(self._adam, list(self.network.named_parameters()))

    def restore(self, moments: Mapping[str, Tensor], step: int) -> None:
        """Adam as it was after `step` steps."""
        restore_adam(self._adam, list(self.network.named_parameters()), moments, step)
