"""The solver: recovery, noise, gaps, sides, determinism, faults, and smoothing on top of it."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from twohand500k.conventions import FINGERS, MANO_JOINT_NAMES, TIP_JOINTS, WRIST
from twohand500k.hand import load_hands
from twohand500k.hand.anatomy import FLEXION, Anatomy
from twohand500k.hand.rotations import matrix_from_axis_angle, mirror_axis_angle, mirror_points
from twohand500k.ik.attachments import Attachments
from twohand500k.ik.residuals import AnglePrior, limit_residual
from twohand500k.ik.smooth import WINDOW, smooth_target
from twohand500k.ik.solver import Settings, Target, solve

EXACT = Settings(sigma_point=1e-5)


@pytest.fixture(scope="module")
def hands():
    return load_hands("open")


def _draw(model, count, seed, share=1.0):
    """Random shape and poses over `share` of the limits: shaped hand, angles, joints (N, 21, 3)."""
    rng = np.random.default_rng(seed)
    anatomy = Anatomy.of(model)
    low, high = share * anatomy.limits[..., 0], share * anatomy.limits[..., 1]
    angles = rng.uniform(low, high, (count, 15, 3))
    pose = anatomy.pose_from_angles(angles, rng.normal(size=(count, 3)) * 2)
    shaped = model.with_shape(rng.normal(size=10))
    return shaped, angles, shaped.with_pose(pose, rng.normal(size=(count, 3)) * 0.3).joints


def _joints(shaped, solution):
    return shaped.with_pose(solution.pose, solution.transl).joints


@pytest.mark.parametrize("side", [0, 1])
def test_noise_free_recovery_over_the_whole_limit_box(hands, side):
    shaped, _, points = _draw(hands[side], 1500, seed=side)
    solution = solve(points, shaped, settings=EXACT)
    worst = solution.residual.max(axis=1)
    assert (worst <= 1e-5).mean() >= 0.999
    np.testing.assert_allclose(
        np.linalg.norm(_joints(shaped, solution) - points, axis=-1), solution.residual, atol=1e-12
    )
    anatomy = Anatomy.of(hands[side])
    np.testing.assert_allclose(
        matrix_from_axis_angle(anatomy.pose_from_angles(solution.angles)[:, 1:]),
        matrix_from_axis_angle(solution.pose[:, 1:]),
        atol=1e-9,
    )


def test_fit_to_noisy_points_is_closer_to_the_truth(hands):
    shaped, _, truth = _draw(hands.right, 400, seed=3)
    noisy = truth + np.random.default_rng(0).normal(size=truth.shape) * 2e-3
    solution = solve(noisy, shaped, settings=Settings(sigma_point=2e-3))
    error = np.linalg.norm(_joints(shaped, solution) - truth, axis=-1).mean()
    assert error < 0.75 * np.linalg.norm(noisy - truth, axis=-1).mean()
    # Not by pulling the hand to where the prior wants it: the residual is noise, no more.
    assert np.sqrt((solution.residual**2).mean()) < 2e-3 * np.sqrt(3)


@pytest.mark.parametrize("missing", ["tips", "wrist", "dropouts"])
def test_missing_points(hands, missing):
    """What is there is fitted as well as ever; what is not is NaN in the residual alone."""
    shaped, _, points = _draw(hands.left, 400, seed=4)
    gone = np.zeros(points.shape[:2], dtype=bool)
    if missing == "tips":
        gone[:, TIP_JOINTS] = True
    elif missing == "wrist":
        gone[:, WRIST] = True
    else:
        gone = np.random.default_rng(1).random(gone.shape) < 0.2
    seen = np.where(gone[..., None], np.nan, points)
    solution = solve(seen, shaped, settings=EXACT)
    np.testing.assert_array_equal(np.isnan(solution.residual), gone)
    assert np.isfinite(solution.pose).all()
    assert np.nanquantile(solution.residual, 0.999) < 1e-5
    error = np.linalg.norm(_joints(shaped, solution) - points, axis=-1)
    assert np.median(error[gone]) < 0.02


def test_uncertainty_tells_what_the_points_do_not(hands):
    shaped, _, points = _draw(hands.right, 50, seed=5, share=0.5)
    prior_sigma = 1 / AnglePrior.resting(Anatomy.of(hands.right)).weight
    whole = solve(points, shaped, settings=Settings(sigma_point=1e-3)).angle_sigma
    points[:, TIP_JOINTS] = np.nan
    without = solve(points, shaped, settings=Settings(sigma_point=1e-3)).angle_sigma
    distal = [MANO_JOINT_NAMES.index(f"{finger}3") - 1 for finger in FINGERS]
    assert (whole[:, distal, FLEXION] < 0.4 * prior_sigma[distal, FLEXION]).all()
    assert (without[:, distal, FLEXION] > 0.9 * prior_sigma[distal, FLEXION]).all()


def test_left_is_mirrored_right_to_the_last_bit(hands):
    shaped, _, points = _draw(hands.right, 100, seed=6)
    right = solve(points, shaped)
    left = solve(mirror_points(points), hands.right.mirrored().with_shape(shaped.betas))
    np.testing.assert_array_equal(left.pose, mirror_axis_angle(right.pose))
    np.testing.assert_array_equal(left.transl, mirror_points(right.transl))
    np.testing.assert_array_equal(left.angles, right.angles)


def test_result_depends_on_the_hand_alone(hands):
    """Not on threads, neighbours or places in the batch."""
    shaped, _, points = _draw(hands.right, 700, seed=7)
    points += np.random.default_rng(2).normal(size=points.shape) * 1e-3
    points[::13, 3:9] = np.nan
    whole = solve(points, shaped, threads=1)
    order = np.random.default_rng(3).permutation(700)
    shuffled = solve(points[order], shaped, threads=3)
    for name in ("pose", "transl", "angles", "residual", "cost", "angle_sigma"):
        np.testing.assert_array_equal(getattr(whole, name)[order], getattr(shuffled, name))
    alone = solve(points[311:312], shaped)
    np.testing.assert_array_equal(alone.pose[0], whole.pose[311])


def test_one_shape_for_each_hand(hands):
    betas = np.random.default_rng(4).normal(size=(5, 10))
    _, angles, _ = _draw(hands.right, 5, seed=8)
    pose = Anatomy.of(hands.right).pose_from_angles(angles)
    points = hands.right.with_shape(betas).with_pose(pose).joints
    together = solve(points, hands.right.with_shape(betas), settings=EXACT)
    for i in range(5):
        own = solve(points[i : i + 1], hands.right.with_shape(betas[i]), settings=EXACT)
        np.testing.assert_allclose(own.pose[0], together.pose[i], atol=1e-9)
    assert together.residual.max() < 1e-5


def test_as_good_a_minimum_as_scipy_finds_from_the_truth(hands):
    shaped, angles, points = _draw(hands.right, 3, seed=9)
    points += np.random.default_rng(5).normal(size=points.shape) * 2e-3
    settings = Settings(sigma_point=2e-3)
    solution = solve(points, shaped, settings=settings)
    anatomy, prior = Anatomy.of(hands.right), AnglePrior.resting(Anatomy.of(hands.right))

    def residuals(x, target):
        theta = x[6:].reshape(15, 3)
        posed = shaped.with_pose(anatomy.pose_from_angles(theta, x[:3]), x[3:6])
        r, w = limit_residual(theta, anatomy.limits, settings.sigma_limit, settings.limit_knee)
        # As a least-squares term the Huber cost is its own square root.
        knee = settings.limit_knee / settings.sigma_limit
        size = np.abs(r)
        limit = np.where(w < 1, np.sqrt(np.maximum(knee * (2 * size - knee), 0)), size)
        point = (posed.joints - target) / settings.sigma_point
        return np.concatenate([point.ravel(), limit.ravel(), prior.residual(theta).ravel()])

    for hand in range(3):
        start = np.concatenate(
            [solution.pose[hand, 0], solution.transl[hand], angles[hand].ravel()]
        )
        found = least_squares(residuals, start, args=(points[hand],), xtol=1e-10, ftol=1e-12)
        assert solution.cost[hand] == pytest.approx(
            (residuals(_unknowns(solution, hand), points[hand]) ** 2).sum() / 2, rel=1e-9
        )
        assert solution.cost[hand] <= found.cost + 1e-3


def _unknowns(solution, hand):
    return np.concatenate(
        [solution.pose[hand, 0], solution.transl[hand], solution.angles[hand].ravel()]
    )


@pytest.mark.parametrize("joint", ["index2", "middle1", "ring3", "thumb3"])
def test_a_finger_bent_back_shows_its_excess(hands, joint):
    """45 degrees past the limit at 1 mm noise shows, less the constant pull of the limit."""
    shaped, angles, _ = _draw(hands.right, 60, seed=10, share=0.6)
    anatomy, row = Anatomy.of(hands.right), MANO_JOINT_NAMES.index(joint) - 1
    angles[:, row] = 0
    angles[:, row, FLEXION] = anatomy.limits[row, FLEXION, 0] - np.radians(45)
    points = shaped.with_pose(anatomy.pose_from_angles(angles)).joints
    points += np.random.default_rng(6).normal(size=points.shape) * 1e-3
    solution = solve(points, shaped, settings=Settings(sigma_point=1e-3))
    measured = np.degrees(solution.limit_excess[:, row, FLEXION])
    assert np.median(measured) > 30
    assert (measured > 20).mean() > 0.95


def test_noise_does_not_use_the_slack_of_the_limits(hands):
    shaped, _, points = _draw(hands.right, 500, seed=11)
    points += np.random.default_rng(7).normal(size=points.shape) * 1e-3
    excess = np.degrees(solve(points, shaped).limit_excess)
    assert np.quantile(excess.max(axis=(1, 2)), 0.99) < 5


def test_markers_off_the_joints(hands):
    shaped, angles, _ = _draw(hands.left, 200, seed=12)
    rng = np.random.default_rng(8)
    joints = np.array([0, 0, 0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18, 20])
    attachments = Attachments.of_joints(joints)
    markers = Attachments(
        attachments.joint,
        attachments.carrier,
        np.full(len(joints), -1),
        rng.normal(size=(len(joints), 3)) * 0.003 + [0.0, 0.008, 0.0],
        attachments.weight,
    )
    markers.offset[:3] += rng.normal(size=(3, 3)) * 0.03
    posed = shaped.with_pose(Anatomy.of(hands.left).pose_from_angles(angles, rng.normal(size=3)))
    T = posed.T_world_joint[:, markers.carrier]
    points = np.einsum("nkij,kj->nki", T[..., :3, :3], markers.offset) + T[..., :3, 3]
    solution = solve(points, shaped, markers, Settings(sigma_point=1e-4))
    assert np.median(solution.residual.max(axis=1)) < 1e-4
    assert np.quantile(solution.residual.max(axis=1), 0.95) < 1e-3


@pytest.mark.parametrize(
    "fault", ["all missing", "two points", "one line", "one place", "infinite", "wrist only"]
)
def test_too_few_points_is_a_status(hands, fault):
    shaped, _, points = _draw(hands.right, 3, seed=13)
    bad = points[1]
    if fault == "all missing":
        bad[:] = np.nan
    elif fault == "two points":
        bad[2:] = np.nan
    elif fault == "one line":
        bad[:] = np.linspace(0, 0.2, 21)[:, None] * [1.0, 2.0, 3.0]
    elif fault == "one place":
        bad[:] = 1.0
    elif fault == "infinite":
        bad[:] = np.inf
    else:
        bad[1:] = np.nan
    solution = solve(points, shaped)
    assert solution.status.tolist() == [0, 2, 0]
    assert solution.solved.tolist() == [True, False, True]
    for name in ("pose", "transl", "angles", "limit_excess", "residual", "cost"):
        assert np.isnan(getattr(solution, name)[1]).all()


def test_overflow_is_a_failed_hand_and_not_the_one_before_it(hands):
    shaped, _, points = _draw(hands.right, 3, seed=14)
    points[1] *= 1e200
    with np.errstate(over="ignore"):
        solution = solve(points, shaped)
    assert solution.status.tolist() == [0, 3, 0]
    assert solution.solved.tolist() == [True, False, True]
    for name in ("pose", "transl", "angles", "residual", "cost"):
        assert np.isnan(getattr(solution, name)[1]).all()
    broken = hands.right.with_shape(np.full(10, np.nan))
    with pytest.raises(ValueError, match="betas must be finite"):
        solve(points, broken)


@pytest.mark.parametrize("scale", [1e-3, 1e3, 1e6])
def test_absurd_points_give_numbers_not_a_crash(hands, scale):
    shaped, _, points = _draw(hands.right, 20, seed=14)
    rng = np.random.default_rng(9)
    for absurd in (points * scale, rng.normal(size=points.shape) * scale):
        solution = solve(absurd, shaped)
        assert np.isfinite(solution.pose[solution.solved]).all()
        assert (solution.residual[solution.solved].max(axis=1) > 0.01).all()


def test_wrong_shapes_are_named(hands):
    with pytest.raises(ValueError, match=r"\(N, 21, 3\)"):
        solve(np.zeros((2, 16, 3)), hands.right.with_shape())
    with pytest.raises(ValueError, match="betas"):
        solve(np.zeros((2, 21, 3)), hands.right.with_shape(np.zeros((3, 10))))


def test_target_holds_what_the_points_leave_open(hands):
    shaped, angles, points = _draw(hands.left, 30, seed=15, share=0.7)
    anatomy = Anatomy.of(hands.left)
    free = solve(points, shaped, settings=EXACT)
    hidden = points.copy()
    hidden[:, TIP_JOINTS] = np.nan
    near = Target(
        pose=anatomy.pose_from_angles(angles, free.pose[:, 0]),
        wrist=points[:, 0],
        sigma_angle=np.full((30, 15, 3), 1e-3),
        sigma_orientation=np.full(30, 0.01),
        sigma_wrist=np.full(30, 0.001),
    )
    near.pose[7] = np.nan
    held = solve(hidden, shaped, settings=EXACT, target=near)
    error = np.linalg.norm(_joints(shaped, held) - points, axis=-1).max(axis=1)
    assert (np.delete(error, 7) < 1e-3).all()
    plain = solve(hidden[7:8], shaped, settings=EXACT)
    np.testing.assert_array_equal(held.pose[7], plain.pose[0])


def _motion(model, frames, seed):
    """A smooth motion within the limits, 120 Hz: shaped hand, joints, times."""
    rng = np.random.default_rng(seed)
    anatomy, time = Anatomy.of(model), np.arange(frames) / 120
    low, high = anatomy.limits[..., 0], anatomy.limits[..., 1]
    hertz, phase = rng.uniform(0.3, 2, (15, 3)), rng.uniform(0, 6, (15, 3))
    wave = np.sin(2 * np.pi * hertz * time[:, None, None] + phase)
    turn = np.stack([np.sin(3 * time), np.cos(4 * time), 3 * time], axis=1)
    pose = anatomy.pose_from_angles((low + high) / 2 + 0.4 * (high - low) * wave, turn)
    shaped = model.with_shape(rng.normal(size=10))
    return shaped, shaped.with_pose(pose, 0.2 * turn).joints, time


def test_smoothing_brings_noisy_motion_closer_to_the_truth(hands):
    shaped, truth, time = _motion(hands.left, 300, seed=16)
    noisy = truth + np.random.default_rng(10).normal(size=truth.shape) * 2e-3
    settings = Settings(sigma_point=2e-3)
    plain = solve(noisy, shaped, settings=settings)
    smooth = solve(noisy, shaped, settings=settings, target=smooth_target(plain, shaped, time))
    error = [np.linalg.norm(_joints(shaped, s) - truth, axis=-1).mean() for s in (plain, smooth)]
    assert error[1] < 0.75 * error[0]


def test_smoothing_does_not_see_where_a_take_is_cut(hands):
    shaped, points, time = _motion(hands.right, 120, seed=17)
    points += np.random.default_rng(11).normal(size=points.shape) * 2e-3
    points[50:53] = np.nan
    time[60:] = np.nan
    whole = smooth_target(solve(points, shaped), shaped, time)
    cut = slice(40 - WINDOW, 80 + WINDOW)
    part = smooth_target(solve(points[cut], shaped), shaped, time[cut])
    for name in ("pose", "wrist", "sigma_angle", "sigma_orientation", "sigma_wrist"):
        np.testing.assert_array_equal(
            getattr(whole, name)[40:80], getattr(part, name)[WINDOW : WINDOW + 40]
        )
    assert np.isnan(whole.pose[50:53]).all()
