"""Build every real take and print kept share, residual and whole-command speed, file to shard.

    python benchmarks/build_real_takes.py [--data DIR] [--workers N]

Each row is one `twohand build` in a process of its own (imports, reading, calibration, fitting,
judging, writing), after one warm-up so that the solver's compiled code is cached. DIR holds the
recordings (default $TWOHAND_REAL_DATA); each folder or file under TAKES is one row.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from twohand500k.cores import available_cores

TAKES = {
    "mocap_bvh/cup1": ["mocap_bvh/cup1"],
    "mocap_bvh/cyl_med3": ["mocap_bvh/cyl_med3"],
    "leap_csv/three-claps": ["leap_csv/three-claps.csv"],
    "leap_csv/confidence2": ["leap_csv/confidence2.csv"],
    "mocap_trc": ["mocap_trc"],
    "mocap_bvh (both)": ["mocap_bvh"],
}


def build(inputs: list[Path], out: Path, workers: int) -> tuple[dict, float]:
    """Run the command; returns its JSON report and the seconds it took."""
    command = [sys.executable, "-m", "twohand500k.cli", "build", "--source", "mocap", "--json"]
    command += ["-q", "--workers", str(workers), "--out", str(out)]
    for path in inputs:
        command += ["--input", str(path)]
    began = time.perf_counter()
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if run.returncode:
        raise SystemExit(run.stderr)
    return json.loads(run.stdout), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("TWOHAND_REAL_DATA"))
    parser.add_argument("--workers", type=int, default=available_cores())
    options = parser.parse_args()
    if options.data is None or not options.data.is_dir():
        raise SystemExit("name the folder of recordings with --data or $TWOHAND_REAL_DATA")
    print("| take | frames | kept | residual median | 95 % | past a limit by 5° | interactions/s |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        warm = [options.data / path for path in TAKES["leap_csv/three-claps"]]
        build(warm, Path(scratch) / "warm-up", options.workers)
        for number, (name, paths) in enumerate(TAKES.items()):
            inputs = [options.data / path for path in paths]
            report, seconds = build(inputs, Path(scratch) / str(number), options.workers)
            for take in report["takes"]:
                label = name if len(report["takes"]) == 1 else f"{name}: {take['name']}"
                print(
                    f"| {label} | {take['frames']:,} | {take['kept'] / take['frames']:.1%} "
                    f"| {1e3 * take['residual_median']:.2f} mm "
                    f"| {1e3 * take['residual_p95']:.2f} mm "
                    f"| {take['past_limit_share']:.1%} | |"
                )
            n_in = report["run"]["n_in"]
            rejected = report["run"]["rejected_per_reason"] or "none"
            print(f"| {name}: rejected {rejected} | | | | | | {n_in / seconds:,.0f} |")


if __name__ == "__main__":
    main()
