"""What a recipe would do, before it does it: samples, hours and gigabytes, step by step.

Speeds are measured ones: those of a step that was begun in the same folder, else the table below,
which `benchmarks/make.py` prints. They are of one core, and stages share nothing, so a run on more
cores is taken to be as many times faster; reading and planning, which one process does, is not in
them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.recipe.make import shares_of, spliced_count
from twohand500k.recipe.recipe import Build, Recipe
from twohand500k.recipe.steps import Step, steps_of
from twohand500k.shards.files import INDEX, RUN, read_json


@dataclass(frozen=True)
class Speed:
    """per_second: samples on one core; bytes: of one sample on the disk."""

    per_second: float
    bytes: float


# Of one core (docs/results.md, "The whole dataset from one recipe").
SPEEDS: Final = {
    "build synthetic": Speed(7000.0, 480.0),
    "build": Speed(550.0, 900.0),
    "splice": Speed(120.0, 850.0),
    "splice uniform": Speed(530.0, 850.0),
    "physics-fix": Speed(16.0, 1260.0),
    "physics-fix uniform": Speed(23.0, 1260.0),
    "select": Speed(8000.0, 1260.0),
}
# The map takes most of a large report, and does not gain as much by more cores.
REPORT: Final = Speed(700.0, 0.0)


@dataclass(frozen=True)
class Estimate:
    """One step. samples: None where the data is not there and the recipe does not say how many.
    seconds, bytes: NaN then. measured: whether the speed was measured in this very folder."""

    step: Step
    samples: int | None
    seconds: float
    bytes: float
    measured: bool
    note: str = ""


def estimate(recipe: Recipe, out: Path, hands: HandPair, workers: int) -> tuple[Estimate, ...]:
    """Every step of the recipe, with what is known of it. Reads recordings, writes nothing."""
    frames: dict[str, int | None] = {}
    notes: dict[str, str] = {}
    for build in recipe.builds:
        frames[build.name], notes[build.name] = _frames_of(build, hands, recipe.seed)
    recorded = {part.name: frames[part.take] or 0 for part in recipe.parts if part.take}
    counts = shares_of(recipe, recorded)
    rows = []
    for step in steps_of(recipe):
        samples, note = _samples_of(step, recipe, frames, counts), ""
        if step.stage == "build":
            note = notes[step.of]
        speed, measured = _speed_of(step, recipe, out)
        seconds = np.nan if samples is None else samples / speed.per_second
        size = np.nan if samples is None else samples * speed.bytes
        rows.append(Estimate(step, samples, seconds / workers, size, measured, note))
    return tuple(rows)


def _samples_of(
    step: Step, recipe: Recipe, frames: dict[str, int | None], counts: dict[str, int]
) -> int | None:
    if step.stage == "build":
        return frames[step.of]
    if step.stage == "report" or step.of == "dataset":
        return sum(counts.values())
    part = next(part for part in recipe.parts if part.name == step.of)
    if part.take:
        return frames[part.take]
    return spliced_count(counts[part.name] * (2 if part.where else 1), recipe.spare)


def _frames_of(build: Build, hands: HandPair, seed: int) -> tuple[int | None, str]:
    """How many samples a build will have, and how that is known."""
    reading = build.reading
    if "count" in reading.declared:
        return int(reading.declared["count"]), "drawn"
    if build.is_demo:
        return build.frames, "the toolkit's own take"
    missing = [path for path in reading.inputs if not path.exists()]
    if missing:
        said = f"about, {missing[0]} is not there" if build.frames else f"{missing[0]} is not there"
        return build.frames, said
    if build.frames:
        return build.frames, "about, as the recipe says"
    try:
        takes = reading.takes(hands, seed)
    except DataError as error:
        return None, str(error)
    return sum(build.options.frames_of(take).n_frames for take in takes), "read"


def _speed_of(step: Step, recipe: Recipe, out: Path) -> tuple[Speed, bool]:
    run = out / step.folder / RUN
    if run.is_file() and (out / step.folder / INDEX).is_file():
        record = read_json(run)
        kept, busy = record["counts"]["in"], record["unit_seconds"]
        size = sum(path.stat().st_size for path in run.parent.glob("*.h5"))
        if busy > 0 and kept:
            return Speed(kept / busy, size / kept), True
    if step.stage == "report":
        return REPORT, False
    return SPEEDS.get(f"{step.stage} {_kind(step, recipe)}", SPEEDS[step.stage]), False


def _kind(step: Step, recipe: Recipe) -> str:
    """What makes a step faster or slower than others of its stage."""
    if step.stage == "build":
        return recipe.build(step.of).reading.source
    return next((p.spliced.contacts for p in recipe.parts if p.name == step.of and p.splice), "")


def table(rows: Sequence[Estimate], recipe: Recipe, workers: int) -> str:
    """The estimate as people read it."""
    width = max(len(str(row.step)) for row in rows)
    lines = [f"{'step':{width}}  {'samples':>11}  {'time':>8}  {'disk':>8}"]
    for row in rows:
        samples = "unknown" if row.samples is None else f"{row.samples:,}"
        lines.append(
            f"{row.step!s:{width}}  {samples:>11}  {duration(row.seconds):>8}  "
            f"{_size(row.bytes):>8}" + (f"  {row.note}" if row.note else "")
            + ("  (at the speed measured here)" if row.measured else "")
        )  # fmt: skip
    seconds = np.nansum([row.seconds for row in rows])
    size = np.nansum([row.bytes for row in rows])
    whole = "at least " if any(row.samples is None for row in rows) else "about "
    lines.append(
        f"{recipe.samples:,} samples in {whole}{duration(seconds)} on {workers} "
        f"core{'s' * (workers > 1)}, {whole}{_size(size)} of disk; nothing was written"
    )
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if np.isnan(seconds):
        return "-"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _size(size: float) -> str:
    if np.isnan(size):
        return "-"
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"
