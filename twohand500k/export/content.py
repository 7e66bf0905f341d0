"""What goes into an export, in which order, and how it is known again.

A format is four functions of one module: `order` (which rows, chunk by chunk), `arrays` (what it
holds of a chunk, in its own precision), `write`, and `read`, which gives the same arrays back from
the files. The hash of the arrays is noted when the dataset is read, so that `verify` can hold the
files against it without the dataset.
"""

import contextlib
import hashlib
import itertools
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from twohand500k.hand import HandPair
from twohand500k.shards import Dataset, Samples
from twohand500k.shards.files import disk_error

Array = np.ndarray
Arrays = Mapping[str, Array]
Log = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Source:
    """The rows (n,) of a dataset that are exported, ascending, and the hands they are made on.

    closed: meshes have their wrists capped.
    """

    dataset: Dataset
    hands: HandPair
    rows: Array
    closed: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def by_shard(self) -> Iterator[Array]:
        """The rows, a shard at a time."""
        starts = np.cumsum([0, *(entry.samples for entry in self.dataset.index.shards)])
        cuts = np.searchsorted(self.rows, starts)
        for a, b in itertools.pairwise(cuts.tolist()):
            if b > a:
                yield self.rows[a:b]

    def samples(self, rows: Array) -> Samples:
        """The samples at `rows`; of one shard, checked against its hash."""
        starts = np.cumsum([0, *(entry.samples for entry in self.dataset.index.shards)])
        shard = int(np.searchsorted(starts, rows[0], side="right")) - 1
        if rows[-1] >= starts[shard + 1] or rows.min() < starts[shard]:
            return self.dataset.samples(rows)
        return self.dataset.shard(shard).select(rows - starts[shard])


def skins(source: Source, samples: Samples) -> Array:
    """Skins (n, 2, V, 3) m in float32, NaN where a hand is absent."""
    n_vertices = len(source.hands.right.v_template)
    out = np.full((len(samples), 2, n_vertices, 3), np.nan, dtype=np.float32)
    for side in (0, 1):
        rows = samples.present[:, side]
        if rows.any():
            pose, betas, transl = (
                a[rows, side].astype(np.float64)
                for a in (samples.pose, samples.betas, samples.transl)
            )
            out[rows, side] = source.hands[side].with_shape(betas).with_pose(pose, transl).vertices
    return out


class Digest:
    """sha256 per field of arrays that come chunk by chunk; chunk borders do not matter.

    files: of arrays that say which file each row is in, these, in their order.
    """

    def __init__(self) -> None:
        self.files: list[str] = []
        self._by_field: dict[str, hashlib._Hash] = {}
        self.rows = 0

    def add(self, arrays: Arrays) -> None:
        self.rows += len(next(iter(arrays.values())))
        self.files += arrays["file"].tolist() if "file" in arrays else []
        for name, array in arrays.items():
            digest = self._by_field.setdefault(name, hashlib.sha256())
            if array.dtype.kind == "U":
                digest.update("\0".join([*array.ravel().tolist(), ""]).encode())
            else:
                digest.update(np.ascontiguousarray(array).tobytes())

    def told(self) -> dict[str, str]:
        """Hash of every field."""
        return {name: digest.hexdigest() for name, digest in sorted(self._by_field.items())}


def digest_of(chunks: Iterable[Arrays]) -> Digest:
    """The digest of all chunks."""
    digest = Digest()
    for arrays in chunks:
        digest.add(arrays)
    return digest


@contextlib.contextmanager
def whole_file(path: Path, sync: bool = True) -> Iterator[IO[bytes]]:
    """A file that is there whole when the block ends, or not at all. Raises DataError when the
    disk refuses. sync: wait for the disk; not worth it for each of a hundred thousand meshes."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise disk_error(error, path) from error
        raise
