"""The folder in which the workers of one session on a cluster leave what they have done.

``out/.work/session-…`` is laid out like a dataset's folder. Only the client, which holds the lock
of `out`, moves a finished shard from there to its place and writes its marker. A worker that still
computes for a client that was killed can therefore touch nothing that the next client has made;
what it finished before is taken over (`adopt_sessions`) and checked like any marker.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from twohand500k.errors import DataError
from twohand500k.pipeline.markers import Marker, marker_path, read_marker
from twohand500k.shards.files import WORK, disk_error, write_whole

# A file with the session's own word: a worker that reads it sees the same folder.
TOKEN: Final = "token"
_SESSION: Final = "session-"


def adopt_sessions(out: Path) -> None:
    """Take over what workers finished for a client that did not live to take it; remove the rest.

    What is taken has no marker in `out` yet, and is no more than there: it is for the caller to
    check, like every marker it finds.
    """
    for session in sorted((out / WORK).glob(f"{_SESSION}*")):
        for path in sorted((session / WORK).glob("unit-*.json")):
            number = int(path.stem.removeprefix("unit-"))
            marker = read_marker(session, number)
            if marker is None or marker_path(out, number).exists():
                continue
            with contextlib.suppress(OSError, DataError):
                publish(session, out, number, marker)
        _remove(session)


def publish(session: Path, out: Path, number: int, marker: Marker) -> Marker:
    """Move a finished unit from a session's folder to its place: shard first, marker second."""
    if marker.shard is not None:
        try:
            os.replace(session / marker.shard.file, out / marker.shard.file)
        except OSError as error:
            # A client that was killed between the two had moved it already.
            if not marker.output_is_intact(out):
                raise disk_error(error, out / marker.shard.file) from error
    marker.write(out, number)
    for done_with in (marker_path(session, number), job_path(session, number)):
        done_with.unlink(missing_ok=True)
    return marker


def stage_path(session: Path) -> Path:
    """Where a session's stage lies, pickled."""
    return session / "stage.pickle"


def job_path(session: Path, number: int) -> Path:
    """Where the job of a unit lies that is too large to be sent."""
    return session / f"unit-{number:05d}.pickle"


@contextlib.contextmanager
def session_folder(out: Path) -> Iterator[tuple[Path, str]]:
    """A new session's folder, under a path that does not depend on where a process stands."""
    token = uuid.uuid4().hex
    session = Path(os.path.abspath(out)) / WORK / f"{_SESSION}{token[:12]}"
    try:
        (session / WORK).mkdir(parents=True)
    except OSError as error:
        raise disk_error(error, session) from error
    try:
        write_whole(session / TOKEN, token.encode())
        yield session, token
    finally:
        adopt_sessions(out)


def _remove(session: Path) -> None:
    """Remove a session's folder; a worker that still writes there may need a second try."""
    for _ in range(3):
        shutil.rmtree(session, ignore_errors=True)
        if not session.exists():
            return
