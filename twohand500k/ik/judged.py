"""What the build knows of one side of a chunk once it is done with it, fitted or kept."""

from dataclasses import dataclass

import numpy as np

from twohand500k.ik.verdict import Verdicts

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class JudgedSide:
    """T hands of one side with their verdicts. NaN where there is no hand.

    pose (T, 16, 3) rad, transl (T, 3) m, betas (T, 10), joints (T, 21, 3) m on the dataset's hand
    model; fit_error (T,) m: mean distance from the take's points; limit_violation (T,) rad.
    refit_residual (T,) m: how far the skin lies from that of the annotation (mean over vertices)
    where its betas were made on another left model; NaN elsewhere.
    """

    pose: Array
    transl: Array
    betas: Array
    joints: Array
    fit_error: Array
    limit_violation: Array
    converged: Array
    verdicts: Verdicts
    ambiguous: Array
    refit_residual: Array
