"""`draw_samples`: something that draws pairs in, a finished dataset out, for `twohand sample`.

Everything that can change the result is in `DrawOptions`, in the seed, or in the hashes of what
draws (`inputs`); `described` is what else a reader of the dataset should know of it.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twohand500k.drawn.stage import Draw, DrawChunk, SampleStage
from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.pipeline import RunSummary, run
from twohand500k.pipeline.progress import Shown
from twohand500k.pipeline.worker import Stage

STAGE = "sample"
SHARD_SIZE = 4096
# Mean distance of drawn joints or skin to the nearest hand beyond which they are no hand.
MAX_RESIDUAL_MM = 5.0

Judging = Callable[[Stage], Stage]


@dataclass(frozen=True)
class DrawOptions:
    """Options that change the result.

    count: draws; those refused are not made up for. max_residual_mm: see `SampleStage`. described:
    what draws, JSON values (temperature, latents, representation, ...). shard_size: draws per work
    unit; it changes the files, never a sample.
    """

    count: int
    max_residual_mm: float = MAX_RESIDUAL_MM
    described: Mapping[str, Any] = field(default_factory=dict)
    shard_size: int = SHARD_SIZE


def draw_samples(
    draw: Draw,
    hands: HandPair,
    out: Path,
    options: DrawOptions,
    *,
    source: str,
    take: str,
    inputs: Mapping[str, str],
    seed: int = 0,
    history: Sequence[Mapping[str, Any]] = (),
    workers: int = 1,
    executor: Executor | None = None,
    progress: Shown = True,
    command: str | None = None,
    judging: Judging | None = None,
) -> RunSummary:
    """Write `options.count` draws into `out`; an unfinished run is resumed.

    source, take: provenance. inputs: sha256 by name of the files that `draw` reads. judging: wraps
    the stage so that pairs are judged. workers, executor: as `pipeline.run`.

    Raises DataError if the disk fails or every draw was refused.
    """
    stage = SampleStage(hands, draw, source, take, 1e-3 * options.max_residual_mm)
    units = units_of(options, inputs)
    summary = run(
        stage if judging is None else judging(stage),
        units,
        out,
        name=STAGE,
        options={
            "source": source,
            "count": options.count,
            **options.described,
            "max_residual_mm": options.max_residual_mm,
            "shard_size": options.shard_size,
            **({} if judging is None else {"judge": True}),
        },
        hands=hands,
        seed=seed,
        frame="right wrist",
        history=history,
        workers=workers,
        executor=executor,
        progress=progress,
        command=command,
    )
    if not summary.n_kept:
        raise DataError(
            f"none of {summary.n_in:,} draws is a pair of hands: {out / 'rejects.jsonl'} says what "
            "was seen of each"
        )
    return summary


def units_of(options: DrawOptions, inputs: Mapping[str, str]) -> tuple[DrawChunk, ...]:
    """The work units of a run."""
    starts = range(0, options.count, options.shard_size)
    return tuple(
        DrawChunk(first, min(first + options.shard_size, options.count), inputs) for first in starts
    )
