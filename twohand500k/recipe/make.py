"""`make`: a recipe in, the whole dataset and its report out, step after step.

Comes in: a `Recipe`, where to. Goes out: OUT/dataset, OUT/report, and every folder on the way (see
`steps`), each a finished dataset of its own. A killed run goes on with the step it was in, which
goes on with the unit it was in. Recorded interactions are made first: what they give, at most
their share, is known then, and spliced pairs fill what is left.
"""

import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from twohand500k.demo import make_take
from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.ik import build_takes
from twohand500k.physics.run import physics_fix, plan_physics_fix
from twohand500k.pipeline import RunSummary
from twohand500k.pipeline.progress import Shown, bars
from twohand500k.recipe.recipe import DEMO, Part, Recipe
from twohand500k.recipe.steps import (
    DATASET,
    REPORT,
    Done,
    Notes,
    Step,
    check_same_recipe,
    fingerprint,
    steps_of,
)
from twohand500k.recipe.warm import CompilingAhead, compiling_ahead
from twohand500k.report.run import ReportOptions, make_report
from twohand500k.select.run import SelectOptions, plan_select, select_samples
from twohand500k.shards import Dataset
from twohand500k.shards.files import INDEX, disk_error, json_bytes, sha256_of_file, write_whole
from twohand500k.splice import plan_splice, splice_pairs

Log = Callable[[str], None]


@dataclass(frozen=True)
class StepReport:
    """One step: what it did, and whether it had been done before."""

    step: Step
    done: Done
    reused: bool

    @property
    def per_second(self) -> float:
        """Samples in a second of work, NaN where nothing took time."""
        return self.done.n_in / self.done.seconds if self.done.seconds > 0 else float("nan")


@dataclass(frozen=True)
class Made:
    """What `make` did. short: how many samples are missing from what the recipe asked for."""

    out: Path
    steps: tuple[StepReport, ...]
    samples: int
    short: int
    seconds: float


def make(
    recipe: Recipe,
    out: Path,
    hands: HandPair,
    *,
    workers: int = 1,
    executor: Executor | None = None,
    progress: bool = True,
    log: Log = lambda line: None,
    command: str | None = None,
) -> Made:
    """Make a recipe in `out`; what is done is not done again. workers, executor: as `pipeline.run`.

    Raises DataError if `out` was begun with another recipe (names the key, old and new), or as the
    stage does whose step failed, with the step's name; KeyboardInterrupt with how to resume.
    """
    began = time.monotonic()
    steps = steps_of(recipe)
    _check_inputs(recipe, [s.of for s in steps if s.stage == "build" and not Notes(out).has(s)])
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, out) from error
    check_same_recipe(out, recipe)
    # What other machines call is compiled there.
    ahead = () if executor is not None else (s.stage for s in steps if not Notes(out).has(s))
    with _view(len(steps), progress) as view, compiling_ahead(ahead) as compiled:
        maker = _Maker(recipe, out, hands, workers, executor, view, log, command, compiled)
        reports = tuple(maker.do(step, k, len(steps)) for k, step in enumerate(steps, start=1))
    samples = len(Dataset(out / DATASET))
    made = Made(out, reports, samples, recipe.samples - samples, time.monotonic() - began)
    write_whole(out / "make.json", json_bytes(as_json(made, recipe)))
    return made


def as_json(made: Made, recipe: Recipe) -> dict[str, Any]:
    """The run in numbers."""
    return {
        "recipe": recipe.name,
        "samples": made.samples,
        "short": made.short,
        "seconds": round(made.seconds, 2),
        "steps": [
            {
                "step": str(r.step),
                "folder": r.step.folder,
                "in": r.done.n_in,
                "kept": r.done.n_kept,
                "seconds": round(r.done.seconds, 2),
                "samples_per_second": None if np.isnan(r.per_second) else round(r.per_second, 2),
                "bytes": r.done.bytes,
                "reused": r.reused,
            }
            for r in made.steps
        ],
    }


def shares_of(recipe: Recipe, recorded: Mapping[str, int]) -> dict[str, int]:
    """How many samples each part gives to the dataset.

    recorded: how many interactions the parts that take recordings have; they give their share and
    no more than that, spliced parts the rest by their own shares. Sums to `recipe.samples` unless
    recordings alone cannot fill it.
    """
    share = np.array([part.share for part in recipe.parts])
    counts = _whole(recipe.samples * share / share.sum())
    takes = np.array([bool(part.take) for part in recipe.parts])
    have = np.array([recorded.get(part.name, 0) for part in recipe.parts])
    counts = np.where(takes, np.minimum(counts, have), counts)
    missing = recipe.samples - int(counts.sum())
    if missing and not takes.all():
        rest = np.where(takes, 0.0, share)
        counts = counts + _whole(missing * rest / rest.sum())
    return dict(zip((part.name for part in recipe.parts), counts.tolist(), strict=True))


def spliced_count(wanted: int, spare: float) -> int:
    """How many pairs to splice so that `wanted` are left when the repair has refused some."""
    return wanted + int(np.ceil(wanted * spare))


def seed_of(recipe: Recipe, part: Part) -> int:
    """A part's own seed: two parts of one bank must not join the same hands."""
    text = f"{recipe.seed}:{part.name}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "big") >> 1


def _whole(parts: np.ndarray) -> np.ndarray:
    """Whole numbers next to `parts` of the same (whole) sum: the largest remainders go up."""
    floor = np.floor(parts + 1e-9).astype(np.int64)
    left = round(float(parts.sum())) - int(floor.sum())
    up = np.argsort(floor - parts, kind="stable")[:left]
    floor[up] += 1
    return floor


def _check_inputs(recipe: Recipe, builds: Sequence[str]) -> None:
    """Say at once everything that is not there, not build by build hours apart."""
    missing = [
        f"{name} ({path})"
        for name in builds
        if not recipe.build(name).is_demo
        for path in recipe.build(name).reading.inputs
        if not path.exists()
    ]
    if missing:
        raise DataError(
            f"recipe {recipe.name}: not found: {', '.join(missing)}; say where with --data DIR (a "
            "folder for each) or --data NAME=DIR, leave out what you do not have with --without "
            "NAME; `twohand info --sources` says where to get them"
        )


@contextlib.contextmanager
def _view(steps: int, progress: bool) -> Iterator[Shown]:
    """One progress view of all steps: bars on a terminal, else lines."""
    shown = bars()
    if not (progress and shown.console.is_terminal):
        yield progress
        return
    with shown:
        shown.add_task("make", total=steps, rate="steps")
        yield shown


@dataclass(eq=False)
class _Maker:
    """Does the steps, one after the other."""

    recipe: Recipe
    out: Path
    hands: HandPair
    workers: int
    executor: Executor | None
    view: Shown
    log: Log
    command: str | None
    compiled: CompilingAhead

    def do(self, step: Step, number: int, of: int) -> StepReport:
        asked = self._asked(step)
        done = Notes(self.out).done(step, asked)
        reused = done is not None
        if done is None:
            self.log(f"[{number}/{of}] {step}: {self._says(step)}")
            self._show(number - 1, f"make: {step}")
            self.compiled.wait(step.stage)
            try:
                done = self._run(step)
            except DataError as error:
                raise DataError(f"{step}: {error}") from error
            Notes(self.out).write(step, asked, done)
        self._show(number, "make")
        return StepReport(step, done, reused)

    def _show(self, done: int, now: str) -> None:
        """The bar of all steps; the run of a step adds its own."""
        if isinstance(self.view, Progress):
            self.view.update(self.view.task_ids[0], completed=done, description=now)

    # What a step is made of

    def _asked(self, step: Step) -> dict[str, Any]:
        """Everything a step's result follows from: options, counts, hashes of what it reads."""
        asked: dict[str, Any] = {"hands": self.hands.sha256, "seed": self.recipe.seed}
        if step.stage == "build":
            build = self.recipe.build(step.of)
            inputs = () if build.is_demo else build.reading.inputs
            return asked | {
                "options": dataclasses.asdict(build.options) | build.reading.record(),
                "files": fingerprint(inputs),
            }
        if step.stage == "report":
            asked |= {"report": dataclasses.asdict(self.recipe.report)}
            return asked | {"title": self.recipe.title, "inputs": self._hashes(self._shown())}
        if step.of == DATASET:
            asked |= {"counts": self._counts, "shard_size": self.recipe.shard_size}
            return asked | {"inputs": self._hashes(self._finished(p) for p in self.recipe.parts)}
        part = self._part(step.of)
        asked["part"] = {**self.recipe.record()["parts"][part.name], "share": None}
        if step.stage == "splice":
            asked["count"] = self._splice_count(part)
            read = [*part.splice, *part.learn_from]
            return asked | {"inputs": self._hashes(self._build(name) for name in read)}
        read_from = self._before(part) if step.stage == "physics-fix" else self._repaired(part)
        return asked | {"inputs": self._hashes([read_from])}

    def _hashes(self, folders: Any) -> list[str]:
        return [sha256_of_file(Path(folder) / INDEX) for folder in folders]

    def _says(self, step: Step) -> str:
        """What a step is about to do, for the log."""
        if step.stage == "build":
            source = self.recipe.build(step.of).reading
            return ", ".join([source.source, *map(str, source.inputs)])
        if step.stage == "report":
            return f"{len(self._shown())} datasets on one page"
        if step.of == DATASET:
            return ", ".join(f"{n:,} of {name}" for name, n in self._counts.items())
        part = self._part(step.of)
        if step.stage == "splice":
            return f"{self._splice_count(part):,} pairs of {', '.join(part.splice)}"
        if step.stage == "select":
            return part.where
        return f"{len(Dataset(self._before(part))):,} samples"

    # Folders

    def _build(self, name: str) -> Path:
        return self.out / "builds" / name

    def _before(self, part: Part) -> Path:
        return self._build(part.take) if part.take else self.out / "spliced" / part.name

    def _repaired(self, part: Part) -> Path:
        return self.out / "repaired" / part.name

    def _finished(self, part: Part) -> Path:
        return self.out / "chosen" / part.name if part.where else self._repaired(part)

    def _shown(self) -> list[Path]:
        """The datasets of the report: the whole first, then its parts."""
        parts = self.recipe.parts if self.recipe.report.parts and len(self.recipe.parts) > 1 else ()
        return [self.out / DATASET, *(self._finished(part) for part in parts)]

    def _part(self, name: str) -> Part:
        return next(part for part in self.recipe.parts if part.name == name)

    # Counts

    @cached_property
    def _counts(self) -> dict[str, int]:
        """See `shares_of`; asked for when the recorded parts are done."""
        recorded = {p.name: len(Dataset(self._finished(p))) for p in self.recipe.parts if p.take}
        counts = shares_of(self.recipe, recorded)
        for name, kept in recorded.items():
            if kept == counts[name]:
                self.log(f"{name}: all of its {kept:,} interactions are used, no more than a share")
        return counts

    def _splice_count(self, part: Part) -> int:
        if part.where:
            # How many meet the condition is not known before; twice as many, and never too few.
            return spliced_count(2 * self._counts[part.name], self.recipe.spare)
        return spliced_count(self._counts[part.name], self.recipe.spare)

    # Doing it

    def _run(self, step: Step) -> Done:
        began = time.monotonic()
        folder = self.out / step.folder
        if step.stage == "report":
            n_in, n_kept = self._report()
            seconds = time.monotonic() - began
        else:
            summary = {
                "build": self._run_build,
                "splice": self._run_splice,
                "physics-fix": self._run_repair,
                "select": self._run_select,
            }[step.stage](step)
            n_in, n_kept = summary.n_in, summary.n_kept
            now = 0.0 if summary.was_finished else time.monotonic() - began
            seconds = now + _earlier_sessions(folder, summary)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return Done(n_in, n_kept, seconds, size)

    def _run_build(self, step: Step) -> RunSummary:
        build = self.recipe.build(step.of)
        reading = build.reading
        if build.is_demo:
            reading = dataclasses.replace(reading, inputs=(self._demo_take(),))
        return build_takes(
            reading.takes(self.hands, self.recipe.seed),
            self.hands,
            self._build(build.name),
            build.options,
            declared=reading.record(),
            seed=self.recipe.seed,
            log=self.log,
            **self._how(),
        ).run

    def _run_splice(self, step: Step) -> RunSummary:
        part = self._part(step.of)
        options = dataclasses.replace(
            part.spliced,
            count=self._splice_count(part),
            learn_from=tuple(self._build(name) for name in part.learn_from),
        )
        seed = seed_of(self.recipe, part)
        banks = [self._build(name) for name in part.splice]
        plan = plan_splice(banks, self.hands, options, seed, self.log)
        return splice_pairs(plan, self.out / step.folder, options, seed=seed, **self._how())

    def _run_repair(self, step: Step) -> RunSummary:
        part = self._part(step.of)
        plan = plan_physics_fix(self._before(part), self.hands, part.repair, self.recipe.seed)
        return physics_fix(plan, self.out / step.folder, part.repair, **self._how())

    def _run_select(self, step: Step) -> RunSummary:
        if step.of == DATASET:
            folders = [self._finished(part) for part in self.recipe.parts]
            options = SelectOptions(
                count=min(sum(self._counts.values()), sum(len(Dataset(f)) for f in folders)),
                shares={name: float(count) for name, count in self._counts.items()},
                frame="right wrist",
                shard_size=self.recipe.shard_size,
                fill=True,
            )
        else:
            part = self._part(step.of)
            folders = [self._repaired(part)]
            options = SelectOptions(where=part.where, shard_size=self.recipe.shard_size)
        plan = plan_select(folders, self.hands, options, self.recipe.seed, self.log)
        return select_samples(plan, self.out / step.folder, options, **self._how())

    def _report(self) -> tuple[int, int]:
        folders = self._shown()
        options = ReportOptions(
            title=self.recipe.title,
            names=(self._name(), *(folder.name for folder in folders[1:])),
            gallery=self.recipe.report.gallery,
            map_samples=self.recipe.report.map_samples,
            seed=self.recipe.seed,
            n_jobs=self.workers,
            command=self.command,
        )
        make_report(folders, self.out / REPORT, self.hands, options, log=self.log)
        samples = sum(len(Dataset(folder)) for folder in folders)
        return samples, samples

    def _name(self) -> str:
        """What the whole dataset is called beside its parts."""
        parts = [part.name for part in self.recipe.parts]
        return "whole" if self.recipe.name in parts else self.recipe.name

    def _how(self) -> dict[str, Any]:
        return {
            "workers": self.workers,
            "executor": self.executor,
            "progress": self.view,
            "command": self.command,
        }

    # The demo's own recording

    def _demo_take(self) -> Path:
        """The recording that the toolkit makes itself, once."""
        folder = self.out / "recordings" / DEMO
        recording = folder / "take.c3d"
        if not recording.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            recording, _ = make_take(self.hands, self.recipe.seed).write(folder)
        return recording


def _earlier_sessions(folder: Path, summary: RunSummary) -> float:
    """Seconds that sessions before this one worked at a dataset."""
    sessions = Dataset(folder).run["sessions"]
    earlier = sessions if summary.was_finished else sessions[:-1]
    return float(sum(session["seconds"] or 0.0 for session in earlier))
