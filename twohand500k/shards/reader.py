"""`Dataset(DIR)`: read a finished dataset, lazily, checking what it reads.

Opening reads `index.json` only. Samples come back in the order asked for, across shards; whole
shards are checked against the hash in the index. Everything wrong with the data is a DataError
naming the file.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from twohand500k.errors import DataError
from twohand500k.shards.files import REJECTS, RUN, read_json
from twohand500k.shards.hdf5 import (
    DISK_TYPE,
    Stored,
    arrays_sha256,
    decode,
    from_stored,
    open_shard,
    read_dataset,
    read_root,
    read_stored,
)
from twohand500k.shards.index import Index, read_index
from twohand500k.shards.samples import Reject, Samples
from twohand500k.shards.schema import FIELD_BY_ATTRIBUTE, FIELD_BY_PATH, FIELDS, check_conventions

# Rows that lie closer together than this on average are read with what lies between them.
_DENSE = 4


class Dataset:
    """A finished dataset on disk.

    ``len(dataset)``, ``dataset.samples([3, 1, 4])``, ``for samples in dataset.shards(): …``,
    ``dataset.array("joints")``. Raises DataError as `read_index` does.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder)
        self.index: Index = read_index(self.path)
        self._starts = np.cumsum([0, *(shard.samples for shard in self.index.shards)])
        self._checked_roots: set[str] = set()

    def __len__(self) -> int:
        return self.index.samples

    def __repr__(self) -> str:
        return f"Dataset({str(self.path)!r}, {len(self)} samples, {len(self.index.shards)} shards)"

    @property
    def conventions(self) -> dict[str, Any]:
        """The root attributes all shards carry: frame, hand model, orders, units."""
        return dict(self.index.conventions)

    def shard(self, number: int) -> Samples:
        """All samples of one shard, checked against the index's hash."""
        entry = self.index.shards[number]
        path = self.path / entry.file
        stored, root = read_stored(path)
        self._check_root(path, root)
        if (found := arrays_sha256(stored, root)) != entry.arrays_sha256:
            raise DataError(
                f"{path} was changed after it was written: content hash {found[:12]}…, the index "
                f"has {entry.arrays_sha256[:12]}…; `twohand verify {self.path}` says where"
            )
        samples = from_stored(stored, str(path))
        if len(samples) != entry.samples:
            raise DataError(f"{path} has {len(samples)} samples, the index says {entry.samples}")
        return samples

    def shards(self) -> Iterator[Samples]:
        """The shards one after another: the way to stream a dataset larger than memory."""
        for number in range(len(self.index.shards)):
            yield self.shard(number)

    def samples(self, rows: ArrayLike | None = None) -> Samples:
        """Samples at positions `rows` (0 .. len-1) in that order, or all of them.

        A position may not repeat (Samples have unique ids). Raises IndexError outside the range.
        """
        if not len(self):
            raise DataError(f"{self.path} holds no samples: every one was rejected, see {REJECTS}")
        if rows is None:
            return Samples.concat(list(self.shards()))
        groups = self.groups
        specs = [spec for spec in FIELDS if spec.group == "core" or spec.group in groups]
        arrays = self._gather([spec.path for spec in specs], self._positions(rows))
        try:
            return Samples(
                **{spec.attribute: array for spec, array in zip(specs, arrays, strict=True)}
            )
        except ValueError as error:
            raise DataError(f"{self.path}: {error}") from error

    def array(self, attribute: str, rows: ArrayLike | None = None) -> np.ndarray:
        """One field of all samples (or of `rows`, repeats allowed): ``dataset.array("joints")``.

        Reads that dataset alone, without checking the shard's hash.
        """
        if attribute not in FIELD_BY_ATTRIBUTE:
            known = ", ".join(f.name for f in fields(Samples))
            raise ValueError(f"{attribute!r} is not a field of Samples; fields: {known}")
        index = np.arange(len(self)) if rows is None else self._positions(rows)
        (array,) = self._gather([FIELD_BY_ATTRIBUTE[attribute].path], index)
        return array

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Optional groups of datasets ("splice", "repair") that the shards have."""
        if not self.index.shards:
            return ()
        with open_shard(self.path / self.index.shards[0].file) as file:
            return tuple(
                dict.fromkeys(s.group for s in FIELDS if s.group != "core" and s.path in file)
            )

    def rejects(self) -> Iterator[Reject]:
        """The samples refused, in the order of the run."""
        yield from read_rejects(self.path / REJECTS)

    @cached_property
    def run(self) -> dict[str, Any]:
        """The run record `run.json`: options, versions, git revision, seed, timings, counts."""
        return read_json(self.path / RUN)

    def _positions(self, rows: ArrayLike) -> np.ndarray:
        index = np.asarray(rows)
        if index.dtype == np.bool_:
            if index.shape != (len(self),):
                raise IndexError(f"mask of shape {index.shape} for {len(self)} samples")
            index = np.flatnonzero(index)
        index = index.astype(np.int64).reshape(-1)
        if index.size and (index.min() < 0 or index.max() >= len(self)):
            raise IndexError(f"row {index[(index < 0) | (index >= len(self))][0]} of {len(self)}")
        return index

    def _gather(self, paths: Sequence[str], index: np.ndarray) -> list[np.ndarray]:
        """Rows of some datasets across shards; every shard touched is opened once."""
        parts: list[list[np.ndarray]] = [[] for _ in paths]
        places: list[np.ndarray] = []
        shard_of = np.searchsorted(self._starts, index, side="right") - 1
        for number in np.unique(shard_of).tolist():
            here = np.flatnonzero(shard_of == number)
            rows = index[here] - self._starts[number]
            first, last = int(rows.min()), int(rows.max()) + 1
            wanted: slice | np.ndarray
            if last - first <= _DENSE * len(rows):
                wanted, places_in_read = slice(first, last), rows - first
            else:
                # Few among many: their neighbours, pictures perhaps, are not unpacked for them.
                wanted, places_in_read = np.unique(rows, return_inverse=True)
            read = self._read(number, paths, wanted)
            for part, array in zip(parts, read, strict=True):
                part.append(array[places_in_read])
            places.append(here)
        if not places:
            specs = [FIELD_BY_PATH[path] for path in paths]
            return [np.empty((0, *s.tail), dtype=DISK_TYPE.get(s.kind, "<U1")) for s in specs]
        order = np.concatenate(places)
        return [_ordered(np.concatenate(part), order) for part in parts]

    def _read(
        self, number: int, paths: Sequence[str], rows: slice | np.ndarray
    ) -> list[np.ndarray]:
        file_path = self.path / self.index.shards[number].file
        if file_path.name not in self._checked_roots:
            self._check_root(file_path, read_root(file_path))
        stored: list[tuple[str, Stored]] = []
        with open_shard(file_path) as file:
            for path in paths:
                if path not in file:
                    raise DataError(f"{file_path} has no dataset {path}")
                stored.append((path, read_dataset(file[path], rows)))
        return [decode(path, array) for path, array in stored]

    def _check_root(self, path: Path, root: dict[str, Any]) -> None:
        check_root(path, root, self.index)
        self._checked_roots.add(path.name)


def _ordered(gathered: np.ndarray, places: np.ndarray) -> np.ndarray:
    out = np.empty_like(gathered)
    out[places] = gathered
    return out


def check_root(path: Path, root: dict[str, Any], index: Index) -> None:
    """Raise DataError unless a shard's root attributes are format 1's and the index's own."""
    check_conventions(root, str(path))
    for key, expected in index.conventions.items():
        if root[key] != expected:
            raise DataError(
                f"{path} declares {key} = {root[key]!r}, the index {expected!r}: "
                "a shard of another dataset was put into this folder"
            )


def read_rejects(path: Path) -> Iterator[Reject]:
    """Rejects of a `rejects.jsonl`, line by line. Raises DataError naming a line that is wrong."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield Reject(**json.loads(line))
                except (ValueError, TypeError) as error:
                    raise DataError(f"{path} line {number} is not a reject: {error}") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
