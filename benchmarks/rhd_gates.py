"""The fault that spoiled a published dataset, planted in RHD's layout: does any get through?

    python benchmarks/rhd_gates.py [--images 4000] [--share 0.2]

RHD lists every finger from its tip to its base and the left hand first. Here its annotation file is
written rightly and wrongly: fingers from base to tip (so that the reader's turning makes them run
backwards), the two sides exchanged, and both; in a share of the images, or in all of them. Every
set goes through the whole build. Hands are drawn on the open hand, natural poses or every angle
anywhere within its limits, another shape for each. Printed: of the good hands how many were kept,
of the faulty ones how many, and what these were called; "stops" where the build refused the whole
set.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from fixtures_datasets.common import PosedHands, random_hands
from fixtures_datasets.rhd import write_rhd

from twohand500k.conventions import SIDES
from twohand500k.errors import DataError
from twohand500k.hand import HandPair, load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.ik import build_takes
from twohand500k.shards import Dataset
from twohand500k.sources.datasets import read_dataset

FAULTS: Mapping[str, tuple[bool, bool]] = {  # fingers base to tip, sides exchanged
    "none": (False, False),
    "fingers base to tip": (True, False),
    "sides exchanged": (False, True),
    "both": (True, True),
}


def draw(images: int, within: str, seed: int) -> PosedHands:
    """Hands in natural poses, or with every angle anywhere within its limits ("box")."""
    hands = random_hands(images, seed, one_shape=False)
    if within == "natural":
        return hands
    pose, rng = hands.pose.copy(), np.random.default_rng([seed, 1])
    for side in range(2):
        anatomy = Anatomy.of(hands.pair[side])
        angles = rng.uniform(anatomy.limits[..., 0], anatomy.limits[..., 1], (images, 15, 3))
        pose[:, side, 1:] = anatomy.pose_from_angles(angles)[:, 1:]
    return replace(hands, pose=pose)


def build(folder: Path, out: Path, hands: HandPair, faulty: np.ndarray) -> str:
    """One line: good and faulty hands kept, what the faulty were called. faulty (images,) bool."""
    began = time.perf_counter()
    try:
        build_takes(read_dataset("rhd", [folder]), hands, out, progress=False)
        samples, rejects = Dataset(out).array("frame"), Dataset(out).rejects()
    except DataError as error:
        return f"{'':>19}{f'0 of {2 * faulty.sum():,}':>19}   stops: {str(error)[:150]}"
    reasons = Counter(r.reason for r in rejects if faulty[int(r.sample_id[-6:])])
    lost = Counter(r.reason for r in rejects if not faulty[int(r.sample_id[-6:])])
    kept = f"{(~faulty)[samples].sum():,} of {2 * (~faulty).sum():,}"
    through = f"{faulty[samples].sum():,} of {2 * faulty.sum():,}"
    called = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common())
    if lost:
        called += "; good refused: " + ", ".join(f"{r} {count}" for r, count in lost.most_common())
    return f"{kept:>19}{through:>19}   {called or '-'} ({time.perf_counter() - began:.0f} s)"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=4000, help="two hands each")
    parser.add_argument("--share", type=float, default=0.2, help="of images with a partial fault")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    hands = load_hands("open")
    print(f"{args.images:,} images, {' and '.join(SIDES)} hand each\n")
    print(f"{'':<46}{'good hands kept':>19}{'faulty hands kept':>19}   called")
    for within in ("natural", "box"):
        joints = draw(args.images, within, args.seed).joints
        for noise_mm in (0.0, 1.0):
            rng = np.random.default_rng([args.seed, int(10 * noise_mm)])
            points = joints + rng.normal(size=joints.shape) * noise_mm * 1e-3
            some = rng.random(args.images) < args.share
            for fault, (base_to_tip, swapped) in FAULTS.items():
                for where in ("some", "all") if base_to_tip or swapped else ("",):
                    faulty = np.full(args.images, where == "all") | (some & (where == "some"))
                    with tempfile.TemporaryDirectory() as place:
                        folder = write_rhd(
                            Path(place) / "rhd",
                            points,
                            base_to_tip=faulty & base_to_tip,
                            swapped=faulty & swapped,
                        )
                        line = build(folder, Path(place) / "out", hands, faulty)
                    print(f"{within:<9}{noise_mm:.0f} mm   {fault:<21}{where:<8}{line}", flush=True)


if __name__ == "__main__":
    main()
