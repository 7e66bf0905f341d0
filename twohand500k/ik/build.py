"""`build_takes`: takes in, a finished dataset out. What `twohand build` and `twohand demo` call.

Plans every take (side vote, calibration) in this process, then hands the work units to the
pipeline. Everything that can change the result is in `BuildOptions` or in the files themselves, so
the pipeline can refuse to resume with other options.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from twohand500k.conventions import SIDES
from twohand500k.errors import DataError
from twohand500k.hand.model import HandPair
from twohand500k.ik.keep import Convention
from twohand500k.ik.stage import (
    SHARD_SIZE,
    BuildStage,
    Fitting,
    Keeping,
    PlannedTake,
    plan_take,
)
from twohand500k.ik.verdict import Reason, Thresholds
from twohand500k.pipeline import RunSummary, run
from twohand500k.pipeline.progress import Shown
from twohand500k.pipeline.worker import Stage
from twohand500k.shards import Dataset
from twohand500k.sources import Take

Log = Callable[[str], None]
# What judges a stage's samples; handed in, as this package does not know the judge.
Judging = Callable[[Stage], Stage]
# So many takes are told one by one as they are planned; doubts are told of every one.
_TOLD = 24
# An angle so far outside its limits counts as past it in a summary, rad.
_PAST = np.radians(5)


@dataclass(frozen=True)
class BuildOptions:
    """Options of a build that change its result.

    every: keep each n-th frame; limit: at most so many frames a take (after `every`).
    smooth: steady each hand over time. shape_per_side: right and left betas apart.
    one_hand: keep frames of which only one hand is good. shard_size: frames per work unit.
    """

    every: int = 1
    limit: int | None = None
    smooth: bool = False
    shape_per_side: bool = False
    one_hand: bool = False
    shard_size: int = SHARD_SIZE

    def frames_of(self, take: Take) -> Take:
        """The frames of a take that are built."""
        stop = None if self.limit is None else self.limit * self.every
        return take.rows(slice(0, stop, self.every))


@dataclass(frozen=True)
class TakeReport:
    """One take after the build.

    frames, kept: read and kept. residual_median, residual_p95: mean distance of a hand's fit from
    its points, m. past_limit_share: hands with an angle 5 degrees or more past its limit. NaN where
    nothing was kept. betas (2, 10), sigma (2,) m: the calibration; converged: whether it settled.
    betas None where each frame has its own; all None where the annotation's parameters were kept.
    """

    name: str
    frames: int
    kept: int
    residual_median: float
    residual_p95: float
    past_limit_share: float
    betas: Sequence[Sequence[float]] | None
    sigma: Sequence[float] | None
    converged: bool | None


@dataclass(frozen=True)
class BuildReport:
    """What a build did."""

    run: RunSummary
    takes: tuple[TakeReport, ...]


def plan_takes(
    takes: Sequence[Take], hands: HandPair, options: BuildOptions, log: Log = lambda line: None
) -> tuple[PlannedTake, ...]:
    """Vote and calibrate every take, cut it into units. Raises DataError as `plan_take` does."""
    planned: list[PlannedTake] = []
    for take in takes:
        some = _with_usable_times(options.frames_of(take), log)
        if not some.n_frames:
            raise DataError(f"take {take.name} has no frame left")
        # One BLAS thread, as in the units: a product split otherwise may differ in its last bit.
        with threadpool_limits(limits=1, user_api="blas"):
            plan = plan_take(
                some,
                hands,
                shape_per_side=options.shape_per_side,
                smooth=options.smooth,
                shard_size=options.shard_size,
            )
        if len(planned) < _TOLD or len(takes) == _TOLD + 1:
            log(_planned_line(plan))
        elif len(planned) == _TOLD:
            log(f"… and {len(takes) - _TOLD:,} more takes")
        for line in _doubts(plan):
            log(f"{take.name}: {line}")
        if options.smooth and not np.isfinite(some.timestamps).all():
            log(f"{take.name}: no times; smoothing takes the frames as evenly spaced")
        planned.append(plan)
    return tuple(planned)


def build_takes(
    takes: Sequence[Take],
    hands: HandPair,
    out: Path,
    options: BuildOptions | None = None,
    *,
    declared: Mapping[str, Any] | None = None,
    seed: int = 0,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Shown = True,
    log: Log = lambda line: None,
    command: str | None = None,
    judging: Judging | None = None,
) -> BuildReport:
    """Build a dataset of `takes` in `out`; an unfinished one is resumed.

    declared: what the reader was told (map, unit, side, subject), recorded and compared on resume.
    workers, executor: as `pipeline.run` takes them. log: told one line per take as it is planned.
    judging: wraps the stage so that its pairs are judged; recorded as the option `judge`.

    Raises DataError if the data or the disk fail, the takes stand in different frames of space, or
    nothing at all was kept.
    """
    options = options or BuildOptions()
    frames = sorted({take.frame for take in takes})
    if len(frames) > 1:
        raise DataError(
            f"the takes stand in different frames of space ({', '.join(frames)}): a dataset has "
            "one, build them apart"
        )
    planned = plan_takes(takes, hands, options, log)
    stage = BuildStage(hands, smooth=options.smooth, one_hand=options.one_hand)
    summary = run(
        stage if judging is None else judging(stage),
        [unit for plan in planned for unit in plan.units],
        out,
        name="build",
        options=asdict(options)
        | dict(declared or {})
        | ({} if judging is None else {"judge": True}),
        hands=hands,
        seed=seed,
        frame=frames[0],
        workers=workers,
        executor=executor,
        progress=progress,
        command=command,
    )
    if not summary.n_kept:
        reasons = ", ".join(f"{n} {reason}" for reason, n in summary.rejected_per_reason.items())
        raise DataError(
            f"no interaction was kept of {summary.n_in}: {reasons}; each is named with its reason "
            f"in {out / 'rejects.jsonl'}"
        )
    return BuildReport(summary, _take_reports(Dataset(out), planned))


def _take_reports(dataset: Dataset, planned: Sequence[PlannedTake]) -> tuple[TakeReport, ...]:
    error: dict[str, list[np.ndarray]] = {}
    violated: dict[str, list[np.ndarray]] = {}
    kept: dict[str, int] = {}
    for samples in dataset.shards():
        for name in np.unique(samples.take):
            rows = samples.take == name
            there = samples.present[rows]
            error.setdefault(name, []).append(samples.fit_error[rows][there])
            violated.setdefault(name, []).append(samples.limit_violation[rows][there])
            kept[name] = kept.get(name, 0) + int(rows.sum())
    reports = []
    for plan in planned:
        name = plan.take.name
        found = plan.known.calibration if isinstance(plan.known, Fitting) else None
        fit = np.concatenate(error.get(name, [np.array([np.nan])])).astype(np.float64)
        excess = np.concatenate(violated.get(name, [np.array([np.nan])]))
        reports.append(
            TakeReport(
                name=name,
                frames=plan.take.n_frames,
                kept=kept.get(name, 0),
                residual_median=float(np.median(fit)),
                residual_p95=float(np.percentile(fit, 95)),
                past_limit_share=float(np.where(np.isnan(excess), np.nan, excess > _PAST).mean()),
                betas=(
                    found.betas.round(3).tolist()
                    if found is not None and plan.take.shape == "subject"
                    else None
                ),
                sigma=None if found is None else found.sigma.tolist(),
                converged=None if found is None else found.converged,
            )
        )
    return tuple(reports)


def _with_usable_times(take: Take, log: Log) -> Take:
    """Times that do not increase are no times: said, and taken for unknown."""
    if np.isnan(take.timestamps).all() or (np.diff(take.timestamps) > 0).all():
        return take
    log(f"{take.name}: its times do not increase from frame to frame; taken for unknown")
    return replace(take, timestamps=np.full(take.n_frames, np.nan))


def _doubts(plan: PlannedTake) -> list[str]:
    """What a person should know before the frames are built."""
    take = plan.take
    lines = []
    if faulty := int((take.faults != "").sum()):
        first = str(take.faults[take.faults != ""][0])
        lines.append(f"{faulty:,} frames cannot be read and are refused; the first: {first}")
    if isinstance(plan.known, Keeping):
        return lines
    if take.mano is not None:
        lines.append("its MANO parameters mean nothing on this hand model; fitted to its joints")
    for side in np.flatnonzero(take.sides).tolist():
        seen = np.isfinite(take.points[:, side]).all(axis=-1).any(axis=0)
        never = [m.name for m, there in zip(take.landmarks, seen, strict=True) if not there]
        if never and seen.any():
            lines.append(f"never seen of the {SIDES[side]} hand: {', '.join(never)}")
        reasons = plan.screened[side]
        for reason, count in sorted(reasons.items()):
            if reason != Reason.OK and 2 * count > reasons.total():
                lines.append(f"{count:,} {SIDES[side]} hands are refused before a fit: {reason}")
    sigma = np.nan_to_num(plan.known.calibration.sigma)
    if sigma.max() > Thresholds.sigma_most:
        lines.append(
            f"{1e3 * sigma.max():.1f} mm from the best hand that fits the take: a wrong joint in "
            "the map, hands of two sizes (--shape-per-side), or a very rough recording"
        )
    return lines


def _planned_line(plan: PlannedTake) -> str:
    take, known = plan.take, plan.known
    seen = " and ".join(side for side, there in zip(SIDES, take.sides, strict=True) if there)
    said = f"{take.name}: {take.n_frames:,} frames, {seen}, "
    if isinstance(known, Keeping):
        return f"{said}MANO parameters kept: " + "; ".join(
            _convention_line(side, kept.convention)
            for side, kept in zip(SIDES, known.kept, strict=True)
            if kept is not None
        )
    sigma = known.calibration.sigma[np.isfinite(known.calibration.sigma)]
    if not len(sigma):
        found = "no hand to calibrate on"
    else:
        found = f"noise {1e3 * sigma.max():.2f} mm"
        found += "" if known.calibration.converged else ", calibration did not settle"
    unit = f"{take.unit.name} ({take.unit.how})"
    shape = ", a shape for every hand" if take.shape == "frame" else ""
    return f"{said}{len(take.landmarks)} landmarks, {unit}{shape}, {found}"


def _convention_line(side: str, convention: Convention) -> str:
    line = f"{side} relative to the {convention.relative_to} hand"
    if side == "left":
        line += f", left shape directions {convention.left_shapedirs}"
    if np.isnan(convention.agreement):
        return f"{line}, no joints to check against"
    return f"{line}, {1e3 * convention.agreement:.2f} mm from its own {convention.joints} joints"
