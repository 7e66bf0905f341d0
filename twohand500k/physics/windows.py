"""Which samples one work unit repairs, and in what order.

In: a finished dataset. Out: `RepairUnit`s. One by one, a unit is a slice of one input shard. For
smooth takes the frames of a take are put in their order and cut into windows of a fixed length;
each is worked on from a little before its first frame (the run-in, repaired but not written), so
that its result depends on nothing else. Windows, not workers, decide what starts where.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from twohand500k.errors import DataError
from twohand500k.shards import Dataset
from twohand500k.shards.slices import slices

Array = np.ndarray

WINDOW = 256
RUN_IN = 24
# The next frame of a take comes within so many of its usual steps, and within so many seconds.
_MOST_STEPS = 3
_MOST_SECONDS = 0.1


@dataclass(frozen=True, eq=False)
class RepairUnit:
    """One work unit.

    rows (n,): positions in the input dataset, in the order of work; one may come twice, as run-in
    and written. written (n,) bool: in the output; each row once. follows (n,) bool: the sample is
    the next frame of the one before it in `rows`. inputs: sha256 of each input shard.
    """

    name: str
    rows: Array
    written: Array
    follows: Array
    inputs: Mapping[str, str]


def one_by_one(dataset: Dataset, size: int, limit: int | None = None) -> tuple[RepairUnit, ...]:
    """Slices of at most `size` samples of each shard, of the first `limit` samples."""
    return tuple(
        RepairUnit(
            name=cut.name,
            rows=cut.rows,
            written=np.ones(len(cut.rows), dtype=np.bool_),
            follows=np.zeros(len(cut.rows), dtype=np.bool_),
            inputs=cut.inputs,
        )
        for cut in slices(dataset, size, limit)
    )


def takes_in_order(dataset: Dataset, size: int, limit: int | None = None) -> tuple[RepairUnit, ...]:
    """Windows of takes, about `size` samples a unit, of the first `limit` samples.

    The output's samples stand in the order of their takes. Raises DataError if no sample is the
    next frame of another: there is nothing to keep smooth.
    """
    order, follows = frame_order(dataset, limit)
    if not follows.any():
        raise DataError(
            f"{dataset.path} has no two neighbouring frames of one take with both hands and one "
            "shape, so there is no motion to keep smooth: leave --smooth out"
        )
    windows = _windows(follows)
    starts = np.cumsum([0, *(entry.samples for entry in dataset.index.shards)])
    units: list[RepairUnit] = []
    pending: list[tuple[int, int, int]] = []
    first = 0
    for window in windows:
        pending.append(window)
        last = window[2]
        if last - first >= size or last == len(order):
            units.append(_unit_of(dataset, starts, order, follows, pending))
            pending, first = [], last
    return tuple(units)


def frame_order(dataset: Dataset, limit: int | None = None) -> tuple[Array, Array]:
    """Positions (n,) take by take, frame by frame; (n,) bool which is the next frame of the one
    before it.

    Takes stand in the order in which they first occur. Next means: the same source, subject, take
    and shapes, both hands in both, a frame number that is known and greater, by no more than
    `_MOST_STEPS` of the take's usual step nor, where times are known, `_MOST_SECONDS`.
    """
    n = len(dataset) if limit is None else min(limit, len(dataset))
    rows = np.arange(n)
    frame = dataset.array("frame", rows)
    time = dataset.array("timestamp", rows)
    both: Array = np.all(dataset.array("present", rows), axis=1)
    betas = dataset.array("betas", rows)
    names = [dataset.array(name, rows).tolist() for name in ("source", "subject", "take")]
    number: dict[tuple[str, ...], int] = {}
    take = np.array([number.setdefault(key, len(number)) for key in zip(*names, strict=True)])
    order = np.lexsort((rows, frame, take))
    frame, time, both, betas, take = (a[order] for a in (frame, time, both, betas, take))
    step = np.diff(frame)
    together = (
        (np.diff(take) == 0)
        & (frame[:-1] >= 0)
        & (step > 0)
        & both[:-1]
        & both[1:]
        & (betas[1:] == betas[:-1]).all(axis=(1, 2))
    )
    usual = np.ones(len(number))
    for k in np.unique(take[1:][together]):
        usual[k] = np.median(step[together & (take[1:] == k)])
    seconds = np.diff(time)
    soon = np.isnan(seconds) | (seconds <= _MOST_SECONDS)
    follows = np.zeros(n, dtype=np.bool_)
    follows[1:] = together & (step <= _MOST_STEPS * usual[take[1:]]) & soon
    return order, follows


def _windows(follows: Array) -> list[tuple[int, int, int]]:
    """(start of the run-in, first, last) of every window; rows first .. last - 1 are written."""
    begins = [*np.flatnonzero(~follows).tolist(), len(follows)]
    return [
        (max(first - RUN_IN, begin), first, min(first + WINDOW, end))
        for begin, end in pairwise(begins)
        for first in range(begin, end, WINDOW)
    ]


def _unit_of(
    dataset: Dataset,
    starts: Array,
    order: Array,
    follows: Array,
    windows: Sequence[tuple[int, int, int]],
) -> RepairUnit:
    parts = [np.arange(begin, last) for begin, _, last in windows]
    place = np.concatenate(parts)
    written = np.concatenate(
        [part >= first for part, (_, first, _) in zip(parts, windows, strict=True)]
    )
    links = follows[place]
    links[np.cumsum([0, *(len(part) for part in parts[:-1])])] = False
    rows = order[place]
    shards = np.unique(np.searchsorted(starts, rows, side="right") - 1)
    entries = [dataset.index.shards[k] for k in shards]
    return RepairUnit(
        name=f"samples {windows[0][1]}-{windows[-1][2] - 1} in the order of takes",
        rows=rows,
        written=written,
        follows=links,
        inputs={entry.file: entry.arrays_sha256 for entry in entries},
    )
