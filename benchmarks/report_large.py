"""The whole report of half a million samples: minutes, memory, size of the page.

    python benchmarks/report_large.py --data DIR [--count 500000] --out FOLDER

Grows DIR, a dataset of pairs, to so many samples: in each copy every left hand is turned by about 9
degrees about its wrist and shifted by about 17 mm (normal, 0.15 rad and 10 mm an axis), so that no
two are alike; what was judged is copied, not judged again. The dataset is kept in FOLDER/dataset
and reused. Then makes the report in this process and prints what it took.
"""

import argparse
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from twohand500k.conventions import LEFT
from twohand500k.cores import available_cores
from twohand500k.hand import HandPair, load_hands
from twohand500k.hand.rigid import moved_rigidly
from twohand500k.pipeline import UnitResult, rng_for, run
from twohand500k.report.run import ReportOptions, make_report
from twohand500k.shards import Dataset, Samples


@dataclass(frozen=True)
class Copy:
    """One shard of one copy."""

    copy: int
    shard: int
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"copy {self.copy} shard {self.shard}"


@dataclass(frozen=True)
class Grow:
    """Moves every left hand a little."""

    folder: Path
    hands: HandPair

    def __call__(self, unit: Copy) -> UnitResult:
        samples = Dataset(self.folder).shard(unit.shard)
        arrays = {f.name: getattr(samples, f.name) for f in fields(samples)}
        arrays["sample_id"] = np.array([f"{unit.copy}-{name}" for name in samples.sample_id])
        if unit.copy:
            arrays |= self._moved(samples, rng_for(0, unit.name))
        return UnitResult(Samples(**arrays), (), len(samples))

    def _moved(self, samples: Samples, rng: np.random.Generator) -> dict[str, np.ndarray]:
        n = len(samples)
        turn = Rotation.from_rotvec(rng.normal(scale=0.15, size=(n, 3))).as_matrix()
        joints = samples.joints.astype(np.float64)
        wrist = joints[:, LEFT, 0]
        t = wrist + rng.normal(scale=0.01, size=(n, 3)) - np.einsum("nij,nj->ni", turn, wrist)
        J0 = self.hands[LEFT].with_shape(samples.betas[:, LEFT]).rest_joints[:, 0]
        pose, transl = np.array(samples.pose), np.array(samples.transl)
        pose[:, LEFT], transl[:, LEFT] = moved_rigidly(pose[:, LEFT], transl[:, LEFT], J0, turn, t)
        joints[:, LEFT] = np.einsum("nij,nkj->nki", turn, joints[:, LEFT]) + t[:, None]
        return {"pose": pose, "transl": transl, "joints": joints}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=500_000)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    hands = load_hands("open")
    small = Dataset(given.data)
    shards = range(len(small.index.shards))
    copies = -(-given.count // len(small))
    inputs = {"index": small.index.shards[0].arrays_sha256}
    units = [Copy(copy, shard, inputs) for copy in range(copies) for shard in shards]
    large = given.out / "dataset"
    run(Grow(given.data.resolve(), hands), units, large, name="grow", options={"copies": copies},
        hands=hands, frame=small.conventions["frame"], workers=available_cores())  # fmt: skip
    began = time.monotonic()
    made = make_report([large], given.out / "report", hands, ReportOptions(), log=print)
    minutes = (time.monotonic() - began) / 60
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\n{made.samples:,} samples: {minutes:.1f} min, peak memory {peak:.2f} GB, "
          f"page {made.page_bytes / 1e6:.1f} MB")  # fmt: skip
    print(", ".join(f"{name} {seconds:.0f} s" for name, seconds in made.steps.items()))


if __name__ == "__main__":
    main()
