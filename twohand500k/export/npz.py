"""NPZ: MANO's arrays under smplx's names, a file a shard, nothing rounded.

`npz/shard-00000.npz`: `right_global_orient` (n, 3), `right_hand_pose` (n, 45), `right_betas`
(n, 10), `right_transl` (n, 3), the same for left, `joints` (n, 2, 21, 3) and who is who. Poses are
relative to the flat hand: ``smplx.create(…, is_rhand=True, use_pca=False, flat_hand_mean=True)``.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from twohand500k.conventions import SIDES
from twohand500k.errors import DataError
from twohand500k.export.content import Array, Arrays, Digest, Source, whole_file

NAME = "npz"


def order(source: Source) -> Iterator[Array]:
    """Rows, a file at a time."""
    return source.by_shard()


def arrays(source: Source, rows: Array) -> Arrays:
    """MANO's arrays of the rows, as stored."""
    samples = source.samples(rows)
    n = len(samples)
    out: dict[str, Array] = {}
    for side, name in enumerate(SIDES):
        out[f"{name}_global_orient"] = samples.pose[:, side, 0]
        out[f"{name}_hand_pose"] = samples.pose[:, side, 1:].reshape(n, 45)
        out[f"{name}_betas"] = samples.betas[:, side]
        out[f"{name}_transl"] = samples.transl[:, side]
    for field in ("joints", "present", "sample_id", "source", "subject", "take", "frame", "split"):
        out[field] = getattr(samples, field)
    return out


def write(source: Source, folder: Path, digest: Digest) -> None:
    """A file a shard."""
    for number, rows in enumerate(order(source)):
        chunk = arrays(source, rows)
        digest.add(chunk)
        with whole_file(folder / f"shard-{number:05d}.npz") as file:
            np.savez_compressed(file, **dict(chunk))  # type: ignore[arg-type]


def read(folder: Path) -> Iterator[Arrays]:
    """The arrays of each file. Raises DataError for a file that cannot be read."""
    for path in sorted(folder.glob("shard-*.npz")):
        try:
            with np.load(path, allow_pickle=False) as file:
                yield {name: file[name] for name in file.files}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} cannot be read as NPZ: {error}") from error
