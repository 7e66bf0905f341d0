"""Does inverse kinematics find the hand again? The recovery table.

    python benchmarks/ik_recovery.py [--hands 20000] [--subjects 10] [--hand-model open]

Poses are drawn uniformly over the whole limit box of the anatomy, shapes from a normal
distribution, both sides. Printed: the residual on the points that are there, the error of the
fitted joints against the truth on those and on the points that are not, in millimetres.
"""

import argparse
from dataclasses import replace

import numpy as np

from twohand500k.conventions import JOINT_NAMES, JOINT_PARENTS, SIDES, TIP_JOINTS, WRIST
from twohand500k.hand import HandModel, HandPair, ShapedHand, load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.ik.calibrate import calibrate
from twohand500k.ik.smooth import smooth_target
from twohand500k.ik.solver import Settings, Solution, solve
from twohand500k.sources import Landmark, Take, Unit

EXACT = 1e-5
HANDS_PER_SHAPE = 500


def draw(model: HandModel, count: int, rng: np.random.Generator) -> tuple[ShapedHand, np.ndarray]:
    """One shape and its joints (N, 21, 3) in poses over the limit box."""
    anatomy = Anatomy.of(model)
    angles = rng.uniform(anatomy.limits[..., 0], anatomy.limits[..., 1], (count, 15, 3))
    pose = anatomy.pose_from_angles(angles, rng.normal(size=(count, 3)) * 2)
    shaped = model.with_shape(rng.normal(size=10))
    return shaped, shaped.with_pose(pose, rng.normal(size=(count, 3)) * 0.3).joints


def with_dense_correctives(model: HandModel) -> HandModel:
    """Tips that follow every joint of every finger, by random correctives of 0.3 mm an entry.

    The open hand's have none, and the solver's slope leaves other fingers' out.
    """
    tips, posedirs = list(model.tip_vertex_ids), model.posedirs.copy()
    posedirs[tips] = np.random.default_rng(0).normal(size=posedirs[tips].shape) * 3e-4
    return replace(model, posedirs=posedirs)


def errors(shaped: ShapedHand, solution: Solution, truth: np.ndarray) -> np.ndarray:
    """Distances of the fitted joints from the truth (N, 21), mm."""
    joints = shaped.with_pose(solution.pose, solution.transl).joints
    return np.linalg.norm(joints - truth, axis=-1) * 1e3


def shape_known(hands: HandPair, total: int) -> None:
    print(f"shape known, {total} hands")
    header = (
        "points",
        "noise mm",
        "worst <= 0.01 mm",
        "residual",
        "worst",
        "err seen",
        "err not seen",
    )
    print(("{:<22}{:>9}{:>18}{:>10}{:>9}{:>10}{:>14}").format(*header))
    cases = (
        ("all 21", 0.0), ("all 21", 1e-3), ("all 21", 2e-3),
        ("no tips", 0.0), ("no wrist", 0.0), ("20 % dropped", 0.0),
        ("no tips", 2e-3), ("no wrist", 2e-3), ("20 % dropped", 2e-3),
        ("dense correctives", 0.0), ("dense correctives", 1e-3),
    )  # fmt: skip
    for points_there, noise in cases:
        residual, error, gone_all = [], [], []
        for chunk in range(max(1, total // HANDS_PER_SHAPE)):
            rng = np.random.default_rng([chunk, 7])
            model = hands[chunk % 2]
            if points_there == "dense correctives":
                model = with_dense_correctives(model)
            shaped, truth = draw(model, HANDS_PER_SHAPE, rng)
            points = truth + rng.normal(size=truth.shape) * noise
            gone = np.zeros(points.shape[:2], dtype=bool)
            if points_there == "no tips":
                gone[:, TIP_JOINTS] = True
            elif points_there == "no wrist":
                gone[:, WRIST] = True
            elif points_there == "20 % dropped":
                gone = rng.random(gone.shape) < 0.2
            points[gone] = np.nan
            solution = solve(points, shaped, settings=Settings(sigma_point=noise or EXACT))
            residual.append(solution.residual * 1e3)
            error.append(errors(shaped, solution, truth))
            gone_all.append(gone)
        r, e, gone = (np.concatenate(x) for x in (residual, error, gone_all))
        worst = np.nanmax(r, axis=1)
        lost = f"{np.nanmean(e[gone]):.2f}" if gone.any() else "-"
        exact = f"{(worst <= 0.01).mean():.3%}" if noise == 0 else "-"
        print(
            f"{points_there:<22}{noise * 1e3:>9.1f}{exact:>18}{np.nanmean(r):>10.4f}"
            f"{worst.max():>9.4f}{np.nanmean(e[~gone]):>10.4f}{lost:>14}"
        )
        if noise and points_there == "all 21":
            print(f"{'':<22}mean input error {noise * 1e3 * np.sqrt(8 / np.pi):.3f} mm")


def shape_unknown(hands: HandPair, subjects: int) -> None:
    print(f"\nshape unknown, one subject per take, two hands, 400 frames, {subjects} takes")
    print(
        f"{'noise mm':<10}{'sigma found':>12}{'residual':>10}{'err joints':>11}{'worst bone':>11}"
    )
    landmarks = tuple(Landmark(name, joint) for joint, name in enumerate(JOINT_NAMES))
    frames = np.arange(400)
    for noise in (0.0, 1e-3, 2e-3):
        rows = []
        for subject in range(subjects):
            rng = np.random.default_rng([subject, 11])
            shaped, right = draw(hands.right, len(frames), rng)
            anatomy = Anatomy.of(hands.left)
            angles = rng.uniform(
                anatomy.limits[..., 0], anatomy.limits[..., 1], (len(frames), 15, 3)
            )
            own = hands.left.with_shape(shaped.betas)
            left = own.with_pose(anatomy.pose_from_angles(angles), np.zeros(3)).joints
            truth = np.stack([right, left], axis=1)
            take = Take(
                name=f"subject {subject}", subject="", source="synthetic", frame="world",
                sides=np.array([True, True]), landmarks=landmarks,
                points=truth + rng.normal(size=truth.shape) * noise,
                frames=frames, timestamps=frames / 120, unit=Unit(1.0, "declared", "m"),
            )  # fmt: skip
            found = calibrate(take, hands)
            for side in range(2):
                fitted = hands[side].with_shape(found.betas[side])
                solution = solve(
                    take.points[:, side], fitted,
                    settings=Settings(sigma_point=float(found.sigma[side])),
                )  # fmt: skip
                bones = [_bones(h.with_pose().joints) for h in (fitted, (shaped, own)[side])]
                rows.append(
                    (
                        found.sigma[side] * 1e3,
                        solution.residual.mean() * 1e3,
                        errors(fitted, solution, truth[:, side]).mean(),
                        np.abs(bones[0] - bones[1]).max() * 1e3,
                    )
                )
        mean, worst = np.mean(rows, axis=0), np.max(rows, axis=0)
        print(
            f"{noise * 1e3:<10.1f}{mean[0]:>12.3f}{mean[1]:>10.4f}{mean[2]:>11.4f}{worst[3]:>11.3f}"
        )


def smoothing(hands: HandPair) -> None:
    print("\nsmoothing, 120 Hz, sinusoidal angles over 80 % of the limits, mean joint error in mm")
    print(f"{'up to Hz':<10}{'noise mm':>9}{'input':>8}{'fit':>8}{'smoothed':>10}")
    for hertz in (1.0, 2.0, 5.0):
        for noise in (0.5e-3, 2e-3):
            rng = np.random.default_rng(5)
            model = hands.left
            anatomy, time = Anatomy.of(model), np.arange(1000) / 120
            low, high = anatomy.limits[..., 0], anatomy.limits[..., 1]
            rate, phase = rng.uniform(0.3, hertz, (15, 3)), rng.uniform(0, 2 * np.pi, (15, 3))
            wave = np.sin(2 * np.pi * rate * time[:, None, None] + phase)
            turn = np.stack([np.sin(3 * time), np.cos(4 * time), 3 * time], axis=1)
            pose = anatomy.pose_from_angles((low + high) / 2 + 0.4 * (high - low) * wave, turn)
            shaped = model.with_shape(rng.normal(size=10))
            truth = shaped.with_pose(pose, 0.2 * turn).joints
            points = truth + rng.normal(size=truth.shape) * noise
            settings = Settings(sigma_point=noise)
            fit = solve(points, shaped, settings=settings)
            target = smooth_target(fit, shaped, time)
            smooth = solve(points, shaped, settings=settings, target=target)
            given = np.linalg.norm(points - truth, axis=-1).mean() * 1e3
            print(
                f"{hertz:<10.0f}{noise * 1e3:>9.1f}{given:>8.3f}"
                f"{errors(shaped, fit, truth).mean():>8.3f}"
                f"{errors(shaped, smooth, truth).mean():>10.3f}"
            )


def _bones(joints: np.ndarray) -> np.ndarray:
    return np.linalg.norm(joints[1:] - joints[list(JOINT_PARENTS[1:])], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hands", type=int, default=20_000)
    parser.add_argument("--subjects", type=int, default=10)
    parser.add_argument("--hand-model", default="open")
    options = parser.parse_args()
    hands = load_hands(options.hand_model)
    print(f"hand model {hands.right.name}, sides {SIDES}, distances in mm")
    shape_known(hands, options.hands)
    shape_unknown(hands, options.subjects)
    smoothing(hands)


if __name__ == "__main__":
    main()
