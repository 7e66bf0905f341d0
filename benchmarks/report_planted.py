"""Do the report's numbers see a bad dataset? A good one against three planted bad ones.

    python benchmarks/report_planted.py --data DIR [--count 1000] --out FOLDER

Comes in: a good dataset of pairs, as of `twohand splice --judge` or `twohand physics-fix`, on the
open hand. Half of it stands as the good one's second half; from the other half are planted

    one pose     its first pair again and again, joints bent by a few degrees, hands shifted by
                 a few millimetres (normal, 0.05 rad an angle, 3 mm an axis)
    backwards    the same pairs, every finger's middle joint bent to the wrong side by 20 to 60 deg
    overlapping  the same pairs, the left hand pushed into the middle of the right

each judged and measured as the toolkit does. Goes out: a table of the numbers that should catch
each; FOLDER/map.png, the map of all five; FOLDER/qualities.png, limits and volume of each.
"""

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from report_tsne import draw

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.hand import HandPair, load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.physics.judge import Judge
from twohand500k.physics.stage import joints_of
from twohand500k.pipeline import UnitResult, run
from twohand500k.report import gather
from twohand500k.report.embedding import fit_map
from twohand500k.report.numbers import numbers_of
from twohand500k.shards import Dataset, Samples
from twohand500k.shards.files import json_bytes

PLANTED = ("one pose", "backwards", "overlapping")
# PIP joints of index, middle, little and ring finger among MANO's 15.
_MIDDLE_JOINTS = [1, 4, 7, 10]


@dataclass(frozen=True)
class Unit:
    name: str
    inputs: dict[str, str] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1_000, help="pairs a set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    hands = load_hands("open")
    folders = write_sets(arguments.data, arguments.out, hands, arguments.count, arguments.seed)
    facts = [gather.read(folder, name) for name, folder in folders.items()]
    numbers = numbers_of(facts, reference="good", seed=arguments.seed)
    fitted = fit_map(np.concatenate([f.features for f in facts]), seed=arguments.seed, log=print)
    numbers["map"] = fitted.describe()
    (arguments.out / "numbers.json").write_bytes(json_bytes(numbers))
    source = np.repeat(np.arange(len(facts)), [len(f.features) for f in facts])
    draw(fitted.xy, source, [f.name for f in facts], arguments.out / "map.png")
    draw_qualities(numbers, arguments.out / "qualities.png")
    print_table(numbers)


def draw_qualities(numbers: dict[str, Any], path: Path) -> None:
    """What the map cannot show: how far past the joint limits, how deep in each other."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(12, 4))
    for axes, key in zip(panels, ("limit_violation_deg", "penetration_volume_cm3"), strict=True):
        for entry in numbers["datasets"]:
            quality = entry["quality"][key]
            histogram = quality["histogram"]
            beyond = 1 - (histogram["below"] + np.cumsum([0, *histogram["counts"]])) / quality["n"]
            axes.step(histogram["edges"], beyond, where="post", label=entry["name"])
        axes.set(
            xscale="log", xlabel=f"{quality['label']}, {quality['unit']}", ylabel="share above"
        )
    panels[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def write_sets(data: Path, out: Path, hands: HandPair, count: int, seed: int) -> dict[str, Path]:
    """The datasets "good", "good again" and the three planted ones under `out`: name to folder."""
    dataset = Dataset(data)
    rows = np.flatnonzero(dataset.array("present").all(axis=1))
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(rows)[: 2 * count])
    good, again = rows[::2], rows[1::2]
    sets = {"good": dataset.samples(good), "good again": dataset.samples(again)}
    for name in PLANTED:
        sets[name] = planted(dataset.samples(again), name, hands, rng)
    folders = {}
    for name, samples in sets.items():
        folders[name] = out / name.replace(" ", "-")
        run(
            lambda _unit, samples=samples: UnitResult(samples, (), n_in=len(samples)),
            [Unit(name)],
            folders[name],
            name="planted",
            options={"set": name, "count": count},
            hands=hands,
            seed=seed,
            frame=dataset.conventions["frame"],
            progress=False,
            command="python benchmarks/report_planted.py",
        )
    return folders


def planted(samples: Samples, name: str, hands: HandPair, rng: np.random.Generator) -> Samples:
    """The samples made bad, measured and judged again."""
    n = len(samples)
    pose, betas, transl = (
        np.array(getattr(samples, key), dtype=np.float64) for key in ("pose", "betas", "transl")
    )
    if name == "one pose":
        pose[:], betas[:], transl[:] = pose[0], betas[0], transl[0]
        transl += rng.normal(0.0, 0.003, transl.shape)
    for side in (RIGHT, LEFT):
        anatomy = Anatomy.of(hands[side])
        angles = anatomy.angles_from_pose(pose[:, side])
        if name == "one pose":
            angles += rng.normal(0.0, 0.05, angles.shape)
        if name == "backwards":
            angles[:, _MIDDLE_JOINTS, 0] = -np.radians(rng.uniform(20, 60, (n, 4)))
        pose[:, side] = anatomy.pose_from_angles(angles, pose[:, side, 0])
    if name == "overlapping":
        joints = joints_of(hands, pose, betas, transl)
        transl[:, LEFT] += joints[:, RIGHT].mean(axis=1) - joints[:, LEFT].mean(axis=1)
        transl[:, LEFT] += rng.normal(0.0, 0.005, (n, 3))
    pose, betas, transl = (a.astype(np.float32) for a in (pose, betas, transl))
    excess = np.stack(
        [_worst_excess(hands, side, pose[:, side].astype(np.float64)) for side in (RIGHT, LEFT)],
        axis=1,
    )
    bare: dict[str, Any] = {
        "bank_id": None, "placement": None, "placement_spin": None, "placement_standoff": None,
        "pose_before": None, "transl_before": None, "volume_before": None, "depth_before": None,
        "displacement": None, "evaluations": None, "repair_verdict": None,
    }  # fmt: skip
    changed = replace(
        samples,
        pose=pose,
        betas=betas,
        transl=transl,
        joints=joints_of(hands, pose, betas, transl).astype(np.float32),
        limit_violation=excess.astype(np.float32),
        contact_intended=np.full((n, 2), ""),
        **bare,
    )
    return Judge.of(hands).samples(changed)


def _worst_excess(hands: HandPair, side: int, pose: np.ndarray) -> np.ndarray:
    anatomy = Anatomy.of(hands[side])
    worst: np.ndarray = anatomy.limit_excess(anatomy.angles_from_pose(pose)).max(axis=(1, 2))
    return worst


def print_table(numbers: dict[str, Any]) -> None:
    between = {entry["a"]: entry for entry in numbers["between"]}
    names = [entry["name"] for entry in numbers["datasets"]]
    rows: list[tuple[str, list[Any]]] = []
    for key in ("frechet", "precision", "recall", "density", "coverage"):
        rows.append((f"{key}, against good", [between.get(name, {}).get(key) for name in names]))
    for key in ("frechet", "precision", "recall", "coverage"):
        values = [between.get(name, {}).get("hands", {}).get(key) for name in names]
        rows.append((f"{key} of single hands", values))
    rows.append(("nearest in good, mm", [
        between[name]["nearest_mm"]["median"] if name in between else None for name in names
    ]))  # fmt: skip
    entries = numbers["datasets"]
    rows.append(("mean pair distance, mm", [e["diversity"]["pair_distance_mm"] for e in entries]))
    rows.append(
        ("nearest within, mm", [e["diversity"]["nearest_within_mm"]["median"] for e in entries])
    )
    rows.append(("directions", [e["diversity"]["directions"] for e in entries]))
    rows.append(("contact entropy, bits", [
        (e["contacts"]["realised"] or {}).get("entropy_bits_corrected") for e in entries
    ]))  # fmt: skip
    for key in ("limit_violation_deg", "penetration_volume_cm3", "penetration_depth_mm"):
        rows.append((f"{key}, median", [e["quality"][key]["median"] for e in entries]))
    print(f"{'':32}" + "".join(f"{name:>13}" for name in names))
    for label, values in rows:
        told = ("-" if value is None else f"{value:.3g}" for value in values)
        print(f"{label:32}" + "".join(f"{value:>13}" for value in told))
    floor = numbers["between"][0]["floor"]
    print("floor (halves of good):", {k: v for k, v in floor.items() if k != "nearest_mm"})
    floor = numbers["between"][0]["hands"]["floor"]
    print("floor, single hands:   ", {k: v for k, v in floor.items() if k != "nearest_mm"})


if __name__ == "__main__":
    main()
