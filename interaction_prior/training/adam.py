"""Adam's two moments as named tensors, and Adam as it was: what a checkpoint keeps of it."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

_MOMENTS = ("exp_avg", "exp_avg_sq")

Named = Sequence[tuple[str, nn.Parameter]]


def adam_moments(adam: torch.optim.Adam, parameters: Named) -> dict[str, Tensor]:
    """Both moments of every parameter, ``NAME.exp_avg`` and ``NAME.exp_avg_sq``."""
    found = {}
    for name, parameter in parameters:
        state = adam.state[parameter]
        for moment in _MOMENTS:
            found[f"{name}.{moment}"] = state.get(moment, torch.zeros_like(parameter))
    return found


def restore_adam(
    adam: torch.optim.Adam, parameters: Named, moments: Mapping[str, Tensor], step: int
) -> None:
    """Adam, made over those parameters in that order, as it was after `step` steps."""

    def laid_out(moment: Tensor, parameter: Tensor) -> Tensor:
        # The fused kernel runs through memory: moments must lie as their parameter does, channel
        # last perhaps, and a file knows one order only.
        return torch.empty_like(parameter, requires_grad=False).copy_(moment)

    state = {
        k: {"step": torch.tensor(float(step))}
        | {moment: laid_out(moments[f"{name}.{moment}"], p.detach()) for moment in _MOMENTS}
        for k, (name, p) in enumerate(parameters)
    }
    groups = adam.state_dict()["param_groups"]
    adam.load_state_dict({"state": state, "param_groups": groups})
