"""The decoder's floor: how near the best code of each held-out pair comes to it.

What the frozen decoder cannot give, no network in front of it can. The best code is sought by Adam
from the encoder's mean, on the squared distance of the joints.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from interaction_prior.hands.rotations import axis_angle_from_matrix
from interaction_prior.prior import InteractionPrior
from twohand500k.errors import DataError

LIMIT_MM = 10.0
_RATE = 0.05


@dataclass(frozen=True, eq=False)
class FloorReport:
    """each_mm (n,): mean joint distance of each pair, each hand from its own wrist."""

    each_mm: Tensor

    @property
    def mpjpe_mm(self) -> float:
        """Mean over the pairs."""
        return self.each_mm.mean().item()


def decoder_floor(
    prior: InteractionPrior,
    rotations: Tensor,
    betas: Tensor,
    *,
    steps: int = 200,
    limit_mm: float = LIMIT_MM,
) -> FloorReport:
    """The floor on pairs: rotations (n, 2, 16, 3, 3), betas (n, 2, 10), in any frame.

    Raises DataError above `limit_mm`.
    """
    pose = axis_angle_from_matrix(rotations.to(prior.device))
    betas = betas.to(prior.device)
    # The place does not matter: each hand is looked at from its own wrist.
    pairs = prior.pairs_from_mano(pose, betas, betas.new_zeros(len(betas), 3))
    true = pairs.joints
    with torch.no_grad():
        z = prior.encode(pairs).mean.clone()
    with torch.enable_grad():
        z.requires_grad_()
        adam = torch.optim.Adam([z], lr=_RATE)
        for step in range(steps):
            adam.param_groups[0]["lr"] = _RATE * (1.0 - step / steps)
            adam.zero_grad()
            # Each pair has a code of its own: a sum, so that their gradients do not mix.
            (1e3 * (prior.decode(z).joints - true)).square().sum(-1).mean((-1, -2)).sum().backward()
            adam.step()
    with torch.no_grad():
        each = 1e3 * (prior.decode(z).joints - true).norm(dim=-1).mean((-1, -2))
    report = FloorReport(each.cpu())
    if report.mpjpe_mm > limit_mm:
        raise DataError(
            f"the prior's decoder comes no nearer than {report.mpjpe_mm:.1f} mm to held-out pairs "
            f"with the best of codes, more than {limit_mm:g} mm: no image network can do better "
            "with it; train the prior longer, or on data that holds such pairs"
        )
    return report
