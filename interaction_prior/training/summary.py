"""What goes with a run: who made it (`Provenance`), where it is, what it would do, what it did."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interaction_prior.training.options import TrainOptions


@dataclass(frozen=True)
class Provenance:
    """What whoever starts a run knows of it, for its record.

    git_revision: of the checkout. versions: of libraries that made the data. command: what resumes
    the run. licences: the terms of each dataset's sources, in words.
    """

    git_revision: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None
    licences: Sequence[Sequence[str]] = ()


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
