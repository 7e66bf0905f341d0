"""Whether a prior's codes are continuous where a rotation vector is not: at half a turn.

Comes in: a prior and pairs in the frame of their right wrist. Goes out: for angles up to half a
turn, how far the pair half-way between two codes is from the pair half-way between two pairs. The
pair is turned by angle - 2 and angle + 2 degrees about one random axis, both are encoded, and the
mean of their codes is decoded: it should be the pair at the angle itself. Beyond half a turn the
rotation vector v becomes -v, so a prior of axis-angle has two far codes for two near pairs there,
and what lies between them is no such pair.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from interaction_prior.evaluation.reconstruction import pair_errors
from interaction_prior.hands.rotations import matrix_from_axis_angle
from interaction_prior.prior import InteractionPrior

ANGLES_DEG = (30.0, 60.0, 90.0, 120.0, 150.0, 170.0, 175.0, 180.0)
HALF_STEP_DEG = 2.0
_MOST = 256


@torch.no_grad()
def half_turn(prior: InteractionPrior, x: Tensor, *, seed: int = 0) -> list[dict[str, Any]]:
    """Errors of the right hand, mm, by the angle of its wrist; x (N, D) in the right wrist's frame.

    `codes_apart`: mean distance of the two codes. At most 256 pairs are taken.
    """
    rows = torch.linspace(0, len(x) - 1, min(len(x), _MOST), device=x.device).long()
    x = x[rows]
    generator = torch.Generator().manual_seed(seed)
    axis = normalize(torch.randn(len(x), 3, generator=generator), dim=-1).to(x)
    found = []
    for angle in ANGLES_DEG:
        before, middle, after = (
            _turned(prior, x, axis, angle + step) for step in (-HALF_STEP_DEG, 0.0, HALF_STEP_DEG)
        )
        a, b = prior.encode(before).mean, prior.encode(after).mean
        between = prior.decode((a + b) / 2).x
        errors = pair_errors(prior.representation, prior.layer, middle, between)
        found.append(
            {
                "angle_deg": angle,
                "mpjpe_mm": float(errors.joints[:, 0].mean()),
                "codes_apart": float((a - b).norm(dim=-1).mean()),
            }
        )
    return found


def _turned(prior: InteractionPrior, x: Tensor, axis: Tensor, angle_deg: float) -> Tensor:
    angle = torch.deg2rad(torch.tensor(angle_deg))
    return prior.representation.turned(x, matrix_from_axis_angle(angle * axis))
