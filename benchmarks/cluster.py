"""The whole chain on a Dask cluster whose workers are killed all the time; every byte compared.

    python benchmarks/cluster.py [--pairs 1600] [--every 20] [--workers 2] [--out FOLDER]

build (synthetic hands) → splice → physics-fix, first serially (one process), then with
`--executor dask` on a cluster of this machine: `dask scheduler`, and `dask worker`s of one thread
without nannies. It begins with one worker less, which joins late; every 20 s a worker is killed
with SIGKILL and another one is started in its place; once in physics-fix the client itself is
killed and the same command given again. Shards, rejects and index must be the same bytes. Prints a
table; exit status 1 if anything differs.

Small units (--unit pairs each) stand for the many units of a large run.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

PROGRAM = (sys.executable, "-c", "from twohand500k.cli.main import main; main()")
DASK = (sys.executable, "-c", "from dask.__main__ import main; main()")
STAGES = ("build", "splice", "physics-fix")


class KilledCluster:
    """A scheduler and its workers, one of which is killed and replaced every so often."""

    def __init__(self, folder: Path, workers: int, every: float, seed: int) -> None:
        self.folder, self.wanted, self.every = folder, workers, every
        self.rng = random.Random(seed)
        self.kills = 0
        self.started = 0
        self.workers: list[subprocess.Popen[bytes]] = []
        self.stopped = threading.Event()

    def __enter__(self) -> "KilledCluster":
        self.folder.mkdir()
        place = self.folder / "scheduler.json"
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
            "--scheduler-file", str(place),
        )  # fmt: skip
        while not (place.exists() and place.stat().st_size):
            if self.scheduler.poll() is not None:
                sys.exit(f"the scheduler did not start: see {self.folder}")
            time.sleep(0.1)
        self.address: str = json.loads(place.read_text())["address"]
        for _ in range(self.wanted - 1):
            self._start_worker()
        self.killer = threading.Thread(target=self._kill_every_so_often)
        self.killer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.killer.join()
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()

    def _kill_every_so_often(self) -> None:
        if self.stopped.wait(self.every / 2):
            return
        self._start_worker()  # the late one
        while not self.stopped.wait(self.every):
            victim = self.workers.pop(self.rng.randrange(len(self.workers)))
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            self.kills += 1
            self._start_worker()

    def _start_worker(self) -> None:
        self.started += 1
        self.workers.append(
            self._start("worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard",
                        "--local-directory", str(self.folder))
        )  # fmt: skip

    def _start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(
                [*DASK, *arguments], stdout=log, stderr=log, cwd=self.folder,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1600)
    parser.add_argument("--unit", type=int, default=50, help="pairs in a work unit")
    parser.add_argument("--every", type=float, default=20, help="seconds between kills")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of who is killed")
    parser.add_argument(
        "--out", type=Path, help="folder for the datasets  [default: a temporary one]"
    )
    given = parser.parse_args()
    root = given.out or Path(tempfile.mkdtemp(prefix="cluster-"))
    root.mkdir(parents=True, exist_ok=given.out is None)
    commands = {
        "build": ["build", "--source", "synthetic", "--count", str(given.pairs), "--out", "hands"],
        "splice": ["splice", "--bank", "hands", "--count", str(given.pairs), "--out", "pairs"],
        "physics-fix": ["physics-fix", "--input", "pairs", "--out", "fixed"],
    }
    commands = {stage: [*c, "--shard-size", str(given.unit)] for stage, c in commands.items()}

    serial_s = {}
    (root / "serial").mkdir()
    for stage, command in commands.items():
        serial_s[stage] = run([*command, "--workers", "1"], root / "serial")
        print(f"serial {stage}: {serial_s[stage]:.1f} s", file=sys.stderr)

    print(f"{given.pairs:,} pairs in units of {given.unit}; {given.workers} workers, one killed "
          f"every {given.every:g} s")  # fmt: skip
    print(f"{'stage':12}{'serial s':>9}{'cluster s':>10}{'units':>7}{'kills':>7}{'workers':>9}"
          f"{'lost':>6}{'units redone':>14}{'client killed':>15}{'identical':>11}")  # fmt: skip
    (root / "cluster").mkdir()
    same = []
    with KilledCluster(root / "dask", given.workers, given.every, given.seed) as cluster:
        for stage, command in commands.items():
            kills = cluster.kills
            on_cluster = [*command, "--executor", "dask", "--scheduler", cluster.address]
            killed_s = 0.0
            if stage == "physics-fix":
                killed_s = run(on_cluster, root / "cluster", kill_after=serial_s[stage] / 5)
            seconds = killed_s + run(on_cluster, root / "cluster")
            folder = root / "cluster" / command[command.index("--out") + 1]
            same.append(contents(folder) == contents(root / "serial" / folder.name))
            record = json.loads((folder / "run.json").read_text())
            told = [session["cluster"] for session in record["sessions"] if "cluster" in session]
            seen, lost, redone = (
                sum(one[key] for one in told)
                for key in ("workers", "workers_lost", "units_done_again")
            )
            print(f"{stage:12}{serial_s[stage]:9.1f}{seconds:10.1f}{record['counts']['units']:7}"
                  f"{cluster.kills - kills:7}{seen:9}{lost:6}{redone:14}"
                  f"{'once' if killed_s else '-':>15}{'yes' if same[-1] else 'NO':>11}",
                  flush=True)  # fmt: skip
    print(f"{cluster.kills} workers killed, {cluster.started} started; the client's part (reading, "
          "planning, starting) is in the seconds")  # fmt: skip
    verified = subprocess.run([*PROGRAM, "verify", str(root / "cluster" / "fixed")])
    if given.out is None:
        shutil.rmtree(root)
    return 0 if all(same) and not verified.returncode else 1


def run(command: Sequence[str], folder: Path, kill_after: float | None = None) -> float:
    """Seconds of a command; with `kill_after` it is killed so long after it began to write."""
    began = time.perf_counter()
    with (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen([*PROGRAM, *command], cwd=folder, stdout=log, stderr=log)
    out = folder / command[command.index("--out") + 1]
    if kill_after is not None:
        while not list(out.glob(".work/unit-*.json")) and process.poll() is None:
            time.sleep(0.1)
        time.sleep(kill_after)
        process.kill()
    if process.wait() and kill_after is None:
        sys.exit(f"{' '.join(command)} failed:\n{(folder / 'log.txt').read_text()[-3000:]}")
    return time.perf_counter() - began


def contents(folder: Path) -> dict[str, bytes]:
    """Shards, index and rejects. run.json and .work hold timings."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != "run.json"
    }


if __name__ == "__main__":
    sys.exit(main())
