"""Gates: every planted fault is named, good hands pass, and a hand's verdict is its own affair."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from twohand500k.conventions import FINGERS, JOINT_NAMES, MANO_CHAINS, TIP_JOINTS
from twohand500k.errors import DataError
from twohand500k.hand import HandModel, ShapedHand, load_hands
from twohand500k.hand.anatomy import FLEXION, Anatomy
from twohand500k.hand.rotations import mirror_points
from twohand500k.ik.attachments import Attachments
from twohand500k.ik.hypotheses import DistanceCheck, nearest_unit, shape_from_distances
from twohand500k.ik.solver import Settings, solve
from twohand500k.ik.stage import BuildStage, plan_take
from twohand500k.ik.verdict import Reason, Verdicts, judge, screen, vote_on_side
from twohand500k.sources.take import Landmark, Take, Unit

HANDS = load_hands("open")
RIGHT, LEFT = HANDS.right, HANDS.left
ANATOMY = Anatomy.of(RIGHT)
ALL = tuple(range(21))
NOISE = 1e-3
# RHD lists the wrist, then every finger from its tip to its base.
RHD_ORDER = [0] + [4 * f + k for f in range(len(FINGERS)) for k in (4, 3, 2, 1)]
DATA = Path(os.environ.get("TWOHAND_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))


def natural_angles(rng: np.random.Generator, count: int) -> np.ndarray:
    """Angles (count, 15, 3) well within the limits, each finger curling as one."""
    low, high = ANATOMY.limits[..., 0], ANATOMY.limits[..., 1]
    angles = low + (high - low) * rng.uniform(0.2, 0.8, (count, 15, 3))
    curl = rng.uniform(0.05, 0.85, (count, 5))
    for finger, chain in enumerate(MANO_CHAINS):
        for joint in chain:
            angles[:, joint - 1, FLEXION] = high[joint - 1, FLEXION] * curl[:, finger]
    return angles


def hands(
    count: int, seed: int = 0, angles: np.ndarray | None = None, model: HandModel = RIGHT
) -> tuple[ShapedHand, np.ndarray]:
    """Noisy hands of random shapes and places, and their 21 joints (count, 21, 3)."""
    rng = np.random.default_rng(seed)
    angles = natural_angles(rng, count) if angles is None else angles
    shaped = model.with_shape(rng.normal(size=(count, 10)))
    pose = Anatomy.of(model).pose_from_angles(angles, 1.5 * rng.normal(size=(count, 3)))
    joints = shaped.with_pose(pose, 0.3 * rng.normal(size=(count, 3))).joints
    return shaped, joints + rng.normal(size=joints.shape) * NOISE


def judged(
    points: np.ndarray, shaped: ShapedHand, joints: tuple[int, ...] = ALL, noise: float = NOISE
) -> Verdicts:
    attachments, settings = Attachments.of_joints(joints), Settings(sigma_point=noise)
    fit = solve(points, shaped, attachments, settings, threads=1)
    return judge(points, fit, shaped, attachments, settings, threads=1)


def take_of(points: np.ndarray, side: int) -> Take:
    """A take of 21 joints (T, 21, 3) recorded of one side."""
    both = np.full((len(points), 2, 21, 3), np.nan)
    both[:, side] = points
    return Take(
        name="made",
        subject="",
        source="test",
        frame="world",
        sides=np.arange(2) == side,
        landmarks=tuple(Landmark(name, k) for k, name in enumerate(JOINT_NAMES)),
        points=both,
        frames=np.arange(len(points)),
        timestamps=np.full(len(points), np.nan),
        unit=Unit(1.0, "declared", "m"),
    )


def one_subject(count: int, seed: int, model: HandModel = RIGHT) -> np.ndarray:
    """Noisy joints of one subject in many poses."""
    rng = np.random.default_rng(seed)
    shaped = model.with_shape(rng.normal(size=10))
    pose = Anatomy.of(model).pose_from_angles(
        natural_angles(rng, count), rng.normal(size=(count, 3))
    )
    joints = shaped.with_pose(pose, rng.normal(size=(count, 3))).joints
    return joints + rng.normal(size=joints.shape) * NOISE


# Distances ---------------------------------------------------------------------------------------


def test_distances_are_the_same_in_every_pose_and_in_the_mirror() -> None:
    shaped = RIGHT.with_shape()
    pose = ANATOMY.pose_from_angles(natural_angles(np.random.default_rng(0), 50))
    joints = shaped.with_pose(pose).joints
    check = DistanceCheck.of(RIGHT, ALL)
    # Skin points at the tips move a little against their bone: weights and pose correctives.
    assert check.misfit(joints).max() < 1.5e-3
    np.testing.assert_allclose(
        check.misfit(mirror_points(joints)), check.misfit(joints), atol=1e-12
    )
    np.testing.assert_allclose(check.scale(2.54 * joints), 2.54 * check.scale(joints))


def test_distances_need_enough_points() -> None:
    _, points = hands(1)
    points[:, 2:] = np.nan
    check = DistanceCheck.of(RIGHT, ALL)
    assert np.isnan(check.misfit(points)).all() and np.isnan(check.scale(points)).all()


def test_shape_from_distances_does_not_know_right_from_left() -> None:
    points = one_subject(200, seed=3)
    betas = shape_from_distances(points, ALL, RIGHT)
    # The same up to rounding, and the subject's own rest joints.
    np.testing.assert_allclose(shape_from_distances(mirror_points(points), ALL, RIGHT), betas)
    truth = RIGHT.with_shape(np.random.default_rng(3).normal(size=10)).rest_joints
    found = RIGHT.with_shape(betas).rest_joints
    assert np.linalg.norm(found - truth, axis=-1).max() < 3e-3
    assert (shape_from_distances(points[:, :2], (0, 1), RIGHT) == 0).all()


# What needs no fit --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (1000.0, "mm read as m"),
        (100.0, "cm read as m"),
        (39.37, "inches read as m"),
        (10.0, "dm"),
        (2.54, "cm read as inches"),
        (1 / 2.54, "inches read as cm"),
        (0.001, "m read as mm"),
    ],
)
def test_wrong_units_are_named(factor: float, said: str) -> None:
    _, points = hands(60, seed=1)
    reason, detail = screen(factor * points, ALL, RIGHT)
    assert (reason == Reason.WRONG_UNITS.value).all()
    # The nearest units lie close together (25.4, 39.37): most hands get the right one.
    assert np.mean([said in line for line in detail]) > 0.9


@pytest.mark.filterwarnings("error")
def test_points_in_one_place_are_no_hand_of_any_unit() -> None:
    points = np.zeros((3, 21, 3))
    points[1] = 0.3
    points[2, 4:] = np.nan
    reason, detail = screen(points, range(21), load_hands("open").right)
    assert reason.tolist() == [Reason.TOO_FEW_JOINTS] * 3
    assert detail[0] == detail[1] == "all points in one place"


def test_nearest_unit_of_exact_factors() -> None:
    assert nearest_unit(1000) == "mm read as m"
    assert nearest_unit(0.01) == "m read as cm"


def test_finger_order_tip_to_base() -> None:
    _, points = hands(100, seed=2)
    reason, detail = screen(points[:, RHD_ORDER], ALL, RIGHT)
    assert (reason == Reason.TIP_TO_BASE.value).all()
    assert all("tip to base" in line for line in detail)
    # One finger alone
    swapped = list(ALL)
    swapped[5:9] = [8, 7, 6, 5]
    shaped, points = hands(40, seed=3)
    verdicts = judged(points[:, swapped], shaped)
    assert (verdicts.reason == Reason.TIP_TO_BASE.value).all()
    assert all("index" in line for line in verdicts.detail)


@pytest.mark.parametrize(
    "order",
    [
        pytest.param([4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17, 0],
                     id="interhand26m"),
        pytest.param([0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20],
                     id="mano"),
        pytest.param([0, 17, 18, 19, 20, 13, 14, 15, 16, 9, 10, 11, 12, 5, 6, 7, 8, 1, 2, 3, 4],
                     id="little-to-thumb"),
        pytest.param([*range(5), *range(17, 21), *range(13, 17), *range(9, 13), *range(5, 9)],
                     id="little-to-index"),
        pytest.param([*range(13), 17, 18, 19, 20, 13, 14, 15, 16], id="ring-little-swapped"),
    ],
)  # fmt: skip
def test_other_joint_orders(order: list[int]) -> None:
    shaped, points = hands(30, seed=4)
    verdicts = judged(points[:, order], shaped)
    assert (verdicts.reason == Reason.JOINT_ORDER.value).all(), set(verdicts.reason)


def test_not_finite_and_too_few() -> None:
    shaped, points = hands(5, seed=5)
    points[0, 3, 1] = np.inf
    points[1, 7, 2] = np.nan  # one coordinate of three: not a missing point but a broken one
    points[2, [0, 1, 5, 9]] = np.nan
    points[3, 6:9] = np.nan
    verdicts = judged(points, shaped)
    assert verdicts.reason.tolist() == [
        Reason.NOT_FINITE, Reason.NOT_FINITE, Reason.TOO_FEW_JOINTS, Reason.TOO_FEW_JOINTS,
        Reason.OK,
    ]  # fmt: skip
    assert "thumb3" in verdicts.detail[0] and "index3" in verdicts.detail[1]
    assert "palm" in verdicts.detail[2] and "index" in verdicts.detail[3]
    assert verdicts.detail[4] == ""
    nothing = judged(np.full((1, 21, 3), np.nan), ShapedHand(RIGHT, shaped.betas[:1]))
    assert nothing.reason[0] == Reason.TOO_FEW_JOINTS and np.isnan(nothing.excess[0])


# What needs a fit ---------------------------------------------------------------------------------


@pytest.mark.parametrize("joints", [ALL, tuple(j for j in ALL if j not in TIP_JOINTS)])
def test_good_hands_pass(joints: tuple[int, ...]) -> None:
    shaped, points = hands(1500, seed=6)
    verdicts = judged(points[:, joints], shaped, joints)
    assert verdicts.ok.all() and not any(verdicts.detail)
    assert not verdicts.ambiguous.any()
    assert np.degrees(verdicts.excess).max() < 20


def test_good_hands_with_dropouts_pass() -> None:
    shaped, points = hands(600, seed=7)
    points[np.random.default_rng(7).random((600, 21)) < 0.2] = np.nan
    verdicts = judged(points, shaped)
    few = verdicts.reason == Reason.TOO_FEW_JOINTS.value
    assert (verdicts.ok | few).all() and few.mean() < 0.1


@pytest.mark.parametrize("noise", [1e-3, 2e-3])
def test_mirrored_and_left_as_right(noise: float) -> None:
    rng = np.random.default_rng(8)
    shaped, points = hands(150, seed=8)
    points = points + rng.normal(size=points.shape) * np.sqrt(noise**2 - NOISE**2)
    mirrored = judged(mirror_points(points), shaped, noise=noise)
    assert (mirrored.reason == Reason.MIRRORED.value).all()
    assert (mirrored.side_margin < -10).all()
    left, points = hands(150, seed=9, model=LEFT)
    verdicts = judged(points, ShapedHand(RIGHT, left.betas))
    assert (verdicts.reason == Reason.MIRRORED.value).all()
    assert judged(points, left).ok.all()


def test_both_sides_are_judged_alike() -> None:
    shaped, points = hands(40, seed=10)
    points = np.concatenate([points[:20], mirror_points(points[20:])])
    right = judged(points, shaped)
    left = judged(mirror_points(points), ShapedHand(RIGHT.mirrored(), shaped.betas))
    assert right.reason.tolist() == left.reason.tolist()
    np.testing.assert_allclose(right.excess, left.excess, atol=1e-6)


@pytest.mark.parametrize("degrees", [45, 90])
def test_bent_backwards_every_joint_both_ways(degrees: float) -> None:
    rng = np.random.default_rng(11)
    angles = natural_angles(rng, 240).reshape(15, 2, 8, 15, 3)
    for joint in range(15):
        for end, sign in ((0, -1), (1, 1)):
            limit = ANATOMY.limits[joint, FLEXION, end]
            angles[joint, end, :, joint, FLEXION] = limit + sign * np.radians(degrees)
    shaped, points = hands(240, seed=11, angles=angles.reshape(240, 15, 3))
    verdicts = judged(points, shaped)
    assert (verdicts.reason == Reason.BENT_BACKWARDS.value).all(), [
        (k, r) for k, r in enumerate(verdicts.reason) if r != Reason.BENT_BACKWARDS
    ]
    if degrees == 45:
        assert np.abs(np.degrees(verdicts.excess) - 45).mean() < 5


def test_a_lesser_excess_is_a_number() -> None:
    angles = natural_angles(np.random.default_rng(12), 100)
    angles[:, 1, FLEXION] = ANATOMY.limits[1, FLEXION, 0] - np.radians(20)  # index2, backwards
    shaped, points = hands(100, seed=12, angles=angles)
    verdicts = judged(points, shaped)
    assert verdicts.ok.all()
    assert abs(np.degrees(np.median(verdicts.excess)) - 20) < 2


def test_a_stray_marker_is_a_residual() -> None:
    shaped, points = hands(50, seed=13)
    points[:, 10] += [0.03, 0.02, -0.03]
    verdicts = judged(points, shaped)
    assert (verdicts.reason == Reason.RESIDUAL_TOO_LARGE.value).mean() > 0.9
    assert not verdicts.ok.any()


def test_a_flat_hand_with_doubtful_points_is_ambiguous_not_refused() -> None:
    angles = np.zeros((60, 15, 3))
    shaped, points = hands(60, seed=14, angles=angles)
    rng = np.random.default_rng(14)
    points = points + 5e-3 * rng.normal(size=points.shape)
    verdicts = judged(points, shaped, noise=5e-3)
    assert verdicts.ambiguous.mean() > 0.3
    assert (verdicts.reason[verdicts.ambiguous] != Reason.MIRRORED.value).mean() > 0.9


def test_a_verdict_is_the_hands_own() -> None:
    points = one_subject(40, seed=15)
    shaped = RIGHT.with_shape(shape_from_distances(points, ALL, RIGHT))
    points[:10] = mirror_points(points[:10])
    points[10:15] *= 1000
    points[15, 3] += 0.05
    together = judged(points, shaped)
    assert len(set(together.reason)) == 4
    for some in (slice(0, 1), slice(12, 13), slice(15, 16), slice(3, 31)):
        alone = judged(points[some], shaped)
        assert alone.detail == together.detail[some]
        for name in ("reason", "excess", "ambiguous", "side_margin"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(together, name)[some])


def test_no_hands() -> None:
    empty = judged(np.empty((0, 21, 3)), RIGHT.with_shape())
    assert len(empty.reason) == 0 and empty.detail == ()


# Takes --------------------------------------------------------------------------------------------


def test_the_take_decides_its_side() -> None:
    good = vote_on_side(take_of(one_subject(60, seed=16), 0), 0, RIGHT)
    assert (good.declared, good.mirrored, good.decision) == (60, 0, "declared")
    good.require_declared("made")
    left = vote_on_side(take_of(one_subject(60, seed=17, model=LEFT), 1), 1, LEFT)
    assert left.decision == "declared"
    assert vote_on_side(take_of(np.full((5, 21, 3), np.nan), 0), 0, RIGHT).decision == "undecided"


def test_fingers_counted_from_the_other_side_are_not_called_mirrored() -> None:
    order = [*range(5), *range(17, 21), *range(13, 17), *range(9, 13), *range(5, 9)]
    vote = vote_on_side(take_of(one_subject(60, seed=20)[:, order], 0), 0, RIGHT)
    assert vote.mirrored == 0 and vote.reordered == 60
    with pytest.raises(DataError, match="little, ring, middle, index; correct the order"):
        vote.require_declared("made")


def test_calibration_on_a_bad_take_does_not_hide_its_fault() -> None:
    """The whole build of a take in which every hand has the fault, or a good share of them."""

    def built(points: np.ndarray) -> tuple[int, set[str]]:
        (unit,) = plan_take(take_of(points, 0), HANDS, threads=1).units
        result = BuildStage(HANDS)(unit)
        kept = 0 if result.samples is None else len(result.samples.sample_id)
        return kept, {reject.reason for reject in result.rejects}

    good = one_subject(30, seed=21)
    assert built(good) == (30, set())
    assert built(1000 * good) == (0, {"wrong_units"})
    assert built(good[:, RHD_ORDER]) == (0, {"tip_to_base"})
    with pytest.raises(DataError, match="30 of 30 hands declared right fit only a left hand"):
        built(mirror_points(good))
    some = good.copy()
    some[:10] = mirror_points(some[:10])
    assert built(some) == (20, {"mirrored"})
    rng = np.random.default_rng(22)
    angles = natural_angles(rng, 30)
    angles[:, 4, FLEXION] = ANATOMY.limits[4, FLEXION, 0] - np.radians(50)
    bent = RIGHT.with_shape(rng.normal(size=10)).with_pose(ANATOMY.pose_from_angles(angles)).joints
    assert built(bent + NOISE * rng.normal(size=bent.shape)) == (0, {"bent_backwards"})


def test_published_fault_right_hands_fed_in_wrong_handed() -> None:
    """The set of 2023: RHD's right hands came out of inverse kinematics bent backwards.

    RHD lists each finger from the tip, and its samples are declared left or right. Read its right
    hands as left ones (or in left-handed coordinates), and a fit without gates bends the fingers
    backwards without complaint. Here each way of feeding it wrongly is named.
    """
    recorded = one_subject(80, seed=18)[:, RHD_ORDER]
    # 1. The order was not undone.
    reason, _ = screen(recorded, ALL, RIGHT)
    assert (reason == Reason.TIP_TO_BASE.value).all()
    # 2. The order was undone, the side was not: a right hand offered as a left one.
    joints = recorded[:, np.argsort(RHD_ORDER)]
    fit = solve(joints, LEFT.with_shape())
    bent = (fit.limit_excess > np.radians(10)).any(axis=(1, 2))
    assert bent.mean() > 0.9  # what was published: reversed joints
    with pytest.raises(DataError, match=r"declared left fit only a right hand.*that says right"):
        vote_on_side(take_of(joints, 1), 1, LEFT).require_declared("RHD")
    # 3. The side is right, the coordinates are not: one axis is turned round.
    turned = joints * np.array([1.0, 1.0, -1.0])
    with pytest.raises(DataError, match="left-handed"):
        vote_on_side(take_of(turned, 0), 0, RIGHT).require_declared("RHD")
    # A single such hand in a good take is refused by itself.
    betas = shape_from_distances(joints, ALL, RIGHT)
    verdicts = judged(turned, RIGHT.with_shape(betas), noise=1.5e-3)
    assert (verdicts.reason == Reason.MIRRORED.value).all()
    # And fed in as it is, it passes.
    assert judged(joints, RIGHT.with_shape(betas), noise=1.5e-3).ok.mean() > 0.98


@pytest.mark.real_data
def test_real_rhd_hands() -> None:
    """The three RHD samples at hand: as recorded, reordered, and reordered with the side wrong."""
    path = DATA / "rhd" / "test_rhd.json"
    if not path.is_file():
        pytest.skip(f"no recordings: {path} is not there (set TWOHAND_REAL_DATA)")
    sides = ("right", "left")
    whole = 0
    for sample in json.loads(path.read_text())["annotations"]:
        joints = np.asarray(sample["joint_cam"], dtype=float)[None] / 1000
        side = sides.index(sample["hand_type"])
        reason, _ = screen(joints, ALL, HANDS[side])
        assert reason[0] == Reason.TIP_TO_BASE
        joints = joints[:, np.argsort(RHD_ORDER)]
        reason, _ = screen(joints, ALL, HANDS[side])
        assert reason[0] == Reason.OK
        right = vote_on_side(take_of(joints[0][None], side), side, HANDS[side])
        wrong = vote_on_side(take_of(joints[0][None], 1 - side), 1 - side, HANDS[1 - side])
        assert right.mirrored == 0 and wrong.declared == 0
        whole += right.declared
    assert whole > 0


def test_a_bad_calibration_does_not_hide_a_mirrored_hand() -> None:
    shaped, points = hands(60, seed=19)
    # Noise and shape as a fit to mirrored hands would have them: far too forgiving.
    verdicts = judged(mirror_points(points), replace(shaped, betas=0 * shaped.betas), noise=20e-3)
    assert not (verdicts.ok & ~verdicts.ambiguous).any()
