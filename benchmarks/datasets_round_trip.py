"""MANO-annotated datasets, written, built and held against their own joints.

    python benchmarks/datasets_round_trip.py [--hands 1000]

freihand, ho3d, h2o3d (its left hands annotated on each of three left models), h2o, interhand26m,
hic (left hands on two left models) and plain mano arrays are written in their own layouts by the
tests' writers, from known poses on the open hand. Each is built with the open hand called MANO
(parameters kept) and with the open hand (joints fitted, each side with a shape of its own).
Printed: hands kept, and how far the built hands' joints, by the dataset's definition of a
joint, lie from its own: mean and most, mm, right and left.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from fixtures_datasets import freihand, h2o, hic, ho3d, interhand26m, mano
from fixtures_datasets.common import random_hands
from fixtures_datasets.round_trip import build

TO_CAMERA = np.array([1.0, -1.0, -1.0])
HEADER = "dataset              model            kept   right mean   most    left mean   most      s"


def write_all(folder: Path, n: int) -> list[tuple[str, str, np.ndarray, str]]:
    """Every dataset below `folder`: (source, folder's name, joints (n, 2, 21, 3) m, tips)."""
    hands = random_hands(n, seed=3, tips="freihand", one_shape=False)
    freihand.write(folder / "freihand", hands)
    out = [("freihand", "freihand", hands.regressed, "freihand")]
    hands = random_hands(n, seed=5, tips="ho3d", centre=(0.0, 0.0, -0.7))
    ho3d.write(folder / "ho3d", "ABF10", [ho3d.ho3d_frame(hands, k) for k in range(n)])
    out.append(("ho3d", "ho3d", hands.joints * TO_CAMERA, "ho3d"))
    for left in ("mirrored", "negated", "as shipped"):
        of = hands if left == "mirrored" else ho3d.on_left_model(hands, left)
        name = f"h2o3d {left}"
        ho3d.write(folder / name, "S1", [ho3d.h2o3d_frame(of, k) for k in range(n)])
        out.append(("h2o3d", name, of.joints * TO_CAMERA, "ho3d"))
    hands = ho3d.on_left_model(random_hands(n, seed=7, tips="manopth-right"), "as shipped")
    h2o.write(folder / "h2o", "subject1/h1/0", hands)
    out.append(("h2o", "h2o", hands.joints, "manopth-right"))
    hands = random_hands(n, seed=21, tips="interhand26m")
    interhand26m.write(folder / "interhand26m", interhand26m.tables(hands, first=0, step=1))
    out.append(("interhand26m", "interhand26m", hands.joints, "interhand26m"))
    hands = random_hands(n, seed=22)
    for left in ("mirrored", "as shipped"):
        of = hands if left == "mirrored" else ho3d.on_left_model(hands, left)
        name = f"hic {left}"
        pairs = {
            k: tuple(hic.frame(of, k, s, relative_to="mean") for s in (0, 1)) for k in range(n)
        }
        hic.write(folder / name, pairs)
        out.append(("hic", name, of.joints, "smplx"))
    mano.write(folder / "mano" / "a.npz", mano.arrays(hands), mano.convention())
    return [*out, ("mano", "mano", hands.joints, "smplx")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hands", type=int, default=1000, help="frames of each set")
    n = parser.parse_args().hands
    print(HEADER)
    with tempfile.TemporaryDirectory() as where:
        root = Path(where)
        for source, name, joints, tips in write_all(root / "sets", n):
            for model in ("MANO", "open"):
                started = time.perf_counter()
                work = root / f"{name} {model}"
                built = build(source, root / "sets" / name, work, mano=model == "MANO")
                seconds = time.perf_counter() - started
                gap = 1e3 * built.gap(joints, tips=tips, regressed=source == "freihand")
                print(f"{name:20} {model:15} {len(gap):5}", end="")
                for side in range(2):
                    seen = gap[:, side][np.isfinite(gap[:, side])]
                    shown = f"{seen.mean():10.4f} {seen.max():7.4f}" if len(seen) else f"{'':>18}"
                    print(f"  {shown}", end="")
                print(f"  {seconds:6.1f}")


if __name__ == "__main__":
    main()
