"""How widely synthetic hands spread, against real ones: numbers, and docs/images/synthetic.png.

    python benchmarks/synthetic_spread.py [--data DIR] [--count N] [--seed S] [--picture FILE.png]

Compares `sources.synthetic` with the headset's poses (DIR/quest_poses, 55 right and 55 left, fitted
here by `twohand build --source mocap`), with the hand in DIR/video_hand where it is there, and with
the bad alternative: every angle uniform within its limits, on its own. DIR is $TWOHAND_REAL_DATA by
default. Distances are between joints of the open hand's template (zero betas) posed with each
source's angles, wrist and palm in one place: pose alone, no shape. Manifold measures as T.
Kynkaanniemi et al., 2019 (precision, recall) and M. F. Naeem et al., 2020 (density, coverage),
k = 5 neighbours of the 21 joints.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from scipy.spatial import cKDTree

from twohand500k.conventions import MANO_JOINT_NAMES, RIGHT, SIDES
from twohand500k.hand import HandPair, load_hands, self_intersections
from twohand500k.hand.anatomy import ANGLE_NAMES, Anatomy
from twohand500k.hand.rotations import Array
from twohand500k.pictures import SKIN, Camera, contact_sheet, render_meshes, save_png
from twohand500k.shards import Dataset
from twohand500k.sources.synthetic import draw_hands

NEIGHBOURS = 5
CUT_SAMPLE = 1000
# What a person would call the angles of a hand: joint (1..15), angle.
SHOWN = [(j, 0) for j in range(15)] + [(j, 1) for j in (0, 3, 9, 6, 12)] + [(12, 2)]


def fitted_angles(points: Path, hands: HandPair, scratch: Path, options: list[str]) -> Array:
    """Angles (n, 15, 3) rad of every hand that `twohand build --source mocap` keeps."""
    out = scratch / f"{points.stem}-built"
    command = [sys.executable, "-m", "twohand500k.cli", "build", "--source", "mocap", "--one-hand"]
    command += ["--input", str(points), "--out", str(out), "-q", "--workers", "1", *options]
    subprocess.run(command, check=True)
    dataset = Dataset(out)
    samples = dataset.samples(range(len(dataset)))
    return np.concatenate(
        [
            Anatomy.of(hands[side]).angles_from_pose(
                samples.pose[samples.present[:, side], side].astype(np.float64)
            )
            for side in (0, 1)
        ]
    )


def quest_angles(folder: Path, hands: HandPair, scratch: Path) -> Array:
    """Angles of both hands of the headset's poses."""
    both = []
    for side in SIDES:
        poses = json.loads((folder / f"poses_{side}.json").read_text("utf8"))
        joints = np.array([pose["jointPositions"] for pose in poses], dtype=np.float64)
        file = scratch / f"quest_{side}.npz"
        np.savez(file, **{side: joints}, unit="mm")
        both.append(fitted_angles(file, hands, scratch, ["--map", "webxr25"]))
    return np.concatenate(both)


def independent_angles(count: int, limits: Array, seed: int) -> Array:
    """Every angle for itself, uniform within its limits."""
    rng = np.random.default_rng(seed)
    return rng.uniform(limits[..., 0], limits[..., 1], (count, *limits.shape[:2]))


def posed_joints(angles: Array, hands: HandPair) -> Array:
    """Joints (n, 21, 3) m of the right template, the wrist at its rest place and orientation."""
    pose = Anatomy.of(hands.right).pose_from_angles(angles)
    shaped = hands.right.with_shape()
    return np.concatenate([shaped.with_pose(part).joints for part in np.array_split(pose, 20)])


def cut_share(angles: Array, betas: Array, hands: HandPair) -> float:
    """Share of hands whose skin cuts itself between two digits, or a digit and the palm."""
    model, anatomy = hands.right, Anatomy.of(hands.right)
    part = (np.argmax(model.weights, axis=1)[model.faces[:, 0]] + 2) // 3  # 0 palm, 1..5 digits
    cut = 0
    for one, shape in zip(angles, betas, strict=True):
        skin = model.with_shape(shape).with_pose(anatomy.pose_from_angles(one)).vertices
        pairs = part[self_intersections(skin, model.faces)]
        cut += bool((pairs[:, 0] != pairs[:, 1]).any())
    return cut / len(angles)


def manifold(real: Array, drawn: Array) -> dict[str, float]:
    """Precision, recall, density, coverage of `drawn` (m, d) against `real` (n, d)."""
    real_tree, drawn_tree = cKDTree(real), cKDTree(drawn)
    real_radius = real_tree.query(real, NEIGHBOURS + 1)[0][:, -1]
    drawn_radius = drawn_tree.query(drawn, NEIGHBOURS + 1)[0][:, -1]
    inside = np.zeros(len(drawn))
    for centre, radius in zip(real, real_radius, strict=True):
        inside[drawn_tree.query_ball_point(centre, radius)] += 1
    nearest_drawn = drawn_tree.query(real)[0]
    # A real pose is recalled if it lies within the ball of any drawn one.
    held = [(np.linalg.norm(drawn - point, axis=1) <= drawn_radius).any() for point in real]
    return {
        "precision": float((inside > 0).mean()),
        "recall": float(np.mean(held)),
        "density": float(inside.mean() / NEIGHBOURS),
        "coverage": float((nearest_drawn <= real_radius).mean()),
    }


def explained(angles: Array) -> Array:
    """Cumulative share of the angles' variance in the first principal components."""
    flat = angles.reshape(len(angles), -1)
    values = np.linalg.svd(flat - flat.mean(axis=0), compute_uv=False) ** 2
    return np.cumsum(values) / values.sum()


def nearest_mm(real: Array, drawn: Array, turned: bool = False) -> Array:
    """For every real hand the mean joint distance (mm) to the nearest of the 50 drawn candidates.

    turned: after the rigid motion that fits the 21 joints best, which takes out how a skeleton's
    palm stands against its wrist.
    """
    flat = drawn.reshape(len(drawn), -1)
    _, near = cKDTree(flat).query(real.reshape(len(real), -1), min(50, len(drawn)))
    nearest = np.empty(len(real))
    for n, hand in enumerate(real):
        candidates = [_onto(one, hand) if turned else one for one in drawn[near[n]]]
        nearest[n] = np.linalg.norm(np.stack(candidates) - hand, axis=-1).mean(axis=-1).min()
    return 1e3 * nearest


def _onto(points: Array, target: Array) -> Array:
    """`points` (n, 3) moved rigidly onto `target` (Kabsch, 1976)."""
    a, b = points - points.mean(axis=0), target - target.mean(axis=0)
    u, _, vt = np.linalg.svd(a.T @ b)
    R = (u * [1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    return a @ R + target.mean(axis=0)


def print_angles(sources: dict[str, Array]) -> None:
    print("\n| angle, degrees: mean, sd, 5 % .. 95 % | " + " | ".join(sources) + " |")
    print("|---|" + "---|" * len(sources))
    for joint, kind in SHOWN:
        cells = []
        for angles in sources.values():
            value = np.degrees(angles[:, joint, kind])
            low, high = np.percentile(value, [5, 95])
            cells.append(f"{value.mean():.0f}, {value.std():.0f}, {low:.0f} .. {high:.0f}")
        print(f"| {MANO_JOINT_NAMES[joint + 1]} {ANGLE_NAMES[kind]} | " + " | ".join(cells) + " |")


def print_spread(sources: dict[str, Array], betas: Array, hands: HandPair, seed: int) -> None:
    anatomy, quest = Anatomy.of(hands.right), sources.get("quest")
    joints = {name: posed_joints(angles, hands) for name, angles in sources.items()}
    rng = np.random.default_rng(seed)
    rows: dict[str, list[str]] = {}
    for name, angles in sources.items():
        curve = explained(angles)
        some = rng.permutation(len(angles))[:CUT_SAMPLE]
        shape = betas[some] if name == "synthetic" else np.zeros((len(some), 10))
        column = {
            "hands": f"{len(angles):,}",
            "outside a limit by 0.1 degree": f"{_outside(angles, anatomy):.1%}",
            f"skin cuts itself between digits (of {CUT_SAMPLE} at most)": (
                f"{cut_share(angles[some], shape, hands):.1%}"
            ),
            "variance in 1, 2, 3, 6 components": ", ".join(f"{curve[k]:.0%}" for k in (0, 1, 2, 5)),
            "components for 90 % / 95 %": (
                f"{np.argmax(curve >= 0.9) + 1} / {np.argmax(curve >= 0.95) + 1}"
            ),
        }
        if name == "quest" and len(angles) == 110:  # 55 right, then the same 55 left
            right, left = np.split(joints[name], 2)
            mm = 1e3 * np.linalg.norm(right - left, axis=-1).mean(axis=-1)
            column["nearest to a quest pose, mm: median, 95 %, most"] = (
                f"(the person's other hand: {np.median(mm):.1f}, {np.percentile(mm, 95):.1f}, "
                f"{mm.max():.1f})"
            )
        if quest is not None and name != "quest":
            flat = joints[name].reshape(len(angles), -1)
            real = joints["quest"].reshape(len(quest), -1)
            for key, value in manifold(real, flat).items():
                column[f"{key} against quest"] = f"{value:.3f}"
            few = flat[rng.permutation(len(flat))[: len(real)]]
            column["the same with as many hands as quest"] = ", ".join(
                f"{v:.2f}" for v in manifold(real, few).values()
            )
            mm = nearest_mm(joints["quest"], joints[name])
            column["nearest to a quest pose, mm: median, 95 %, most"] = (
                f"{np.median(mm):.1f}, {np.percentile(mm, 95):.1f}, {mm.max():.1f}"
            )
            mm = nearest_mm(joints["quest"], joints[name], turned=True)
            column["the same, rigidly aligned"] = (
                f"{np.median(mm):.1f}, {np.percentile(mm, 95):.1f}, {mm.max():.1f}"
            )
            mm = nearest_mm(joints[name][:2000], joints["quest"])
            column["nearest quest pose, mm: median, 95 %, most"] = (
                f"{np.median(mm):.1f}, {np.percentile(mm, 95):.1f}, {mm.max():.1f}"
            )
        if "video" in sources and name != "video":
            mm = nearest_mm(joints["video"], joints[name])
            column["nearest to a video pose, mm: median, 95 %, most"] = (
                f"{np.median(mm):.1f}, {np.percentile(mm, 95):.1f}, {mm.max():.1f}"
            )
        for key, cell in column.items():
            rows.setdefault(key, [""] * len(sources))[list(sources).index(name)] = cell
    print("\n| | " + " | ".join(sources) + " |\n|---|" + "---|" * len(sources))
    for key, cells in rows.items():
        print(f"| {key} | " + " | ".join(cells) + " |")


def _outside(angles: Array, anatomy: Anatomy) -> float:
    return float((anatomy.limit_excess(angles) > np.radians(0.1)).any(axis=(1, 2)).mean())


def picture(
    path: Path, sources: dict[str, Array], betas: Array, side: np.ndarray, hands: HandPair
) -> None:
    """The first hands of the draw above where all of them and the headset's lie."""
    size, columns = (116, 130), 11
    tiles = []
    for n in range(3 * columns):
        model = hands[side[n]]
        pose = Anatomy.of(model).pose_from_angles(sources["synthetic"][n])
        skin = model.with_shape(betas[n]).with_pose(pose).vertices
        seen = np.array([0.45 if side[n] == RIGHT else -0.45, -1.0, 0.45])
        seen[0] *= -1
        camera = Camera.framing(skin, seen, up=(-1 if side[n] == RIGHT else 1, 0, 0),
                                aspect=size[0] / size[1])  # fmt: skip
        tiles.append(render_meshes([(skin, model.faces, SKIN[0])], camera, size, samples=3))
    sheet = contact_sheet(tiles, columns=columns, gap=4)
    scatter = _scatter(sources, hands, sheet.shape[1])
    save_png(path, np.concatenate([sheet, scatter]), colours=200)


def _scatter(sources: dict[str, Array], hands: HandPair, width: int) -> np.ndarray:
    """Principal components of the joints, and the explained variance, as a picture."""
    features = {n: posed_joints(a, hands).reshape(len(a), -1) for n, a in sources.items()}
    middle = features["synthetic"].mean(axis=0)
    rows = np.linalg.svd(features["synthetic"] - middle, full_matrices=False)[2]
    figure, axes = plt.subplots(1, 3, figsize=(width / 100, 3.4), dpi=100)
    for axis, (a, b) in zip(axes[:2], ((0, 1), (2, 3)), strict=True):
        for name, colour, dot, count in (
            ("synthetic", "#6fa0dc", 2, 4000), ("quest", "#c2272d", 14, 1000),
        ):  # fmt: skip
            if name in features:
                at = 1e3 * (features[name][:count] - middle) @ rows[[a, b]].T
                axis.scatter(*at.T, s=dot, c=colour, label=name, linewidths=0)
        axis.set_xlabel(f"joints, component {a + 1} (mm)")
        axis.set_ylabel(f"component {b + 1} (mm)")
    axes[0].legend(loc="upper right", fontsize=8, framealpha=0.9)
    for name, colour in (
        ("synthetic", "#1f6fd0"),
        ("quest", "#c2272d"),
        ("independent", "#888888"),
    ):
        if name in sources:
            axes[2].plot(range(1, 21), explained(sources[name])[:20], color=colour, label=name)
    axes[2].set_xticks([1, 5, 10, 15, 20])
    axes[2].axhline(0.9, color="#cccccc", lw=0.8)
    axes[2].set(
        xlabel="principal components of the angles", ylabel="share of variance", ylim=(0, 1)
    )
    axes[2].legend(fontsize=8)
    for axis in axes:
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    plt.close(figure)
    image = Image.open(stream).convert("RGB")
    return np.asarray(image.resize((width, round(image.height * width / image.width))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("TWOHAND_REAL_DATA"))
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--poses", action="store_true", help="nearest distance of every quest pose")
    options = parser.parse_args()
    hands = load_hands("open")
    draw_hands(2, options.seed, hands)
    began = time.perf_counter()
    drawn = draw_hands(options.count, options.seed, hands)
    seconds = time.perf_counter() - began
    print(
        f"{options.count:,} hands drawn in {seconds:.1f} s: {options.count / seconds:,.0f} a second"
    )
    sources = {"synthetic": drawn.angles}
    names: list[str] = []
    if options.data is not None:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(options.data) / "quest_poses"
            if folder.is_dir():
                sources["quest"] = quest_angles(folder, hands, Path(scratch))
                names = [
                    f"{side} {'/'.join(pose['names'])}"
                    for side in SIDES
                    for pose in json.loads((folder / f"poses_{side}.json").read_text("utf8"))
                ]
            video = Path(options.data) / "video_hand" / "right_joints21_m.npy"
            if video.is_file():
                sources["video"] = fitted_angles(
                    video,
                    hands,
                    Path(scratch),
                    ["--map", "openpose21", "--unit", "m", "--side", "right"],
                )
    limits = Anatomy.of(hands.right).limits
    sources["independent"] = independent_angles(options.count, limits, options.seed)
    print_angles(sources)
    print_spread(sources, drawn.betas, hands, options.seed)
    if options.poses and "quest" in sources:
        mm = nearest_mm(
            posed_joints(sources["quest"], hands), posed_joints(sources["synthetic"], hands)
        )
        print("\nfarthest from any synthetic hand:")
        for n in np.argsort(-mm)[:25]:
            print(f"  {mm[n]:.1f} mm  {names[n] if len(names) == len(mm) else n}")
    if options.picture:
        picture(options.picture, sources, drawn.betas, drawn.side, hands)


if __name__ == "__main__":
    main()
