"""Joints, MANO parameters and recordings: every hand through the build's gates, pairs judged.

In: takes as the sources read them. Out: `Facts`, and in OUT/dataset the frames of which every hand
is good, fitted, as a build would keep them. A build stops where most hands of a take are of the
other side, or nothing is left; an audit says so and goes on:

- All sides of a take mirrored: it is read in the mirror (x negated), which changes no angle and no
  overlap; its hands are then `mirrored`, and those that only fit unmirrored are good.
- One of two sides mirrored: the two are read apart, that one in its mirror; their overlap is not
  known.
- Both wrists at the origin: read apart, for where the hands are to each other is lost.
- A take that cannot be fitted at all (joints in another order, parameters that contradict their own
  joints): every hand of it has that reason.
"""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from twohand500k.audit.arrays import wrists_at_origin
from twohand500k.audit.dataset import facts_of_samples
from twohand500k.audit.facts import OK, Facts
from twohand500k.conventions import SIDES
from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.hand.rotations import mirror_points
from twohand500k.ik.build import BuildOptions, Log, plan_takes
from twohand500k.ik.stage import BuildStage, Fitting, Keeping, PlannedTake, TakeChunk
from twohand500k.ik.verdict import Reason, SideVote, vote_on_side
from twohand500k.physics.judging import Judging
from twohand500k.pipeline import RunSummary, UnitResult, run
from twohand500k.pipeline.progress import Shown
from twohand500k.shards import Dataset, Reject, Samples
from twohand500k.sources import Take

Array = np.ndarray

# So many takes are told of one by one as they are planned.
_TOLD = 24


@dataclass(frozen=True, eq=False)
class ReadTake:
    """A take as an audit reads it.

    mirrored: its points were taken in the mirror; vote: of which hands, in words. apart: why its
    two hands are read one by one, "" where they are not. lost: nothing of it can be fitted, for
    this `reason`. plan: of what can.
    """

    take: Take
    mirrored: bool = False
    vote: str = ""
    apart: str = ""
    reason: str = ""
    lost: str = ""
    plan: PlannedTake | None = None


def read_takes_for_audit(
    takes: Sequence[Take], hands: HandPair, options: BuildOptions, log: Log = lambda line: None
) -> list[ReadTake]:
    """How each take is to be read: as it is, in the mirror, its sides apart, or not at all.

    Raises DataError where MANO parameters come without joints and without their hand model.
    """
    out: list[ReadTake] = []
    for whole in takes:
        take = options.frames_of(whole)
        if not take.n_frames:
            continue
        votes = _votes(take, hands)
        mirrored = [v is not None and v.decision == "mirrored" for v in votes]
        told = {s: _vote_line(v) for s, v in enumerate(votes) if v is not None}
        apart = wrists_at_origin(take)
        why = ""
        if not apart and (
            not any(mirrored) or all(m or v is None for m, v in zip(mirrored, votes, strict=True))
        ):
            parts = [(take, any(mirrored), "; ".join(told.values()))]
        else:
            parts = [
                (_one_side(take, side), mirrored[side], told.get(side, ""))
                for side in np.flatnonzero(take.sides).tolist()
            ]
            why = "both wrists lie at the origin" if apart else "one of its sides is mirrored"
            log(f"{take.name}: {why}; right and left are read apart, their overlap is not known")
        for part, flip, vote in parts:
            if flip:
                log(f"{part.name}: {vote}; read in the mirror")
                part = replace(part, points=mirror_points(part.points), mano=None)
            tell = log if len(out) < _TOLD else _nothing
            out.append(_planned(ReadTake(part, flip, vote, why), hands, tell))
    return out


def _nothing(line: str) -> None:
    """Told of no more takes."""


def remarks_on(reads: Sequence[ReadTake]) -> list[str]:
    """What holds of whole takes, in sentences for the verdict."""
    out = []
    units = sorted({r.take.unit.name for r in reads if r.take.unit.how == "inferred"} - {"m"})
    if units:
        out.append(f"The numbers are {' and '.join(units)}, not metres, by the size of the hands.")
    both = [r for r in reads if r.mirrored and r.take.sides.all()]
    if both:
        out.append(
            f"Both hands of {_takes(both)} are mirrored throughout: right and left are swapped, or "
            "the coordinates are left-handed."
        )
    for side, name in enumerate(SIDES):
        alone = [r for r in reads if r.mirrored and r.take.sides[side] and not r.take.sides.all()]
        if alone:
            other = SIDES[1 - side]
            out.append(f"The {name} hands of {_takes(alone)} are {other} ones, or mirrored.")
    for why in sorted({r.apart for r in reads} - {""}):
        out.append(f"Where {why}, the overlap of the two hands is not known.")
    lost = [r for r in reads if r.lost]
    if lost:
        out.append(f"Nothing of {_takes(lost)} could be fitted: {lost[0].lost}.")
    return out


def _takes(reads: Sequence[ReadTake]) -> str:
    names = sorted(read.take.name for read in reads)
    return names[0] if len(names) == 1 else f"{len(names):,} takes ({names[0]}, …)"


def _votes(take: Take, hands: HandPair) -> tuple[SideVote | None, SideVote | None]:
    """What the hands of each side say; None where there is none, or no skeleton to ask."""
    votes: list[SideVote | None] = [None, None]
    if take.seen.sum(axis=2).max(initial=0) > 1:
        for side in np.flatnonzero(take.sides).tolist():
            votes[side] = vote_on_side(take, side, hands[side])
    return votes[0], votes[1]


def _vote_line(vote: SideVote) -> str:
    asked = vote.declared + vote.mirrored + vote.undecided + vote.reordered
    other = SIDES[1 - SIDES.index(vote.side)]
    return f"{vote.mirrored} of {asked} {vote.side} hands asked fit only a {other} hand"


def _one_side(take: Take, side: int) -> Take:
    """The take with one hand; a name of its own, so that its ids are."""
    only = np.arange(2) == side
    return replace(
        take,
        name=f"{take.name} ({SIDES[side]} alone)",
        sides=take.sides & only,
        recorded=take.recorded & only,
    )


def _planned(read: ReadTake, hands: HandPair, log: Log) -> ReadTake:
    """The same with its plan, or marked lost where a plan is refused."""
    take = read.take
    try:
        (plan,) = plan_takes([take], hands, BuildOptions(), log)
    except DataError as error:
        if take.mano is not None and take.seen.sum(axis=2).max(initial=0) <= 1:
            raise  # parameters without their hand model: nothing of the input can be asked
        log(f"{take.name}: {error}")
        return replace(read, lost=str(error), reason=_reason_of(str(error)))
    return replace(read, plan=plan)


def _reason_of(said: str) -> str:
    """The reason code of a refused plan, by what it says."""
    if "order of the joints" in said:
        return Reason.JOINT_ORDER.value
    if "fit only a" in said:
        return Reason.MIRRORED.value
    return Reason.ANNOTATION_DISAGREES.value


# --- the stage -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class AuditStage:
    """A build's stage that asks for every hand by itself and says of each what became of it.

    hands: the model to fit. mirrored: names of takes that are read in the mirror. A frame is kept
    when each of its hands is good (in the mirror: as it is read); else it is a reject whose detail
    `reject_sides` reads.
    """

    hands: HandPair
    mirrored: frozenset[str] = field(default_factory=frozenset)

    def __call__(self, chunk: TakeChunk) -> UnitResult:
        take = chunk.take.rows(chunk.keep)
        build = BuildStage(self.hands)
        per_side = [build(one) if (one := _chunk_of(chunk, take, s)) else None for s in (0, 1)]
        ids = _ids(take, build, chunk)
        said: list[dict[str, tuple[str, str]]] = [{}, {}]
        for side, result in enumerate(per_side):
            for reject in result.rejects if result else ():
                detail = reject.detail.removeprefix(f"{SIDES[side]}: ")
                said[side][reject.sample_id] = (reject.reason, detail)
        kept, rejects = [], []
        for row, sample_id in enumerate(ids):
            there = np.flatnonzero(take.recorded[row]).tolist()
            if take.faults[row]:
                hands = {side: (Reason.UNREADABLE.value, str(take.faults[row])) for side in there}
            else:
                hands = {side: said[side].get(sample_id, (OK, "")) for side in there}
            if hands and all(reason == OK for reason, _ in hands.values()):
                kept.append(sample_id)
            else:
                rejects.append(_reject(sample_id, take.source, hands))
        parts = [None if result is None else result.samples for result in per_side]
        samples = _joined(parts, kept, take.name in self.mirrored) if kept else None
        return UnitResult(samples, tuple(rejects), n_in=len(ids))


def _chunk_of(chunk: TakeChunk, take: Take, side: int) -> TakeChunk | None:
    """The chunk's frames that hold one side, with that side alone; None if there is none."""
    rows = np.flatnonzero(take.recorded[:, side] & (take.faults == ""))
    if not len(rows):
        return None
    only = np.arange(2) == side
    part = take.rows(rows)
    part = replace(part, sides=part.sides & only, recorded=part.recorded & only)
    known = chunk.known
    if isinstance(known, Keeping):
        kept = tuple(k if s == side else None for s, k in enumerate(known.kept))
        own: Fitting | Keeping = Keeping((kept[0], kept[1]))
    else:
        votes = tuple(v if s == side else None for s, v in enumerate(known.votes))
        own = Fitting(known.calibration, (votes[0], votes[1]))
    return replace(chunk, take=part, keep=slice(0, len(rows)), known=own)


def _ids(take: Take, build: BuildStage, chunk: TakeChunk) -> list[str]:
    """The build's ids of all frames: those of a take without a readable hand, which fits none."""
    faulty = replace(take, faults=np.full(take.n_frames, "asked for its id"))
    empty = Keeping((None, None))
    whole = slice(0, take.n_frames)
    return [
        r.sample_id for r in build(replace(chunk, take=faulty, keep=whole, known=empty)).rejects
    ]


def _joined(parts: Sequence[Samples | None], kept: Sequence[str], mirrored: bool) -> Samples:
    """The samples `kept`, each with its hands from the one-sided samples of right and left."""
    at = [{} if p is None else {str(i): k for k, i in enumerate(p.sample_id)} for p in parts]
    only = [i for i in kept if not (i in at[0] and i in at[1])]
    pieces = []
    for side, part in enumerate(parts):
        mine = [at[side][i] for i in only if i in at[side]]
        if part is not None and mine:
            pieces.append(part.select(mine))
    both = [i for i in kept if i in at[0] and i in at[1]]
    if both and parts[0] is not None and parts[1] is not None:
        right = parts[0].select([at[0][i] for i in both])
        left = parts[1].select([at[1][i] for i in both])
        sided = ("pose", "betas", "transl", "joints", "present", "fit_error", "limit_violation",
                 "side_ambiguous")  # fmt: skip
        pair = {
            name: np.stack([getattr(right, name)[:, 0], getattr(left, name)[:, 1]], axis=1)
            for name in sided
        }
        pieces.append(replace(right, **pair))
    samples = Samples.concat(pieces)
    order = {str(i): k for k, i in enumerate(samples.sample_id)}
    samples = samples.select([order[i] for i in kept])
    return replace(samples, mirrored=samples.present) if mirrored else samples


_AND = " | "
_HAND = re.compile(r"(right|left): (\w+)(?:, (.*))?", re.DOTALL)


def _reject(sample_id: str, source: str, hands: Mapping[int, tuple[str, str]]) -> Reject:
    """A frame refused: its first bad reason, and in the detail every hand's own."""
    if not hands:
        return Reject(sample_id, source, Reason.TOO_FEW_JOINTS.value, "holds no hand")
    first = next(reason for reason, _ in hands.values() if reason != OK)
    told = [
        f"{SIDES[side]}: {reason}" + (f", {said.replace(_AND, ' / ')}" if said else "")
        for side, (reason, said) in hands.items()
    ]
    return Reject(sample_id, source, first, _AND.join(told))


def reject_sides(reject: Reject) -> dict[int, tuple[str, str]]:
    """What an `AuditStage`'s reject says: side -> reason ("ok" too), detail."""
    out = {}
    for part in reject.detail.split(_AND):
        if found := _HAND.fullmatch(part):
            out[SIDES.index(found[1])] = (found[2], found[3] or "")
    return out


# --- the run -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class AuditedTakes:
    """facts of all frames; summary and folder of the dataset of the good ones, None where no take
    could be fitted at all."""

    facts: Facts
    summary: RunSummary | None
    folder: Path | None
    notes: tuple[str, ...]


def audit_takes(
    reads: Sequence[ReadTake],
    hands: HandPair,
    out: Path,
    *,
    declared: Mapping[str, Any],
    options: BuildOptions | None = None,
    judge: bool = True,
    seed: int = 0,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Shown = True,
) -> AuditedTakes:
    """Every hand of the takes through the gates; the good frames go to `out`, a finished dataset.

    reads: as `read_takes_for_audit` has them, frames chosen already. declared: what the reader was
    told, recorded. judge: measure the overlap of the pairs kept. workers, executor: as
    `pipeline.run` takes them. The same call again goes on where it was stopped.
    Raises DataError where the disk refuses, or the takes stand in different frames of space.
    """
    frames = sorted({read.take.frame for read in reads})
    if len(frames) > 1:
        raise DataError(f"the takes stand in different frames of space ({', '.join(frames)}): "
                        "audit them apart")  # fmt: skip
    good = [read for read in reads if not read.lost]
    facts = [_lost_facts(read) for read in reads if read.lost]
    notes = tuple(f"{read.take.name}: {read.lost}" for read in reads if read.lost)
    notes += tuple(f"{r.take.name}: {r.vote}; read in the mirror" for r in good if r.mirrored)
    if not good:
        return AuditedTakes(Facts.concat(facts), None, None, notes)
    options = options or BuildOptions()
    stage: Any = AuditStage(hands, frozenset(read.take.name for read in good if read.mirrored))
    summary = run(
        Judging(stage, hands) if judge else stage,
        [unit for read in good if read.plan is not None for unit in read.plan.units],
        out,
        name="audit",
        options=asdict(options) | dict(declared) | {"judge": judge},
        hands=hands,
        seed=seed,
        frame=frames[0],
        workers=workers,
        executor=executor,
        progress=progress,
    )
    facts.append(_run_facts(Dataset(out), hands, {r.take.name: r for r in good}))
    return AuditedTakes(Facts.concat(facts), summary, out, notes)


def _lost_facts(read: ReadTake) -> Facts:
    """Facts of a take of which nothing could be fitted: one reason for all its hands."""
    take = read.take
    ids = np.array([f"{take.source}/{take.name}/{frame:06d}" for frame in take.frames])
    reason = np.where(take.recorded, read.reason, "")
    names = np.full(len(ids), take.name)
    facts = Facts.unknown(ids, names, take.frames, take.recorded, reason)
    detail = {(int(row), int(side)): read.lost for row, side in np.argwhere(take.recorded)[:64]}
    return replace(facts, detail=detail)


def _run_facts(dataset: Dataset, hands: HandPair, reads: Mapping[str, ReadTake]) -> Facts:
    """Facts of what was kept and of what was refused."""
    parts = [facts_of_samples(samples, hands) for samples in dataset.shards() if len(samples)]
    rejects = list(dataset.rejects())
    if rejects:
        parts.append(_refused(rejects))
    facts = Facts.concat(parts)
    return _unmirrored(facts, reads)


def _refused(rejects: Sequence[Reject]) -> Facts:
    n = len(rejects)
    there, reason = np.zeros((n, 2), dtype=bool), np.full((n, 2), "", dtype="<U24")
    detail = {}
    takes, frames = [], []
    for row, reject in enumerate(rejects):
        stem, _, frame = reject.sample_id.rpartition("/")
        takes.append(unquote(stem).removeprefix(f"{reject.source}/"))
        frames.append(int(frame))
        for side, (why, said) in reject_sides(reject).items():
            there[row, side], reason[row, side] = True, why
            if why != OK:
                detail[row, side] = said
    ids = np.array([reject.sample_id for reject in rejects])
    facts = Facts.unknown(ids, np.array(takes), np.array(frames), there, reason)
    return replace(facts, detail=detail)


def _unmirrored(facts: Facts, reads: Mapping[str, ReadTake]) -> Facts:
    """What was found in the mirror, said of the hands as they were given."""
    flipped = np.isin(facts.take, [name for name, read in reads.items() if read.mirrored])
    if not flipped.any():
        return facts
    reason, detail = facts.reason.copy(), dict(facts.detail)
    good, odd = reason == OK, reason == Reason.MIRRORED.value
    for row, side in np.argwhere((good | odd) & facts.there & flipped[:, None]):
        key = (int(row), int(side))
        if good[row, side]:
            reason[row, side] = Reason.MIRRORED.value
            detail[key] = f"fits in the mirror; {reads[str(facts.take[row])].vote}"
        else:
            reason[row, side] = OK
            detail.pop(key, None)
    return replace(facts, reason=reason, detail=detail)
