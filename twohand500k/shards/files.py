"""The files of a dataset folder: their names, writing them whole or not at all, hashing them.

Everything under a dataset folder is written by `write_whole`: to a temporary name in the same
folder, flushed to the disk, then renamed. A killed process leaves at most a temporary file, which
`remove_temporaries` recognises by its name.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any, Final

from twohand500k.errors import DataError

INDEX: Final = "index.json"
REJECTS: Final = "rejects.jsonl"
RUN: Final = "run.json"
WORK: Final = ".work"
PLAN: Final = f"{WORK}/plan.json"
_TEMPORARY: Final = ".tmp"

_MAKE_ROOM: Final = "make room, then run the same command again: it goes on where it stopped"
_AGAIN: Final = "when that is mended, run the same command again: it goes on where it stopped"
_ELSEWHERE: Final = "choose another --out"

# The disk said no: what that means, and what would work. Anything else from the operating system
# is not about room, rights or the place.
_DISK_ERRORS: Final = {
    errno.ENOSPC: ("the disk is full", _MAKE_ROOM),
    errno.EDQUOT: ("the disk quota is used up", _MAKE_ROOM),
    errno.EFBIG: ("the file is larger than the file system or its limit allows", _MAKE_ROOM),
    errno.EROFS: ("the file system is read-only", _AGAIN),
    errno.EACCES: ("permission denied", _AGAIN),
    errno.EPERM: ("permission denied", _AGAIN),
    errno.EIO: ("the disk reports an input/output error", _AGAIN),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", _ELSEWHERE),
    # A link that leads nowhere is in the way of the folder to be made.
    errno.EEXIST: ("a part of the path is a file, not a folder, or a broken link", _ELSEWHERE),
    errno.ENAMETOOLONG: ("the name is too long", _ELSEWHERE),
    errno.ENOENT: ("the folder is not there and cannot be made, or was removed", _ELSEWHERE),
}


def shard_name(number: int) -> str:
    """File name of shard `number`."""
    return f"shard-{number:05d}.h5"


def json_bytes(value: Any) -> bytes:
    """Readable JSON, the same bytes for the same value: sorted keys, no NaN."""
    return (
        json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    ).encode()


def json_line(value: Any) -> bytes:
    """The same on one line, for .jsonl files."""
    return (json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def sha256_of_json(value: Any) -> str:
    """Hash of a value by its canonical JSON."""
    return hashlib.sha256(json_line(value)).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """Parse a JSON file. Raises DataError for a file that is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}): it was edited or cut short") from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole, or not at all, whatever happens meanwhile.

    Raises DataError when the disk refuses (full, quota, read-only, no such folder): the file is
    then as before and no temporary is left.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{_TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise disk_error(error, path, len(content)) from error


def disk_error(error: OSError, path: Path, size: int = 0) -> Exception:
    """The DataError for a refusal by the disk; any other OSError is returned as it is."""
    if error.errno not in _DISK_ERRORS:
        return error
    what, remedy = _DISK_ERRORS[error.errno]
    if remedy is _MAKE_ROOM:
        with contextlib.suppress(OSError):
            what += f", {shutil.disk_usage(path.parent).free:,} bytes are free there"
    much = f" ({size:,} bytes)" if size else ""
    return DataError(f"cannot write {path}{much}: {what}; {remedy}")


def remove_temporaries(folder: Path) -> int:
    """Delete what killed writers left in `folder`; returns how many files that were."""
    leftovers = temporaries(folder)
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


def temporaries(folder: Path) -> list[Path]:
    """Temporary files of `write_whole` in `folder`, sorted."""
    return sorted(folder.glob(f".*{_TEMPORARY}"))


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut. Not every system can sync a folder."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
