"""One dataset read for the report: everything its numbers and its place on the map need.

Comes in: a dataset folder. Goes out: `DatasetFacts`, small enough that several datasets of 500,000
pairs fit into memory together (0.6 kB a pair). Shards are read one after another; joints and poses
are turned into features at once and let go.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twohand500k.conventions import RIGHT
from twohand500k.errors import DataError
from twohand500k.report.contacts import NEAR_MM, region_indices
from twohand500k.report.distributions import QUALITIES, Quality
from twohand500k.report.feature import DIMENSIONS, pair_features
from twohand500k.report.thinning import THIN_MM, thinned
from twohand500k.shards import Dataset


@dataclass(frozen=True, eq=False)
class DatasetFacts:
    """What one dataset says.

    name: what the report calls it; folder: where it lies. n samples, n_pairs of them with both
    hands, n_thinned of those left out as near-duplicates of the frame before. features (M, 126)
    float32 of the M pairs that stay, rows (M,) int64 their positions in the dataset, source (M,)
    int64 into source_names, volume_cm3 and contact_distance_mm (M,) float32, NaN unknown.
    quality: per key of `QUALITIES` the values (n,) float32 in its unit of all hands or pairs it
    applies to, NaN unknown. realised, intended (n_pairs, 2) int16 contact regions, -1 unknown;
    realised only where the skins are near. about: counts, provenance and conventions as they stand
    in `numbers.json`.
    """

    name: str
    folder: Path
    n: int
    n_pairs: int
    n_thinned: int
    features: np.ndarray
    rows: np.ndarray
    source: np.ndarray
    source_names: tuple[str, ...]
    volume_cm3: np.ndarray
    contact_distance_mm: np.ndarray
    quality: Mapping[str, np.ndarray]
    realised: np.ndarray
    intended: np.ndarray
    about: Mapping[str, Any]


def read(
    folder: Path, name: str, *, thin_mm: float = THIN_MM, log: Callable[[str], None] | None = None
) -> DatasetFacts:
    """Read a dataset for the report.

    thin_mm: least mean movement of the joints between two frames of a take, 0 keeps all.

    Raises DataError if the folder is no dataset or a joint of a present hand is not finite.
    """
    began = time.perf_counter()
    dataset = Dataset(folder)
    present = dataset.array("present")
    both = np.flatnonzero(present.all(axis=1))
    features = _features(dataset, both)
    stay = thinned(
        features, _take_labels(dataset, both), dataset.array("frame", both), thin_mm
    )  # fmt: skip
    used = both[stay]
    quality = {q.key: _values(dataset, q, present) for q in QUALITIES}
    volume, distance = quality["penetration_volume_cm3"], quality["contact_distance_mm"]
    near = distance <= NEAR_MM
    source_names, source = np.unique(dataset.array("source", used), return_inverse=True)
    facts = DatasetFacts(
        name=name,
        folder=folder,
        n=len(dataset),
        n_pairs=len(both),
        n_thinned=int((~stay).sum()),
        features=features if stay.all() else features[stay],
        rows=used,
        source=source.reshape(-1).astype(np.int64),
        source_names=tuple(source_names.tolist()),
        volume_cm3=volume[stay],
        contact_distance_mm=distance[stay],
        quality=quality,
        realised=np.where(near[:, None], _regions(dataset, "contact_realised", both), -1),
        intended=_regions(dataset, "contact_intended", both),
        about=_about(dataset, both),
    )
    if log is not None:
        log(
            f"{name}: {facts.n:,} samples, {facts.n_pairs:,} pairs, {facts.n_thinned:,} of them "
            f"thinned; {time.perf_counter() - began:.1f} s"
        )
    return facts


def _blocks(dataset: Dataset, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(place in rows, rows) of each shard in turn: no more than one shard is in memory."""
    start = 0
    for shard in dataset.index.shards:
        here = np.flatnonzero((rows >= start) & (rows < start + shard.samples))
        if len(here):
            yield here, rows[here]
        start += shard.samples


def _features(dataset: Dataset, both: np.ndarray) -> np.ndarray:
    features = np.empty((len(both), DIMENSIONS), dtype=np.float32)
    for here, rows in _blocks(dataset, both):
        orientation = dataset.array("pose", rows)[:, RIGHT, 0]
        features[here] = pair_features(dataset.array("joints", rows), orientation)
        wrong = ~np.isfinite(features[here]).all(axis=1)
        if wrong.any():
            row = int(rows[np.flatnonzero(wrong)[0]])
            raise DataError(
                f"{dataset.path}: the pair at position {row} has joints that are not finite or "
                f"hands without size: `twohand verify {dataset.path}` says what is wrong with it"
            )
    return features


def _take_labels(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Numbers (n,) that tell the takes of all sources apart."""
    labels = np.empty(len(rows), dtype=np.int64)
    seen: dict[tuple[str, str, str], int] = {}
    for here, part in _blocks(dataset, rows):
        names = zip(
            *(dataset.array(key, part).tolist() for key in ("source", "subject", "take")),
            strict=True,
        )
        labels[here] = [seen.setdefault(key, len(seen)) for key in names]
    return labels


def _regions(dataset: Dataset, field: str, rows: np.ndarray) -> np.ndarray:
    found = np.empty((len(rows), 2), dtype=np.int16)
    for here, part in _blocks(dataset, rows):
        found[here] = region_indices(dataset.array(field, part))
    return found


def _values(dataset: Dataset, quality: Quality, present: np.ndarray) -> np.ndarray:
    """Values of all hands or pairs the quality applies to, in its unit, NaN unknown."""
    applies = present.reshape(-1) if quality.per == "hand" else present.all(axis=1)
    if quality.group == "repair" and "repair" not in dataset.groups:
        return np.full(int(applies.sum()), np.nan, dtype=np.float32)
    values = dataset.array(quality.field).reshape(-1)[applies]
    return (values * quality.scale).astype(np.float32)


def _about(dataset: Dataset, both: np.ndarray) -> dict[str, Any]:
    """The part of a dataset's entry in `numbers.json` that is read, not computed."""
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for reject in dataset.rejects():
        reasons[reject.source][reject.reason] += 1
    splits = Counter(split or "none" for split in dataset.array("split").tolist())
    subjects, takes = dataset.array("subject").tolist(), dataset.array("take").tolist()
    verdicts = None
    if "repair" in dataset.groups:
        verdicts = dict(Counter(dataset.array("repair_verdict").tolist()).most_common())
    run = dataset.run
    return {
        "folder": dataset.path.resolve().name,
        "samples": len(dataset),
        "pairs": len(both),
        "bytes": sum((dataset.path / s.file).stat().st_size for s in dataset.index.shards),
        "conventions": dataset.conventions,
        "history": [dict(record) for record in dataset.index.history],
        "run": {key: run.get(key) for key in ("command", "versions", "git_revision", "seed")},
        "sources": {
            source: dict(counts) | {"reasons": dict(reasons[source].most_common())}
            for source, counts in dataset.index.counts.items()
        },
        "splits": dict(splits.most_common()),
        "subjects": len(set(subjects) - {""}),
        "takes": len(set(takes)),
        "verdicts": verdicts,
    }
