"""What can be asked of many samples at once: the small fields of one or several datasets.

In: finished dataset folders. Out: a `Catalog` of numbers and coded names, some 60 bytes a sample,
and `Catalog.rows(query)`: which samples a query finds, in which order. Poses stay on the disk until
one sample is looked at; so half a million samples open in seconds.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from twohand500k.conventions import SIDES
from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.hand.contact_regions import REGIONS
from twohand500k.select.where import parse_where
from twohand500k.shards import Dataset, Reject, Samples
from twohand500k.shards.hdf5 import Stored, open_shard, read_dataset
from twohand500k.shards.index import ShardEntry
from twohand500k.shards.schema import FIELD_BY_ATTRIBUTE

# Names by which numbers are asked for, their field, what makes their unit of it, and their label.
# A field of both hands gives the worse one's.
NUMBERS: Final[Mapping[str, tuple[str, float, str]]] = {
    "volume_cm3": ("penetration_volume", 1e6, "overlap, cm³"),
    "depth_mm": ("penetration_depth", 1e3, "depth, mm"),
    "distance_mm": ("contact_distance", 1e3, "distance of the skins, mm"),
    "volume_before_cm3": ("volume_before", 1e6, "overlap before, cm³"),
    "depth_before_mm": ("depth_before", 1e3, "depth before, mm"),
    "displacement_mm": ("displacement", 1e3, "displacement, mm"),
    "limit_deg": ("limit_violation", 180 / np.pi, "over joint limits, °"),
    "fit_mm": ("fit_error", 1e3, "fit error, mm"),
}
NAMES: Final[Mapping[str, str]] = {
    "source": "source",
    "split": "split",
    "subject": "subject",
    "take": "take",
    "verdict": "repair_verdict",
}
CONTACTS: Final[Mapping[str, str]] = {
    "realised": "contact_realised",
    "intended": "contact_intended",
}
# What stands for a name that is not known.
UNNAMED: Final = "(none)"
ANY: Final = "(any)"
# So many samples are read at once.
_BLOCK: Final = 64
# So many rejects of one reason are kept to be listed.
_LISTED: Final = 200


@dataclass(frozen=True)
class Query:
    """What is looked for. A name of ANY is not asked about; `between` holds (number, least, most)
    in the units of `NUMBERS`, met only by what is known. `contains` is part of a take's name.

    contact: regions of the right hand and of the left, as `contact_kind` says. where: a condition
    in the language of `twohand select`. order: a name of `NUMBERS`, or "" for the dataset's order.
    """

    source: str = ANY
    split: str = ANY
    subject: str = ANY
    verdict: str = ANY
    contains: str = ""
    between: tuple[tuple[str, float, float], ...] = ()
    contact_kind: str = "realised"
    contact: tuple[str, str] = (ANY, ANY)
    where: str = ""
    order: str = ""
    descending: bool = True


@dataclass(frozen=True, eq=False)
class Coded:
    """Names (n,) as codes into `names`, sorted; the empty name is `UNNAMED`."""

    codes: np.ndarray
    names: tuple[str, ...]

    def is_in(self, wanted: Sequence[str]) -> np.ndarray:
        """Which rows (n,) have one of the wanted names."""
        chosen = [k for k, name in enumerate(self.names) if name in set(wanted)]
        return np.isin(self.codes, chosen)


@dataclass(frozen=True, eq=False)
class Catalog:
    """The small fields of datasets one after another; row = position over all of them.

    numbers: per name of `NUMBERS` (n,) float32, NaN unknown; names: per name of `NAMES` a `Coded`;
    contacts: per kind (n, 2) int8 into REGIONS, -1 unknown; frame (n,) int64, timestamp (n,) s;
    hands (n,) int8, how many there are.
    """

    datasets: tuple[Dataset, ...]
    numbers: Mapping[str, np.ndarray]
    names: Mapping[str, Coded]
    contacts: Mapping[str, np.ndarray]
    timestamp: np.ndarray
    hands: np.ndarray

    @staticmethod
    def open(folders: Sequence[str | Path], hands: HandPair) -> "Catalog":
        """The catalog of finished datasets.

        Raises DataError for a folder that is none, that holds no sample, or that was made for
        other hands: its parameters mean nothing on these.
        """
        datasets = tuple(Dataset(folder) for folder in folders)
        for dataset in datasets:
            _check_hands(dataset, hands)
        if not sum(map(len, datasets)):
            raise DataError(
                f"{', '.join(str(d.path) for d in datasets)} holds no sample to look at: every one "
                "was refused, see rejects.jsonl"
            )
        parts = [part for dataset in datasets for part in _parts(dataset)]
        return Catalog(
            datasets,
            {name: np.concatenate([p.numbers[name] for p in parts]) for name in NUMBERS},
            {name: _joined([p.names[name] for p in parts]) for name in NAMES},
            {kind: np.concatenate([p.contacts[kind] for p in parts]) for kind in CONTACTS},
            np.concatenate([p.timestamp for p in parts]),
            np.concatenate([p.hands for p in parts]),
        )

    def __len__(self) -> int:
        return len(self.hands)

    @cached_property
    def starts(self) -> np.ndarray:
        """Row of the first sample of each dataset, and the number of all."""
        return np.cumsum([0, *map(len, self.datasets)])

    def place(self, row: int) -> tuple[int, int]:
        """Which dataset a row lies in, and its position there."""
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        return number, row - int(self.starts[number])

    def name(self, kind: str, row: int) -> str:
        """One name of a row, "" where it is not known."""
        coded = self.names[kind]
        name = coded.names[int(coded.codes[row])]
        return "" if name == UNNAMED else name

    def rows(self, query: Query) -> np.ndarray:
        """Rows (m,) that a query finds, in its order; what is not known comes last.

        Raises DataError for a `where` that cannot be read, ValueError for a name of no number.
        """
        chosen = np.ones(len(self), dtype=np.bool_)
        for kind in ("source", "split", "subject", "verdict"):
            if (wanted := getattr(query, kind)) != ANY:
                chosen &= self.names[kind].is_in([wanted])
        if query.contains:
            part = query.contains.lower()
            takes = self.names["take"]
            chosen &= takes.is_in([name for name in takes.names if part in name.lower()])
        for name, low, high in query.between:
            values = self.numbers[name]
            chosen &= (values >= low) & (values <= high)  # false for NaN
        for side, region in enumerate(query.contact):
            if region != ANY:
                chosen &= self.contacts[query.contact_kind][:, side] == REGIONS.index(region)
        if query.where.strip():
            where = parse_where(query.where)
            chosen &= np.concatenate([where.mask(dataset) for dataset in self.datasets])
        found = np.flatnonzero(chosen)
        if not query.order:
            return found
        if query.order not in NUMBERS:
            raise ValueError(f"cannot order by {query.order!r}: one of {', '.join(NUMBERS)}")
        values = self.numbers[query.order][found]
        key = -values if query.descending else values
        return found[np.argsort(key, kind="stable")]  # NaN sorts last either way

    def row_of(self, sample_id: str) -> int:
        """The row of a sample id, or of the first that contains it.

        Ids are read shard by shard, nothing of them is kept. Raises DataError if there is none.
        """
        wanted = sample_id.strip()
        contains = -1
        for number, dataset in enumerate(self.datasets):
            for first, last in _bounds(dataset):
                ids = dataset.array("sample_id", np.arange(first, last))
                at = int(self.starts[number]) + first
                if len(same := np.flatnonzero(ids == wanted)):
                    return at + int(same[0])
                if contains < 0 and wanted:
                    has = np.flatnonzero(np.char.find(ids, wanted) >= 0)
                    contains = at + int(has[0]) if len(has) else -1
        if contains < 0:
            raise DataError(
                f"no sample_id is or contains {wanted!r} in "
                f"{', '.join(str(d.path) for d in self.datasets)}"
            )
        return contains

    def rejects(self) -> tuple[Counter[str], list[Reject]]:
        """How many samples were refused for which reason, and the first 200 of each reason."""
        return self._rejects

    @cached_property
    def _rejects(self) -> tuple[Counter[str], list[Reject]]:
        reasons: Counter[str] = Counter()
        listed: list[Reject] = []
        for dataset in self.datasets:
            for reject in dataset.rejects():
                reasons[reject.reason] += 1
                if reasons[reject.reason] <= _LISTED:
                    listed.append(reject)
        return reasons, listed

    def sample(self, row: int) -> Samples:
        """One sample (N = 1), read from its shard together with its neighbours."""
        number, position = self.place(row)
        block = position // _BLOCK
        return self._read(number, block).select([position - block * _BLOCK])

    @cached_property
    def _read(self) -> Callable[[int, int], Samples]:
        """A block of samples: one by one they would cost as much each as a block does."""

        def read(number: int, block: int) -> Samples:
            dataset = self.datasets[number]
            first = block * _BLOCK
            return dataset.samples(np.arange(first, min(first + _BLOCK, len(dataset))))

        return lru_cache(maxsize=32)(read)


@dataclass(frozen=True, eq=False)
class _Part:
    numbers: Mapping[str, np.ndarray]
    names: Mapping[str, Coded]
    contacts: Mapping[str, np.ndarray]
    timestamp: np.ndarray
    hands: np.ndarray


def _parts(dataset: Dataset) -> list[_Part]:
    """One part a shard: text never exists for more than one shard at a time, and every file is
    opened once for all its fields, which is most of what opening half a million samples takes."""
    repaired = "repair" in dataset.groups
    parts = []
    for entry, (first, last) in zip(_filled(dataset), _bounds(dataset), strict=True):
        # By the reader's own way, which checks that the shard is of this dataset.
        present = dataset.array("present", np.arange(first, last)).sum(axis=1).astype(np.int8)
        with open_shard(dataset.path / entry.file) as file:

            def stored(attribute: str, file: Any = file) -> Stored | None:
                spec = FIELD_BY_ATTRIBUTE[attribute]
                if spec.group == "repair" and not repaired:
                    return None
                return read_dataset(file[spec.path])

            numbers = {
                name: _number(stored(attribute), scale, last - first)
                for name, (attribute, scale, _) in NUMBERS.items()
            }
            names = {
                name: _coded(stored(attribute), last - first) for name, attribute in NAMES.items()
            }
            contacts = {
                kind: _region_codes(_coded(stored(attribute), last - first))
                for kind, attribute in CONTACTS.items()
            }
            time = stored("timestamp")
        assert time is not None
        parts.append(_Part(numbers, names, contacts, time.array, present))
    return parts


def _filled(dataset: Dataset) -> list[ShardEntry]:
    """The shards that hold any sample."""
    return [shard for shard in dataset.index.shards if shard.samples]


def _number(item: Stored | None, scale: float, n: int) -> np.ndarray:
    """(n,) float32 in the unit asked for, the worse hand's where there are two."""
    if item is None:
        return np.full(n, np.nan, dtype=np.float32)
    values = item.array.astype(np.float32) * np.float32(scale)
    return values if values.ndim == 1 else _worse(values)


def _coded(item: Stored | None, n: int) -> Coded:
    """Names as codes, without writing them out sample by sample."""
    if item is None:
        return Coded(np.zeros(n, dtype=np.int32), (UNNAMED,))
    if "names" in item.attributes:
        names = tuple(item.attributes["names"])
        return Coded(np.minimum(item.array, len(names)).astype(np.int32), (*names, UNNAMED))
    found, codes = np.unique(item.array, return_inverse=True)
    written = np.char.decode(found, "utf-8").tolist()
    return Coded(
        codes.reshape(item.array.shape).astype(np.int32), tuple(n or UNNAMED for n in written)
    )


def _bounds(dataset: Dataset) -> list[tuple[int, int]]:
    """First and last position of every shard that holds any sample."""
    ends = np.cumsum([0, *(shard.samples for shard in dataset.index.shards)]).tolist()
    return [(a, b) for a, b in pairwise(ends) if b > a]


def _worse(values: np.ndarray) -> np.ndarray:
    """(n,) of (n, 2): the larger of what is known, NaN where neither is."""
    worse: np.ndarray = np.fmax(values[:, 0], values[:, 1])
    return worse


def _region_codes(regions: Coded) -> np.ndarray:
    places = [REGIONS.index(n) if n in REGIONS else -1 for n in regions.names]
    return np.array(places, dtype=np.int8)[regions.codes]


def _joined(parts: Sequence[Coded]) -> Coded:
    """The names of all parts that occur, under one set of codes."""
    used = [[part.names[k] for k in np.unique(part.codes).tolist()] for part in parts]
    names = tuple(sorted({name for part in used for name in part}))
    code = {name: k for k, name in enumerate(names)}
    return Coded(
        np.concatenate(
            [
                np.array([code.get(n, -1) for n in part.names], dtype=np.int32)[part.codes]
                for part in parts
            ]
        ),
        names,
    )


def _check_hands(dataset: Dataset, hands: HandPair) -> None:
    for side, word in enumerate(SIDES):
        if dataset.conventions[f"hand_model_{word}_sha256"] != hands[side].sha256:
            raise DataError(
                f"{dataset.path} was made for the hand model "
                f"{dataset.conventions['hand_model'][side]!r}, not for {hands[side].name!r}: name "
                "its model with --hand-model, or bring it to this one with `twohand hand convert`"
            )


@dataclass(frozen=True, eq=False)
class Walk:
    """Where one viewer of a catalog stands: what was found, and which of it is looked at.

    found (m,) rows; at: position among them, 0 where nothing was found.
    """

    catalog: Catalog
    query: Query
    found: np.ndarray
    at: int = 0

    @staticmethod
    def begin(catalog: Catalog, query: Query | None = None) -> "Walk":
        """At the first sample a query finds."""
        query = query or Query()
        return Walk(catalog, query, catalog.rows(query))

    @property
    def row(self) -> int | None:
        """The row looked at; None if nothing was found."""
        return int(self.found[self.at]) if len(self.found) else None

    def asking(self, query: Query) -> "Walk":
        """Another query; the sample looked at stays if it is still found."""
        found = self.catalog.rows(query)
        kept = np.flatnonzero(found == (-1 if self.row is None else self.row))
        return Walk(self.catalog, query, found, int(kept[0]) if len(kept) else 0)

    def step(self, by: int) -> "Walk":
        """So many samples on (or back), round the end."""
        return self if not len(self.found) else replace(self, at=(self.at + by) % len(self.found))

    def to(self, at: int) -> "Walk":
        """To a position among what was found, the nearest there is."""
        return replace(self, at=min(max(at, 0), max(len(self.found) - 1, 0)))

    def random(self, rng: np.random.Generator) -> "Walk":
        """To any of them."""
        return self.to(int(rng.integers(max(len(self.found), 1))))

    def jump(self, sample_id: str) -> "Walk":
        """To a sample by its id; the query is dropped if it does not find that sample.

        Raises DataError if no sample has that id.
        """
        row = self.catalog.row_of(sample_id)
        place = np.flatnonzero(self.found == row)
        if len(place):
            return self.to(int(place[0]))
        everything = Walk.begin(self.catalog)
        return everything.to(row)

    def is_take_neighbour(self, other: "Walk") -> bool:
        """Whether both look at moments of one recorded take, so that they share one space."""
        a, b = self.row, other.row
        if a is None or b is None or self.catalog is not other.catalog:
            return False
        takes = self.catalog.names["take"].codes
        same = self.catalog.place(a)[0] == self.catalog.place(b)[0] and takes[a] == takes[b]
        return bool(same and np.isfinite(self.catalog.timestamp[[a, b]]).all())

    def rate(self) -> float:
        """Samples a second at which the take looked at was kept, 1 where it has no times."""
        if self.row is None:
            return 1.0
        takes, times = self.catalog.names["take"].codes, self.catalog.timestamp
        low = max(self.row - 50, 0)
        near = slice(low, self.row + 50)
        mine = times[near][takes[near] == takes[self.row]]
        steps = np.diff(mine[np.isfinite(mine)])
        steps = steps[steps > 1e-6]
        return float(1.0 / np.median(steps)) if len(steps) else 1.0
