"""A dataset of this toolkit: verified, its angles held to the limits, its judgement checked.

In: a folder with index.json. Out: `Facts`, the findings of `verify`, and how the stored judgement
compares with one made anew. The dataset says what its hands are, so there is no fit: joints that do
not follow from the parameters are `verify`'s finding.
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np

from twohand500k.audit.facts import ANGLES, BENT, OK, Facts, Limits
from twohand500k.conventions import LEFT, RIGHT, SIDES
from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.hand.anatomy import Anatomy
from twohand500k.ik.verdict import Reason
from twohand500k.physics.judge import Judge
from twohand500k.shards import Dataset, Samples
from twohand500k.shards.verify import Finding as Check
from twohand500k.shards.verify import verify

Array = np.ndarray

Log = Callable[[str], None]

# How far a stored judgement may lie from one made anew: of the volume, m3 on top, m deep. The
# stored numbers are float32 and were made from parameters before they were rounded to that.
_SAME_SHARE, _SAME_VOLUME, _SAME_DEPTH = 0.01, 1e-9, 0.05e-3
# Judged in one go by one process.
_BATCH: Final = 256


def facts_of_samples(samples: Samples, hands: HandPair) -> Facts:
    """What samples say of themselves: angles against limits, and whatever the judge stored."""
    reason = np.where(samples.present, OK, "").astype("<U24")
    facts = Facts.unknown(samples.sample_id, samples.take, samples.frame, samples.present, reason)
    past, detail = np.zeros(len(ANGLES), dtype=np.int64), {}
    reason, excess, angle = facts.reason.copy(), facts.excess.copy(), facts.angle.copy()
    for side in (RIGHT, LEFT):
        rows = np.flatnonzero(samples.present[:, side])
        pose = samples.pose[rows, side].astype(np.float64)
        limits = Limits.of(pose, Anatomy.of(hands[side]))
        excess[rows, side], angle[rows, side] = limits.excess, limits.angle
        past += limits.past
        for hand in np.flatnonzero(limits.excess >= BENT).tolist():
            row = int(rows[hand])
            reason[row, side] = Reason.BENT_BACKWARDS.value
            detail[row, side] = limits.bent_line(hand)
    return replace(
        facts,
        reason=reason,
        detail=detail,
        past=past,
        excess=excess,
        angle=angle,
        residual=samples.fit_error.astype(np.float64),
        volume=samples.penetration_volume.astype(np.float64),
        depth=samples.penetration_depth.astype(np.float64),
        distance=samples.contact_distance.astype(np.float64),
        self_volume=samples.self_penetration_volume.astype(np.float64),
    )


@dataclass(frozen=True, eq=False)
class Rejudged:
    """The stored judgement beside one made anew on `n` pairs.

    stored: pairs of those that had one. differ: whose volume or depth is another.
    volume_m3, depth_m: largest differences, NaN where there was nothing to compare.
    """

    n: int
    stored: int
    differ: int
    volume_m3: float
    depth_m: float
    first: str = ""

    @property
    def line(self) -> str:
        if not self.n:
            return "there were no pairs to judge anew"
        if not self.stored:
            return f"it was not judged; {self.n:,} pairs were judged now"
        said = f"{self.stored:,} pairs judged anew: "
        if self.differ:
            return said + f"{self.differ:,} differ from what is stored, first {self.first}"
        largest = f"{1e6 * self.volume_m3:.2g} cm³, {1e3 * self.depth_m:.2g} mm"
        return said + f"all as stored (largest differences {largest})"


@dataclass(frozen=True, eq=False)
class AuditedDataset:
    """facts; checks as `verify` reports them; rejudged, None where the judge was not asked."""

    facts: Facts
    checks: tuple[Check, ...]
    rejudged: Rejudged | None


def audit_dataset(
    folder: Path,
    hands: HandPair,
    *,
    limit: int | None = None,
    judge: bool = True,
    anew: int = 200,
    seed: int = 0,
    workers: int = 1,
    log: Log = lambda line: None,
) -> AuditedDataset:
    """Audit a finished dataset made on `hands`.

    limit: at most so many samples of each take (verify still reads all). judge: ask the judge at
    all. anew: pairs, drawn by `seed`, whose stored judgement is made again and compared; where
    nothing is judged yet every pair is judged. Raises DataError for no dataset, an unfinished one,
    or another hand model.
    """
    dataset = Dataset(folder)
    for k, side in enumerate(SIDES):
        if dataset.conventions[f"hand_model_{side}_sha256"] != hands[k].sha256:
            name = dataset.conventions["hand_model"][k]
            raise DataError(
                f"{folder}: made on the hand model {name!r}, not on the one given: --hand-model"
            )
    log(f"verifying {len(dataset):,} samples")
    checks = tuple(verify(folder, hands, workers=workers))
    broken = {fault.file for check in checks for fault in check.faults
              if check.check in ("files", "schema", "conventions")}  # fmt: skip
    parts, chosen = [], []
    position, seen = 0, {}  # type: int, dict[str, int]
    for number, entry in enumerate(dataset.index.shards):
        if entry.file not in broken:
            samples = _shard(dataset, number)
            if samples is not None and len(samples):
                rows = _within(samples, limit, seen)
                parts.append(facts_of_samples(samples.select(rows), hands))
                chosen.append(position + rows)
        position += entry.samples
    if not parts:
        raise DataError(f"{folder}: none of its samples can be read; `twohand verify {folder}`")
    facts, rows = Facts.concat(parts), np.concatenate(chosen)
    if not judge:
        return AuditedDataset(facts, checks, None)
    facts, rejudged = _rejudge(folder, dataset, facts, rows, hands, anew, seed, workers, log)
    return AuditedDataset(facts, checks, rejudged)


def _shard(dataset: Dataset, number: int) -> Samples | None:
    """A shard's samples, whatever its hash says (`verify` says that); None if they are no hands."""
    start = sum(entry.samples for entry in dataset.index.shards[:number])
    rows = np.arange(start, start + dataset.index.shards[number].samples)
    try:
        return dataset.samples(rows)
    except DataError:
        return None


def _within(samples: Samples, limit: int | None, seen: dict[str, int]) -> Array:
    """Rows that are among the first `limit` of their take; counts what was `seen`."""
    if limit is None:
        return np.arange(len(samples))
    rows = []
    for row, take in enumerate(samples.take.tolist()):
        seen[take] = seen.get(take, 0) + 1
        if seen[take] <= limit:
            rows.append(row)
    return np.array(rows, dtype=np.int64)


def _rejudge(
    folder: Path, dataset: Dataset, facts: Facts, positions: Array, hands: HandPair, anew: int,
    seed: int, workers: int, log: Log,
) -> tuple[Facts, Rejudged]:  # fmt: skip
    """Facts with a judgement, and the comparison. positions (N,): of the facts in the dataset."""
    pairs = np.flatnonzero(facts.pairs)
    stored = np.isfinite(facts.volume[pairs])
    if not len(pairs):
        return facts, Rejudged(0, 0, 0, np.nan, np.nan)
    if stored.any():
        drawn = np.random.default_rng(seed).permutation(pairs[stored])[:anew]
        rows = np.sort(np.concatenate([drawn, pairs[~stored]]))
    else:
        rows = pairs
    log(f"judging {len(rows):,} pairs")
    judged = judge_rows(folder, positions[rows], hands, workers)
    return _compared(facts, rows, judged)


def _compared(facts: Facts, rows: Array, judged: dict[str, Array]) -> tuple[Facts, Rejudged]:
    was = {name: getattr(facts, name)[rows] for name in ("volume", "depth")}
    known = np.isfinite(was["volume"])
    with np.errstate(invalid="ignore"):
        off_volume = np.abs(judged["volume"] - was["volume"])
        off_depth = np.abs(judged["depth"] - was["depth"])
        differ = (off_volume > _SAME_SHARE * was["volume"] + _SAME_VOLUME) | (
            off_depth > _SAME_DEPTH
        )
        differ |= np.isnan(judged["volume"])
    differ &= known
    changed: dict[str, Any] = {}
    for name, values in judged.items():
        column = getattr(facts, name).copy()
        fresh = rows[~known]
        column[fresh] = values[~known]
        changed[name] = column
    first = str(facts.sample_id[rows[differ][0]]) if differ.any() else ""
    return replace(facts, **changed), Rejudged(
        n=len(rows),
        stored=int(known.sum()),
        differ=int(differ.sum()),
        volume_m3=float(np.max(off_volume[known])) if known.any() else np.nan,
        depth_m=float(np.max(off_depth[known])) if known.any() else np.nan,
        first=first,
    )


def judge_rows(folder: Path, positions: Array, hands: HandPair, workers: int) -> dict[str, Array]:
    """Columns of `Facts` as the judge finds them now, for samples at these positions."""
    batches = [positions[i : i + _BATCH] for i in range(0, len(positions), _BATCH)]
    work = partial(_judge_batch, folder, hands)
    if workers == 1 or len(batches) < 2:
        parts = list(map(work, batches))
    else:
        with ProcessPoolExecutor(min(workers, len(batches)), get_context("spawn")) as pool:
            parts = list(pool.map(work, batches))
    return {
        name: np.concatenate([part[name] for part in parts])
        for name in ("volume", "depth", "distance", "self_volume")
    }


def _judge_batch(folder: Path, hands: HandPair, positions: Array) -> dict[str, Array]:
    judged = Judge.of(hands).samples(Dataset(folder).samples(positions))
    return {
        "volume": judged.penetration_volume.astype(np.float64),
        "depth": judged.penetration_depth.astype(np.float64),
        "distance": judged.contact_distance.astype(np.float64),
        "self_volume": judged.self_penetration_volume.astype(np.float64),
    }
