"""What an audit says of sound pairs, and of ones with planted faults, at several noise levels.

    python benchmarks/audit_planted.py --data DIR [--pairs 1500]

DIR: a dataset of pairs that do not overlap (what `twohand physics-fix` leaves). Prints a line a
set: hands refused, of them with the planted reason, pairs said to overlap, median residual.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from twohand500k.audit import AuditReport, audit
from twohand500k.hand import load_hands
from twohand500k.shards import Dataset

MIRROR = np.array([-1.0, 1.0, 1.0])


def line(name: str, report: AuditReport, planted: np.ndarray | None = None) -> str:
    data = report.data
    overlap = data["findings"].get("overlap", {"count": 0})["count"]
    residual = data["quantities"]["residual_mm"]["median"]
    said = f"{name:34} refused {data['hands'] - data['hands_ok']:5,} of {data['hands']:,} hands"
    if planted is not None:
        found = report.facts.frame[(report.facts.reason[:, 0] == "mirrored")]
        right = np.isin(found, planted).sum()
        said += f" ({right:,} of {len(planted):,} planted, {len(found) - right:,} falsely)"
    told = "-" if residual is None else f"{residual:.2f}"
    return f"{said}, overlap {overlap:5,} of {data['pairs_judged']:,}, residual {told} mm"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=1500)
    given = parser.parse_args()
    hands = load_hands("open")
    dataset = Dataset(given.data)
    samples = dataset.samples(np.arange(min(given.pairs, len(dataset))))
    joints = samples.joints.astype(np.float64)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)

        def audited(name: str, **arrays: np.ndarray) -> AuditReport:
            np.savez(place / f"{name}.npz", **arrays)
            return audit(place / f"{name}.npz", place / name, hands, progress=False)

        for mm in (0, 1, 2, 4):
            noisy = joints + rng.normal(scale=max(mm, 1e-9) * 1e-3, size=joints.shape)
            print(line(f"joints, {mm} mm noise", audited(f"noise{mm}", joints=noisy)), flush=True)
        noisy = joints + rng.normal(scale=2e-3, size=joints.shape)
        rows = np.flatnonzero(rng.random(len(noisy)) < 0.5)
        wrist = noisy[rows, 0, :1]
        noisy[rows, 0] = (noisy[rows, 0] - wrist) * MIRROR + wrist
        report = audited("mirrored", joints=noisy)
        print(line("half the right hands mirrored, 2 mm", report, rows), flush=True)
        skins = [
            hands[s]
            .with_shape(samples.betas[:, s])
            .with_pose(samples.pose[:, s], samples.transl[:, s])
            .vertices
            for s in (0, 1)
        ]
        vertices = np.stack(skins, axis=1).astype(np.float32)
        print(line("vertices", audited("vertices", vertices=vertices)), flush=True)


if __name__ == "__main__":
    main()
