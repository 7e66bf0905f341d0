"""How fast and how right is the judge? Against a mesh boolean and brute force, pair by pair.

    python benchmarks/judge.py --data DIR [--pairs 200] [--brute 20] [--hand-model open]

DIR: a dataset of pairs. Times are of one core, the best of three per pair; compile times those of a
fresh process with an empty and with a filled cache. The boolean (manifold3d, as published pipelines
use it) gives the volume alone, and counts what a hand covers twice a second time: it is compared
where neither hand overlaps itself. Brute force tries every face for every skin vertex.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import manifold3d
import numpy as np
import trimesh

from twohand500k.hand import load_hands
from twohand500k.physics.judge import Judge
from twohand500k.shards import Dataset

_FIRST_CALL = """
import time
import numpy as np
from twohand500k.hand import load_hands
from twohand500k.physics.judge import Judge
hands = load_hands("open")
right, left = hands.right.v_template, hands.left.v_template
judge = Judge.of(hands)
start = time.perf_counter()
for move in ((0.0, 0.0, 0.0), (0.05, 0.0, 0.0), (0.0, -0.08, 0.0), (0.0, -1.0, 0.0)):
    judge.pair(right, left + np.array(move))
print(time.perf_counter() - start)
"""


def first_call(cache: str) -> float:
    """Seconds of the first judgements in a fresh process that keeps compiled code in `cache`."""
    run = subprocess.run(
        [sys.executable, "-c", _FIRST_CALL], env={**os.environ, "NUMBA_CACHE_DIR": cache},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(run.stdout)


def best_ms(function: Callable[[], Any], repeat: int = 3) -> tuple[float, Any]:
    best, result = np.inf, None
    for _ in range(repeat):
        start = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - start)
    return 1e3 * best, result


def boolean_volume(skins: list, faces: list) -> float:
    """Volume (m3) that two closed skins share, by manifold3d."""
    solids = [
        manifold3d.Manifold(manifold3d.Mesh64(skin, face))
        for skin, face in zip(skins, faces, strict=True)
    ]
    return float((solids[0] ^ solids[1]).volume())


def brute_vertex_depth(skins: list, closed: list, open_faces: list) -> tuple[float, float]:
    """Deepest vertex and smallest vertex-to-face distance, every face tried; m."""
    depth, nearest = 0.0, np.inf
    for one, other in ((0, 1), (1, 0)):
        corner = skins[other][closed[other]]
        solid = trimesh.Trimesh(skins[other], closed[other], process=False)
        points = skins[one]
        distance = np.array([
            np.linalg.norm(
                trimesh.triangles.closest_point(corner, np.broadcast_to(p, (len(corner), 3))) - p,
                axis=1,
            ).min()
            for p in points
        ])  # fmt: skip
        inside = solid.ray.contains_points(points)
        depth = max(depth, distance[inside].max(initial=0.0))
        nearest = min(nearest, distance.min())
    return depth, nearest


def row(name: str, values: np.ndarray, against: float | None = None) -> str:
    ratio = "" if against is None else f"{np.median(values) / against:9.2f}"
    return (
        f"{name:42}{len(values):6}{np.median(values):10.2f}{np.percentile(values, 95):10.2f}{ratio}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--brute", type=int, default=10)
    parser.add_argument("--hand-model", default="open")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        cold, warm = first_call(cache), first_call(cache)
    print(f"first calls {cold:.1f} s with an empty cache, {warm:.2f} s after")

    hands = load_hands(options.hand_model)
    judge = Judge.of(hands)
    data = Dataset(options.data)
    rows = np.linspace(0, len(data) - 1, min(options.pairs, len(data))).astype(int)
    samples = data.samples(np.unique(rows))
    closed = [hands[s].closed_faces.astype(np.uint64) for s in (0, 1)]
    times: dict[str, list[float]] = {"touching": [], "apart": [], "boolean": [], "own": []}
    volume, boolean, clean = [], [], []
    brute: list[tuple[float, float, float, float, float]] = []
    faults = 0
    for k in range(len(samples)):
        skins = [
            hands[s].with_shape(samples.betas[k, s])
            .with_pose(samples.pose[k, s], samples.transl[k, s]).vertices
            for s in (0, 1)
        ]  # fmt: skip
        if k == 0:
            for way in (0.0, 0.05, 0.5):
                judge.pair(skins[0], skins[1] + way)
        spent, judged = best_ms(lambda s=skins: judge.pair(*s))
        faults += bool(judged.fault)
        times["touching"].append(spent)
        times["apart"].append(best_ms(lambda s=skins: judge.pair(s[0], s[1] + 0.3))[0])
        times["own"].append(
            best_ms(lambda s=skins: [judge.self_volume(side, s[side]) for side in (0, 1)])[0]
        )
        spent, shared = best_ms(lambda s=skins: boolean_volume(s, closed))
        times["boolean"].append(spent)
        volume.append(judged.volume)
        boolean.append(shared)
        clean.append((judged.self_volume == 0.0).all())
        if k < options.brute:
            spent, (depth, nearest) = best_ms(
                lambda s=skins: brute_vertex_depth(s, closed, closed), 1
            )
            brute.append((spent, depth, judged.depth, nearest, judged.distance))
    against = float(np.median(times["touching"]))
    print(f"\n{'ms a pair':42}{'pairs':>6}{'median':>10}{'95 %':>10}{'ratio':>9}")
    print(row("judge, all of it", np.array(times["touching"]), against))
    print(row("  of it both hands against themselves", np.array(times["own"]), against))
    print(row("judge, the same hands 0.3 m apart", np.array(times["apart"]), against))
    print(row("boolean, volume alone", np.array(times["boolean"]), against))
    b = np.array(brute).reshape(-1, 5)
    if len(b):
        print(row("brute force, depth and distance alone", b[:, 0], against))
    v, m, c = np.array(volume), np.array(boolean), np.array(clean)
    print(f"\n{faults} of {len(v)} pairs could not be judged")
    for name, some in (("no hand in itself", c), ("a hand in itself", ~c)):
        some = some & np.isfinite(v)
        if some.any():
            off = 1e6 * (v - m)[some]
            within = np.abs(off) <= 0.001 + 0.01 * 1e6 * m[some]
            print(
                f"volume against boolean, {name}: {some.sum()} pairs, median difference "
                f"{np.median(np.abs(off)):.5f} cm3, largest {np.abs(off).max():.4f} cm3, within "
                f"1 % + 0.001 cm3: {within.mean():.1%}"
            )
    if len(b):
        deeper = 1e3 * (b[:, 2] - b[:, 1])
        print(
            f"depth over deepest vertex: {deeper.min():+.3f} to {deeper.max():+.3f} mm, median "
            f"{np.median(deeper):+.3f}; {(b[:, 2] > 0).sum()} pairs overlap"
        )


if __name__ == "__main__":
    main()
