"""How far a wrist that is worked out from the palm's centre is off: STB's rules and the Leap's.

    python benchmarks/palm_wrist.py [--data DIR]

First the open hand, many shapes, for several places where the palm's centre might be: STB does not
say. Then Leap Motion recordings (DIR/leap_csv, default $TWOHAND_REAL_DATA), whose palm position is
recorded and whose wrist is that of the hand fitted to their fingers. Last, what such a wrist does
to a fit: hands in STB's and LSMV's layout, built, against the truth. Median distances in mm.
"""

import argparse
import csv
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from fixtures_datasets.common import random_hands
from fixtures_datasets.lsmv import write_lsmv
from fixtures_datasets.stb import write_stb

from twohand500k.conventions import SIDES
from twohand500k.hand import HandPair, load_hands
from twohand500k.ik import build_takes
from twohand500k.ik.calibrate import calibrate
from twohand500k.ik.solver import Settings, solve
from twohand500k.shards import Dataset
from twohand500k.sources import read_takes
from twohand500k.sources.datasets import read_dataset
from twohand500k.sources.datasets.palm import wrist_beyond_palm, wrist_towards_palm

BASES = [5, 9, 13, 17]
RULES: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "2.0 from ring": lambda joints, palm: joints[:, 13] + 2.0 * (palm - joints[:, 13]),
    "2.2 from middle": lambda joints, palm: joints[:, 9] + 2.2 * (palm - joints[:, 9]),
    "2.25 from mean (stb)": wrist_beyond_palm,
    "towards palm (lsmv)": wrist_towards_palm,
}


def row(name: str, joints: np.ndarray, palm: np.ndarray) -> str:
    """One line: the median distance of each rule's wrist from that of the joints (N, 21, 3)."""
    off = [np.linalg.norm(rule(joints, palm) - joints[:, 0], axis=1) for rule in RULES.values()]
    return f"{name:40s}" + "".join(f"{1e3 * np.median(d):22.1f}" for d in off)


def open_hand(hands: HandPair) -> list[str]:
    """Rows for places that might be called the centre of the palm."""
    model = hands.right
    posed = model.with_shape(np.random.default_rng(0).normal(size=(200, 10))).with_pose()
    joints, skin = posed.joints, posed.vertices
    wrist, knuckle = joints[:, :1], joints[:, 9:10]
    along = ((skin - wrist) * (knuckle - wrist)).sum(-1) / ((knuckle - wrist) ** 2).sum(-1)
    flesh = np.stack(
        [v[(a > 0) & (a < 1) & (model.weights[:, 0] > 0.5)].mean(axis=0)
         for v, a in zip(skin, along, strict=True)]
    )  # fmt: skip
    places = {
        "middle of the flesh, wrist to knuckles": flesh,
        "midway, wrist and middle finger's base": (joints[:, 0] + joints[:, 9]) / 2,
        "midway, wrist and mean of four bases": (joints[:, 0] + joints[:, BASES].mean(axis=1)) / 2,
        "mean of wrist and four bases": joints[:, [0, *BASES]].mean(axis=1),
    }
    return [row(f"open hand: {name}", joints, palm) for name, palm in places.items()]


def leap(path: Path, hands: HandPair) -> list[str]:
    """Rows for the two hands of a recording."""
    (take,) = read_takes([path])
    found = calibrate(take, hands)
    table = list(csv.DictReader(path.open()))
    lines = []
    for side, name in enumerate(SIDES):
        palm = np.array([[float(r[f"{name}_palm_{a}"] or "nan") for a in "xyz"] for r in table])
        points, palm = take.points[:, side], 1e-3 * palm
        there = np.isfinite(points).all(axis=(1, 2)) & np.isfinite(palm).all(axis=1)
        shaped = hands[side].with_shape(found.betas[side])
        settings = Settings(sigma_point=float(found.sigma[side]))
        fit = solve(points[there], shaped, found.attachments[side], settings)
        joints = shaped.with_pose(fit.pose, fit.transl).joints
        for k, mark in enumerate(take.landmarks):
            joints[:, mark.joint] = points[there, k]
        bases = joints[:, BASES].mean(axis=1)
        way = joints[:, 0] - bases
        share = ((palm[there] - bases) * way).sum(-1) / (way**2).sum(-1)
        lines.append(
            row(f"{path.stem}, {name}", joints, palm[there])
            + f"   palm {100 * np.median(share):.0f} % of the way to the wrist"
        )
    return lines


def built(hands: HandPair, frames: int = 300, noise: float = 1e-3) -> list[str]:
    """Joint errors of fits whose wrist is such an estimate."""
    lines = []
    for name, side in (("stb", 1), ("lsmv", 0)):
        posed = random_hands(frames, seed=11)
        with tempfile.TemporaryDirectory() as place:
            (write_stb if name == "stb" else write_lsmv)(Path(place), posed)
            (take,) = read_dataset(name, [Path(place)])
            given = take.points[:, side, 0] - posed.joints[:, side, 0]
            take.points[:, side, 1:] += (
                np.random.default_rng(0).normal(size=(frames, 20, 3)) * noise
            )
            report = build_takes([take], hands, Path(place) / "out", progress=False)
            samples = Dataset(Path(place) / "out").samples()
        error = samples.joints[:, side] - posed.joints[samples.frame, side]
        off = 1e3 * np.linalg.norm(error, axis=-1)
        lines.append(
            f"{name}: {report.run.n_kept} of {frames} kept; wrist given "
            f"{1e3 * np.median(np.linalg.norm(given, axis=1)):.1f} mm off, fitted "
            f"{np.median(off[:, 0]):.1f} mm off; the other joints {np.median(off[:, 1:]):.2f} mm"
        )
    return lines


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("TWOHAND_REAL_DATA"))
    args = parser.parse_args()
    hands = load_hands("open")
    print(f"{'wrist off by, mm':40s}" + "".join(f"{name:>22s}" for name in RULES))
    for line in open_hand(hands):
        print(line)
    recordings = sorted((args.data / "leap_csv").glob("*.csv")) if args.data else []
    for path in recordings:
        print("\n".join(leap(path, hands)))
    if not recordings:
        print("no Leap recordings: give --data")
    print("\nhands with 1 mm of noise, built")
    print("\n".join(built(hands)))


if __name__ == "__main__":
    main()
