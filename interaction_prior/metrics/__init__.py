"""Errors of hands as the field defines them, on plain arrays in metres."""

from interaction_prior.metrics.curves import THRESHOLDS_MM, auc, mrrpe_mm, pck
from interaction_prior.metrics.protocols import (
    PROTOCOLS,
    PoseErrors,
    Protocol,
    errors,
    joint_errors,
)

__all__ = [
    "PROTOCOLS",
    "THRESHOLDS_MM",
    "PoseErrors",
    "Protocol",
    "auc",
    "errors",
    "joint_errors",
    "mrrpe_mm",
    "pck",
]
