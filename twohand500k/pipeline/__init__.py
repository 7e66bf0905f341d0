"""Runs a stage over units of work: executor, markers, resume, provenance, statistics."""

from twohand500k.pipeline.randomness import rng_for, split_for
from twohand500k.pipeline.runner import RunSummary, run
from twohand500k.pipeline.units import Stats, Summary, Unit, UnitResult

__all__ = [
    "RunSummary",
    "Stats",
    "Summary",
    "Unit",
    "UnitResult",
    "rng_for",
    "run",
    "split_for",
]
