"""A Dask cluster of processes for tests, and stages that need one. Also a preload of its workers.

Workers run `versions` of the tests, so that a file saved meanwhile is no other version of the code
to them; `TWOHAND_TEST_VERSIONS` (JSON) changes what a worker says of itself, `TWOHAND_TEST_BLIND`
hides the shared folder from it.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from shards_fixture import VERSIONS, DrawStage, Rows, some_units, synthetic_hands

from twohand500k.errors import DataError
from twohand500k.pipeline import RunSummary, UnitResult, cluster, cluster_worker, run

_OTHER = json.loads(os.environ.get("TWOHAND_TEST_VERSIONS", "{}"))
cluster.versions = cluster_worker.versions = lambda: VERSIONS | _OTHER  # type: ignore[assignment]
if os.environ.get("TWOHAND_TEST_BLIND"):
    cluster_worker.TOKEN = "no such file"  # type: ignore[misc]

HERE = Path(__file__).parent
_DASK = [sys.executable, "-c", "from dask.__main__ import main; main()"]


def dask_setup(worker: object) -> None:
    """What makes this module a preload; importing it was all."""


@dataclass(eq=False)
class TestCluster:
    """A scheduler and its workers, each a process."""

    __test__ = False
    folder: Path
    address: str = ""
    scheduler: "subprocess.Popen[bytes] | None" = None
    workers: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    @property
    def scheduler_file(self) -> Path:
        return self.folder / "scheduler.json"

    def start(self) -> None:
        self.scheduler = self._dask(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-jupyter",
            "--scheduler-file", str(self.scheduler_file),
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while not self.address:
            assert self.scheduler.poll() is None and time.monotonic() < deadline, self.log()
            if self.scheduler_file.exists() and self.scheduler_file.stat().st_size:
                self.address = json.loads(self.scheduler_file.read_text())["address"]
            time.sleep(0.05)

    def add_worker(
        self, *options: str, threads: int = 1, nanny: bool = False, **environment: str
    ) -> "subprocess.Popen[bytes]":
        worker = self._dask(
            "worker", self.address, "--nthreads", str(threads), "--no-dashboard",
            "--nanny" if nanny else "--no-nanny", "--preload", str(HERE / "cluster_fixture.py"),
            "--local-directory", str(self.folder), *options, **environment,
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def kill(self, worker: "subprocess.Popen[bytes]") -> None:
        worker.send_signal(signal.SIGKILL)
        worker.wait()

    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def stop(self) -> None:
        processes = [*self.workers, *([self.scheduler] if self.scheduler else [])]
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
        for process in processes:
            process.wait()

    def _dask(self, *arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
        number = len(list(self.folder.glob("*.log")))
        with (self.folder / f"{number}-{arguments[0]}.log").open("wb") as log:
            return subprocess.Popen(
                [*_DASK, *arguments],
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(HERE)} | environment,
                stdout=log,
                stderr=log,
                # Ctrl-C of the tests is not theirs.
                start_new_session=True,
            )


@contextmanager
def running_cluster(workers: int = 0) -> Iterator[TestCluster]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        cluster = TestCluster(Path(folder))
        try:
            cluster.start()
            for _ in range(workers):
                cluster.add_worker()
            yield cluster
        finally:
            cluster.stop()


@dataclass(frozen=True)
class SlowStage:
    """What `DrawStage` does, later: each unit takes `seconds` and leaves a note in the folder
    `notes`, "first-pid-began", and when it is through "first-pid-began-ended" (ns).

    fault: what happens in the unit of frames `first` on. ballast: makes the stage large.
    """

    seconds: float
    notes: Path
    fault: str = ""
    first: int = 120
    seed: int = 0
    ballast: bytes = b""

    def __call__(self, unit: Rows) -> UnitResult:
        note = self.notes / f"{unit.first}-{os.getpid()}-{time.monotonic_ns()}"
        note.write_text("")
        time.sleep(self.seconds)
        if unit.first == self.first:
            if self.fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fault == "data":
                raise DataError("take1.bvh is cut short")
            if self.fault == "bug":
                raise ZeroDivisionError("a bug in the stage")
        note.rename(note.with_name(f"{note.name}-{time.monotonic_ns()}"))
        return DrawStage(self.seed)(unit)

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        (self.notes / f"loaded-{os.getpid()}-{time.monotonic_ns()}").write_text("")


def go(stage: SlowStage, out: Path, address: str, units: int = 6, **options: object) -> RunSummary:
    """A whole run on a cluster."""
    with cluster.dask_cluster(address) as executor:
        return go_on(executor, stage, out, units, **options)


def go_on(
    executor: cluster.DaskCluster,
    stage: SlowStage,
    out: Path,
    units: int = 6,
    **options: object,
) -> RunSummary:
    """A whole run on a cluster that is connected."""
    return run(
        stage,
        some_units(units),
        out,
        **{  # type: ignore[arg-type]
            "name": "build",
            "options": {"noise": 2.0},
            "hands": synthetic_hands(),
            "seed": stage.seed,
            "progress": False,
            "command": "twohand build",
            "executor": executor,
            **options,
        },
    )


def start_client(
    out: Path, address: str, stage: SlowStage, units: int = 6
) -> "subprocess.Popen[bytes]":
    """`go` in a process of its own."""
    call = "import sys, cluster_fixture as f; f.client(*sys.argv[1:])"
    told = [str(out), address, str(stage.seconds), str(stage.notes), str(stage.seed), str(units)]
    return subprocess.Popen([sys.executable, "-c", call, *told], cwd=HERE, stderr=subprocess.PIPE)


def client(out: str, address: str, seconds: str, notes: str, seed: str, units: str) -> None:
    go(SlowStage(float(seconds), Path(notes), seed=int(seed)), Path(out), address, int(units))
