"""The README's first picture: a take, hands fitted to it, hands spliced, hands repaired.

    python benchmarks/first_picture.py --made DIR [--out docs/images/first.png]

DIR: a made recipe `demo` (`twohand make demo --out DIR`). Columns: a moment of its recording, the
hands fitted to it, a spliced pair with its overlap in red, the same pair repaired.
"""

import argparse
from pathlib import Path

import numpy as np

from twohand500k.demo import DemoTake
from twohand500k.demo.score import fitted_frames, moments
from twohand500k.hand import HandPair, load_hands
from twohand500k.hand.measure import common_motion
from twohand500k.physics.stage import joints_of
from twohand500k.pictures import (
    Camera,
    contact_sheet,
    draw_frame,
    draw_pair,
    pair_cameras,
    save_png,
)
from twohand500k.shards import Dataset

_SIZE = (460, 400)
_ROWS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--made", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/images/first.png"))
    parser.add_argument("--phases", nargs=_ROWS, default=["clasp", "clap"])
    given = parser.parse_args()
    hands = load_hands("open")
    recorded = fitted(hands, given.made, given.phases)
    repaired = repairs(hands, given.made / "repaired" / "spliced")
    tiles = [tile for row in zip(recorded, repaired, strict=True) for pair in row for tile in pair]
    words = [
        "recorded\njoints of a two-hand take",
        "fitted\nMANO by inverse kinematics",
        "spliced\ntwo hands that touch; overlap in red",
        "repaired\nmoved no more than they must",
    ]
    labels = [""] * len(words) * (_ROWS - 1) + words
    save_png(given.out, contact_sheet(tiles, labels, columns=len(words)), colours=256)
    print(given.out)


def fitted(hands: HandPair, made: Path, phases: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    """A moment of each phase: as recorded, and the hands fitted over it."""
    take = DemoTake.read(made / "recordings" / "demo" / "truth.npz")
    dataset = Dataset(made / "builds" / "take")
    found = {why.split(",")[0]: row for row, why in moments(dataset, take).items()}
    print("phases:", ", ".join(found))
    chosen = {found[phase]: phase for phase in phases if phase in found}
    for row, phase in ((row, phase) for phase, row in found.items()):
        if len(chosen) < _ROWS:
            chosen.setdefault(row, phase)
    frames = fitted_frames(dataset, take, chosen)
    tiles = []
    for k in range(_ROWS):
        points = frames.points[k][np.isfinite(frames.points[k]).all(axis=-1)]
        _, _, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
        up = points.mean(axis=0) - np.nanmean(frames.points[k][:, 0], axis=0)
        camera = Camera.framing(points, axes[2], up=up, aspect=_SIZE[0] / _SIZE[1], margin=1.25)
        bones = draw_frame(hands, frames, k, camera, _SIZE, skin=False)
        tiles.append((bones, draw_frame(hands, frames, k, camera, _SIZE)))
    return tiles


def repairs(hands: HandPair, folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """The pairs that overlapped most, before and after."""
    dataset = Dataset(folder)
    rows = np.argsort(-np.nan_to_num(dataset.array("volume_before")))[:_ROWS]
    samples = dataset.samples(rows)
    assert samples.pose_before is not None and samples.transl_before is not None
    tiles = []
    for k in range(_ROWS):
        betas = samples.betas[k]
        states = [(samples.pose_before[k], samples.transl_before[k]),
                  (samples.pose[k], samples.transl[k])]  # fmt: skip
        before, after = (joints_of(hands, p[None], betas[None], t[None])[0] for p, t in states)
        R, t = common_motion(after, before)
        seen = [
            tuple(
                hands[s].with_shape(betas[s]).with_pose(pose[s], transl[s]).vertices for s in (0, 1)
            )
            for pose, transl in states
        ]
        seen[1] = tuple(skin @ R.T + t for skin in seen[1])
        camera, _ = pair_cameras(hands, seen, _SIZE[0] / _SIZE[1])
        tiles.append(tuple(draw_pair(hands, skins, camera, _SIZE) for skins in seen))
    return tiles


if __name__ == "__main__":
    main()
