"""Files of a dataset: found or missed by name, read whole or refused in one line, hashed.

In: the folder a user gave and a path that the source's layout names. Out: a path that exists, or a
`DataError` that says which file is missing and where to get it. A reader turns
the error of a file that one frame alone depends on into that frame's fault; nothing else is lost.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twohand500k.errors import DataError
from twohand500k.sources.manifest import SourceManifest
from twohand500k.sources.take import Array, InputFile

_CHUNK = 2**22


def require(folder: Path, relative: str, manifest: SourceManifest) -> Path:
    """`folder / relative` if it exists. Raises DataError naming it and where to get it."""
    path = folder / relative
    if path.exists():
        return path
    raise missing(folder, relative, manifest)


def missing(folder: Path, relative: str, manifest: SourceManifest) -> DataError:
    """The error for a folder that lacks a file of the source's layout."""
    where = f"{folder} has no {relative}" if folder.is_dir() else f"{folder} is not a folder"
    return DataError(
        f"{where}, which {manifest.name} needs: give the folder that holds "
        f"{manifest.layout[0]}; {manifest.get} ({manifest.url})"
    )


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises DataError where it is cut, broken or unreadable."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: not whole JSON ({reason}); fetch the file again") from None


def numbers(value: Any, shape: tuple[int, ...], what: str) -> Array:
    """`value` as a finite float64 array of this shape. Raises DataError naming `what`.

    For values out of JSON, pickles and text: a wrong type, a wrong shape, NaN and infinity are
    faults of the data.
    """
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{what} holds no numbers") from None
    if array.shape != shape:
        raise DataError(f"{what} has shape {array.shape}, not {shape}")
    if not np.isfinite(array).all():
        raise DataError(f"{what} has a value that is not finite")
    return array


def text_numbers(path: Path, count: int) -> Array:
    """The `count` numbers of a text file, white space between them. Raises DataError."""
    try:
        words = path.read_text("ascii").split()
    except OSError as error:
        raise DataError(f"{path.name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path.name}: is no text file") from None
    if len(words) != count:
        raise DataError(f"{path.name}: {len(words)} numbers, not {count}")
    return numbers(words, (count,), path.name)


def sha256_of(path: Path) -> InputFile:
    """A file and the hash of its bytes. Raises DataError if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    return InputFile(os.fspath(path), digest.hexdigest())


def sha256_of_all(folder: Path, files: Iterable[Path]) -> InputFile:
    """Many small files as one input: the hash of their names below `folder` and their bytes.

    A file that cannot be read counts as empty: reading it is a fault of its frame, found later.
    """
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError:
            digest.update(b"unreadable")
    return InputFile(os.fspath(folder), digest.hexdigest())


def numbered_files(folder: Path, digits: int, suffix: str) -> list[tuple[int, Path]]:
    """The files of a folder called by a number of so many digits, by number; no others."""
    found = [
        (int(path.stem), path)
        for path in folder.glob(f"*{suffix}")
        if path.stem.isdecimal() and path.stem == f"{int(path.stem):0{digits}d}"
    ]
    return sorted(found)


def reordered(points: Array, order: str | Sequence[int]) -> Array:
    """Joints (..., 21, 3) of a dataset in OpenPose order; order as the manifest gives it."""
    if isinstance(order, str):
        raise ValueError("the manifest gives the order in words, not as indices")
    return points[..., list(order), :]
