"""What happens in a worker of a cluster: it is looked at, reads the stage once, does its units.

In: an `Errand`, which says where the session's folder is. Out: facts about the worker, and of each
unit a shard and a marker in that folder. Nothing here knows Dask.
"""

import hashlib
import os
import pickle
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from twohand500k.pipeline.provenance import versions
from twohand500k.pipeline.session import TOKEN
from twohand500k.pipeline.worker import Stage, do_unit
from twohand500k.shards.files import write_whole


@dataclass(frozen=True)
class Sealed:
    """A pickle in the session's folder, with the hash of its bytes."""

    path: Path
    sha256: str

    @staticmethod
    def write(path: Path, pickled: bytes) -> "Sealed":
        write_whole(path, pickled)
        return Sealed(path, hashlib.sha256(pickled).hexdigest())

    def read(self) -> Any:
        """Raises Unfit if this machine cannot."""
        try:
            pickled = self.path.read_bytes()
        except OSError as error:
            raise Unfit(f"cannot read {self.path}: {error.strerror}") from error
        if hashlib.sha256(pickled).hexdigest() != self.sha256:
            raise Unfit(f"reads other bytes in {self.path} than were written")
        try:
            return pickle.loads(pickled)
        except Exception as error:
            raise Unfit(f"cannot load {self.path} ({first_line(error)})") from error


@dataclass(frozen=True)
class Errand:
    """What every task of a session carries. versions: those of the client."""

    session: Path
    token: str
    stage: Sealed
    versions: Mapping[str, str]


@dataclass(frozen=True)
class WorkerFacts:
    """What a worker says of itself. token: read in the session's folder, "" if it is not there."""

    versions: Mapping[str, str]
    token: str
    processor: str


class NotLookedAt(Exception):
    """This process has not been looked at in this session: it was started in another's place."""


class Unfit(Exception):
    """This worker cannot do the session's units, and why."""


_one_at_a_time = threading.Lock()
_looked_at: set[str] = set()
_stage: tuple[str, Stage] | None = None


def look_at_worker(errand: Errand) -> WorkerFacts:
    """Runs in a worker before its first unit; a worker that is fit also reads the stage.

    Raises Unfit if the stage cannot be read.
    """
    # As in our own pool: the processes share the cores.
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    try:
        token = (errand.session / TOKEN).read_text()
    except OSError:
        token = ""
    facts = WorkerFacts(versions(), token, processor())
    if not differences(facts, errand):
        with _one_at_a_time:
            _stage_of(errand)
        _looked_at.add(errand.token)
    return facts


def do_unit_in_session(errand: Errand, pickled_job: bytes | Sealed) -> None:
    """Runs in a worker: one unit, its shard and marker left in the session's folder.

    One at a time in a process, however many threads the worker has: stages are not thread-safe.

    Raises NotLookedAt, Unfit, or what the stage raises.
    """
    if errand.token not in _looked_at:
        raise NotLookedAt
    with _one_at_a_time:
        stage = _stage_of(errand)
        job = pickle.loads(pickled_job) if isinstance(pickled_job, bytes) else pickled_job.read()
        do_unit(stage, job)


def differences(facts: WorkerFacts, errand: Errand) -> list[str]:
    """What keeps a worker from a session's units, each with both values; none if it is fit."""
    there, here, out = facts.versions, errand.versions, errand.session.parent.parent
    differ = [
        f"{_WHAT.get(key, key)} is {there.get(key, 'not installed')} there and "
        f"{here.get(key, 'not installed')} here"
        for key in [*here, *(key for key in there if key not in here)]
        if there.get(key) != here.get(key)
    ]
    if facts.token != errand.token:
        seen = "sees another folder under" if facts.token else "does not see"
        differ.append(
            f"it {seen} {out}: --out must be in a folder that all machines share, under one path"
        )
    return differ


_WHAT: Final = {"code": "code (a hash of the toolkit's own files)"}


def processor() -> str:
    """The kind of processor that compiled code is made for; bits may differ between kinds."""
    import llvmlite.binding

    return str(llvmlite.binding.get_host_cpu_name())


def _stage_of(errand: Errand) -> Stage:
    """The session's stage, read once by a process."""
    global _stage
    if _stage is None or _stage[0] != errand.stage.sha256:
        _stage = None  # two large stages need not be in memory together
        _stage = (errand.stage.sha256, errand.stage.read())
    return _stage[1]


def first_line(error: BaseException) -> str:
    """Type and first line of an error."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
