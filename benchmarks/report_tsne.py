"""How long, how large and how good the map of many pairs is: minutes, memory, quality, a picture.

    python benchmarks/report_tsne.py --data DIR… --count 500000 [--out FOLDER]

Comes in: datasets with pairs, of any size. Goes out: a table, and with --out the map as a picture
and as map.npz. The features are grown from the datasets' own: the right hand of one pair, the left
hand of another, placed against each other as those of a third, turned by about 9 degrees and
shifted by about 17 mm (normal, 0.15 rad and 10 mm an axis). So they have the spread and the
clusters of the data, though hands of grown pairs may run through each other, which the map does not
see. With --as-is the pairs are taken as they are.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from twohand500k.conventions import JOINT_NAMES, LEFT, RIGHT
from twohand500k.report import embedding, gather

_KNUCKLES = [JOINT_NAMES.index("index1"), JOINT_NAMES.index("middle1")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--as-is", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=None)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    facts = [gather.read(folder, str(folder)) for folder in arguments.data]
    features = np.concatenate([f.features for f in facts])
    source = np.repeat(np.arange(len(facts)), [len(f.features) for f in facts])
    print(f"{len(features):,} pairs read from {len(facts)} datasets", flush=True)
    if not arguments.as_is:
        rng = np.random.default_rng(arguments.seed)
        features, source = grown(features, source, arguments.count, rng)
    began = time.perf_counter()
    fitted = embedding.fit_map(features, seed=arguments.seed, n_jobs=arguments.jobs, log=print)
    seconds = time.perf_counter() - began
    placing = time.perf_counter()
    fitted.place(features[:1_000])
    placing = time.perf_counter() - placing
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    for key, value in fitted.describe().items():
        print(f"{key:24} {value}")
    print(f"{'minutes in all':24} {seconds / 60:.1f}")
    print(f"{'peak memory, GB':24} {peak:.2f}")
    print(f"{'placing 1,000 more, s':24} {placing:.1f}")
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        fitted.save(arguments.out / "map.npz")
        draw(fitted.xy, source, [f.name for f in facts], arguments.out / "map.png")


def grown(
    features: np.ndarray, source: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """`count` features (count, 126) and whose placement each has (count,)."""
    joints = features.reshape(len(features), 2, -1, 3)
    frames = _left_frames(joints[:, LEFT])
    left_in_frame = np.einsum(
        "nji,nkj->nki", frames, joints[:, LEFT] - joints[:, LEFT, :1]
    )  # fmt: skip
    out = np.empty((count, joints[0].size), dtype=np.float32)
    placed_as = rng.integers(len(features), size=count)
    for start in range(0, count, 50_000):
        how = placed_as[start : start + 50_000]
        n = len(how)
        right, left = rng.integers(len(features), size=(2, n))
        R = Rotation.from_rotvec(rng.normal(0.0, 0.15, (n, 3))).as_matrix() @ frames[how]
        wrist = joints[how, LEFT, 0] + rng.normal(0.0, 0.010, (n, 3))
        moved = np.einsum("nij,nkj->nki", R, left_in_frame[left]) + wrist[:, None]
        out[start : start + n] = np.stack([joints[right, RIGHT], moved], axis=1).reshape(n, -1)
    return out, source[placed_as]


def _left_frames(left: np.ndarray) -> np.ndarray:
    """A frame (n, 3, 3) in each left hand (n, 21, 3): along the middle metacarpal, across it."""
    index, middle = (left[:, knuckle] - left[:, 0] for knuckle in _KNUCKLES)
    x = middle / np.linalg.norm(middle, axis=1, keepdims=True)
    z = np.cross(x, index)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    return np.stack([x, np.cross(z, x), z], axis=-1)


def draw(xy: np.ndarray, source: np.ndarray, names: list[str], path: Path) -> None:
    """The map as a PNG, a colour a dataset, later points not over earlier ones but mixed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(10, 10))
    order = np.random.default_rng(0).permutation(len(xy))
    colours = plt.get_cmap("tab10")(source[order] % 10)
    axes.scatter(*xy[order].T, s=min(8.0, 6e4 / len(xy)), c=colours, linewidths=0, alpha=0.6)
    for number, name in enumerate(names):
        axes.scatter([], [], color=plt.get_cmap("tab10")(number % 10), label=Path(name).name)
    axes.legend(loc="upper right", frameon=False)
    axes.set_aspect("equal")
    axes.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
