"""The dataset on disk: schema, `Samples`, writing, `Dataset`, index, verification."""

from twohand500k.shards.index import Index, ShardEntry, read_index, write_index
from twohand500k.shards.reader import Dataset
from twohand500k.shards.samples import Reject, Samples
from twohand500k.shards.schema import FIELDS, FORMAT, SPLITS, conventions_for
from twohand500k.shards.writer import write_shard

__all__ = [
    "FIELDS",
    "FORMAT",
    "SPLITS",
    "Dataset",
    "Index",
    "Reject",
    "Samples",
    "ShardEntry",
    "conventions_for",
    "read_index",
    "write_index",
    "write_shard",
]
