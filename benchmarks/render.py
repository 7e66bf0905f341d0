"""Pictures a second, where the time goes, and how like photographs they are in plain numbers.

    [TWOHAND_REAL_DATA=DIR] python benchmarks/render.py DATASET [--pictures 256] [--workers 1,2]

(a) `twohand render` of the first pictures of a dataset, the whole command's work (units, labels,
compression, shards), with one worker and with two; medians of three. Compiled before.
(b) The parts of one picture, milliseconds.
(c) Mean and spread of each colour channel, saturation, and the slope of the picture's spectrum
(log power over log frequency; photographs lie near -2), beside those of real photos of two hands
where TWOHAND_REAL_DATA names a folder with interhand26m/ or rhd/ in it. A check for blunders, no
proof of likeness: for that, look at `twohand render --preview`.
"""

import argparse
import cProfile
import os
import pstats
import statistics
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from twohand500k.hand import load_hands
from twohand500k.pipeline import rng_for
from twohand500k.render import PictureOptions, RenderOptions, draw_picture, plan_render, render
from twohand500k.render.stage import pair_of
from twohand500k.shards import Dataset

PARTS = ("draw_view", "seen_from", "_add_hands", "_add_sleeves", "_add_things", "rasterise",
         "_shadow", "shade", "draw_ground", "photograph", "labelled")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    hands = load_hands("open")
    options = RenderOptions(limit=args.pictures, shard_size=32)
    pictures = np.empty(0)
    for workers in map(int, args.workers.split(",")):
        rates = []
        for _ in range(args.rounds + 1):
            with tempfile.TemporaryDirectory() as work:
                plan = plan_render(args.dataset, hands, options)
                done = render(plan, Path(work) / "o", workers=workers, progress=False)
                rates.append(done.n_kept / done.seconds)
                pictures = Dataset(Path(work) / "o").array("image")
        # The first round compiles.
        print(f"{workers} worker(s): {statistics.median(rates[1:]):.1f} pictures/s")
    parts_of(args.dataset)
    print(
        f"\n{'':12} {'n':>5} {'red':>13} {'green':>13} {'blue':>13} {'saturation':>13} {'slope':>6}"
    )
    told("rendered", pictures)
    real = os.environ.get("TWOHAND_REAL_DATA")
    for name in ("interhand26m", "rhd"):
        files = sorted(Path(real, name).rglob("*.jpg")) if real else []
        files += sorted(Path(real, name).rglob("color/*.png")) if real else []
        if files:
            told(name, np.stack([squared(file) for file in files]))


def parts_of(folder: Path, n: int = 48) -> None:
    """Milliseconds of each part of a picture."""
    hands, samples = load_hands("open"), Dataset(folder).samples(range(n))

    def draw() -> None:
        for k in range(n):
            draw_picture(hands, pair_of(samples, k), PictureOptions(), rng_for(0, f"{k}"))

    draw()
    profile = cProfile.Profile()
    profile.runcall(draw)
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    print("\nmilliseconds of a picture, under the profiler (rasterise is within others)")
    for name in ("draw_picture", *PARTS):
        spent = sum(row[3] for (_, _, called), row in stats.items() if called == name)
        print(f"  {name:14} {1e3 * spent / n:6.1f}")


def told(name: str, images: np.ndarray) -> None:
    """A row: pictures (n, S, S, 3) uint8."""
    x = images / 255.0
    cells = [f"{x[..., c].mean():5.2f} ± {x.mean((1, 2))[:, c].std():4.2f}" for c in range(3)]
    high, low = x.max(-1), x.min(-1)
    of_each = ((high - low) / np.maximum(high, 1e-3)).mean((1, 2))
    slopes = [slope(image.mean(-1)) for image in x]
    print(
        f"{name:12} {len(x):5} {cells[0]:>13} {cells[1]:>13} {cells[2]:>13} "
        f"{of_each.mean():6.2f} ± {of_each.std():4.2f} {np.mean(slopes):6.2f}"
    )


def slope(grey: np.ndarray) -> float:
    """Of log power over log frequency, rings from 4 to a third of the side."""
    n = len(grey)
    window = np.hanning(n)
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window[:, None] * window)) ** 2
    ring = np.hypot(*np.meshgrid(np.fft.fftfreq(n), np.fft.fftfreq(n))) * n
    f = np.arange(4, n // 3)
    mean = [power[(ring >= k - 0.5) & (ring < k + 0.5)].mean() for k in f]
    return float(np.polyfit(np.log(f), np.log(np.array(mean) + 1e-12), 1)[0])


def squared(file: Path) -> np.ndarray:
    """The middle square of a photo, 256 pixels wide."""
    with Image.open(file) as photo:
        side = min(photo.size)
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        part = photo.convert("RGB").crop((left, top, left + side, top + side))
        return np.asarray(part.resize((256, 256), Image.Resampling.LANCZOS))


if __name__ == "__main__":
    main()
