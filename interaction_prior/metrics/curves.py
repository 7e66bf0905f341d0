"""PCK, its area, and the error of the left hand's place."""

import numpy as np

# The range of the paper's Fig. 6.
THRESHOLDS_MM = np.linspace(0.0, 50.0, 101)


def pck(joint_mm: np.ndarray, thresholds_mm: np.ndarray = THRESHOLDS_MM) -> np.ndarray:
    """The share (T,) of errors (any shape), mm, at most each threshold; unknown ones left out.

    NaN if none is known.
    """
    known = np.sort(joint_mm[~np.isnan(joint_mm)])
    if not known.size:
        return np.full(len(thresholds_mm), np.nan)
    return np.searchsorted(known, thresholds_mm, side="right") / known.size


def auc(share: np.ndarray, thresholds_mm: np.ndarray = THRESHOLDS_MM) -> float:
    """Area under a PCK curve (T,), by trapezia, over the range: 1 at best."""
    span = thresholds_mm[-1] - thresholds_mm[0]
    return float(np.trapezoid(share, thresholds_mm) / span)


def mrrpe_mm(predicted_tau: np.ndarray, true_tau: np.ndarray) -> np.ndarray:
    """How far (N,) mm the left wrist is off beside the right one; tau (N, 3) m, left - right."""
    return 1e3 * np.linalg.norm(np.asarray(predicted_tau) - np.asarray(true_tau), axis=-1)
