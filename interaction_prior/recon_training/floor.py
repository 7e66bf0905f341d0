"""The decoder's floor, before training: how near the best codes come to held-out hands.

What a decoder cannot give, no network in front of it can; above 10 mm the run is refused.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from interaction_prior.fusion.floor import decoder_floor
from interaction_prior.hands.rotations import matrix_from_axis_angle
from interaction_prior.images import ImagePairs
from interaction_prior.prior import InteractionPrior

_POSES = 64


def prior_floor(
    prior: InteractionPrior | None, images: ImagePairs, log: Callable[[str], None]
) -> dict[str, Any] | None:
    """Measured on up to 64 of the hands, in the camera's frame as they are; None without prior.

    Raises DataError, with the reason, for a decoder too coarse.
    """
    if prior is None:
        return None
    rows = np.unique(np.linspace(0, len(images) - 1, _POSES).astype(np.int64))
    pairs = images.pairs.select(rows)
    report = decoder_floor(
        prior,
        matrix_from_axis_angle(torch.as_tensor(pairs.pose, dtype=torch.float32)),
        torch.as_tensor(pairs.betas, dtype=torch.float32),
    )
    log(f"the decoder's floor, the best codes of {len(rows)} pairs: {report.mpjpe_mm:.2f} mm")
    return {"pairs": len(rows), "mpjpe_mm": report.mpjpe_mm}
