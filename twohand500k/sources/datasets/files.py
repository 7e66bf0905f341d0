"""Files of a dataset: found or missed by name, read whole or refused in one line, hashed.

In: the folder a user gave and a path that the source's layout names. Out: a path that exists, or a
`DataError` that says which file is missing and where to get it. A reader turns
the error of a file that one frame alone depends on into that frame's fault; nothing else is lost.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twohand500k.errors import DataError
from twohand500k.sources.manifest import SourceManifest
from twohand500k.sources.take import Array, InputFile

_CHUNK = 2**22
# Nothing a dataset says of a hand or a camera is larger in any unit; a damaged number often is.
MOST = 1e6
# What many files hashed as one are called, wherever and in whatever folder the dataset lies.
_ALL = "all files read"


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

    For values out of JSON, pickles and text: a wrong type, a wrong shape, NaN, infinity and numbers
    beyond `MOST` are faults of the data.
    """
    try:
        array = np.asarray(value, dtype=np.float64)
    except OverflowError:
        raise DataError(f"{what} has a value too large for a number") from None
    except (TypeError, ValueError):
        raise DataError(f"{what} holds no numbers") from None
    if array.shape != shape:
        raise DataError(f"{what} has shape {array.shape}, not {shape}")
    if not np.isfinite(array).all():
        raise DataError(f"{what} has a value that is not finite")
    if (largest := np.abs(array).max(initial=0.0)) > MOST:
        raise DataError(f"{what} has a value of {largest:.3g}")
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

    The input's own name is the same wherever the folder lies: a dataset may be moved or renamed.
    A file that cannot be read counts as empty: reading it is a fault of its frame, found later.
    """
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError:
            digest.update(b"unreadable")
    return InputFile(os.fspath(folder / _ALL), digest.hexdigest())


def numbered_files(folder: Path, pattern: str, digits: int = 0) -> list[tuple[int, Path]]:
    """What in a folder is called by a number, in the order of the numbers; no others.

    pattern: fits a whole name, its one group the number. digits: to how many the number is padded
    with zeros; 0: to any.
    """
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        fits = [re.fullmatch(pattern, entry.name) for entry in entries]
    return sorted(
        (int(fit[1]), folder / fit[0])
        for fit in fits
        if fit and (not digits or fit[1] == f"{int(fit[1]):0{digits}d}")
    )


def reordered(points: Array, order: str | Sequence[int]) -> Array:
    """Joints (..., 21, 3) of a dataset in OpenPose order; order as the manifest gives it."""
    if isinstance(order, str):
        raise ValueError("the manifest gives the order in words, not as indices")
    return points[..., list(order), :]
