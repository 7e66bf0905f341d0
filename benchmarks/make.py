"""A recipe end to end: samples a second and bytes a sample, stage by stage, and what 500,000 take.

    python benchmarks/make.py [--recipe open-500k] [--samples 20000] [--out DIR] [--workers 2]

Makes the recipe with so many samples (the hands drawn for the bank in proportion, 20,000 at least)
unless OUT holds it already, then reads the records of the run. For each step: seconds of the wall
clock, of which in one process alone (reading, planning), and of work in the units. The projection
takes the work in proportion to the samples, shared by the cores, and what one process does in
proportion too, not shared. The report's map does not grow in proportion: `report_large.py` measures
it at full size.
"""

import argparse
from pathlib import Path

from twohand500k.hand import load_hands
from twohand500k.recipe.estimate import duration
from twohand500k.recipe.make import make
from twohand500k.recipe.recipe import load_recipe
from twohand500k.shards import Dataset
from twohand500k.shards.files import read_json

FULL = 500_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="open-500k")
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=Path("make-bench"))
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    changes = {"samples": given.samples}
    recipe = load_recipe(given.recipe)
    for build in recipe.builds:
        if (count := build.reading.declared.get("count")) is not None:
            hands = max(20_000, round(count * given.samples / recipe.samples))
            changes[f"builds.{build.name}.count"] = min(count, hands)
    recipe = load_recipe(given.recipe, changes=changes)
    make(recipe, given.out, load_hands("open"), workers=given.workers, log=print)
    report(given.out, given.workers)


def report(out: Path, workers: int) -> None:
    """The table of a made recipe."""
    made = read_json(out / "make.json")
    samples = made["samples"]
    print(f"\n{samples:,} samples of {made['recipe']}, {workers} workers")
    print(f"{'step':24}{'samples':>9}{'wall s':>9}{'alone s':>9}{'samples/s':>11}"
          f"{'bytes/sample':>14}{'500k on 2':>11}{'on 64':>9}")  # fmt: skip
    totals = [0.0, 0.0, 0.0]
    for step in made["steps"]:
        folder = out / step["folder"]
        busy = 0.0 if step["step"].startswith("report") else Dataset(folder).run["unit_seconds"]
        alone = max(step["seconds"] - busy / workers, 0.0)
        scale = FULL / samples if busy else float("nan")
        two, many = ((alone + busy / cores) * scale for cores in (2, 64))
        size = step["bytes"] / step["in"] if busy else 0.0
        speed = step["in"] / step["seconds"]
        print(f"{step['step']:24}{step['in']:9,}{step['seconds']:9.1f}{alone:9.1f}{speed:11,.1f}"
              f"{size:14,.0f}{duration(two):>11}{duration(many):>9}")  # fmt: skip
        if busy:
            totals = [totals[0] + step["seconds"], totals[1] + two, totals[2] + many]
    disk = sum(step["bytes"] for step in made["steps"])
    print(f"{'all but the report':24}{samples:9,}{totals[0]:9.1f}{'':9}{samples / totals[0]:11,.1f}"
          f"{disk / samples:14,.0f}{duration(totals[1]):>11}{duration(totals[2]):>9}")  # fmt: skip
    dataset = Dataset(out / "dataset")
    size = sum((out / "dataset" / shard.file).stat().st_size for shard in dataset.index.shards)
    print(f"the dataset itself: {size / samples:,.0f} bytes a sample, "
          f"{size / samples * FULL / 1e9:.2f} GB for {FULL:,}")  # fmt: skip


if __name__ == "__main__":
    main()
