"""Units of work on the workers of a Dask cluster, instead of on processes of this machine.

In: a stage, its jobs, the folder that the cluster shares. Out: (number, marker) of each unit, as
from local processes, in the order in which they are done. Dask carries the calls and knows who is
alive; this module decides who gets which unit, because two things must be known exactly:

- *Who may work.* A worker is looked at before its first unit, however late it joins: it must run
  the same code and library versions and see the same folder. Else it is left out, with the reason.
- *Which unit was lost with which worker.* A worker has one unit at a time, so a death is laid at
  the right unit. A lost unit is done again; one that ends worker after worker ends the run.

The stage may be large (a pose bank): it lies once in the shared folder, and a worker process reads
it once. Tasks carry their unit alone (a large one lies in the folder too), and no more units are
with the scheduler than it has workers.

What runs in a worker is in `cluster_worker`, where it leaves its files in `session`.
"""

import contextlib
import logging
import pickle
import queue
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from concurrent.futures import Future as PlainFuture
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from twohand500k.errors import DataError
from twohand500k.pipeline.cluster_worker import (
    Errand,
    NotLookedAt,
    Sealed,
    Unfit,
    WorkerFacts,
    differences,
    do_unit_in_session,
    first_line,
    look_at_worker,
    processor,
)
from twohand500k.pipeline.markers import Marker, read_marker
from twohand500k.pipeline.provenance import versions
from twohand500k.pipeline.session import job_path, publish, session_folder, stage_path
from twohand500k.pipeline.worker import Job, Stage
from twohand500k.shards.files import read_json

if TYPE_CHECKING:
    from distributed import Client, Future

# A unit larger than this goes through the shared folder, not through the scheduler.
_LARGE_BYTES: Final = 500_000

# How often the scheduler is asked who is there.
_LOOK_EVERY_S: Final = 1.0
# How long to wait for a scheduler, at first or when it is out of reach, and for a worker's answer
# that is on its way.
_CONNECT_S: Final = 20.0
_ANSWER_S: Final = 20.0
# A network file system may show a new file late.
_SHOWN_LATE_S: Final = 30.0
_FIRST_SAY_S: Final = 5.0
_SAY_EVERY_S: Final = 30.0
# A unit that lost its worker so often, while nobody else lost one, is guilty. Where others die too
# (preemption, somebody's kill), only so many times.
_LOSSES_ALONE: Final = 5
_LOSSES: Final = 15

Say = Callable[[str], None]


class ClusterError(DataError):
    """The cluster failed, not the data of a unit; `run` adds the command that resumes."""


@contextlib.contextmanager
def dask_cluster(scheduler: str) -> Iterator["DaskCluster"]:
    """The cluster of a scheduler, for `executor=` of `run`.

    scheduler: its address (``tcp://HOST:8786``) or the path of its scheduler file.

    Raises DataError if Dask is not installed, the file is none or no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise DataError(
            "--executor dask needs Dask, which is not installed here: "
            'pip install "twohand500k[distributed]" (on every machine of the cluster)'
        ) from error
    _errors_only()
    address = _address(scheduler)
    try:
        client = Client(address, timeout=_CONNECT_S, set_as_default=False, name="twohand")
    except (OSError, ValueError) as error:
        raise DataError(
            f"no Dask scheduler answers at {scheduler} ({first_line(error)}): start "
            "`dask scheduler` there, give the address it prints, and see that no firewall is "
            "between"
        ) from error
    try:
        yield DaskCluster(client, address)
    finally:
        # A scheduler that is gone cannot be told good-bye.
        with contextlib.suppress(Exception):
            client.close(timeout=5)


class DaskCluster(Executor):
    """A Dask cluster, shaped like an executor; `pipeline.run` hands it units by `do_units`."""

    def __init__(self, client: "Client", address: str) -> None:
        self._client, self._address = client, address
        self._told: dict[str, Any] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> PlainFuture[Any]:
        """Any call on any worker, unchecked."""
        return self._client.get_executor(pure=False).submit(fn, *args, **kwargs)

    def told(self) -> dict[str, Any]:
        """The last session in numbers: workers seen, left out, lost; units done again."""
        return dict(self._told)

    def do_units(
        self,
        stage: Stage,
        job: Callable[[int], Job],
        todo: Sequence[int],
        out: Path,
        names: Callable[[int], str],
        say: Say,
    ) -> Generator[tuple[int, Marker | Exception], None, None]:
        """(number, marker) of each unit of `todo` as it is done, its shard and marker in `out`.

        job(number): what to do. names(number): a unit's name, for messages. After a unit's
        exception no unit is begun; those that workers have are finished, then (number, exception)
        comes last.

        Raises ClusterError if the scheduler is gone, no worker is fit, or a unit keeps losing its
        workers.
        """
        with session_folder(out) as (session, token):
            pickled = pickle.dumps(stage, protocol=pickle.HIGHEST_PROTOCOL)
            errand = Errand(session, token, Sealed.write(stage_path(session), pickled), versions())
            if len(pickled) > _LARGE_BYTES:
                say(f"{len(pickled) / 1e6:,.1f} MB are read from {session} by each worker, once")
            del pickled
            work = _Work(self._client, self._address, errand, job, todo, out, names, say)
            self._told = work.told
            try:
                yield from work.results()
            finally:
                work.stop()


@dataclass(eq=False)
class _Worker:
    """One worker as the client knows it. left_out: why it gets no unit."""

    threads: int
    fit: bool = False
    left_out: str = ""
    looking: "Future | None" = None
    unit: int | None = None
    future: "Future | None" = None


@dataclass(eq=False)
class _Work:
    """One session: who is there, who has which unit, what is still to do."""

    client: "Client"
    address: str
    errand: Errand
    job: Callable[[int], Job]
    units: Sequence[int]
    out: Path
    names: Callable[[int], str]
    say: Say
    workers: dict[str, _Worker] = field(default_factory=dict)
    done: "queue.SimpleQueue[tuple[str, Future]]" = field(default_factory=queue.SimpleQueue)
    losses: dict[int, int] = field(default_factory=dict)
    last_lost: deque[int | None] = field(default_factory=lambda: deque(maxlen=_LOSSES_ALONE))
    told: dict[str, Any] = field(default_factory=dict)
    failed: tuple[int, Exception] | None = None
    asked: int = 0

    def __post_init__(self) -> None:
        self.todo = deque(self.units)
        self.looked = -float("inf")
        self.reached = time.monotonic()
        self.said = self.reached + _FIRST_SAY_S - _SAY_EVERY_S
        self.told |= {
            "scheduler": self.address,
            "workers": 0,
            "workers_lost": 0,
            "units_done_again": 0,
            "left_out": {},
            "processors": {},
        }

    def results(self) -> Generator[tuple[int, Marker | Exception], None, None]:
        """See `DaskCluster.do_units`."""
        while self.todo or self._at_work():
            now = time.monotonic()
            if now - self.looked >= _LOOK_EVERY_S:
                self.looked = now
                for number in self._who_is_there():
                    marker = self._finished_before_it_was_lost(number)
                    if marker is not None:
                        yield number, marker
            if self.failed is not None:
                self.todo.clear()
                if not self._at_work():
                    break
            self._hand_out()
            try:
                address, future = self.done.get(timeout=_LOOK_EVERY_S)
            except queue.Empty:
                self._say_if_nobody_works()
                continue
            number_done = self._answer(address, future)
            if number_done is not None:
                self._hand_out()  # the worker need not wait for our disk
                yield number_done, self._publish(number_done, address)
        if self.failed is not None:
            yield self.failed

    def stop(self) -> None:
        """Cancel what is with the scheduler."""
        futures = [f for w in self.workers.values() for f in (w.future, w.looking) if f is not None]
        if futures and self.client.status == "running":
            with contextlib.suppress(Exception):
                self.client.cancel(futures)

    # Who is there

    def _who_is_there(self) -> list[int]:
        """Ask the scheduler; returns the units that were lost with their workers."""
        there = self._threads_of_workers()
        if there is None:
            return []
        lost = []
        for address in [a for a in self.workers if a not in there]:
            worker = self.workers.pop(address)
            if worker.left_out:
                continue
            self.told["workers_lost"] += 1
            if worker.unit is None:
                self.last_lost.append(None)
                self.say(f"worker {address} is gone")
            else:
                lost.append(worker.unit)
                self.say(f"worker {address} is gone, and unit {self.names(worker.unit)!r} with it")
        for address, threads in there.items():
            worker = self.workers.setdefault(address, _Worker(threads))
            if worker.unit is not None and worker.future is None:
                # The client was out of the scheduler's reach, which then forgot its calls.
                self.todo.append(worker.unit)
                self.told["units_done_again"] += 1
                worker.unit = None
            if not (worker.fit or worker.left_out or worker.looking):
                self._look_at(address)
        return lost

    def _threads_of_workers(self) -> Mapping[str, int] | None:
        """{address: threads} as the scheduler knows them; None while it is out of reach."""
        if self.client.status == "running":
            try:
                there: Mapping[str, int] = self.client.nthreads()
            except Exception as error:
                if not isinstance(error, OSError):
                    raise self._scheduler_gone() from error
            else:
                self.reached = time.monotonic()
                return there
        elif self.client.status != "connecting":
            raise self._scheduler_gone()
        silent = time.monotonic() - self.reached
        if silent > _CONNECT_S:
            raise self._scheduler_gone()
        self.say(f"the scheduler at {self.address} has been out of reach for {silent:.0f} s")
        return None

    def _look_at(self, address: str) -> None:
        worker = self.workers[address]
        worker.fit = False
        worker.looking = self._call(address, "look", look_at_worker, self.errand)

    def _looked_at(self, address: str, future: "Future") -> None:
        """Take in what a worker says of itself."""
        worker = self.workers[address]
        worker.looking = None
        facts: WorkerFacts | None = None
        differs: list[str] = []
        error = future.exception(timeout=_ANSWER_S) if future.status == "error" else None
        if error is not None:
            differs = [str(error) if isinstance(error, Unfit) else _cannot_run(error)]
        elif future.status == "finished":
            try:
                facts = future.result(timeout=_ANSWER_S)
            except Exception:  # gone, or soon; else it is looked at again
                return
            differs = differences(facts, self.errand)
        else:  # cancelled: as above
            return
        if differs:
            worker.left_out = "; ".join(differs)
            self.told["left_out"][address] = worker.left_out
            self.say(f"worker {address} is left out: {worker.left_out}")
            self._refuse_if_nobody_is_fit()
            return
        assert facts is not None
        worker.fit = True
        self.told["workers"] += 1
        processors = self.told["processors"]
        if facts.processor not in processors and (processors or facts.processor != processor()):
            self.say(
                f"worker {address} computes on {facts.processor}, others on "
                f"{', '.join({*processors, processor()})}: the last bits of numbers may differ "
                "from those of a run on one kind of processor"
            )
        processors[facts.processor] = processors.get(facts.processor, 0) + 1
        if worker.threads > 1:
            self.say(
                f"worker {address} has {worker.threads} threads; a process does one unit at a "
                f"time, {worker.threads - 1} of them stand idle: start it with "
                f"`dask worker … --nworkers {worker.threads} --nthreads 1`"
            )

    def _refuse_if_nobody_is_fit(self) -> None:
        """Nobody to wait for: every worker was looked at, and none was ever fit."""
        workers = self.workers.values()
        if self.told["workers"] or any(not worker.left_out for worker in workers):
            return
        why = "; ".join(f"worker {a}: {w.left_out}" for a, w in list(self.workers.items())[:4])
        more = f"; and {len(workers) - 4} more" if len(workers) > 4 else ""
        raise ClusterError(
            f"no worker of the scheduler at {self.address} can do this work: {why}{more}; make it "
            "the same on every machine and start the workers again"
        )

    def _say_if_nobody_works(self) -> None:
        now = time.monotonic()
        if self._at_work() or now - self.said < _SAY_EVERY_S:
            return
        self.said = now
        if not any(w.looking is not None for w in self.workers.values()):
            self.say(
                f"waiting for workers: start some with `dask worker {self.address} --nthreads 1`, "
                "or stop with Ctrl-C"
            )

    def _scheduler_gone(self) -> ClusterError:
        return ClusterError(
            f"the scheduler at {self.address} is gone or cannot be reached any more; the units "
            "done are kept: start a scheduler and its workers again"
        )

    # Who has what

    def _at_work(self) -> bool:
        return any(worker.unit is not None for worker in self.workers.values())

    def _hand_out(self) -> None:
        """One unit to each worker that is fit and has none."""
        for address, worker in self.workers.items():
            if not self.todo or self.failed is not None or self.client.status != "running":
                return
            if worker.fit and worker.unit is None:
                worker.unit = number = self.todo.popleft()
                job = self._pickled_job(number)
                what = f"unit-{number}"
                worker.future = self._call(address, what, do_unit_in_session, self.errand, job)

    def _pickled_job(self, number: int) -> bytes | Sealed:
        """A unit's job, in bytes: the scheduler need not know what a unit is made of."""
        session = self.errand.session
        pickled = pickle.dumps(replace(self.job(number), folder=session))
        if len(pickled) < _LARGE_BYTES:
            return pickled
        return Sealed.write(job_path(session, number), pickled)

    def _call(self, address: str, what: str, function: Callable[..., Any], *args: Any) -> "Future":
        self.asked += 1
        try:
            future = self.client.submit(
                function,
                *args,
                key=f"twohand-{self.errand.token[:8]}-{what}-{self.asked}",
                workers=[address],
                allow_other_workers=False,
                pure=False,
            )
        except Exception as error:
            raise self._scheduler_gone() from error
        future.add_done_callback(lambda answer: self.done.put((address, answer)))
        return future

    def _answer(self, address: str, future: "Future") -> int | None:
        """Take in an answer; returns the number of a unit that was done."""
        worker = self.workers.get(address)
        if worker is None:
            return None  # of a worker given up; its unit is to do again
        if future is worker.looking:
            self._looked_at(address, future)
            return None
        if future is not worker.future or worker.unit is None:
            return None
        if future.status in ("cancelled", "lost"):
            worker.future = None  # `_who_is_there` finds out why
            return None
        number, worker.unit, worker.future = worker.unit, None, None
        if future.status == "finished":
            return number
        error = future.exception(timeout=_ANSWER_S)
        if isinstance(error, NotLookedAt):
            # Another process at the same address: the first one died with its unit.
            self.told["workers_lost"] += 1
            self.say(f"worker {address} was started anew, unit {self.names(number)!r} was lost")
            self._lost(number)
            self._look_at(address)
        elif type(error).__name__ == "KilledWorker":
            # Several processes at one address died of it before we heard of one.
            self.told["workers_lost"] += 1
            self._lost(number)
            self._look_at(address)
        elif isinstance(error, Unfit):
            worker.fit, worker.left_out = False, str(error)
            self.todo.append(number)
            self.say(f"worker {address} is left out: {error}")
        elif self.failed is None:
            self.failed = (number, _as_exception(error))
        return None

    def _lost(self, number: int) -> None:
        """A unit whose worker died: done again after the others, unless it is to blame."""
        self.last_lost.append(number)
        self.losses[number] = self.losses.get(number, 0) + 1
        alone = self.losses[number] >= _LOSSES_ALONE and set(self.last_lost) == {number}
        if alone or self.losses[number] >= _LOSSES:
            raise ClusterError(
                f"unit {self.names(number)!r} lost its worker {self.losses[number]} times"
                + (", and no other worker was lost meanwhile" if alone else "")
                + ": too little memory is the usual reason (`dask worker --memory-limit`, fewer "
                "workers on a machine), else a crash in a library, or workers that live shorter "
                "than a unit takes; the workers' logs say which. The units done are kept"
            )
        self.told["units_done_again"] += 1
        self.todo.append(number)

    def _finished_before_it_was_lost(self, number: int) -> Marker | None:
        """The marker of a unit whose worker died right after it; else it is to do again."""
        marker = read_marker(self.errand.session, number)
        if marker is not None and marker.output_is_intact(self.errand.session):
            return publish(self.errand.session, self.out, number, marker)
        self._lost(number)
        return None

    def _publish(self, number: int, address: str) -> Marker:
        """Move a finished unit's shard to its place and mark it done."""
        session, deadline = self.errand.session, time.monotonic() + _SHOWN_LATE_S
        while True:
            marker = read_marker(session, number)
            if marker is not None and marker.output_is_intact(session):
                return publish(session, self.out, number, marker)
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"worker {address} has finished unit {self.names(number)!r}, but its files are "
                    f"not in {session}: is that folder the same one on both machines?"
                )
            time.sleep(0.2)


def _address(scheduler: str) -> str:
    """A scheduler's address, from its scheduler file if that is what is given."""
    path = Path(scheduler)
    if path.is_file():
        told = read_json(path)
        if not isinstance(told, dict) or not isinstance(told.get("address"), str):
            raise DataError(
                f"{path} is no scheduler file, it names no address: "
                "`dask scheduler --scheduler-file FILE` writes one"
            )
        return str(told["address"])
    if "://" in scheduler or (scheduler.rpartition(":")[2].isdigit() and "/" not in scheduler):
        return scheduler
    raise DataError(
        f"--scheduler {scheduler} is neither an address (tcp://HOST:8786) nor a scheduler file "
        "that is there: `dask scheduler --scheduler-file FILE` writes one"
    )


def _errors_only() -> None:
    """Dask tells of every worker that comes and goes; so do we, and in words of ours."""
    import distributed  # noqa: F401  (sets its own levels when it is imported)

    for name in ("distributed", "distributed.client", "distributed.core", "distributed.comm"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _cannot_run(error: BaseException) -> str:
    return (
        f"the toolkit does not run there ({first_line(error)}): install the same version on every "
        "machine of the cluster, the scheduler's too"
    )


def _as_exception(error: BaseException | None) -> Exception:
    return error if isinstance(error, Exception) else RuntimeError(f"the unit ended with {error!r}")
