"""Hands fitted to drawn joints and skins, where the hands are known: the table of docs/sample.md.

    python benchmarks/drawn_fit.py DATASET [--pairs 200]

DATASET: pairs on the open hand. Their joints and skins are drawn again with independent noise on
every coordinate; told are the distance that remains, how far the fitted skin lies from the true
one, limits broken and the time of a hand.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from twohand500k.drawn import DrawnPairs, fit_drawn
from twohand500k.hand import load_hands
from twohand500k.shards import Dataset

NOISES_MM = (0.0, 1.0, 3.0, 6.0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--pairs", type=int, default=200)
    given = parser.parse_args()
    hands = load_hands("open")
    dataset = Dataset(given.dataset)
    samples = dataset.samples(np.linspace(0, len(dataset) - 1, given.pairs).astype(int))
    pose, betas = samples.pose.astype(float), samples.betas.astype(float)
    posed = [hands[s].with_shape(betas[:, s]).with_pose(pose[:, s]) for s in (0, 1)]
    joints = np.stack([p.joints for p in posed], axis=1)
    skins = np.stack([p.vertices for p in posed], axis=1) - joints[:, :, :1]
    joints = joints - joints[:, :, :1]
    rng = np.random.default_rng(0)
    fit_drawn(DrawnPairs(samples.sample_id[:1], joints=joints[:1]), hands)
    fit_drawn(DrawnPairs(samples.sample_id[:1], vertices=skins[:1]), hands)
    print("drawn     noise mm  residual mm  skin off mm  limits deg  ms a hand")
    for form, truth in (("joints", joints), ("vertices", skins)):
        for noise in NOISES_MM:
            points = truth + 1e-3 * noise * rng.normal(size=truth.shape)
            drawn = DrawnPairs(samples.sample_id, **{form: points})
            began = time.perf_counter()
            fitted = fit_drawn(drawn, hands)
            spent = 1e3 * (time.perf_counter() - began) / (2 * len(drawn))
            found = [
                hands[s].with_shape(fitted.betas[:, s]).with_pose(fitted.pose[:, s]) for s in (0, 1)
            ]
            wrist = np.stack([p.joints[:, :1] for p in found], axis=1)
            skin = np.stack([p.vertices for p in found], axis=1) - wrist
            off = np.linalg.norm(skin + fitted.wrist[:, :, None] - skins, axis=-1).mean()
            print(
                f"{form:10}{noise:8.0f}{1e3 * fitted.residual.mean():13.2f}{1e3 * off:13.2f}"
                f"{np.degrees(fitted.limit_violation.mean()):12.2f}{spent:11.2f}"
            )


if __name__ == "__main__":
    main()
