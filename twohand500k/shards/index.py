"""`index.json`: what makes a folder a dataset. Written last, so its presence says it is finished.

It holds nothing that depends on when, where or by how many processes it was made: the same recipe
and inputs give the same bytes.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from twohand500k import __version__
from twohand500k.errors import DataError
from twohand500k.shards.files import INDEX, PLAN, json_bytes, read_json, write_whole
from twohand500k.shards.schema import FORMAT, check_conventions


@dataclass(frozen=True)
class ShardEntry:
    """One shard in the index: file name, number of samples, hash of its content."""

    file: str
    samples: int
    arrays_sha256: str


@dataclass(frozen=True)
class Index:
    """The content of `index.json`.

    counts: per source {"kept": n, "rejected": n}. conventions: the root attributes that every
    shard carries. history: one record per stage the samples went through, oldest first:
    {"stage", "version", "seed", "options", "inputs": {name: sha256}}.
    """

    shards: tuple[ShardEntry, ...]
    counts: Mapping[str, Mapping[str, int]]
    conventions: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...]

    @property
    def samples(self) -> int:
        """Samples in all shards."""
        return sum(shard.samples for shard in self.shards)

    def to_json(self) -> dict[str, Any]:
        """As written to `index.json`."""
        return {
            "format": FORMAT,
            "samples": self.samples,
            "shards": [asdict(shard) for shard in self.shards],
            "counts": {source: dict(counts) for source, counts in self.counts.items()},
            "conventions": dict(self.conventions),
            "history": [dict(record) for record in self.history],
        }

    @staticmethod
    def from_json(value: Any, where: str) -> "Index":
        """Raises DataError naming the key that is missing or wrong, or a newer format."""
        if not isinstance(value, dict) or not isinstance(value.get("format"), int):
            raise DataError(
                f"{where} is not the index of a twohand500k dataset: it has no 'format'"
            )
        if value["format"] > FORMAT:
            raise DataError(
                f"{where} has format {value['format']}, newer than the format {FORMAT} that "
                f"twohand500k {__version__} reads: upgrade twohand500k"
            )
        try:
            conventions = {
                key: tuple(item) if isinstance(item, list) else item
                for key, item in value["conventions"].items()
            }
            index = Index(
                shards=tuple(
                    ShardEntry(str(s["file"]), int(s["samples"]), str(s["arrays_sha256"]))
                    for s in value["shards"]
                ),
                counts={
                    str(source): {"kept": int(c["kept"]), "rejected": int(c["rejected"])}
                    for source, c in value["counts"].items()
                },
                conventions=conventions,
                history=tuple(dict(record) for record in value["history"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{where} is damaged: {type(error).__name__} {error}") from error
        check_conventions(index.conventions, where)
        if value.get("samples") != index.samples:
            raise DataError(
                f"{where} is damaged: it says {value.get('samples')} samples, its shards add up "
                f"to {index.samples}"
            )
        for shard in index.shards:
            if Path(shard.file).name != shard.file:
                raise DataError(f"{where} names the shard {shard.file!r} outside its own folder")
        return index


def write_index(folder: Path, index: Index) -> None:
    """Write `folder/index.json`; the folder is then a dataset."""
    write_whole(folder / INDEX, json_bytes(index.to_json()))


def read_index(folder: Path) -> Index:
    """The index of a dataset.

    Raises DataError if the folder is not there, is no dataset, is a run not yet finished (with the
    command that finishes it), or has a newer format.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: give the --out of a twohand command")
    if not (folder / INDEX).exists():
        if (folder / PLAN).exists():
            plan = read_json(folder / PLAN)
            done = len(list((folder / PLAN).parent.glob("unit-*.json")))
            raise DataError(
                f"{folder} is an unfinished run ({done} of {plan.get('units', '?')} units done); "
                f"finish it with: {plan.get('command', 'the command that began it')}"
            )
        shards = len(list(folder.glob("shard-*.h5")))
        raise DataError(
            f"{folder} is not a dataset: it has no {INDEX}"
            + (f" (but {shards} shards: the index was deleted or not copied)" if shards else "")
        )
    return Index.from_json(read_json(folder / INDEX), str(folder / INDEX))
