"""Write one shard: `Samples` and conventions in, an HDF5 file and its index entry out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twohand500k.shards.files import write_whole
from twohand500k.shards.hdf5 import arrays_sha256, shard_bytes, to_stored
from twohand500k.shards.index import ShardEntry
from twohand500k.shards.samples import Samples
from twohand500k.shards.schema import check_conventions


def write_shard(path: Path, samples: Samples, conventions: Mapping[str, Any]) -> ShardEntry:
    """Write `samples` to `path`, whole or not at all; the same bytes for the same samples.

    `conventions` come from `schema.conventions_for(hands, frame)`. Raises ValueError for an empty
    shard, DataError when the disk refuses.
    """
    if not len(samples):
        raise ValueError(f"{path}: a shard without samples is not written")
    check_conventions(conventions, "the shard to write")
    stored = to_stored(samples)
    write_whole(path, shard_bytes(stored, conventions))
    return ShardEntry(path.name, len(samples), arrays_sha256(stored, conventions))
