"""What the verdicts catch, and what they cost in false alarms.

    python benchmarks/ik_gates.py [--poses 1000] [--good 20000] [--hand-model open]

Random hands of random shapes (betas from a standard normal) and orientations, every finger curling
by itself ("natural": flexion along the finger together, the rest near the middle of its band) or
every angle anywhere within its limits ("box"). The shape is known, as after a calibration, and so
is the noise, but never below half a millimetre. Each fault is planted in fresh hands; "right" is
the share refused with the reason that was planted.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable

import numpy as np

from twohand500k.conventions import FINGERS, MANO_CHAINS, MANO_JOINT_NAMES
from twohand500k.hand import HandModel, HandPair, ShapedHand, load_hands
from twohand500k.hand.anatomy import ABDUCTION, FLEXION, Anatomy
from twohand500k.hand.rotations import mirror_points
from twohand500k.ik.solver import Settings, solve
from twohand500k.ik.verdict import Reason, Verdicts, judge

NOISE_MM = (0.0, 0.5, 1.0, 2.0)
Draw = Callable[[np.random.Generator, int, Anatomy], np.ndarray]
TIP_TO_BASE = [0] + [4 * finger + k for finger in range(len(FINGERS)) for k in (4, 3, 2, 1)]


def natural(rng: np.random.Generator, count: int, anatomy: Anatomy) -> np.ndarray:
    """Angles (count, 15, 3): each finger curls as one, the other angles stay mid-band."""
    low, high = anatomy.limits[..., 0], anatomy.limits[..., 1]
    angles = low + (high - low) * rng.uniform(0.1, 0.9, size=(count, 15, 3))
    curl = rng.beta(1.2, 1.5, size=(count, 5))
    for finger, chain in enumerate(MANO_CHAINS):
        for joint in chain:
            share = np.clip(curl[:, finger] + rng.normal(0, 0.15, count), 0, 1)
            least, most = (
                max(low[joint - 1, FLEXION], np.radians(-10)),
                0.9 * high[joint - 1, FLEXION],
            )
            angles[:, joint - 1, FLEXION] = least + (most - least) * share
    return angles


def box(rng: np.random.Generator, count: int, anatomy: Anatomy) -> np.ndarray:
    """Angles (count, 15, 3) anywhere within the limits."""
    return rng.uniform(anatomy.limits[..., 0], anatomy.limits[..., 1], size=(count, 15, 3))


def flat(rng: np.random.Generator, count: int, anatomy: Anatomy) -> np.ndarray:
    """Angles (count, 15, 3) of an open hand, every angle within a few degrees of zero."""
    return rng.normal(0, np.radians(5), (count, 15, 3)).clip(
        anatomy.limits[..., 0], anatomy.limits[..., 1]
    )


def hands_of(
    model: HandModel, rng: np.random.Generator, angles: np.ndarray, anatomy: Anatomy
) -> tuple[ShapedHand, np.ndarray]:
    """Random shape, orientation and place: the shaped hands and their 21 joints (N, 21, 3), m."""
    count = len(angles)
    shaped = model.with_shape(rng.standard_normal((count, 10)))
    axis = rng.standard_normal((count, 3))
    axis *= rng.uniform(0, np.pi, (count, 1)) / np.linalg.norm(axis, axis=1, keepdims=True)
    pose = anatomy.pose_from_angles(angles, axis)
    return shaped, shaped.with_pose(pose, rng.normal(0, 0.3, (count, 3))).joints


def verdicts_on(
    points: np.ndarray, shaped: ShapedHand, noise: float, rng: np.random.Generator
) -> Verdicts:
    """Add noise (m), fit as right hands, judge."""
    points = points + rng.normal(0.0, 1.0, points.shape) * noise
    settings = Settings(sigma_point=max(noise, 0.5e-3))
    return judge(points, solve(points, shaped, settings=settings), shaped, settings=settings)


def row(name: str, verdicts: Verdicts, reason: Reason) -> str:
    """One line: the share with the right reason, the ambiguous, and what the others were called."""
    n = len(verdicts.reason)
    others = Counter(str(r) for r in verdicts.reason if r != reason)
    said = ", ".join(f"{name} {count}" for name, count in others.most_common()) or "-"
    right = 100 * (verdicts.reason == reason.value).mean()
    return f"{name:44s} {n:7d} {right:9.3f} {int(verdicts.ambiguous.sum()):6d}   {said}"


def bent_hands(
    hands: HandPair, rng: np.random.Generator, anatomy: Anatomy, per: int, degrees: float, axis: int
) -> tuple[ShapedHand, np.ndarray, list[str]]:
    """Natural hands with one angle `degrees` past its limit: every joint, both directions."""
    angles, names = [], []
    for joint in range(15):
        for end, sign in ((0, -1), (1, 1)):
            one = natural(rng, per, anatomy)
            one[:, joint, axis] = anatomy.limits[joint, axis, end] + sign * np.radians(degrees)
            angles.append(one)
            names += [f"{MANO_JOINT_NAMES[joint + 1]} {'-+'[end]}"] * per
    shaped, points = hands_of(hands.right, rng, np.concatenate(angles), anatomy)
    return shaped, points, names


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--poses", type=int, default=1000)
    parser.add_argument("--good", type=int, default=20000)
    parser.add_argument("--hand-model", default="open")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    hands = load_hands(args.hand_model)
    anatomy, left_anatomy = Anatomy.of(hands.right), Anatomy.of(hands.left)
    began = time.perf_counter()
    for noise_mm in NOISE_MM:
        noise = noise_mm * 1e-3
        rng = np.random.default_rng([args.seed, int(noise_mm * 10)])
        print(f"\nnoise {noise_mm} mm   {'hands':>37s}   right, %  ambig.   otherwise called")
        for draw in (natural, box):
            shaped, points = hands_of(hands.right, rng, draw(rng, args.good, anatomy), anatomy)
            print(
                row(f"good ({draw.__name__})", verdicts_on(points, shaped, noise, rng), Reason.OK)
            )
        for draw in (natural, box):
            said = draw.__name__
            shaped, points = hands_of(hands.right, rng, draw(rng, args.poses, anatomy), anatomy)
            mirrored = verdicts_on(mirror_points(points), shaped, noise, rng)
            print(row(f"mirrored ({said})", mirrored, Reason.MIRRORED))
            left, points = hands_of(hands.left, rng, draw(rng, args.poses, anatomy), left_anatomy)
            as_right = ShapedHand(hands.right, left.betas)
            verdicts = verdicts_on(points, as_right, noise, rng)
            print(row(f"left given as right ({said})", verdicts, Reason.MIRRORED))
            shaped, points = hands_of(hands.right, rng, draw(rng, args.poses, anatomy), anatomy)
            verdicts = verdicts_on(points[:, TIP_TO_BASE], shaped, noise, rng)
            print(row(f"tip to base ({said})", verdicts, Reason.TIP_TO_BASE))
            verdicts = verdicts_on(1000 * points, shaped, noise * 1000, rng)
            print(row(f"mm taken as m ({said})", verdicts, Reason.WRONG_UNITS))
        shaped, points = hands_of(hands.right, rng, flat(rng, args.poses, anatomy), anatomy)
        print(row("good (flat)", verdicts_on(points, shaped, noise, rng), Reason.OK))
        verdicts = verdicts_on(mirror_points(points), shaped, noise, rng)
        print(row("mirrored (flat)", verdicts, Reason.MIRRORED))
        # What a flat hand leaves open shows when the points are worse than any MoCap's.
        for worse in (3e-3, 4e-3) if noise_mm == NOISE_MM[-1] else ():
            verdicts = verdicts_on(points, shaped, worse, rng)
            print(row(f"good (flat), noise {worse * 1e3:.0f} mm", verdicts, Reason.OK))
            verdicts = verdicts_on(mirror_points(points), shaped, worse, rng)
            print(row(f"mirrored (flat), noise {worse * 1e3:.0f} mm", verdicts, Reason.MIRRORED))
        per = max(args.poses // 10, 1)
        cases = [(FLEXION, d) for d in (45, 60, 90, 40, 30, 20)] + [(ABDUCTION, 45)]
        for axis, degrees in cases:
            shaped, points, names = bent_hands(hands, rng, anatomy, per, degrees, axis)
            verdicts = verdicts_on(points, shaped, noise, rng)
            word = "flexion" if axis == FLEXION else "abduction"
            print(row(f"{word} {degrees} deg past its limit", verdicts, Reason.BENT_BACKWARDS))
            if degrees >= 45:
                missed = Counter(
                    n for n, r in zip(names, verdicts.reason, strict=True)
                    if r != Reason.BENT_BACKWARDS
                )  # fmt: skip
                if missed:
                    print(
                        "      missed at " + ", ".join(f"{k} {v}" for k, v in missed.most_common(8))
                    )
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
