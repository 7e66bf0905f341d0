"""What every real recording holds once read: python benchmarks/real_takes_read.py [FOLDER]

Prints a Markdown table (the one in docs/sources.md): frames, sides, unit, missing share, hand
length, bone lengths with their spread over frames, tightest distance between the hands, speed.
FOLDER: default $TWOHAND_REAL_DATA, else ../shared/data beside the repository.
"""

import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from twohand500k.conventions import SIDES
from twohand500k.sources import Take, read_takes
from twohand500k.sources.recordings.units import measure, segments

FOLDERS = ("mocap_bvh", "mocap_trc", "leap_csv", "video_hand")


def bone_lengths(take: Take, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Median and standard deviation over frames of every segment, mm."""
    lengths = [
        np.linalg.norm(take.points[:, side, far] - take.points[:, side, near], axis=-1)
        for near, far, _ in segments(take.landmarks)
    ]
    return np.nanmedian(lengths, axis=1) * 1e3, np.nanstd(lengths, axis=1) * 1e3


def row(take: Take, frames_per_s: float) -> str:
    sides = [s for s in range(2) if take.sides[s]]
    missing = 1 - take.seen[:, sides].mean()
    size = measure(take.points, take.landmarks)
    bones = [bone_lengths(take, s) for s in sides]
    # Constant bones tell a solved skeleton from measured points.
    spread = " / ".join(f"{np.median(std):.2f} (max {std.max():.1f})" for _, std in bones)
    middle = [
        i
        for i, (n, f, _) in enumerate(segments(take.landmarks))
        if 9 <= take.landmarks[f].joint <= 12
    ]
    chain = " / ".join(
        ", ".join(f"{bones[b][0][i]:.1f}±{bones[b][1][i]:.1f}" for i in middle)
        for b in range(len(sides))
    )
    step = np.nanmax(np.linalg.norm(np.diff(take.points, axis=0), axis=-1)) * 1e3
    apart = "-"
    if len(sides) == 2:
        gap = take.points[:, 0, :, None] - take.points[:, 1, None, :]
        distance = np.sqrt((gap**2).sum(-1)).reshape(take.n_frames, -1).min(axis=1)
        apart = f"{distance.min() * 1e3:.0f} (frame {take.frames[np.argmin(distance)]})"
    lengths = [f"{length * 1e3:.0f}" for length in size.per_side if np.isfinite(length)]
    cells = [
        take.name,
        take.source,
        f"{take.n_frames}",
        "+".join(SIDES[s] for s in sides),
        f"{len(take.landmarks)}",
        f"{take.unit.name} ({take.unit.how})",
        f"{missing:.1%}",
        " / ".join(lengths),
        chain,
        spread,
        f"{step:.0f}",
        apart,
        f"{frames_per_s:,.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    default = Path(__file__).parents[1] / ".." / "shared" / "data"
    root = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("TWOHAND_REAL_DATA", default))
    print(
        "| take | map | frames | sides | points a hand | unit | missing | hand length mm, R / L "
        "| middle finger's segments mm, R / L | sd of segments mm, median (max), R / L "
        "| largest step mm | hands' closest points mm | frames/s read |"
    )
    print("|" + "---|" * 13)
    notes = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for folder in FOLDERS:
            if not (root / folder).exists():
                print(f"{root / folder} is absent", file=sys.stderr)
                continue
            read_takes(root / folder)  # once for the disk
            start = time.perf_counter()
            takes = read_takes(root / folder)
            speed = sum(take.n_frames for take in takes) / (time.perf_counter() - start)
            for take in takes:
                print(row(take, speed))
                notes += [f"{take.name}: {note}" for note in take.notes]
    print()
    for note in notes:
        print(f"- {note}")


if __name__ == "__main__":
    main()
