"""`splice_pairs`: pose banks in, a finished dataset of interactions out, for `twohand splice`.

Reads the banks, plans who meets whom in this process, and hands the slots to the pipeline in
chunks. Everything that can change the result is in `SpliceOptions` or in the datasets themselves.
"""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.pipeline import RunSummary, run
from twohand500k.pipeline.progress import Shown
from twohand500k.pipeline.worker import Stage
from twohand500k.splice._search import Learned
from twohand500k.splice.bank import THIN_MM, Bank, bank_sha256, load_bank
from twohand500k.splice.contacts import ContactWeights, load_contacts
from twohand500k.splice.draw import Draw, parse_shares, plan_draw
from twohand500k.splice.placement import LearnedPoses, learn_poses, open_hands
from twohand500k.splice.stage import SOURCE, SlotChunk, SpliceStage

Array = np.ndarray

Log = Callable[[str], None]
# What judges a stage's samples; handed in, as this package does not know the judge.
Judging = Callable[[Stage], Stage]
SHARD_SIZE = 4096


@dataclass(frozen=True)
class SpliceOptions:
    """Options of a splice that change its result.

    count: pairs. shares: ``SOURCE[:right|left]=WEIGHT``. contacts: natural, uniform or a file.
    learn_from: two-hand datasets to take relative poses from, instead of drawing contacts.
    thin_mm: least movement between two hands of a take. mirror: hands serve as the other side too.
    shard_size: pairs per work unit; it changes the files, never a pair.
    """

    count: int
    shares: tuple[str, ...] = ()
    contacts: str = "natural"
    learn_from: tuple[Path, ...] = ()
    thin_mm: float = THIN_MM
    mirror: bool = True
    shard_size: int = SHARD_SIZE


@dataclass(frozen=True, eq=False)
class SplicePlan:
    """A splice ready to run."""

    stage: SpliceStage
    units: tuple[SlotChunk, ...]
    contacts: ContactWeights
    learned: LearnedPoses | None

    @property
    def bank(self) -> Bank:
        return self.stage.bank

    @property
    def draw(self) -> Draw:
        return self.stage.draw


def plan_splice(
    folders: Sequence[Path],
    hands: HandPair,
    options: SpliceOptions,
    seed: int = 0,
    log: Log = lambda line: None,
) -> SplicePlan:
    """Read the banks and decide who meets whom. Raises DataError as the bank, the shares, the
    contacts and the draw do."""
    contacts = load_contacts(options.contacts)
    # One BLAS thread, as in the units: a product split otherwise may differ in its last bit.
    with threadpool_limits(limits=1, user_api="blas"):
        learned = learn_poses(options.learn_from, hands) if options.learn_from else None
        bank = load_bank(folders, hands, thin_mm=options.thin_mm, mirror=options.mirror)
        spread = open_hands(bank, hands)
    draw = plan_draw(
        bank,
        options.count,
        parse_shares(options.shares, bank),
        open_hands=spread,
        interlocked=0.0 if learned else contacts.interlocked,
        splits=None if learned is None else np.unique(learned.split).tolist(),
        seed=seed,
    )
    poses, of_block = _learned_arrays(learned, draw)
    pair = contacts.pair.ravel()
    total = pair.sum()
    stage = SpliceStage(
        hands=hands,
        bank=bank,
        draw=draw,
        open_hands=spread,
        contact_share=np.cumsum(pair / total) if total > 0 else np.empty(0),
        learned=poses,
        learned_of_block=of_block,
        lifelike=contacts.lifelike,
        stem=f"{SOURCE}-{_run_name(bank, contacts, learned, options, seed)}",
        seed=seed,
    )
    inputs = {**bank.inputs, **(learned.inputs if learned else {})}
    starts = range(0, options.count, options.shard_size)
    units = tuple(
        SlotChunk(first, min(first + options.shard_size, options.count), inputs) for first in starts
    )
    for line in _planned_lines(bank, draw, spread, learned):
        log(line)
    return SplicePlan(stage, units, contacts, learned)


def splice_pairs(
    plan: SplicePlan,
    out: Path,
    options: SpliceOptions,
    *,
    seed: int = 0,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Shown = True,
    command: str | None = None,
    judging: Judging | None = None,
) -> RunSummary:
    """Run a plan into `out`; an unfinished one is resumed. workers, executor: as `pipeline.run`.

    judging: wraps the stage so that its pairs are judged; recorded as the option `judge`.

    Raises DataError if the disk fails or no pair at all could be placed.
    """
    learned = plan.learned
    history = [*plan.bank.history]
    history += [r for r in (learned.history if learned else ()) if r not in history]
    summary = run(
        plan.stage if judging is None else judging(plan.stage),
        plan.units,
        out,
        name="splice",
        options={
            "count": options.count,
            "shares": list(options.shares),
            "contacts": plan.contacts.name,
            "placement": "learned" if learned else "contact",
            "thin_mm": options.thin_mm,
            "mirror": options.mirror,
            "shard_size": options.shard_size,
            **({} if judging is None else {"judge": True}),
        },
        hands=plan.stage.hands,
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
            f"none of {summary.n_in:,} pairs could be placed with the contacts "
            f"{options.contacts!r}: the counts in {out / 'run.json'} say at which test they fail"
        )
    return summary


def _learned_arrays(learned: LearnedPoses | None, draw: Draw) -> tuple[Learned, Array]:
    """Relative poses sorted by split; for every block where its split's begin and how many."""
    if learned is None:
        none = np.empty(0, dtype=np.int64)
        return (
            Learned(np.empty((0, 3, 3)), np.empty((0, 3)), none, none),
            np.zeros((len(draw.slots), 2), dtype=np.int64),
        )
    order = np.argsort(learned.split, kind="stable")
    names = learned.split[order]
    start = np.searchsorted(names, draw.split)
    count = np.searchsorted(names, draw.split, side="right") - start
    poses = Learned(
        np.ascontiguousarray(learned.R[order]),
        np.ascontiguousarray(learned.t[order]),
        np.ascontiguousarray(learned.region[order, 0]),
        np.ascontiguousarray(learned.region[order, 1]),
    )
    return poses, np.stack([start, count], axis=1).astype(np.int64)


def _run_name(
    bank: Bank,
    contacts: ContactWeights,
    learned: LearnedPoses | None,
    options: SpliceOptions,
    seed: int,
) -> str:
    """Eight letters that differ between runs of another bank, recipe, count or seed, so that ids
    stay apart when datasets are merged."""
    told = [bank_sha256(bank), contacts.name, *options.shares, str(options.count), str(seed)]
    told += sorted(learned.inputs.values()) if learned else []
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:8]


def _planned_lines(
    bank: Bank, draw: Draw, spread: Array, learned: LearnedPoses | None
) -> list[str]:
    counts = bank.counts
    lines = [
        f"bank: {counts['hands']:,} hands of {counts['hands_read']:,} "
        f"({counts['hands_thinned']:,} the same pose as one before, "
        f"{counts['hands_side_ambiguous']:,} of unknown side), {int(spread.any(axis=0).sum()):,} "
        "spread enough to interlock"
    ]
    refitted = np.isfinite(bank.refit_mean)
    if refitted.any():
        lines.append(
            f"the models are no mirror images: {int(refitted.sum()):,} hands mirrored by refit, "
            f"skin {1e3 * np.median(bank.refit_mean[refitted]):.2f} mm off in the median, "
            f"{1e3 * bank.refit_mean[refitted].max():.2f} mm at most"
        )
    if learned is not None:
        lines.append(f"{len(learned.t):,} relative poses to learn from")
    splits = sorted(set(draw.split.tolist()))
    slots = {s: int(draw.slots[draw.split == s].sum()) for s in splits}
    lines.append("pairs by split: " + ", ".join(f"{s or 'none'} {n:,}" for s, n in slots.items()))
    return lines + list(draw.notes)
