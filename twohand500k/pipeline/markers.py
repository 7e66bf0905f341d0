"""One marker per finished unit: `.work/unit-00000.json`, written after the unit's shard.

A marker tells what was computed from what (hashes of configuration, inputs and output), so that a
later session knows what it may keep. It holds the unit's rejects too: the parent needs nothing
else to write `rejects.jsonl`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from twohand500k.errors import DataError
from twohand500k.pipeline.units import Stats
from twohand500k.shards import Reject, ShardEntry
from twohand500k.shards.files import WORK, json_bytes, read_json, sha256_of_file, write_whole


@dataclass(frozen=True)
class Marker:
    """A unit that is done. `shard` is None when nothing of it was kept."""

    unit: str
    config_sha256: str
    inputs_sha256: str
    shard: ShardEntry | None
    file_sha256: str | None
    n_in: int
    kept_per_source: Mapping[str, int]
    rejects: tuple[Reject, ...]
    stats: Stats
    seconds: float

    @property
    def n_kept(self) -> int:
        return sum(self.kept_per_source.values())

    def write(self, folder: Path, number: int) -> None:
        value: dict[str, Any] = asdict(self)
        value |= {"n_kept": self.n_kept, "stats": self.stats.to_json()}
        write_whole(marker_path(folder, number), json_bytes(value))

    def output_is_intact(self, folder: Path) -> bool:
        """Whether the shard on the disk is the one this marker was written for."""
        if self.shard is None:
            return True
        path = folder / self.shard.file
        return path.is_file() and sha256_of_file(path) == self.file_sha256


def marker_path(folder: Path, number: int) -> Path:
    """Where the marker of unit `number` lies."""
    return folder / WORK / f"unit-{number:05d}.json"


def read_marker(folder: Path, number: int) -> Marker | None:
    """The marker of a unit; None if there is none, or it cannot be understood."""
    path = marker_path(folder, number)
    if not path.exists():
        return None
    try:
        value = read_json(path)
        value.pop("n_kept")
        shard = value.pop("shard")
        return Marker(
            **value
            | {
                "shard": None if shard is None else ShardEntry(**shard),
                "rejects": tuple(Reject(**reject) for reject in value["rejects"]),
                "stats": Stats.from_json(value["stats"]),
            }
        )
    except (DataError, KeyError, TypeError, AttributeError):
        return None
