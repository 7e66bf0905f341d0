"""kill -9 a whole `twohand make` again and again; the dataset must be the undisturbed one's.

    python benchmarks/make_killed.py [--recipe demo] [--set KEY=VALUE…] [--every 6] [--seed 0]

Makes the recipe once undisturbed with one worker. Then makes it with two, killed with its workers
(SIGKILL, the whole process group) after a random time around `--every` seconds, started again, and
so on until it is done; every folder's shards, index and rejects are compared byte for byte. Prints
the steps that were reached at each kill; exit status 1 if anything differs.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = (sys.executable, "-c", "from twohand500k.cli.main import main; main()", "make")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--set", dest="changes", action="append", default=[])
    parser.add_argument("--every", type=float, default=6.0, help="seconds until a kill, on average")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="make-killed-"))
    command = [*PROGRAM, given.recipe, "-q"]
    for change in given.changes:
        command += ["--set", change]
    whole, killed = root / "whole", root / "killed"
    subprocess.run([*command, "--workers", "1", "--out", str(whole)], check=True)
    moments = random.Random(given.seed)
    kills = 0
    while True:
        run = subprocess.Popen(
            [*command, "--workers", "2", "--out", str(killed)],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
        )
        try:
            status = run.wait(moments.uniform(0.4, 1.6) * given.every)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            kills += 1
            done = sorted(path.stem for path in (killed / ".steps").glob("*.json"))
            units = len(list(killed.glob("**/.work/unit-*.json")))
            print(f"kill {kills}: {len(done)} steps done, {units} work units", flush=True)
            # A run must get further than its start, or it would never end.
            given.every *= 1.1
            continue
        if status:
            print(f"the run ended with status {status}")
            return 1
        break
    wrong = 0
    for folder in sorted(path.parent for path in whole.glob("**/index.json")):
        name = folder.relative_to(whole)
        same = bytes_of(folder) == bytes_of(killed / name)
        wrong += not same
        print(f"{name!s:24} {'same bytes' if same else 'DIFFERENT'}")
    print(f"{kills} kills; {'every byte the same' if not wrong else f'{wrong} folders differ'}")
    return int(wrong > 0)


def bytes_of(folder: Path) -> dict[str, str]:
    """Hashes of what does not depend on when and by how many it was made."""
    files = [*folder.glob("*.h5"), folder / "index.json", folder / "rejects.jsonl"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


if __name__ == "__main__":
    sys.exit(main())
