"""What happens in a worker process: one unit through the stage, its shard and marker written.

Shard first, marker second: a marker is never there without its shard. While a unit is worked on, a
note `.work/unit-00000.running` names the process, so that a worker's sudden death can be laid at
the right unit.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from twohand500k.pipeline.markers import Marker
from twohand500k.pipeline.units import Unit, UnitResult
from twohand500k.shards import write_shard
from twohand500k.shards.files import WORK, sha256_of_file, sha256_of_json, shard_name

Stage = Callable[[Any], UnitResult]


@dataclass(frozen=True)
class Job:
    """Where a unit's output goes and what it is marked with."""

    number: int
    unit: Unit
    folder: Path
    conventions: Mapping[str, Any]
    config_sha256: str


def inputs_sha256(unit: Unit, as_planned: Mapping[str, str] | None = None) -> str:
    """Hash of what a unit reads, under its name; of the hashes in `as_planned` where it has one."""
    planned = as_planned or {}
    inputs = {name: planned.get(name, sha256) for name, sha256 in unit.inputs.items()}
    return sha256_of_json({"name": unit.name, "inputs": inputs})


def note_path(folder: Path, number: int) -> Path:
    """Where the note of a unit being worked on lies."""
    return folder / WORK / f"unit-{number:05d}.running"


def notes(folder: Path) -> list[Path]:
    """Notes of units being worked on, or that were when their process died."""
    return sorted((folder / WORK).glob("unit-*.running"))


def do_unit(stage: Stage, job: Job) -> Marker:
    """Run one unit and write its shard and marker; returns the marker."""
    note = note_path(job.folder, job.number)
    # The note is a help, not a record: no disk trouble of its own.
    with contextlib.suppress(OSError):
        note.write_text(str(os.getpid()))
    try:
        started = time.perf_counter()
        # One BLAS thread: the workers share the cores, and a product split over another number of
        # threads may differ in its last bit.
        with threadpool_limits(limits=1, user_api="blas"):
            result = stage(job.unit)
        if not isinstance(result, UnitResult):
            raise TypeError(f"a stage returns a UnitResult, not {type(result).__name__}")
        shard, file_sha256 = None, None
        if result.samples is not None and len(result.samples):
            path = job.folder / shard_name(job.number)
            shard = write_shard(path, result.samples, job.conventions)
            file_sha256 = sha256_of_file(path)
        kept = [] if result.samples is None else result.samples.source.tolist()
        marker = Marker(
            unit=job.unit.name,
            config_sha256=job.config_sha256,
            inputs_sha256=inputs_sha256(job.unit),
            shard=shard,
            file_sha256=file_sha256,
            n_in=result.n_in,
            kept_per_source=dict(sorted(Counter(kept).items())),
            rejects=result.rejects,
            stats=result.stats,
            seconds=time.perf_counter() - started,
        )
        marker.write(job.folder, job.number)
        return marker
    finally:
        with contextlib.suppress(OSError):
            note.unlink(missing_ok=True)


_stage: Stage | None = None


def start_worker(pickled_stage: bytes, numba_threads: int) -> None:
    """Initializer of a worker of our own pool."""
    global _stage
    # Ctrl-C reaches the whole process group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    # The workers share the cores: numba's own word for how many threads a kernel may use.
    os.environ.setdefault("NUMBA_NUM_THREADS", str(numba_threads))
    _stage = pickle.loads(pickled_stage)


def do_unit_in_worker(job: Job) -> Marker:
    """`do_unit` with the stage that `start_worker` unpickled."""
    assert _stage is not None, "start_worker has not run"
    return do_unit(_stage, job)


def _die_with_parent() -> None:
    """A worker whose parent was killed must not go on writing into the folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
