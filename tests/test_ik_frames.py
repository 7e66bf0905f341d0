"""Takes whose frames show different hands: a shape for each, faults, hands that are not there."""

from dataclasses import replace

import numpy as np
import pytest

from twohand500k.conventions import JOINT_NAMES
from twohand500k.hand import HandPair, load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.ik.hypotheses import shape_from_distances, shapes_from_distances
from twohand500k.ik.stage import BuildStage, Fitting, plan_take
from twohand500k.sources import Landmark, Take, Unit

N = 60


@pytest.fixture(scope="module")
def hands() -> HandPair:
    return load_hands("open")


def many_hands(hands: HandPair, noise: float = 0.0) -> tuple[Take, np.ndarray]:
    """N frames of N pairs of hands of N shapes, and their betas (N, 2, 10)."""
    rng = np.random.default_rng(5)
    points = np.empty((N, 2, 21, 3))
    betas = rng.normal(size=(N, 2, 10))
    for side in range(2):
        anatomy = Anatomy.of(hands[side])
        middle, half = anatomy.limits.mean(-1), np.ptp(anatomy.limits, axis=-1) / 2
        angles = middle + 0.7 * half * rng.uniform(-1, 1, size=(N, 15, 3))
        pose = anatomy.pose_from_angles(angles, rng.normal(size=(N, 3)))
        transl = 0.2 * rng.normal(size=(N, 3))
        points[:, side] = hands[side].with_shape(betas[:, side]).with_pose(pose, transl).joints
    points += noise * rng.normal(size=points.shape)
    take = Take(
        name="t",
        subject="",
        source="set",
        frame="camera",
        sides=np.array([True, True]),
        landmarks=tuple(Landmark(name, j) for j, name in enumerate(JOINT_NAMES)),
        points=points,
        frames=np.arange(N),
        timestamps=np.full(N, np.nan),
        unit=Unit(1.0, "declared", "m"),
        shape="frame",
    )
    return take, betas


def test_each_hand_gets_its_own_shape(hands: HandPair) -> None:
    take, _ = many_hands(hands)
    plan = plan_take(take, hands)
    assert isinstance(plan.known, Fitting)
    result = BuildStage(hands)(plan.units[0])
    assert not result.rejects and result.samples is not None
    samples = result.samples
    assert samples.fit_error.max() < 1e-4
    bones = np.linalg.norm(np.diff(take.points[:, :, 5:9], axis=2), axis=-1)
    fitted = np.linalg.norm(np.diff(samples.joints[:, :, 5:9], axis=2), axis=-1)
    assert np.abs(bones - fitted).max() < 2e-4
    assert np.std(samples.betas[:, 0], axis=0).max() > 0.5


def test_noise_is_found(hands: HandPair) -> None:
    take, _ = many_hands(hands, noise=1e-3)
    plan = plan_take(take, hands)
    assert isinstance(plan.known, Fitting)
    assert np.all(np.abs(plan.known.calibration.sigma - 1e-3) < 2e-4)


def test_shapes_of_many_are_those_of_one_by_one(hands: HandPair) -> None:
    take, betas = many_hands(hands)
    joints = range(21)
    all_at_once = shapes_from_distances(
        take.points[:, 0], joints, hands.right, sigma=1e-4, sigma_betas=2.0
    )
    for row in (0, 7):
        one = shape_from_distances(
            take.points[row : row + 1, 0], joints, hands.right, sigma=1e-4, sigma_betas=2.0
        )
        assert np.allclose(one, all_at_once[row], atol=1e-9)
    model = hands.right
    truth = model.with_shape(betas[:, 0]).rest_joints
    found = model.with_shape(all_at_once).rest_joints
    assert (
        np.abs(
            np.linalg.norm(truth[:, 1] - truth[:, 0], axis=-1)
            - np.linalg.norm(found[:, 1] - found[:, 0], axis=-1)
        ).max()
        < 1e-4
    )


def test_an_estimated_joint_hardly_bends_the_shape(hands: HandPair) -> None:
    take, _ = many_hands(hands)
    points = take.points[:, 0].copy()
    points[:, 0] += 0.01
    even = shapes_from_distances(points, range(21), hands.right)
    weights = np.ones(21)
    weights[0] = 0.1
    light = shapes_from_distances(points, range(21), hands.right, weights)
    truth = shapes_from_distances(take.points[:, 0], range(21), hands.right)
    assert np.linalg.norm(light - truth) < 0.3 * np.linalg.norm(even - truth)


def test_broken_frames_are_rejects_and_absent_hands_are_not_missed(hands: HandPair) -> None:
    take, _ = many_hands(hands)
    faults = take.faults.astype("U40").copy()
    faults[3] = "00003.txt: 20 numbers, not 63"
    recorded, points = take.recorded.copy(), take.points.copy()
    recorded[5] = [True, False]
    points[5, 1] = points[3] = np.nan
    points[7, 0] = np.nan  # said to be there, not seen
    result = BuildStage(hands)(
        plan_take(replace(take, faults=faults, recorded=recorded, points=points), hands).units[0]
    )
    assert {(r.sample_id, r.reason) for r in result.rejects} == {
        ("set/t/000003", "unreadable"),
        ("set/t/000007", "too_few_joints"),
    }
    assert "20 numbers" in result.rejects[0].detail
    assert result.samples is not None and len(result.samples) == N - 2
    row = result.samples.sample_id.tolist().index("set/t/000005")
    assert result.samples.present[row].tolist() == [True, False]
    # 2 N hands, less the broken frame's pair and the one that is not there.
    assert result.stats.counts["hands_ok"] == 2 * N - 2 - 1 - 1
