"""kill -9 a real `twohand train-prior` again and again, resume it, compare every bit.

    python benchmarks/train_prior_killed.py --data DIR [--kills 10] [--steps 1500] [--out FOLDER]

Trains undisturbed, then the same in another folder, killed with SIGKILL at random moments after it
told a random number of new lines, each time resumed by the same command. Metrics (but for what a
clock told) and every tensor of the prior must be the same to the last bit. Prints a line a kill;
exit status 1 if anything differs.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

PROGRAM = (sys.executable, "-m", "twohand500k.cli", "train-prior", "--quiet", "--device", "cpu")
CLOCK = ("seconds", "samples_per_s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, help="folder for the runs  [default: a temporary one]")
    args = parser.parse_args()
    root = args.out or Path(tempfile.mkdtemp(prefix="train-prior-killed-"))
    print(f"runs in {root}")

    def start(out: Path) -> subprocess.Popen[bytes]:
        options = {
            "--data": args.data, "--out": out, "--steps": args.steps, "--lr": 1e-3, "--threads": 1,
            "--log-every": 10, "--validate-every": 250, "--checkpoint-every": 100,
        }  # fmt: skip
        words = [str(word) for pair in options.items() for word in pair]
        return subprocess.Popen(
            [*PROGRAM, *words], env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE
        )

    if start(root / "undisturbed").wait():
        return 1
    rng = random.Random(args.seed)
    out, kills = root / "killed", 0
    while kills < args.kills:
        run, before = start(out), last_step(out)
        told = before + 10 * rng.randrange(1, max(2, args.steps // 10 // args.kills + 10))
        while (last_step(out) < told or last_step(out) == before) and run.poll() is None:
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 0.1))
        if run.poll() is not None:
            break
        run.send_signal(signal.SIGKILL)
        run.wait()
        kills += 1
        saved = [int(p.stem[5:]) for p in (out / "checkpoints").glob("step-*.safetensors")]
        print(f"killed after step {last_step(out):,}, resumed from {max(saved, default=0):,}")
    if start(out).wait():
        return 1
    same_rows = rows(out) == rows(root / "undisturbed")
    ours, theirs = (load_file(f / "prior.safetensors") for f in (out, root / "undisturbed"))
    same = ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in theirs)
    print(
        f"{kills} kills: metrics {'the same' if same_rows else 'DIFFER'}, "
        f"prior {'the same' if same else 'DIFFERS'}"
    )
    return 0 if same_rows and same else 1


def rows(out: Path) -> list[dict[str, object]]:
    """Lines of the metrics that are whole, without the clock's."""
    path = out / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [{k: v for k, v in json.loads(line).items() if k not in CLOCK} for line in lines]


def last_step(out: Path) -> int:
    found = rows(out)
    return int(str(found[-1]["step"])) if found else 0


if __name__ == "__main__":
    sys.exit(main())
