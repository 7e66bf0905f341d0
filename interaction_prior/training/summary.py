"""What a run says: while it goes (`Progress`), what it would do (`TrainingPlan`), what it did."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interaction_prior.training.options import TrainOptions


@dataclass(frozen=True)
class Progress:
    """Where a run is: step of steps, the latest line of its metrics, the latest validation."""

    step: int
    steps: int
    row: Mapping[str, Any]
    validation: Mapping[str, Any] = field(default_factory=dict)


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class TrainingPlan:
    """What a run would do. pairs: per dataset, by its folder's name. set_bytes: as vectors."""

    options: TrainOptions
    pairs: tuple[tuple[str, int], ...]
    validation_pairs: int
    parameters: int
    set_bytes: int
    resident: bool
    epochs: float
    step_seconds: float

    @property
    def n_pairs(self) -> int:
        """Of all datasets."""
        return sum(n for _, n in self.pairs)

    @property
    def seconds(self) -> float:
        """Of all steps, by those that were tried."""
        return self.step_seconds * self.options.steps


@dataclass(frozen=True)
class TrainSummary:
    """What a run did. seconds: of all sessions' steps. final: the last validation's figures.

    resumed_from: the step this session began at. was_finished: nothing was left to do.
    """

    folder: Path
    steps: int
    samples_seen: int
    seconds: float
    final: Mapping[str, Any]
    resumed_from: int
    was_finished: bool = False
