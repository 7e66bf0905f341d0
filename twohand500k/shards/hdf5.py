"""Between `Samples` and the bytes of an HDF5 shard, and the hash that names a shard's content.

The file is put together in memory and leaves as bytes, so that writing it is one ordinary file
write (HDF5's own handling of a full disk is not recoverable), and the bytes are a function of
the content: no times are stored and strings have a fixed width per shard.

Layout: byte shuffle and gzip at its fastest level; float32 motion hardly shrinks further at higher
levels, and unlike lzf every HDF5 reader can open gzip. Chunks of rows let a reader take a part of a
shard. The file format is HDF5 1.10's: its metadata carry checksums and are smaller than the older
format's.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from twohand500k.errors import DataError
from twohand500k.shards.files import json_line
from twohand500k.shards.samples import Samples
from twohand500k.shards.schema import FIELD_BY_PATH, FIELDS, Field

CHUNK_ROWS: Final = 512
# A picture is a chunk of its own: whoever wants one need not unpack its neighbours.
_CHUNK_BYTES: Final = 2**18
_NOT_KNOWN: Final = 255
# Of the kinds that are not text; those are fixed-width bytes, or u1 codes.
DISK_TYPE: Final = {
    "f4": "<f4", "f8": "<f8", "i4": "<i4", "i8": "<i8", "u1": "|u1", "bool": "|b1",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Stored:
    """A dataset as it lies on the disk: raw array and attributes (str, int, tuples of them)."""

    array: np.ndarray
    attributes: Mapping[str, Any]


def to_stored(samples: Samples) -> dict[str, Stored]:
    """The datasets of a shard, by path in schema order."""
    out = {}
    for field in FIELDS:
        array = getattr(samples, field.attribute)
        if array is not None:
            out[field.path] = _encode(field, array)
    return out


def from_stored(stored: Mapping[str, Stored], where: str) -> Samples:
    """`Samples` from a shard's datasets. Raises DataError naming the dataset that is wrong."""
    for fault in schema_faults(stored):
        raise DataError(f"{where}: {fault}")
    arrays = {FIELD_BY_PATH[path].attribute: decode(path, item) for path, item in stored.items()}
    try:
        return Samples(**arrays)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error


def schema_faults(stored: Mapping[str, Stored]) -> list[str]:
    """Where a shard's datasets depart from the schema: missing, unknown, wrong type or shape."""
    faults = [
        f"dataset {path} is not in the schema" for path in sorted(set(stored) - set(FIELD_BY_PATH))
    ]
    groups = {FIELD_BY_PATH[path].group for path in stored if path in FIELD_BY_PATH}
    lengths = {}
    for field in FIELDS:
        if field.path not in stored:
            if field.group == "core" or field.group in groups:
                faults.append(f"dataset {field.path} is missing")
            continue
        array, attributes = stored[field.path].array, stored[field.path].attributes
        if array.ndim == 0 or array.shape[1:] != field.tail:
            faults.append(f"dataset {field.path} has shape {array.shape}, not (N, {field.tail})")
            continue
        lengths[field.path] = len(array)
        expected = {"text": "S", "name": "|u1"}.get(field.kind) or DISK_TYPE[field.kind]
        if expected not in (array.dtype.kind, array.dtype.str):
            faults.append(f"dataset {field.path} has type {array.dtype.str}, not {expected}")
        elif field.kind == "name":
            names = attributes.get("names")
            if not isinstance(names, tuple):
                faults.append(f"dataset {field.path} lacks its attribute 'names'")
            elif field.vocabulary and names != field.vocabulary:
                faults.append(f"dataset {field.path} has names {names}, not {field.vocabulary}")
            elif (bad := (array >= len(names)) & (array != _NOT_KNOWN)).any():
                row = int(np.argwhere(bad)[0][0])
                faults.append(f"dataset {field.path} row {row} has a code beyond its names")
    if len(set(lengths.values())) > 1:
        usual = lengths.get("sample_id", next(iter(lengths.values())))
        faults += [
            f"dataset {path} has {length} rows, not {usual}"
            for path, length in lengths.items()
            if length != usual
        ]
    return faults


def decode(path: str, item: Stored) -> np.ndarray:
    """A dataset as `Samples` holds it: codes become names, bytes become str."""
    field = FIELD_BY_PATH[path]
    if field.kind == "name":
        names = np.array([*item.attributes["names"], ""], dtype=np.str_)
        return names[np.where(item.array == _NOT_KNOWN, len(names) - 1, item.array)]
    if field.kind == "text":
        return np.char.decode(item.array, "utf-8")
    return item.array


def arrays_sha256(stored: Mapping[str, Stored], conventions: Mapping[str, Any]) -> str:
    """Hash of a shard's content, whatever its HDF5 layout, chunking or compression.

    sha256 over the root attributes as JSON, then for each dataset in alphabetical order one JSON
    line (path, type, shape, attributes) and its little-endian C-order bytes.
    """
    digest = hashlib.sha256(json_line(dict(conventions)))
    for path in sorted(stored):
        array, attributes = stored[path].array, dict(stored[path].attributes)
        array = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
        digest.update(json_line([path, array.dtype.str, list(array.shape), attributes]))
        digest.update(array.data.cast("B") if array.size else b"")
    return digest.hexdigest()


def shard_bytes(stored: Mapping[str, Stored], conventions: Mapping[str, Any]) -> bytes:
    """The HDF5 file with these datasets and root attributes."""
    # HDF5 wants a name of its own for every file a process has open, in memory or not.
    name = f"shard-{id(stored)}"
    with h5py.File(name, "w", driver="core", backing_store=False, libver=("v110", "v110")) as file:
        for key, value in sorted(conventions.items()):
            _set_attribute(file, key, value)
        for path, item in stored.items():
            rows = len(item.array)
            dataset = file.create_dataset(
                path,
                data=_as_utf8(item.array),
                track_times=False,
                # An empty dataset cannot be chunked, and has nothing to compress.
                **(
                    {
                        "chunks": (_chunk_rows(item.array), *item.array.shape[1:]),
                        "compression": "gzip",
                        "compression_opts": 1,
                        "shuffle": True,
                    }
                    if rows
                    else {}
                ),
            )
            for key, value in sorted(item.attributes.items()):
                _set_attribute(dataset, key, value)
            # HDF5 gives chunks their place when a dataset closes, and that is when nothing refers
            # to it any more: a debugger's or a profiler's thread would change the file's order.
            dataset.flush()
        file.flush()
        return bytes(file.id.get_file_image())


def _chunk_rows(array: np.ndarray) -> int:
    """Rows of a chunk."""
    return min(len(array), CHUNK_ROWS, max(1, _CHUNK_BYTES // array[:1].nbytes))


def read_root(path: Path) -> dict[str, Any]:
    """Root attributes of a shard. Raises DataError if it cannot be opened."""
    with open_shard(path) as file:
        return {key: _attribute(value) for key, value in file.attrs.items()}


def read_stored(path: Path) -> tuple[dict[str, Stored], dict[str, Any]]:
    """Every dataset and the root attributes of a shard. Raises DataError if it cannot be read."""
    stored: dict[str, Stored] = {}
    with open_shard(path) as file:
        names: list[str] = []
        file.visit(names.append)
        for name in names:
            item = file[name]
            if isinstance(item, h5py.Dataset):
                stored[name] = read_dataset(item)
        root = {key: _attribute(value) for key, value in file.attrs.items()}
    order = {field.path: i for i, field in enumerate(FIELDS)}
    return dict(sorted(stored.items(), key=lambda kv: (order.get(kv[0], 999), kv[0]))), root


def read_dataset(dataset: h5py.Dataset, rows: slice | np.ndarray = slice(None)) -> Stored:
    """One dataset, or rows of it, consecutive or increasing; within `open_shard`."""
    return Stored(
        np.asarray(dataset[rows]),
        {key: _attribute(value) for key, value in dataset.attrs.items()},
    )


@contextlib.contextmanager
def open_shard(path: Path) -> Iterator[h5py.File]:
    """Open a shard for reading.

    Raises DataError if it is missing or no HDF5 file, or if what is read inside the block turns
    out damaged: h5py says that with half a dozen kinds of exception.
    """
    try:
        with h5py.File(path, "r") as file:
            yield file
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}): cut short or damaged") from error


def _encode(field: Field, array: np.ndarray) -> Stored:
    attributes: dict[str, Any] = {"unit": field.unit} if field.unit else {}
    if field.kind == "name":
        names = field.vocabulary or tuple(sorted(set(array.ravel().tolist()) - {""}))
        if len(names) > _NOT_KNOWN:
            raise ValueError(f"{field.path} has {len(names)} names, a shard holds {_NOT_KNOWN}")
        code = {name: i for i, name in enumerate(names)} | {"": _NOT_KNOWN}
        codes = [code[name] for name in array.ravel().tolist()]
        return Stored(
            np.array(codes, dtype=np.uint8).reshape(array.shape), attributes | {"names": names}
        )
    if field.kind == "text":
        encoded = np.char.encode(array, "utf-8")
        width = max((len(value) for value in encoded.ravel().tolist()), default=1)
        return Stored(encoded.astype(f"S{max(width, 1)}"), attributes)
    return Stored(array.astype(DISK_TYPE[field.kind], copy=False), attributes)


def _as_utf8(array: np.ndarray) -> np.ndarray:
    """Mark bytes as UTF-8 for h5py, which else declares them ASCII."""
    if array.dtype.kind != "S":
        return array
    return array.astype(h5py.string_dtype("utf-8", array.dtype.itemsize))


def _set_attribute(target: Any, key: str, value: Any) -> None:
    """Strings and integers with a fixed width, tuples as one-dimensional arrays."""
    values = list(value) if isinstance(value, (tuple, list)) else [value]
    if values and isinstance(values[0], int):
        array = np.array(values, dtype="<i8")
    else:
        encoded = [str(v).encode("utf-8") for v in values]
        array = np.array(encoded, dtype=f"S{max([1, *map(len, encoded)])}")
    array = _as_utf8(array)
    if not isinstance(value, (tuple, list)):
        array = array.reshape(())
    target.attrs.create(key, array, dtype=array.dtype)


def _attribute(value: Any) -> Any:
    """An attribute as Python values: int, str, or a tuple of them."""
    if isinstance(value, np.ndarray):
        return tuple(_attribute(v) for v in value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.generic):
        return (
            value.item() if not isinstance(value, np.bytes_) else value.decode("utf-8", "replace")
        )
    return value
