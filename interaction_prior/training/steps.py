"""`Stepper`: one step of training, forward, loss (equation 4, and what is added), backward, Adam.

The terms of the loss stay on the device; whoever wants them fetches them, seldom.
"""

import os
import shutil
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from interaction_prior.prior import PriorNetwork
from interaction_prior.prior.loss import prior_loss
from interaction_prior.training.distributed import Processes
from interaction_prior.training.draws import DrawsLoss
from interaction_prior.training.options import TrainOptions
from twohand500k.errors import DataError

TERMS = ("loss", "kl", "error", "draws")
_MOMENTS = ("exp_avg", "exp_avg_sq")


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
        """Adam's two moments of every parameter, ``NAME.exp_avg`` and ``NAME.exp_avg_sq``."""
        found = {}
        for name, parameter in self.network.named_parameters():
            state = self._adam.state[parameter]
            for moment in _MOMENTS:
                found[f"{name}.{moment}"] = state.get(moment, torch.zeros_like(parameter))
        return found

    def restore(self, moments: Mapping[str, Tensor], step: int) -> None:
        """Adam as it was after `step` steps."""
        names = [name for name, _ in self.network.named_parameters()]
        state = {
            k: {"step": torch.tensor(float(step))}
            | {moment: moments[f"{name}.{moment}"].clone() for moment in _MOMENTS}
            for k, name in enumerate(names)
        }
        groups = self._adam.state_dict()["param_groups"]
        self._adam.load_state_dict({"state": state, "param_groups": groups})


def compiled(
    function: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], device: torch.device
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """`function` by torch.compile: on a GPU as captured CUDA graphs, on a CPU through C++.

    Raises DataError where the compiler that writes the code is missing or fails.
    """
    compilers = [os.environ.get("CXX"), "g++", "clang++", "gcc", "cc", "cl"]
    if not any(name and shutil.which(name) for name in compilers):
        raise DataError(
            "--compile needs a C++ compiler (g++ or clang++, or $CXX), none is on the PATH: "
            "install one, or train without --compile"
        )
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    fast = torch.compile(function, mode=mode, dynamic=False)

    def call(x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        try:
            # A captured graph writes its results where the last step's lay: they are read by now.
            torch.compiler.cudagraph_mark_step_begin()
            return fast(x, noise)
        except Exception as error:
            if type(error).__module__.startswith(("torch._inductor", "torch._dynamo")):
                said = str(error).strip().splitlines()
                raise DataError(
                    f"torch.compile failed ({said[0] if said else type(error).__name__}): train "
                    "without --compile"
                ) from error
            raise

    return call
