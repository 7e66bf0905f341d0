"""`Judging`: any stage, with every pair that it keeps judged; behind `--judge`.

In: a stage (unit -> `UnitResult`) and the hand models of its samples. Out: a stage that does the
same and fills quality/penetration_volume, penetration_depth, contact_distance,
self_penetration_volume and contact/realised by the `Judge`. Nothing is refused: what cannot be
judged stays NaN and is counted.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from twohand500k.hand import HandPair
from twohand500k.physics.judge import Judge
from twohand500k.pipeline import Stats, Summary, UnitResult

UNJUDGED = "pairs not judged"


@dataclass(frozen=True, eq=False)
class Judging:
    """A stage whose samples are judged. hands: the models of its samples."""

    stage: Callable[[Any], UnitResult]
    hands: HandPair

    def __call__(self, unit: Any) -> UnitResult:
        result = self.stage(unit)
        if result.samples is None:
            return result
        samples = _judge(self.hands).samples(result.samples)
        pairs = samples.present.all(axis=1)
        unknown = pairs & (
            np.isnan(samples.penetration_volume) | np.isnan(samples.penetration_depth)
        )
        stats = Stats(
            counts={UNJUDGED: int(unknown.sum())},
            summaries={
                "penetration_volume_m3": Summary.of(samples.penetration_volume),
                "penetration_depth_m": Summary.of(samples.penetration_depth),
                "self_penetration_volume_m3": Summary.of(samples.self_penetration_volume),
            },
        )
        return replace(result, samples=samples, stats=result.stats + stats)


def judged_line(stats: Stats) -> str:
    """One line for people about the pairs and hands judged."""
    told = {name: summary.to_json() for name, summary in stats.summaries.items()}
    volume, depth = told["penetration_volume_m3"], told["penetration_depth_m"]
    own = told["self_penetration_volume_m3"]

    def mean_and_most(summary: dict[str, Any], scale: float, unit: str) -> str:
        if not summary["n"]:
            return "unknown"
        return f"{scale * summary['mean']:.2f} {unit} mean, {scale * summary['largest']:.2f} most"

    return (
        f"judged {volume['n']:,} pairs: overlap {mean_and_most(volume, 1e6, 'cm3')}, "
        f"depth {mean_and_most(depth, 1e3, 'mm')}; {own['n']:,} hands: "
        f"in itself {mean_and_most(own, 1e6, 'cm3')}; "
        f"{stats.counts[UNJUDGED]:,} pairs could not be judged"
    )


_made: list[tuple[str, Judge]] = []


def _judge(hands: HandPair) -> Judge:
    """The judge of this process, made anew for other models."""
    if not _made or _made[0][0] != hands.sha256:
        _made[:] = [(hands.sha256, Judge.of(hands))]
    return _made[0][1]
