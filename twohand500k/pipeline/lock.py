"""One run at a time in a folder.

The lock is an operating-system lock on `.work/lock`, which the kernel lets go of when its process
dies, however it dies. The file names the process for the message. Not every shared file system
carries locks between machines, so the owner also touches the file every few seconds: a lock left
by another machine counts as alive until it has been still for a minute.
"""

import contextlib
import json
import os
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from twohand500k.errors import DataError
from twohand500k.shards.files import disk_error

try:
    import fcntl
except ImportError:  # Windows: the heartbeat alone decides
    fcntl = None  # type: ignore[assignment]

_HEARTBEAT_S: Final = 10.0
_STILL_S: Final = 60.0


class FolderLock:
    """``with FolderLock(out / ".work" / "lock"):`` — DataError if another run has it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "FolderLock":
        try:
            self._file = self._open_and_lock()
        except OSError as error:
            raise disk_error(error, self._path) from error
        self._heart.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._heart.join()
        if fcntl is None:
            # Windows does not remove an open file, and ours may be open in another process too:
            # emptied, it keeps nobody out.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, 0)
            os.close(self._file)
            with contextlib.suppress(OSError):
                self._path.unlink()
            return
        # Removed while still held: whoever opened it meanwhile sees that it is no longer there.
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(self._file)

    def _open_and_lock(self) -> int:
        while True:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not self._is_current(file):
                    os.close(file)
                    continue
                self._refuse_if_alive_elsewhere(file)
                os.ftruncate(file, 0)
                os.lseek(file, 0, os.SEEK_SET)
                os.write(file, json.dumps(self._owner()).encode())
                return file
            except BlockingIOError:
                owner = self._read_owner(file)
                os.close(file)
                raise DataError(
                    f"{self._path.parent.parent} is being written by another run ({owner}): wait "
                    "for it, or choose another --out"
                ) from None
            except BaseException:
                with contextlib.suppress(OSError):
                    os.close(file)
                raise

    def _is_current(self, file: int) -> bool:
        """Whether the file opened is still the one under that name."""
        try:
            return os.path.samestat(os.fstat(file), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _refuse_if_alive_elsewhere(self, file: int) -> None:
        content = _content(file)
        if not content:
            return
        with contextlib.suppress(ValueError, AttributeError):
            if fcntl is not None and json.loads(content).get("host") == socket.gethostname():
                return
        still = time.time() - os.fstat(file).st_mtime
        if still < _STILL_S:
            raise DataError(
                f"{self._path.parent.parent} is being written by another run "
                f"({self._read_owner(file)}); if that run is dead, try again in "
                f"{_STILL_S - still:.0f} s"
            )

    @staticmethod
    def _owner() -> dict[str, str | int]:
        return {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }

    @staticmethod
    def _read_owner(file: int) -> str:
        try:
            owner = json.loads(_content(file))
            return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
        except (ValueError, KeyError, TypeError, OSError):
            return "process unknown"

    def _beat(self) -> None:
        while not self._stop.wait(_HEARTBEAT_S):
            with contextlib.suppress(OSError):
                os.utime(self._path)


def _content(file: int) -> bytes:
    """The lock file from its start; Windows has no pread."""
    os.lseek(file, 0, os.SEEK_SET)
    return os.read(file, 4096)
