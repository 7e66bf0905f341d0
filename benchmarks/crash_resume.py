"""kill -9 a real `twohand build` at random moments, resume it, compare every byte.

    python benchmarks/crash_resume.py [--input TAKE…] [--kills 20] [--out FOLDER]

Without --input it builds from the take that `twohand demo` makes.
Runs `twohand build --source mocap` undisturbed with 1 worker (the reference) and with 2 and 4;
then kills builds with SIGKILL at random moments, counted from a build's first write into its folder
(before that there is nothing to lose) and spread evenly over the time it wrote undisturbed, and
lets the same command finish each of them. Shards, index and rejects must be the same bytes every
time, and `twohand verify` must pass. Prints a table; exit status 1 if anything differs. Small
shards (--shard-size) make a build of many units out of one take.
"""

import argparse
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from twohand500k.demo import make_take
from twohand500k.hand import load_hands

PROGRAM = (sys.executable, "-c", "from twohand500k.cli.main import main; main()")


@dataclass(frozen=True)
class Kill:
    """One build that was killed: when, how far it was, and what the resumed one left."""

    workers: int
    after_s: float
    units_done: int
    was_finished: bool
    resumed_s: float
    same: bool


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--input",
        nargs="+",
        type=Path,
        help="takes to build from  [default: one it makes itself]",
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument(
        "--out", type=Path, help="folder for the builds  [default: a temporary one]"
    )
    parser.add_argument(
        "--options",
        default="--shard-size 256",
        help="further options of twohand build, one string  [default: %(default)s]",
    )
    arguments = parser.parse_args()
    root = arguments.out or Path(tempfile.mkdtemp(prefix="crash-resume-"))
    root.mkdir(parents=True, exist_ok=arguments.out is None)
    takes = arguments.input or [make_take(load_hands()).write(root / "take")[0]]
    inputs = [str(path.resolve()) for path in takes]
    options = shlex.split(arguments.options)

    def command(out: Path, workers: int) -> list[str]:
        source = ["build", "--source", "mocap"]
        for path in inputs:
            source += ["--input", path]
        return [*PROGRAM, *source, *options, "--workers", str(workers), "--out", str(out)]

    build(command(root / "warm-up", 1), root / "warm-up")  # compiles the kernels into the cache
    reference, writing_s = {}, {}
    print("workers  seconds  same bytes as 1 worker")
    all_same = True
    for workers in (1, 2, 4):
        out = root / f"workers{workers}"
        began, seconds = build(command(out, workers), out)
        writing_s[workers] = seconds - began
        reference = reference or contents(out)
        same = contents(out) == reference
        all_same &= same
        print(f"{workers:7d}  {seconds:7.1f}  {'yes' if same else 'NO'}", flush=True)
    shards = sum(name.endswith(".h5") for name in reference)
    print(f"{shards} shards, {sum(map(len, reference.values())) / 1e6:.1f} MB\n")

    print("kill  workers  after s  units done  resumed s  same bytes")
    rng = random.Random(arguments.seed)
    kills = []
    for number in range(arguments.kills):
        workers = (1, 2, 4)[number % 3]
        kill = kill_and_resume(
            command(root / f"kill{number}", workers),
            root / f"kill{number}",
            workers,
            rng.uniform(0.0, 0.9 * writing_s[workers]),
            reference,
        )
        kills.append(kill)
        state = "finished" if kill.was_finished else f"{kill.units_done}"
        print(
            f"{number:4d}  {kill.workers:7d}  {kill.after_s:7.2f}  {state:>10}  "
            f"{kill.resumed_s:9.1f}  {'yes' if kill.same else 'NO'}",
            flush=True,
        )
        shutil.rmtree(root / f"kill{number}")
    same_kills = sum(kill.same for kill in kills)
    midway = sum(not kill.was_finished and kill.units_done > 0 for kill in kills)
    verified = subprocess.run(
        [*PROGRAM, "verify", str(root / "workers2"), "--json"], capture_output=True, text=True
    )
    passed = [finding["passed"] for finding in json.loads(verified.stdout)]
    print(
        f"\n{same_kills} of {len(kills)} resumed builds the same bytes ({midway} killed with units "
        f"done and units to do); verify: {sum(passed)} of {len(passed)} checks passed"
    )
    if arguments.out is None:
        shutil.rmtree(root)
    return 0 if all_same and same_kills == len(kills) and all(passed) else 1


def build(command: list[str], out: Path) -> tuple[float, float]:
    """Run a build to its end: seconds until it began to write, and in all.

    Its own errors end the benchmark.
    """
    started = time.perf_counter()
    began = None
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=messages)
        while process.poll() is None:
            if began is None and (out / ".work").exists():
                began = time.perf_counter() - started
            time.sleep(0.01)
        seconds = time.perf_counter() - started
        if process.returncode:
            messages.seek(0)
            text = messages.read().decode()
            sys.exit(f"{shlex.join(command)}\nended with {process.returncode}:\n{text}")
    return seconds if began is None else began, seconds


def kill_and_resume(
    command: list[str], out: Path, workers: int, after_s: float, reference: dict[str, bytes]
) -> Kill:
    """Start, kill -9 the parent `after_s` into its writing, resume with the same command."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while not (out / ".work").exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(after_s)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    units_done = len(list(out.glob(".work/unit-*.json")))
    was_finished = (out / "index.json").exists()
    _, resumed_s = build(command, out)
    return Kill(workers, after_s, units_done, was_finished, resumed_s, contents(out) == reference)


def contents(out: Path) -> dict[str, bytes]:
    """Shards, index and rejects. run.json and .work hold timings."""
    return {
        path.name: path.read_bytes()
        for path in sorted(out.iterdir())
        if path.is_file() and path.name != "run.json"
    }


if __name__ == "__main__":
    sys.exit(main())
