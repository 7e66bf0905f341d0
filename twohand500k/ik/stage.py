"""The build stage: takes in, verified interactions out.

`plan_build` reads nothing and writes nothing: takes come in, and for each of them the side is
voted on, the subject's shape is calibrated, and the frames are cut into work units. `BuildStage` is
what a worker does with one unit: screen, solve, judge, and put right and left together. A frame's
result depends on its take's calibration and its own points (with smoothing: on a fixed window of
neighbours), never on how the take was cut.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np

from twohand500k.conventions import N_BETAS, N_JOINTS, N_MANO_JOINTS, SIDES
from twohand500k.hand.model import HandPair
from twohand500k.ik.calibrate import Calibration, calibrate, first_guess
from twohand500k.ik.smooth import WINDOW, smooth_target
from twohand500k.ik.solver import Settings, Solution, solve
from twohand500k.ik.verdict import Reason, SideVote, Verdicts, judge, screen, vote_on_side
from twohand500k.pipeline import Stats, Summary, UnitResult, split_for
from twohand500k.shards import Reject, Samples
from twohand500k.sources import Take

Array = np.ndarray

SHARD_SIZE = 4096


@dataclass(frozen=True, eq=False)
class TakeChunk:
    """One work unit: some frames of one take and what is known of the whole take.

    take holds the frames `keep` and, when smoothing, their neighbours. votes: what the take says
    of each recorded side (None where that side was not recorded).
    """

    take: Take
    keep: slice
    calibration: Calibration
    votes: tuple[SideVote | None, SideVote | None]
    name: str

    @property
    def inputs(self) -> Mapping[str, str]:
        """sha256 of the take's files by take and file name, and of the calibration."""
        files = {f"{self.take.name}: {Path(f.path).name}": f.sha256 for f in self.take.files}
        return files | {f"{self.take.name}: calibration": _sha256(self.calibration)}


@dataclass(frozen=True)
class PlannedTake:
    """A take ready for the build.

    screened: hands per reason and side, before any fit.
    """

    take: Take
    calibration: Calibration
    votes: tuple[SideVote | None, SideVote | None]
    screened: tuple[Mapping[str, int], Mapping[str, int]]
    units: tuple[TakeChunk, ...]


def plan_take(
    take: Take,
    hands: HandPair,
    *,
    shape_per_side: bool = False,
    smooth: bool = False,
    shard_size: int = SHARD_SIZE,
    threads: int | None = None,
) -> PlannedTake:
    """Vote on the sides of a take, calibrate its subject, cut it into work units.

    shape_per_side: betas of right and left apart. smooth: give each unit the neighbouring frames
    that smoothing looks at. shard_size: frames per unit. threads: as `solve` takes them.
    Raises DataError if most hands of a side are of the other side, or no frame can be fitted.
    """
    votes: list[SideVote | None] = [None, None]
    for side in np.flatnonzero(take.sides).tolist():
        vote = vote_on_side(take, side, hands[side], threads=threads)
        vote.require_declared(take.name)
        votes[side] = vote
    joints = [mark.joint for mark in take.landmarks]
    passed = np.zeros((take.n_frames, 2), dtype=bool)
    screened: list[Counter[str]] = [Counter(), Counter()]
    for side in np.flatnonzero(take.sides).tolist():
        reason, _ = screen(take.points[:, side], joints, hands[side])
        passed[:, side] = reason == Reason.OK.value
        screened[side].update(reason.tolist())
    calibration = _calibrate(take, passed, hands, shape_per_side, threads)
    margin = WINDOW if smooth else 0
    units = []
    for start in range(0, take.n_frames, shard_size):
        stop = min(start + shard_size, take.n_frames)
        first, last = max(start - margin, 0), min(stop + margin, take.n_frames)
        units.append(
            TakeChunk(
                take=take.rows(slice(first, last)),
                keep=slice(start - first, stop - first),
                calibration=calibration,
                votes=(votes[0], votes[1]),
                name=f"{take.name} frames {take.frames[start]}-{take.frames[stop - 1]}",
            )
        )
    return PlannedTake(
        take, calibration, (votes[0], votes[1]), (screened[0], screened[1]), tuple(units)
    )


def _calibrate(
    take: Take, passed: Array, hands: HandPair, per_side: bool, threads: int | None
) -> Calibration:
    """Calibrate on the hands that passed (T, 2): a faulty one must not bend the shape to itself.

    Where no hand did, the template stands in; every hand is then refused with its own reason.
    """
    points = np.where(passed[..., None, None], take.points, np.nan)
    if np.isfinite(points).any():
        return calibrate(replace(take, points=points), hands, per_side=per_side, threads=threads)
    right = first_guess(take.landmarks, hands.right)
    left = first_guess(take.landmarks, hands.left.mirrored()).mirrored()
    nothing = np.empty(0, dtype=np.int64)
    return Calibration(
        betas=np.zeros((2, N_BETAS)),
        attachments=(right, left),
        sigma=np.full(2, np.nan),
        frames=(nothing, nothing),
        iterations=0,
        converged=False,
    )


@dataclass(frozen=True)
class BuildStage:
    """What a worker does with a `TakeChunk`.

    hands: the model to fit. smooth: steady each hand over time. one_hand: keep an interaction of
    which only one hand is good, with the other absent; otherwise both recorded hands must be.
    """

    hands: HandPair
    smooth: bool = False
    one_hand: bool = False

    def __call__(self, chunk: TakeChunk) -> UnitResult:
        take = chunk.take.rows(chunk.keep)
        fits = [_fit_side(self, chunk, side) for side in range(2)]
        # Percent-encoded where a take's name is not ASCII: ids are, and stay unique.
        stem = quote(f"{take.source}/{take.name}", safe="/ !#$&'()+,;=@[]{}")
        ids = np.array([f"{stem}/{frame:06d}" for frame in take.frames])
        ok = np.stack([fit.verdicts.ok if fit else np.zeros(len(ids), bool) for fit in fits], 1)
        recorded = ok[:, take.sides]
        kept: Array = np.asarray(recorded.any(1) if self.one_hand else recorded.all(1))
        refused = np.flatnonzero(~kept).tolist()
        rejects = tuple(_reject(str(ids[row]), take, fits, row) for row in refused)
        samples = _samples(take, ids, fits, ok, kept) if kept.any() else None
        return UnitResult(samples, rejects, n_in=len(ids), stats=_stats(fits, kept))


@dataclass(frozen=True, eq=False)
class _SideFit:
    """One side of a chunk: T frames fitted and judged. NaN where there is no fit."""

    pose: Array
    transl: Array
    betas: Array
    joints: Array
    fit_error: Array
    limit_violation: Array
    converged: Array
    verdicts: Verdicts
    ambiguous: Array


def _fit_side(stage: BuildStage, chunk: TakeChunk, side: int) -> _SideFit | None:
    take, calibration = chunk.take, chunk.calibration
    vote = chunk.votes[side]
    if vote is None:
        return None
    shaped = stage.hands[side].with_shape(calibration.betas[side])
    attachments = calibration.attachments[side]
    sigma = float(calibration.sigma[side])
    settings = Settings() if np.isnan(sigma) else Settings(sigma_point=sigma)
    points = take.points[:, side]
    solution = solve(points, shaped, attachments, settings)
    if stage.smooth:
        target = smooth_target(solution, shaped, take.timestamps)
        solution = solve(points, shaped, attachments, settings, target=target)
    points, solution = points[chunk.keep], solution.rows(chunk.keep)
    verdicts = judge(points, solution, shaped, attachments, settings)
    return _SideFit(
        pose=solution.pose,
        transl=solution.transl,
        betas=np.broadcast_to(shaped.betas, (len(points), N_BETAS)),
        joints=shaped.with_pose(solution.pose, solution.transl).joints,
        fit_error=_mean_residual(solution),
        limit_violation=solution.limit_excess.max(axis=(1, 2)),
        converged=solution.converged,
        verdicts=verdicts,
        # Within a take the take decides: a single flat hand is in doubt only if the take is.
        ambiguous=verdicts.ambiguous & (vote.decision == "undecided"),
    )


def _sha256(calibration: Calibration) -> str:
    """Hash of everything in a calibration that the fit of a frame depends on."""
    digest = hashlib.sha256()
    arrays: list[Array] = [calibration.betas, calibration.sigma]
    for sits in calibration.attachments:
        arrays += [sits.carrier, sits.tip, sits.offset, sits.weight]
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _mean_residual(solution: Solution) -> Array:
    """Mean distance over the landmarks seen (T,), m; NaN where nothing was fitted."""
    seen = np.isfinite(solution.residual)
    total = np.where(seen, solution.residual, 0.0).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return total / seen.sum(axis=1)


def _samples(
    take: Take, ids: Array, fits: Sequence[_SideFit | None], present: Array, kept: Array
) -> Samples:
    """The kept interactions of a chunk; a hand that is not ok is absent."""
    n = len(ids)

    def both(name: str, tail: tuple[int, ...] = ()) -> Array:
        out = np.full((n, 2, *tail), np.nan)
        for side, fit in enumerate(fits):
            if fit is not None:
                out[:, side] = getattr(fit, name)
        out[~present] = np.nan
        return out[kept]

    ambiguous = np.zeros((n, 2), dtype=bool)
    for side, fit in enumerate(fits):
        if fit is not None:
            ambiguous[:, side] = fit.ambiguous
    count = int(kept.sum())
    return Samples(
        sample_id=ids[kept],
        pose=both("pose", (N_MANO_JOINTS, 3)),
        betas=both("betas", (N_BETAS,)),
        transl=both("transl", (3,)),
        joints=both("joints", (N_JOINTS, 3)),
        present=present[kept],
        source=np.full(count, take.source),
        subject=np.full(count, take.subject),
        take=np.full(count, take.name),
        frame=take.frames[kept],
        timestamp=take.timestamps[kept],
        mirrored=np.zeros((count, 2), dtype=bool),
        split=np.full(count, split_for(take.source, take.subject or take.name)),
        fit_error=both("fit_error"),
        limit_violation=both("limit_violation"),
        side_ambiguous=(ambiguous & present)[kept],
    )


def _reject(sample_id: str, take: Take, fits: Sequence[_SideFit | None], row: int) -> Reject:
    """Why a frame is refused: the first bad side's reason, and what was seen on each."""
    faults = [
        (str(fit.verdicts.reason[row]), f"{SIDES[side]}: {fit.verdicts.detail[row]}")
        for side, fit in enumerate(fits)
        if fit is not None and not fit.verdicts.ok[row]
    ]
    return Reject(sample_id, take.source, faults[0][0], "; ".join(said for _, said in faults))


def _stats(fits: Sequence[_SideFit | None], kept: Array) -> Stats:
    there = [fit for fit in fits if fit is not None]
    counts = {
        "hands": sum(len(fit.pose) for fit in there),
        "hands_ok": sum(int(fit.verdicts.ok.sum()) for fit in there),
        "hands_ok_not_converged": sum(
            int((~fit.converged)[fit.verdicts.ok].sum()) for fit in there
        ),
        "hands_side_ambiguous": sum(int(fit.ambiguous.sum()) for fit in there),
    }
    errors = sum((Summary.of(fit.fit_error[kept]) for fit in there), Summary())
    return Stats(counts=counts, summaries={"fit_error_m": errors})
