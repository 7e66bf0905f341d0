"""The build stage: takes in, verified interactions out.

`plan_take` reads nothing and writes nothing: of a take the side is voted on, the subject's shape is
calibrated (or, where the take brings MANO parameters that mean something on the hand model, their
convention is settled), and the frames are cut into work units. `BuildStage` is what a worker does
with one unit: screen, solve, judge (or convert and check), and put right and left together. A
frame's result depends on what is known of its take and its own points (with smoothing: on a fixed
window of neighbours), never on how the take was cut.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np

from twohand500k.conventions import (
    LEFT,
    N_BETAS,
    N_JOINTS,
    N_MANO_JOINTS,
    RIGHT,
    SIDES,
    TIP_SETS,
)
from twohand500k.errors import DataError
from twohand500k.hand.model import HandPair
from twohand500k.ik.calibrate import Calibration, calibrate, first_guess
from twohand500k.ik.calibrate_frames import calibrate_frames, shapes_of
from twohand500k.ik.judged import JudgedSide
from twohand500k.ik.keep import KeptSide, keep_side, keeps, plan_side
from twohand500k.ik.smooth import WINDOW, smooth_target
from twohand500k.ik.solver import Settings, Solution, solve
from twohand500k.ik.verdict import Reason, SideVote, judge, screen, vote_on_side
from twohand500k.pipeline import Stats, Summary, UnitResult, split_for
from twohand500k.shards import Reject, Samples
from twohand500k.sources import Take

Array = np.ndarray

SHARD_SIZE = 4096


@dataclass(frozen=True, eq=False)
class Fitting:
    """A take to be fitted: its calibration, and what it says of each recorded side (else None)."""

    calibration: Calibration
    votes: tuple[SideVote | None, SideVote | None]

    @property
    def sha256(self) -> str:
        """Hash of everything in the calibration that the fit of a frame depends on."""
        digest = hashlib.sha256()
        arrays: list[Array] = [self.calibration.betas, self.calibration.sigma]
        for sits in self.calibration.attachments:
            arrays += [sits.carrier, sits.tip, sits.offset, sits.weight]
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Keeping:
    """A take whose MANO parameters are kept: how each side's are read (None: no such side)."""

    kept: tuple[KeptSide | None, KeptSide | None]

    @property
    def sha256(self) -> str:
        """Hash of everything here that a frame's result depends on."""
        digest = hashlib.sha256()
        for side in self.kept:
            if side is None:
                digest.update(b"no such side")
                continue
            how = side.convention
            digest.update(f"{how.relative_to} {how.left_shapedirs} {how.joints}".encode())
            digest.update(side.old_betas.tobytes() + side.new_betas.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class TakeChunk:
    """One work unit: some frames of one take and what is known of the whole take.

    take holds the frames `keep` and, when smoothing, their neighbours.
    """

    take: Take
    keep: slice
    known: Fitting | Keeping
    name: str

    @property
    def inputs(self) -> Mapping[str, str]:
        """sha256 of the take's files by take and file name, and of what is known of the take."""
        names = _told_apart([Path(f.path) for f in self.take.files])
        files = {
            f"{self.take.name}: {name}": f.sha256
            for name, f in zip(names, self.take.files, strict=True)
        }
        return files | {f"{self.take.name}: calibration": self.known.sha256}


def _told_apart(paths: Sequence[Path]) -> list[str]:
    """The last parts of each path, as few as tell them apart: where a file lies does not count."""
    for parts in range(1, 1 + max((len(path.parts) for path in paths), default=0)):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    if paths:
        raise ValueError(f"a take names one file twice: {sorted(map(str, paths))}")
    return []


@dataclass(frozen=True)
class PlannedTake:
    """A take ready for the build.

    screened: hands per reason and side, before any fit.
    """

    take: Take
    known: Fitting | Keeping
    screened: tuple[Counter[str], Counter[str]]
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
    """Learn of a take what its frames are then built with, cut it into work units.

    shape_per_side: betas of right and left apart, as they are anyway for a set annotated with MANO.
    smooth: give each unit the neighbouring frames that smoothing looks at. shard_size: frames per
    unit. threads: as `solve` takes them.
    Raises DataError if most hands of a side are of the other side, no frame can be fitted, MANO
    parameters do not agree with the take's joints, or there are only parameters of another model.
    """
    screened: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    known: Fitting | Keeping
    if keeps(take, hands):
        right, left = (plan_side(take, s, hands) if take.sides[s] else None for s in (RIGHT, LEFT))
        known = Keeping((right, left))
    else:
        known = _fitting(take, hands, screened, shape_per_side, threads)
    margin = WINDOW if smooth and isinstance(known, Fitting) else 0
    units = []
    for start in range(0, take.n_frames, shard_size):
        stop = min(start + shard_size, take.n_frames)
        first, last = max(start - margin, 0), min(stop + margin, take.n_frames)
        units.append(
            TakeChunk(
                take=take.rows(slice(first, last)),
                keep=slice(start - first, stop - first),
                known=known,
                name=f"{take.name} frames {take.frames[start]}-{take.frames[stop - 1]}",
            )
        )
    return PlannedTake(take, known, screened, tuple(units))


def _fitting(
    take: Take,
    hands: HandPair,
    screened: tuple[Counter[str], Counter[str]],
    shape_per_side: bool,
    threads: int | None,
) -> Fitting:
    """Vote on the sides of a take and calibrate it, leaving out the hands that screening refuses.

    Counts what it refuses in `screened`.
    """
    # One point is the place of a wrist, no skeleton.
    skeleton = take.seen.sum(axis=2).max(initial=0) > 1
    if take.mano is not None and take.mano.given.any() and not skeleton:
        raise DataError(
            f"take {take.name} holds MANO parameters and no joints, and {hands.right.name!r} is "
            f"not the hand model they were made for ({take.mano.model!r}): give --hand-model the "
            "folder of MANO_RIGHT and MANO_LEFT"
        )
    votes: list[SideVote | None] = [None, None]
    for side in np.flatnonzero(take.sides).tolist():
        vote = vote_on_side(take, side, hands[side], threads=threads)
        vote.require_declared(take.name)
        votes[side] = vote
    joints = [mark.joint for mark in take.landmarks]
    passed = np.zeros((take.n_frames, 2), dtype=bool)
    for side in np.flatnonzero(take.sides).tolist():
        reason, _ = screen(take.points[:, side], joints, hands[side])
        passed[:, side] = reason == Reason.OK.value
        screened[side].update(reason[take.recorded[:, side] & (take.faults == "")].tolist())
    # An annotation has betas of its own for each hand, often on two models that do not mirror.
    per_side = shape_per_side or take.mano is not None
    calibration = _calibrate(take, passed, hands, per_side, threads)
    return Fitting(calibration, (votes[0], votes[1]))


def _calibrate(
    take: Take, passed: Array, hands: HandPair, per_side: bool, threads: int | None
) -> Calibration:
    """Calibrate on the hands that passed (T, 2): a faulty one must not bend the shape to itself.

    Where no hand did, the template stands in; every hand is then refused with its own reason.
    """
    points = np.where(passed[..., None, None], take.points, np.nan)
    if np.isfinite(points).any():
        if take.shape == "frame":
            return calibrate_frames(take, passed, hands, threads=threads)
        tips = TIP_SETS[take.tips]
        own = HandPair(hands.right.with_tips(tips), hands.left.with_tips(tips))
        return calibrate(replace(take, points=points), own, per_side=per_side, threads=threads)
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
        sides = (_judged_side(self, chunk, RIGHT), _judged_side(self, chunk, LEFT))
        # Percent-encoded where a take's name is not ASCII: ids are, and stay unique.
        stem = quote(f"{take.source}/{take.name}", safe="/ !#$&'()+,;=@[]{}")
        ids = np.array([f"{stem}/{frame:06d}" for frame in take.frames])
        ok = np.stack([s.verdicts.ok if s else np.zeros(len(ids), bool) for s in sides], axis=1)
        ok &= take.recorded & (take.faults == "")[:, None]
        kept: Array = np.asarray(ok.any(axis=1))
        if not self.one_hand:
            kept = kept & (ok | ~take.recorded).all(axis=1)
        refused = np.flatnonzero(~kept).tolist()
        rejects = tuple(_reject(str(ids[row]), take, sides, row) for row in refused)
        samples = _samples(take, ids, sides, ok, kept) if kept.any() else None
        return UnitResult(samples, rejects, n_in=len(ids), stats=_stats(take, sides, kept))


def _judged_side(stage: BuildStage, chunk: TakeChunk, side: int) -> JudgedSide | None:
    """One side of a chunk, fitted or kept; None where the take has no such side."""
    known = chunk.known
    if isinstance(known, Keeping):
        kept = known.kept[side]
        if kept is None:
            return None
        return keep_side(chunk.take.rows(chunk.keep), side, kept, stage.hands)
    vote = known.votes[side]
    return None if vote is None else _fit_side(stage, chunk, side, known.calibration, vote)


def _fit_side(
    stage: BuildStage, chunk: TakeChunk, side: int, calibration: Calibration, vote: SideVote
) -> JudgedSide:
    take = chunk.take
    model = stage.hands[side].with_tips(TIP_SETS[take.tips])
    attachments = calibration.attachments[side]
    sigma = float(calibration.sigma[side])
    settings = Settings() if np.isnan(sigma) else Settings(sigma_point=sigma)
    points = take.points[:, side]
    betas = calibration.betas[side]
    if take.shape == "frame":
        betas = shapes_of(points, attachments, model, settings.sigma_point)
    shaped = model.with_shape(betas)
    solution = solve(points, shaped, attachments, settings)
    if stage.smooth:
        target = smooth_target(solution, shaped, take.timestamps)
        solution = solve(points, shaped, attachments, settings, target=target)
    points, solution = points[chunk.keep], solution.rows(chunk.keep)
    if betas.ndim == 2:
        shaped = model.with_shape(betas[chunk.keep])
    verdicts = judge(points, solution, shaped, attachments, settings)
    stored = stage.hands[side].with_shape(shaped.betas)
    return JudgedSide(
        pose=solution.pose,
        transl=solution.transl,
        betas=np.broadcast_to(shaped.betas, (len(points), N_BETAS)),
        joints=stored.with_pose(solution.pose, solution.transl).joints,
        fit_error=_mean_residual(solution),
        limit_violation=solution.limit_excess.max(axis=(1, 2)),
        converged=solution.converged,
        verdicts=verdicts,
        # Within a take the take decides: a single flat hand is in doubt only if the take is.
        ambiguous=verdicts.ambiguous & (vote.decision == "undecided"),
        refit_residual=np.full(len(points), np.nan),
    )


def _mean_residual(solution: Solution) -> Array:
    """Mean distance over the landmarks seen (T,), m; NaN where nothing was fitted."""
    seen = np.isfinite(solution.residual)
    total = np.where(seen, solution.residual, 0.0).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return total / seen.sum(axis=1)


def _samples(
    take: Take, ids: Array, sides: Sequence[JudgedSide | None], present: Array, kept: Array
) -> Samples:
    """The kept interactions of a chunk; a hand that is not ok is absent."""
    n = len(ids)

    def both(name: str, tail: tuple[int, ...] = ()) -> Array:
        out = np.full((n, 2, *tail), np.nan)
        for side, judged in enumerate(sides):
            if judged is not None:
                out[:, side] = getattr(judged, name)
        out[~present] = np.nan
        return out[kept]

    ambiguous = np.zeros((n, 2), dtype=bool)
    for side, judged in enumerate(sides):
        if judged is not None:
            ambiguous[:, side] = judged.ambiguous
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
        split=np.full(count, take.split or split_for(take.source, take.subject or take.name)),
        fit_error=both("fit_error"),
        limit_violation=both("limit_violation"),
        side_ambiguous=(ambiguous & present)[kept],
    )


def _reject(sample_id: str, take: Take, sides: Sequence[JudgedSide | None], row: int) -> Reject:
    """Why a frame is refused: the first bad side's reason, and what was seen on each."""
    if take.faults[row]:
        return Reject(sample_id, take.source, Reason.UNREADABLE.value, str(take.faults[row]))
    faults = [
        (str(judged.verdicts.reason[row]), f"{SIDES[side]}: {judged.verdicts.detail[row]}")
        for side, judged in enumerate(sides)
        if judged is not None and take.recorded[row, side] and not judged.verdicts.ok[row]
    ]
    if not faults:
        return Reject(sample_id, take.source, Reason.TOO_FEW_JOINTS.value, "holds no hand")
    return Reject(sample_id, take.source, faults[0][0], "; ".join(said for _, said in faults))


def _stats(take: Take, sides: Sequence[JudgedSide | None], kept: Array) -> Stats:
    counts: Counter[str] = Counter()
    errors, refits = Summary(), Summary()
    for side, judged in enumerate(sides):
        if judged is None:
            continue
        there = take.recorded[:, side]
        ok = judged.verdicts.ok & there
        counts["hands"] += int(there.sum())
        counts["hands_ok"] += int(ok.sum())
        counts["hands_ok_not_converged"] += int((ok & ~judged.converged).sum())
        counts["hands_side_ambiguous"] += int((ok & judged.ambiguous).sum())
        errors += Summary.of(judged.fit_error[kept & there])
        refits += Summary.of(judged.refit_residual[kept & there])
    summaries = {"fit_error_m": errors}
    if refits.n:
        summaries["left_betas_refit_residual_m"] = refits
    return Stats(counts=dict(counts), summaries=summaries)
