"""What a stage over a dataset reads: rows of a finished dataset, cut into slices of its shards.

In: a dataset. Out: `Slice`s, one a work unit, and the samples a unit names, checked against the
hashes that were there when the run was planned.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.errors import DataError
from twohand500k.hand.model import HandPair
from twohand500k.shards.reader import Dataset
from twohand500k.shards.samples import Samples


@dataclass(frozen=True, eq=False)
class Slice:
    """name: says which rows; rows (n,): positions in the dataset, ascending; inputs: sha256 of the
    shard they lie in."""

    name: str
    rows: np.ndarray
    inputs: Mapping[str, str]


def slices(dataset: Dataset, size: int, limit: int | None = None) -> tuple[Slice, ...]:
    """Slices of at most `size` samples of each shard, of the first `limit` samples."""
    cut, start = [], 0
    for entry in dataset.index.shards:
        n = entry.samples if limit is None else min(entry.samples, max(limit - start, 0))
        for first in range(0, n, size):
            rows = np.arange(first, min(first + size, n))
            name = f"{entry.file} samples {first}-{rows[-1]}"
            cut.append(Slice(name, start + rows, {entry.file: entry.arrays_sha256}))
        start += entry.samples
    return tuple(cut)


def read_rows(folder: Path, rows: np.ndarray, inputs: Mapping[str, str]) -> Samples:
    """The samples at `rows`, ascending, of the shards that `inputs` names.

    Raises DataError for a shard that is not the one named there any more.
    """
    entries = Dataset(folder).index.shards
    starts = np.cumsum([0, *(entry.samples for entry in entries)])
    shard_of = np.searchsorted(starts, rows, side="right") - 1
    parts = []
    for number in np.unique(shard_of).tolist():
        entry = entries[number]
        if inputs.get(entry.file) != entry.arrays_sha256:
            raise DataError(
                f"{folder / entry.file} is another one than when this run began: the dataset was "
                "made again; choose another --out"
            )
        here = rows[shard_of == number] - starts[number]
        parts.append(_shard(folder, number, entry.arrays_sha256).select(here))
    return Samples.concat(parts)


@lru_cache(maxsize=2)
def _shard(folder: Path, number: int, arrays_sha256: str) -> Samples:
    """A shard, checked against its hash, kept for the slices that follow."""
    return Dataset(folder).shard(number)


def require_hand_model(dataset: Dataset, hands: HandPair) -> None:
    """Raises DataError if the dataset was made on other hand models."""
    declared = dataset.conventions
    for side in (RIGHT, LEFT):
        model = hands[side]
        sha256 = declared[f"hand_model_{model.side}_sha256"]
        if sha256 != model.sha256:
            raise DataError(
                f"{dataset.path} was made on the {model.side} hand model "
                f"{declared['hand_model'][side]!r} {sha256[:12]}…, --hand-model is "
                f"{model.name!r} {model.sha256[:12]}…; give the model it was made on, or move it "
                "with `twohand hand convert`"
            )


def require_no_pictures(dataset: Dataset) -> None:
    """Raises DataError if the dataset holds pictures, which show hands as they are there."""
    if "image" in dataset.groups:
        of = str(dataset.array("pose_id", [0])[0])
        raise DataError(
            f"{dataset.path} holds pictures, which would not show its hands any more: give the "
            f"dataset that they were made of (it has {of!r}), or leave them away with `twohand "
            f"select {dataset.path} --drop image`"
        )
