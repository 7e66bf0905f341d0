"""How fast is the solver? Hands per second by threads, and what the first call costs.

    python benchmarks/ik_speed.py [--hands 20000] [--repeat 3] [--hand-model open]

Shape fixed, limits on, poses uniform over the limit box. Each row is the best of the repeats. The
compile times are those of a fresh process with an empty and with a filled cache.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

from twohand500k.hand import load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.ik.solver import Settings, solve

_FIRST_CALL = """
import time
from twohand500k.hand import load_hands
from twohand500k.ik.solver import solve
shaped = load_hands("open").right.with_shape()
start = time.perf_counter()
solve(shaped.with_pose().joints[None], shaped)
print(time.perf_counter() - start)
"""


def first_call(cache: str) -> float:
    """Seconds of the first solve in a fresh process that keeps its compiled code in `cache`."""
    run = subprocess.run(
        [sys.executable, "-c", _FIRST_CALL],
        env={**os.environ, "NUMBA_CACHE_DIR": cache},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(run.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hands", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--hand-model", default="open")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        cold, warm = first_call(cache), first_call(cache)
    print(f"first call {cold:.1f} s with an empty cache, {warm:.2f} s after")

    model = load_hands(options.hand_model).right
    anatomy, rng = Anatomy.of(model), np.random.default_rng(0)
    n = options.hands
    angles = rng.uniform(anatomy.limits[..., 0], anatomy.limits[..., 1], (n, 15, 3))
    shaped = model.with_shape(rng.normal(size=10))
    pose = anatomy.pose_from_angles(angles, rng.normal(size=(n, 3)) * 2)
    truth = shaped.with_pose(pose, rng.normal(size=(n, 3)) * 0.3).joints
    header = ("noise mm", "sigma mm", "threads", "hands/s", "iterations", "worst mm")
    print("{:<10}{:>9}{:>9}{:>10}{:>12}{:>10}".format(*header))
    for noise, sigma in ((0.0, 1e-5), (0.0, 1e-3), (2e-3, 2e-3)):
        points = truth + rng.normal(size=truth.shape) * noise
        for threads in (1, 2):
            best = np.inf
            for _ in range(options.repeat):
                start = time.perf_counter()
                solution = solve(
                    points, shaped, settings=Settings(sigma_point=sigma), threads=threads
                )
                best = min(best, time.perf_counter() - start)
            print(
                f"{noise * 1e3:<10.1f}{sigma * 1e3:>9.2f}{threads:>9}{n / best:>10.0f}"
                f"{solution.iterations.mean():>12.2f}{solution.residual.max() * 1e3:>10.4f}"
            )


if __name__ == "__main__":
    main()
