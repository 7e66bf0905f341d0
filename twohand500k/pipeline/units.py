"""What passes between a stage and the pipeline: a unit of work in, a `UnitResult` out.

A stage is a picklable callable ``stage(unit) -> UnitResult``: a function of the module level, or a
frozen dataclass with ``__call__`` that holds its options. It reads what the unit names, computes,
and returns; it writes nothing. Its result may depend on the unit, its own options and
`rng_for(seed, sample_id)`, and on nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from twohand500k.shards import Reject, Samples


class Unit(Protocol):
    """Work for one task, one shard at the most: any picklable record with these two.

    name: says which work, unique among the units of a run ("cup1 frames 0-4095"). inputs: sha256
    of every file the unit reads, by a name that does not depend on where the file lies.
    """

    @property
    def name(self) -> str: ...

    @property
    def inputs(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Summary:
    """Number, sum, sum of squares, smallest and largest of some values; adds."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    smallest: float = float("inf")
    largest: float = float("-inf")

    @staticmethod
    def of(values: ArrayLike) -> "Summary":
        """Summary of the values that are not NaN."""
        array = np.asarray(values, dtype=np.float64).ravel()
        array = array[~np.isnan(array)]
        if not array.size:
            return Summary()
        return Summary(
            array.size,
            float(array.sum()),
            float(array @ array),
            float(array.min()),
            float(array.max()),
        )

    def __add__(self, other: "Summary") -> "Summary":
        return Summary(
            self.n + other.n,
            self.total + other.total,
            self.squares + other.squares,
            min(self.smallest, other.smallest),
            max(self.largest, other.largest),
        )

    def to_json(self) -> dict[str, float | int | None]:
        """With mean; an empty summary has no mean, no smallest, no largest (null)."""
        return {
            "n": self.n,
            "total": self.total,
            "squares": self.squares,
            "smallest": self.smallest if self.n else None,
            "largest": self.largest if self.n else None,
            "mean": self.total / self.n if self.n else None,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Summary":
        """The inverse of `to_json`."""
        if not value["n"]:
            return Summary()
        return Summary(*(value[key] for key in ("n", "total", "squares", "smallest", "largest")))


@dataclass(frozen=True)
class Stats:
    """Named counts and named summaries of a unit's work; adds. Kept in `run.json`."""

    counts: Mapping[str, int] = field(default_factory=dict)
    summaries: Mapping[str, Summary] = field(default_factory=dict)

    def __add__(self, other: "Stats") -> "Stats":
        counts = dict(self.counts)
        for name, count in other.counts.items():
            counts[name] = counts.get(name, 0) + count
        summaries = dict(self.summaries)
        for name, summary in other.summaries.items():
            summaries[name] = summaries.get(name, Summary()) + summary
        return Stats(counts, summaries)

    def to_json(self) -> dict[str, Any]:
        return {
            "counts": {name: int(count) for name, count in self.counts.items()},
            "summaries": {name: summary.to_json() for name, summary in self.summaries.items()},
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Stats":
        """The inverse of `to_json`."""
        return Stats(
            dict(value["counts"]),
            {name: Summary.from_json(summary) for name, summary in value["summaries"].items()},
        )


@dataclass(frozen=True, eq=False)
class UnitResult:
    """What a stage made of one unit.

    samples: those kept, None if none. rejects: those refused. n_in: how many samples the unit
    offered; the pipeline holds n_in = kept + refused, so that nothing is lost without a reason.
    """

    samples: Samples | None
    rejects: tuple[Reject, ...]
    n_in: int
    stats: Stats = field(default_factory=Stats)

    def __post_init__(self) -> None:
        if self.n_kept + len(self.rejects) != self.n_in:
            raise ValueError(
                f"{self.n_in} samples came in, {self.n_kept} kept and {len(self.rejects)} "
                "refused: some are not accounted for"
            )
        refused = [reject.sample_id for reject in self.rejects]
        kept = [] if self.samples is None else self.samples.sample_id.tolist()
        if len({*refused, *kept}) != self.n_in:
            raise ValueError("a sample_id occurs twice among the samples kept and refused")

    @property
    def n_kept(self) -> int:
        return 0 if self.samples is None else len(self.samples)
