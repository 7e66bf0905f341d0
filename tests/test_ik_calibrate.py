"""Calibration: the subject's shape, the markers' places and the noise, from synthetic takes."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from twohand500k.conventions import JOINT_NAMES, JOINT_PARENTS, MANO_CARRIER
from twohand500k.errors import DataError
from twohand500k.hand import load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.ik.calibrate import calibrate, choose_frames, first_guess
from twohand500k.ik.solver import Settings, solve
from twohand500k.sources import Landmark, Take, Unit, read_takes

JOINTS = tuple(Landmark(name, joint) for joint, name in enumerate(JOINT_NAMES))
# SIG18's layout: three markers a finger, none at the DIP, three on the back of the hand.
MARKERS = tuple(
    Landmark(f"m{joint}", joint, "marker", surface="tip" if joint % 4 == 0 else "dorsal")
    for joint in range(1, 21)
    if joint % 4 != 3 or joint == 3
) + tuple(Landmark(f"back{k}", 0, "marker", surface="dorsal") for k in range(3))


@pytest.fixture(scope="module")
def hands():
    return load_hands("open")


def _take(hands, betas, frames=160, landmarks=JOINTS, offsets=None, noise=0.0, seed=0):
    """A synthetic take of one subject: both hands, poses over the limits. betas (2, 10)."""
    rng = np.random.default_rng(seed)
    points = np.empty((frames, 2, len(landmarks), 3))
    for side in range(2):
        anatomy = Anatomy.of(hands[side])
        angles = rng.uniform(anatomy.limits[..., 0], anatomy.limits[..., 1], (frames, 15, 3))
        pose = anatomy.pose_from_angles(angles, rng.normal(size=(frames, 3)))
        posed = hands[side].with_shape(betas[side]).with_pose(pose, rng.normal(size=(frames, 3)))
        if offsets is None:
            points[:, side] = posed.joints
        else:
            T = posed.T_world_joint[:, [landmark.carrier for landmark in landmarks]]
            points[:, side] = np.einsum("nkij,kj->nki", T[..., :3, :3], offsets[side])
            points[:, side] += T[..., :3, 3]
    points += rng.normal(size=points.shape) * noise
    return Take(
        name="synthetic",
        subject="s1",
        source="test",
        frame="world",
        sides=np.array([True, True]),
        landmarks=landmarks,
        points=points,
        frames=np.arange(frames),
        timestamps=np.arange(frames) / 120,
        unit=Unit(1.0, "declared", "m"),
    )


def _fit(take, calibration, hands, side):
    return solve(
        take.points[:, side],
        hands[side].with_shape(calibration.betas[side]),
        calibration.attachments[side],
        Settings(sigma_point=float(calibration.sigma[side])),
    )


def _bones(model, betas):
    joints = model.with_shape(betas).with_pose().joints
    return np.linalg.norm(joints[1:] - joints[list(JOINT_PARENTS[1:])], axis=1)


def test_noise_free_shape_is_found(hands):
    betas = np.tile(np.random.default_rng(1).normal(size=10), (2, 1))
    take = _take(hands, betas)
    calibration = calibrate(take, hands)
    assert calibration.converged
    for side in range(2):
        assert _fit(take, calibration, hands, side).residual.mean() < 0.3e-3
        found, true = (_bones(hands[side], b[side]) for b in (calibration.betas, betas))
        np.testing.assert_allclose(found, true, atol=0.5e-3)
    np.testing.assert_array_equal(calibration.betas[0], calibration.betas[1])
    assert (calibration.sigma < 0.1e-3).all()


@pytest.mark.parametrize("noise", [1e-3, 3e-3])
def test_noise_level_is_measured(hands, noise):
    betas = np.tile(np.random.default_rng(2).normal(size=10), (2, 1))
    take = _take(hands, betas, noise=noise)
    calibration = calibrate(take, hands)
    np.testing.assert_allclose(calibration.sigma, noise, rtol=0.1)
    np.testing.assert_allclose(
        _bones(hands[0], calibration.betas[0]), _bones(hands[0], betas[0]), atol=0.8 * noise
    )


def test_sides_may_differ(hands):
    """One shape for two unlike hands fits neither; a shape per side fits both."""
    betas = np.random.default_rng(3).normal(size=(2, 10))
    take = _take(hands, betas)
    shared, own = calibrate(take, hands), calibrate(take, hands, per_side=True)
    assert shared.sigma.min() > 0.3e-3
    assert own.sigma.max() < 0.1e-3
    for side in range(2):
        np.testing.assert_allclose(
            _bones(hands[side], own.betas[side]), _bones(hands[side], betas[side]), atol=0.5e-3
        )


def test_markers_are_placed(hands):
    """Offsets unlike the first guess are found, or what trades against them in the shape."""
    rng = np.random.default_rng(4)
    betas = np.tile(rng.normal(size=10) * 0.7, (2, 1))
    guess = first_guess(MARKERS, hands.right).offset
    off = rng.normal(size=guess.shape) * 2e-3
    off[-3:] += rng.normal(size=(3, 3)) * [0.02, 0.0, 0.02]
    flip = np.array([-1.0, 1.0, 1.0])
    take = _take(
        hands, betas, 40, MARKERS, offsets=(guess + off, (guess + off) * flip), noise=0.5e-3
    )
    calibration = calibrate(take, hands)
    joints, error = [], []
    for side in range(2):
        solution = _fit(take, calibration, hands, side)
        assert np.nanmedian(solution.residual) < 1e-3
        placed = calibration.attachments[side].offset - (guess + off) * (flip if side else 1.0)
        error.append(np.linalg.norm(placed, axis=1))
        joints.append(solution.solved.mean())
    assert np.median(error) < 3e-3
    assert calibration.sigma.max() < 0.8e-3
    assert joints == [1.0, 1.0]


def test_first_guess_is_just_above_the_skin(hands):
    model = hands.right
    attachments = first_guess(MARKERS, model)
    at = model.J_template[attachments.carrier] + attachments.offset
    gap = np.linalg.norm(at[:, None] - model.v_template, axis=-1).min(axis=1)
    assert (gap > 2e-3).all() and (gap < 9e-3).all()
    for k, landmark in enumerate(MARKERS):
        if landmark.surface == "dorsal" and landmark.joint > 4 and landmark.joint % 4:
            assert attachments.offset[k, 1] > 5e-3, "dorsal is +y at rest"
    assert (attachments.carrier == [m.carrier for m in MARKERS]).all()


def test_faulty_frames_do_not_spoil_the_shape(hands):
    betas = np.tile(np.random.default_rng(5).normal(size=10), (2, 1))
    clean = _take(hands, betas, noise=0.5e-3)
    points = clean.points.copy()
    rng = np.random.default_rng(6)
    bad = rng.random(len(points)) < 0.1
    swapped = points[bad][:, :, [0, 5, 6, 7, 8, 1, 2, 3, 4, *range(9, 21)]]
    points[bad] = swapped
    points[rng.random(points.shape[:3]) < 0.02] += 0.03
    points[rng.random(points.shape[:3]) < 0.1] = np.nan
    calibration = calibrate(replace(clean, points=points), hands)
    np.testing.assert_allclose(
        _bones(hands[0], calibration.betas[0]), _bones(hands[0], betas[0]), atol=1e-3
    )


def test_one_hand_lends_its_shape_to_the_other(hands):
    betas = np.tile(np.random.default_rng(7).normal(size=10), (2, 1))
    take = replace(_take(hands, betas), sides=np.array([False, True]))
    calibration = calibrate(take, hands)
    np.testing.assert_array_equal(calibration.betas[0], calibration.betas[1])
    assert np.isnan(calibration.sigma[0]) and np.isfinite(calibration.sigma[1])
    assert len(calibration.frames[0]) == 0


def test_nothing_to_calibrate_on_is_one_line(hands):
    take = _take(hands, np.zeros((2, 10)), frames=10)
    empty = replace(take, points=np.full_like(take.points, np.nan))
    with pytest.raises(DataError, match="take synthetic: nothing to calibrate") as caught:
        calibrate(empty, hands)
    assert "\n" not in str(caught.value)


def test_points_on_a_line_are_one_line_too(hands):
    """Bones of the right length, laid out along one line: nothing a pose could be told from."""
    joints = hands.right.with_shape().with_pose().joints
    along = np.zeros(21)
    for joint in range(1, 21):
        parent = JOINT_PARENTS[joint]
        along[joint] = along[parent] + np.linalg.norm(joints[joint] - joints[parent])
    take = _take(hands, np.zeros((2, 10)), frames=10)
    points = np.broadcast_to(along[:, None] * [1.0, 0.0, 0.0], take.points.shape)
    with pytest.raises(DataError, match="that do not lie on a line") as caught:
        calibrate(replace(take, points=points.copy()), hands)
    assert "\n" not in str(caught.value)
    # A side that cannot be seen does not spoil the other.
    points = take.points.copy()
    points[:, 1] = along[:, None] * [1.0, 0.0, 0.0]
    calibration = calibrate(replace(take, points=points), hands)
    assert np.isfinite(calibration.sigma[0]) and np.isnan(calibration.sigma[1])


def test_same_take_same_calibration(hands):
    take = _take(hands, np.zeros((2, 10)), frames=60, noise=1e-3)
    first, second = calibrate(take, hands, threads=1), calibrate(take, hands, threads=2)
    np.testing.assert_array_equal(first.betas, second.betas)
    np.testing.assert_array_equal(first.sigma, second.sigma)


def test_frames_chosen_are_complete_and_different(hands):
    take = _take(hands, np.zeros((2, 10)), frames=600)
    points = take.points[:, 0].copy()
    points[100:] = points[99]  # five sixths of the take the hand does not move
    points[::3, 5:9] = np.nan
    rows = choose_frames(points, 60)
    assert len(rows) == 60 and (np.diff(rows) > 0).all()
    assert np.isfinite(points[rows]).all()
    assert (rows < 100).sum() > 20
    np.testing.assert_array_equal(rows, choose_frames(points, 60))
    assert len(choose_frames(np.full((5, 21, 3), np.nan))) == 0


def test_carriers_are_the_landmarks_own(hands):
    moved = (*JOINTS[:-1], Landmark("x", 20, "marker", surface="ulnar", carrier=8))
    attachments = first_guess(moved, hands.right)
    assert attachments.carrier.tolist() == [*MANO_CARRIER[:-1], 8]
    assert attachments.tip[-1] == -1 and attachments.tip[-5] == 3


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("recording", "median", "p95"),
    [
        ("leap_csv/three-claps.csv", 1.6e-3, 3.5e-3),
        ("mocap_bvh/cup1", 1.0e-3, 11e-3),
        ("mocap_trc", 1.7e-3, 6e-3),
    ],
)
def test_real_takes(hands, recording, median, p95):
    """It settles, every frame is fitted, and shapes stay human where a rig is not this model's."""
    root = Path(os.environ.get("TWOHAND_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (root / recording).exists():
        pytest.skip(f"no recording {root / recording}; set TWOHAND_REAL_DATA")
    take = read_takes([root / recording])[0].rows(slice(None, None, 4))
    calibration = calibrate(take, hands)
    assert calibration.converged
    assert np.abs(calibration.betas).max() < 4.5
    for side in range(2):
        solution = _fit(take, calibration, hands, side)
        assert solution.solved.all()
        assert np.nanmedian(solution.residual) < median
        assert np.nanquantile(solution.residual, 0.95) < p95
