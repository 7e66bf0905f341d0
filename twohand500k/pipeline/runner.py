"""`run`: a stage mapped over units of work into a dataset folder, and picked up again after a kill.

Comes in: a stage (see `units`), its units in a fixed order, the folder. Goes out: a finished
dataset (design section 6). The order of writing is what makes a run safe to kill at any moment:

    plan → for each unit: shard, marker → rejects.jsonl → run.json → index.json

Each step is one whole file (`shards.files.write_whole`). Timings, worker counts and machines stand
in markers and `run.json` only: shards, rejects and index are the same bytes for any number of
workers and restarts. The pipeline knows no stage by name.
"""

import contextlib
import multiprocessing
import pickle
import shlex
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from twohand500k.cores import available_cores
from twohand500k.errors import DataError
from twohand500k.hand.model import HandPair
from twohand500k.pipeline.cluster import ClusterError, DaskCluster
from twohand500k.pipeline.lock import FolderLock
from twohand500k.pipeline.markers import Marker, marker_path, read_marker
from twohand500k.pipeline.plan import Plan, inputs_of
from twohand500k.pipeline.progress import RunProgress, Shown
from twohand500k.pipeline.provenance import git_revision, versions
from twohand500k.pipeline.session import adopt_sessions
from twohand500k.pipeline.units import Stats, Unit
from twohand500k.pipeline.worker import (
    Job,
    Stage,
    do_unit,
    do_unit_in_worker,
    inputs_sha256,
    note_path,
    notes,
    start_worker,
)
from twohand500k.shards import Index, conventions_for, write_index
from twohand500k.shards.files import (
    INDEX,
    PLAN,
    REJECTS,
    RUN,
    WORK,
    disk_error,
    json_bytes,
    json_line,
    read_json,
    remove_temporaries,
    shard_name,
    write_whole,
)
from twohand500k.shards.hdf5 import decode, open_shard, read_dataset

_SESSIONS = f"{WORK}/sessions.json"


@dataclass(frozen=True)
class RunSummary:
    """What a call of `run` did; `reused` units had been done by an earlier call."""

    folder: Path
    units: int
    reused: int
    n_in: int
    n_kept: int
    rejected_per_reason: Mapping[str, int]
    stats: Stats
    seconds: float
    was_finished: bool


def run(
    stage: Stage,
    units: Sequence[Unit],
    out: Path,
    *,
    name: str,
    options: Mapping[str, Any],
    hands: HandPair,
    seed: int = 0,
    frame: str = "world",
    history: Sequence[Mapping[str, Any]] = (),
    workers: int = 1,
    executor: Executor | None = None,
    max_units_per_worker: int | None = None,
    progress: Shown = True,
    command: str | None = None,
) -> RunSummary:
    """Map `stage` over `units` and leave a finished dataset in `out`.

    name: the stage's name in history and messages ("build"). options: every option that can change
    the result, JSON values; not the worker count, not the folders (an input is known by the hash
    its units name). hands, frame: what the conventions declare. history: the input dataset's
    history, for a stage that reads a dataset. workers: processes; 1 works in this one. executor:
    a cluster (`cluster.dask_cluster`) or anything shaped like `concurrent.futures.Executor`,
    instead of our own processes; `out` must then be a folder that its workers share.
    max_units_per_worker: start fresh processes after so many units each. progress: whether to show
    how far it is, or the bars to join. command: what to type to
    resume, default this process's own command line.

    An unfinished folder of the same plan is resumed; a finished one is checked against its hashes
    and left alone, a damaged shard or a lost record (rejects, run) is made again.

    Raises DataError if the folder is something else, belongs to another plan (names the key, old
    and new value), is being written by another run, the disk refuses, a worker dies, two samples
    have one id, or the stage raises it; KeyboardInterrupt with the command to resume on Ctrl-C or
    SIGTERM; whatever else the stage raises, with the unit's name added. What was finished stays.
    """
    if not units:
        raise DataError(f"{name}: nothing to do, the input holds no work")
    out = Path(out)
    plan = Plan(
        stage=name,
        seed=seed,
        options=dict(options),
        versions=versions(),
        conventions=conventions_for(hands, frame),
        history=tuple(history),
        inputs=inputs_of(units),
        unit_names=tuple(unit.name for unit in units),
        command=command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )
    _prepare_folder(out)
    with FolderLock(out / WORK / "lock"), _sigterm_as_ctrl_c():
        session = _Session(stage, units, out, plan, progress)
        try:
            return session.run(workers, executor, max_units_per_worker)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"stopped with {len(session.markers)} of {len(units)} units done; "
                f"resume with: {plan.command}"
            ) from None


class _Session:
    """One call of `run`, holding the lock."""

    def __init__(
        self, stage: Stage, units: Sequence[Unit], out: Path, plan: Plan, progress: Shown
    ) -> None:
        self.stage, self.units, self.out, self.plan, self.show = stage, units, out, plan, progress
        self.started = time.time()
        self.markers: dict[int, Marker] = {}

    def run(
        self, workers: int, executor: Executor | None, max_units_per_worker: int | None
    ) -> RunSummary:
        finished = (self.out / INDEX).exists()
        whole = finished and (self.out / REJECTS).exists() and (self.out / RUN).exists()
        if (self.out / PLAN).exists():
            # A finished dataset of an older version is still this command's result.
            self.plan.check_same(self.out, whatever_version=finished)
            adopt_sessions(self.out)
            self.markers = self._markers_to_keep()
        elif finished or any(self.out.glob("shard-*.h5")):
            raise DataError(
                f"{self.out} holds a dataset without its {WORK} folder, so it cannot be resumed: "
                "choose another --out"
            )
        else:
            self.plan.write(self.out)
        todo = [number for number in range(len(self.units)) if number not in self.markers]
        reused = len(self.units) - len(todo)
        if whole and not todo:
            return self._summary(reused, was_finished=True)
        self.plan.check_same(self.out)
        # From here on the folder is not a finished dataset.
        (self.out / INDEX).unlink(missing_ok=True)
        self._clean(todo)
        with self._session_record(workers, executor):
            try:
                with (
                    RunProgress(self.plan.stage, len(self.units), reused, self.show) as bar,
                    contextlib.closing(
                        self._results(todo, workers, executor, max_units_per_worker)
                    ) as results,
                ):
                    for number, marker in results:
                        self.markers[number] = marker
                        bar.unit_done(marker.n_kept, len(marker.rejects))
            finally:
                remove_temporaries(self.out)
                remove_temporaries(self.out / WORK)
        self._finish()
        return self._summary(reused, was_finished=False)

    # Before

    def _markers_to_keep(self) -> dict[int, Marker]:
        """Markers of units that are done: same configuration, same inputs, output unharmed.

        The same as the folder's own plan, which `check_same` has let pass.
        """
        keep = {}
        config = read_json(self.out / PLAN).get("config_sha256")
        inputs = self.plan.inputs_in(self.out)
        for number, unit in enumerate(self.units):
            marker = read_marker(self.out, number)
            if (
                marker is not None
                and marker.config_sha256 == config
                and marker.inputs_sha256 == inputs_sha256(unit, inputs)
                and marker.output_is_intact(self.out)
            ):
                keep[number] = marker
            elif marker is not None and self.show:
                print(
                    f"{self.plan.stage}: unit {unit.name!r} is done again, "
                    f"{shard_name(number)} is not what its marker says",
                    file=sys.stderr,
                )
        return keep

    def _clean(self, todo: Sequence[int]) -> None:
        """Remove what killed or damaged units left, so that nothing stale can be taken for new."""
        remove_temporaries(self.out)
        remove_temporaries(self.out / WORK)
        for note in notes(self.out):
            note.unlink(missing_ok=True)
        for number in todo:
            marker_path(self.out, number).unlink(missing_ok=True)
            (self.out / shard_name(number)).unlink(missing_ok=True)

    # Work

    def _job(self, number: int) -> Job:
        return Job(
            number, self.units[number], self.out, self.plan.conventions, self.plan.config_sha256
        )

    def _results(
        self,
        todo: Sequence[int],
        workers: int,
        executor: Executor | None,
        max_units_per_worker: int | None,
    ) -> Generator[tuple[int, Marker], None, None]:
        """(number, marker) of each unit as it is done."""
        if not todo:
            return
        workers = min(workers, len(todo))
        if isinstance(executor, DaskCluster):
            yield from self._on_cluster(todo, executor)
        elif executor is not None:
            yield from self._collect(
                {executor.submit(do_unit, self.stage, self._job(n)): n for n in todo}
            )
        elif workers == 1 and max_units_per_worker is None:
            for number in todo:
                with self._blame(number):
                    marker = do_unit(self.stage, self._job(number))
                yield number, marker
        else:
            # A pool is renewed as a whole: the recycling of single processes in
            # ProcessPoolExecutor (max_tasks_per_child) can hang (CPython issue 115634).
            wave = len(todo) if max_units_per_worker is None else workers * max_units_per_worker
            for first in range(0, len(todo), wave):
                yield from self._in_own_pool(todo[first : first + wave], workers)

    def _on_cluster(
        self, todo: Sequence[int], cluster: DaskCluster
    ) -> Generator[tuple[int, Marker], None, None]:
        def say(line: str) -> None:
            if self.show:
                print(f"{self.plan.stage}: {line}", file=sys.stderr)

        def name_of(number: int) -> str:
            return self.units[number].name

        done = cluster.do_units(self.stage, self._job, todo, self.out, name_of, say)
        with contextlib.closing(done):
            try:
                for number, outcome in done:
                    if isinstance(outcome, Exception):
                        with self._blame(number):
                            raise outcome
                    yield number, outcome
            except ClusterError as error:
                raise DataError(
                    f"{self.plan.stage}: {error}; resume with: {self.plan.command}"
                ) from error

    def _in_own_pool(
        self, todo: Sequence[int], workers: int
    ) -> Generator[tuple[int, Marker], None, None]:
        others = set(multiprocessing.active_children())
        pool = ProcessPoolExecutor(
            max_workers=workers,
            mp_context=_process_context(self.stage),
            initializer=start_worker,
            initargs=(pickle.dumps(self.stage), max(1, available_cores() // workers)),
        )
        processes: list[Any] = []
        try:
            futures = {pool.submit(do_unit_in_worker, self._job(n)): n for n in todo}
            processes = [p for p in multiprocessing.active_children() if p not in others]
            yield from self._collect(futures)
        except BrokenProcessPool:
            # The pool's thread first: of two threads that ask for one process's exit status, the
            # second is told 255 (multiprocessing.popen_forkserver reads it from a pipe, once).
            pool.shutdown(wait=True, cancel_futures=True)
            self._worker_died(processes)
        except (KeyboardInterrupt, GeneratorExit):
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise
        finally:
            # After a failure: units being worked on are finished and kept, the rest not begun.
            pool.shutdown(wait=True, cancel_futures=True)

    def _collect(
        self, futures: dict["Future[Marker]", int]
    ) -> Generator[tuple[int, Marker], None, None]:
        pending = set(futures)
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in sorted(done, key=futures.__getitem__):
                    with self._blame(futures[future]):
                        marker = future.result()
                    yield futures[future], marker
        finally:
            for future in pending:
                future.cancel()

    @contextlib.contextmanager
    def _blame(self, number: int) -> Iterator[None]:
        """Say which unit an error comes from."""
        name = self.units[number].name
        try:
            yield
        except DataError as error:
            raise DataError(f"{self.plan.stage}, unit {name!r}: {error}") from error
        except BrokenProcessPool:
            raise
        except Exception as error:
            error.add_note(f"in the work unit {name!r} (number {number}) of {self.plan.stage}")
            raise

    def _worker_died(self, processes: Sequence[Any]) -> NoReturn:
        for process in processes:
            process.join(5)
        # The pool ends the others with SIGTERM; the one that died by itself has another status.
        status = {p.pid: p.exitcode for p in processes if p.exitcode not in (None, 0, -15)}
        at_work = {}
        for number, unit in enumerate(self.units):
            with contextlib.suppress(OSError, ValueError):
                at_work[int(note_path(self.out, number).read_text())] = unit.name
        guilty = [name for pid, name in at_work.items() if pid in status] or list(at_work.values())
        where = " or ".join(repr(name) for name in guilty) or "no unit (while starting)"
        how = ", ".join(
            f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
            for code in status.values()
        )
        raise DataError(
            f"{self.plan.stage}: a worker process died ({how or 'no status'}) in unit {where}; "
            "SIGKILL mostly means too little memory (fewer --workers), another signal a crash in a "
            f"library; the units done are kept, resume with: {self.plan.command}"
        ) from None

    # After

    def _finish(self) -> None:
        markers = [self.markers[number] for number in range(len(self.units))]
        rejects = [reject for marker in markers for reject in marker.rejects]
        index = Index(
            shards=tuple(marker.shard for marker in markers if marker.shard is not None),
            counts=_counts_per_source(markers),
            conventions=self.plan.conventions,
            history=(*self.plan.history, self.plan.history_record()),
        )
        write_whole(self.out / REJECTS, b"".join(json_line(asdict(reject)) for reject in rejects))
        self._check_ids(index, [reject.sample_id for reject in rejects])
        write_whole(self.out / RUN, json_bytes(self._run_record(markers)))
        write_index(self.out, index)

    def _check_ids(self, index: Index, rejected: Sequence[str]) -> None:
        """An id names one sample of the dataset, kept or refused, in whichever unit."""
        seen: dict[str, str] = {}
        for entry in (*index.shards, None):
            where = REJECTS if entry is None else entry.file
            ids = rejected if entry is None else _ids_of(self.out / entry.file)
            for sample_id in ids:
                if sample_id in seen:
                    raise DataError(
                        f"sample_id {sample_id!r} comes twice, in {seen[sample_id]} and {where}: "
                        "is one recording given twice, or do two takes share a name?"
                    )
                seen[sample_id] = where

    def _run_record(self, markers: Sequence[Marker]) -> dict[str, Any]:
        return {
            "stage": self.plan.stage,
            "command": self.plan.command,
            "options": dict(self.plan.options),
            "seed": self.plan.seed,
            "inputs": dict(self.plan.inputs),
            "versions": dict(self.plan.versions),
            "git_revision": git_revision(),
            "counts": {
                "units": len(markers),
                "in": sum(marker.n_in for marker in markers),
                "kept": sum(marker.n_kept for marker in markers),
                "rejected": _rejected_per_reason(markers),
            },
            "stats": sum((marker.stats for marker in markers), Stats()).to_json(),
            "unit_seconds": sum(marker.seconds for marker in markers),
            "sessions": read_json(self.out / _SESSIONS),
        }

    def _summary(self, reused: int, was_finished: bool) -> RunSummary:
        markers = [self.markers[number] for number in range(len(self.units))]
        return RunSummary(
            folder=self.out,
            units=len(self.units),
            reused=reused,
            n_in=sum(marker.n_in for marker in markers),
            n_kept=sum(marker.n_kept for marker in markers),
            rejected_per_reason=_rejected_per_reason(markers),
            stats=sum((marker.stats for marker in markers), Stats()),
            seconds=time.time() - self.started,
            was_finished=was_finished,
        )

    @contextlib.contextmanager
    def _session_record(self, workers: int, executor: Executor | None) -> Iterator[None]:
        """Note when, where and how this session worked; one that was killed has no end."""
        path = self.out / _SESSIONS
        earlier = read_json(path) if path.exists() else []
        record: dict[str, Any] = {
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self.started)),
            "host": socket.gethostname(),
            "workers": workers if executor is None else type(executor).__name__,
            "git_revision": git_revision(),
            "units_before": len(self.markers),
            "units_after": None,
            "seconds": None,
        }
        write_whole(path, json_bytes([*earlier, record]))
        try:
            yield
        finally:
            if isinstance(executor, DaskCluster):
                record["cluster"] = executor.told()
            record |= {
                "units_after": len(self.markers),
                "seconds": round(time.time() - self.started, 3),
            }
            # On a full disk the reason of the stop matters, not this note about it.
            with contextlib.suppress(DataError):
                write_whole(path, json_bytes([*earlier, record]))


def _prepare_folder(out: Path) -> None:
    """Make `out` and `out/.work`, unless `out` is somebody else's."""
    try:
        if out.is_dir():
            strangers = sorted(p.name for p in out.iterdir() if not p.name.startswith("."))
            known = (out / WORK).is_dir() or (out / INDEX).exists()
            if strangers and not known:
                raise DataError(
                    f"{out} already holds other files ({strangers[0]}, …): choose an empty or new "
                    "folder for --out"
                )
        elif out.exists():
            raise DataError(f"{out} is a file: choose a folder for --out")
        (out / WORK).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, out) from error


def _process_context(stage: Stage) -> Any:
    """How to start workers: forked from a server that has imported the stage's module once.

    Forking this process itself is not safe beside threads, and a fresh interpreter for every
    worker costs seconds of imports. macOS and Windows take the fresh interpreters.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    module = getattr(stage, "__module__", type(stage).__module__)
    context.set_forkserver_preload([module, "twohand500k.pipeline.worker"])
    return context


@contextlib.contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Clusters stop a job with SIGTERM: leave the folder as neatly as Ctrl-C does."""

    def interrupt(signal_number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _ids_of(path: Path) -> list[str]:
    with open_shard(path) as shard:
        return decode("sample_id", read_dataset(shard["sample_id"])).tolist()


def _counts_per_source(markers: Sequence[Marker]) -> dict[str, dict[str, int]]:
    kept: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    for marker in markers:
        kept.update(marker.kept_per_source)
        rejected.update(reject.source for reject in marker.rejects)
    return {
        source: {"kept": kept[source], "rejected": rejected[source]}
        for source in sorted({*kept, *rejected})
    }


def _rejected_per_reason(markers: Sequence[Marker]) -> dict[str, int]:
    reasons = Counter(reject.reason for marker in markers for reject in marker.rejects)
    return dict(sorted(reasons.items()))
