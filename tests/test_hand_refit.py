"""Refit: derivatives, recovery of the truth, there and back, shapes shared and known, mirrors."""

import numpy as np
import pytest
from mano_fixture import perturbed, random_model

from twohand500k.hand import HandModel, HandPair, load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.refit import (
    _Chain,
    _Model,
    _skin_and_change,
    is_mirrored,
    refit,
    refit_pair,
    shape_groups,
    spread,
)
from twohand500k.hand.rotations import axis_angle_from_matrix, matrix_from_axis_angle


@pytest.fixture(scope="module")
def hands() -> HandPair:
    return load_hands("open")


@pytest.fixture(scope="module")
def other(hands: HandPair) -> HandPair:
    right = perturbed(hands.right)
    return HandPair(right, right.mirrored())


def within_limits(model: HandModel, rng: np.random.Generator, n: int) -> np.ndarray:
    anatomy = Anatomy.of(model)
    angles = rng.uniform(anatomy.limits[..., 0], anatomy.limits[..., 1], size=(n, 15, 3))
    return anatomy.pose_from_angles(0.8 * angles, rng.normal(size=(n, 3)))


def skins(model: HandModel, pose: np.ndarray, betas: np.ndarray, transl: np.ndarray) -> np.ndarray:
    return model.with_shape(betas).with_pose(pose, transl).vertices


@pytest.mark.parametrize("which", ["random", "open", "perturbed"])
def test_jacobian_against_finite_differences(hands: HandPair, which: str) -> None:
    model = {"random": random_model(5), "open": hands.right, "perturbed": perturbed(hands.right)}[
        which
    ]
    rng = np.random.default_rng(0)
    R = matrix_from_axis_angle(rng.normal(size=(16, 3)))
    b, t = rng.normal(size=10), rng.normal(size=3)
    arrays = _Model.of(model)

    def skin_at(R: np.ndarray, b: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        jacobian, skin = np.empty((778, 3, 61)), np.empty((778, 3))
        chain = _Chain.of(model, R[None], b[None], t[None])
        _skin_and_change(arrays, _Chain(*(a[0] for a in chain)), b, jacobian, skin)
        return skin, jacobian

    skin, jacobian = skin_at(R, b, t)
    np.testing.assert_allclose(skin, skins(model, axis_angle_from_matrix(R), b, t), atol=1e-13)
    h = 1e-6
    for column in range(61):
        ends = []
        for step in (h, -h):
            R_new, b_new, t_new = R.copy(), b.copy(), t.copy()
            if column < 48:
                omega = np.zeros(3)
                omega[column % 3] = step
                R_new[column // 3] = matrix_from_axis_angle(omega) @ R[column // 3]
            elif column < 51:
                t_new[column - 48] += step
            else:
                b_new[column - 51] += step
            ends.append(skin_at(R_new, b_new, t_new)[0])
        np.testing.assert_allclose(
            jacobian[..., column], (ends[0] - ends[1]) / (2 * h), atol=2e-9, err_msg=str(column)
        )


def test_own_parameters_are_recovered(hands: HandPair) -> None:
    """A model refitted to itself, from betas 0: the truth is the only minimum, zero."""
    rng = np.random.default_rng(1)
    n = 12
    pose, transl = within_limits(hands.right, rng, n), rng.normal(size=(n, 3))
    betas = np.repeat(rng.normal(size=(3, 10)), n // 3, axis=0)
    found = refit(hands.right, hands.right, pose, betas, transl)
    assert found.converged.all()
    # The pull of the betas to zero leaves a tenth of a micrometre.
    assert found.residual_max.max() < 1e-6
    np.testing.assert_allclose(found.betas, betas, atol=1e-4)
    np.testing.assert_allclose(found.transl, transl, atol=1e-6)
    np.testing.assert_allclose(
        matrix_from_axis_angle(found.pose), matrix_from_axis_angle(pose), atol=1e-4
    )


def test_there_and_back(hands: HandPair, other: HandPair) -> None:
    rng = np.random.default_rng(2)
    n = 16
    pose, transl = within_limits(hands.right, rng, n), rng.normal(size=(n, 3))
    betas = np.repeat(rng.normal(size=(2, 10)), n // 2, axis=0)
    naive = skins(other.right, pose, betas, transl)
    truth = skins(hands.right, pose, betas, transl)
    there = refit(hands.right, other.right, pose, betas, transl)
    assert there.converged.all()
    # The report is the true distance, and far below that of the numbers copied over.
    distance = np.linalg.norm(
        skins(other.right, there.pose, there.betas, there.transl) - truth, axis=-1
    )
    np.testing.assert_allclose(there.residual_mean, distance.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(there.residual_max, distance.max(axis=1), atol=1e-12)
    assert there.residual_mean.max() < 1e-3
    assert np.linalg.norm(naive - truth, axis=-1).mean() > 5 * there.residual_mean.mean()
    back = refit(other.right, hands.right, there.pose, there.betas, there.transl)
    again = skins(hands.right, back.pose, back.betas, back.transl)
    error = np.linalg.norm(again - truth, axis=-1)
    assert error.mean() < 3e-5 and error.max() < 5e-4
    np.testing.assert_allclose(back.betas, betas, atol=0.1)


def test_a_subject_keeps_one_shape(hands: HandPair, other: HandPair) -> None:
    """More hands than take part in finding the shape: all get it, whichever took part."""
    rng = np.random.default_rng(3)
    n = 60
    pose, transl = within_limits(hands.right, rng, n), rng.normal(size=(n, 3))
    betas = rng.normal(size=(2, 10))[np.arange(n) % 2]
    found = refit(hands.right, other.right, pose, betas, transl)
    for subject in (0, 1):
        assert len(np.unique(found.betas[subject::2], axis=0)) == 1
    assert not np.array_equal(found.betas[0], found.betas[1])
    used = spread(shape_groups(betas))
    assert used.sum() == 48
    # A hand fitted with the shape known lies about as near as one it was found from.
    assert found.residual_mean[~used].max() < 2 * found.residual_mean[used].max()
    known = refit(
        hands.right, other.right, pose[:4], betas[:4], transl[:4], known_betas=found.betas[:4]
    )
    np.testing.assert_array_equal(known.betas, found.betas[:4])
    np.testing.assert_allclose(known.pose, found.pose[:4], atol=1e-4)


def test_spread_takes_evenly() -> None:
    group = np.array([0] * 100 + [1] * 3 + [2] * 24)
    mask = spread(group)
    assert mask[:100].sum() == 24 and mask[100:103].all() and mask[103:].all()
    gaps = np.diff(np.flatnonzero(mask[:100]))
    assert gaps.min() >= 4 and gaps.max() <= 5
    assert spread(np.empty(0, dtype=np.int64)).shape == (0,)


def test_pair_keeps_one_shape_for_both_sides_and_absent_hands(
    hands: HandPair, other: HandPair
) -> None:
    rng = np.random.default_rng(4)
    n = 6
    pose = np.stack([within_limits(hands[side], rng, n) for side in (0, 1)], axis=1)
    betas = np.repeat(np.repeat(rng.normal(size=(1, 10)), n, axis=0)[:, None], 2, axis=1)
    transl = rng.normal(size=(n, 2, 3))
    pose[2, 1], betas[2, 1], transl[2, 1] = np.nan, np.nan, np.nan
    assert is_mirrored(hands) and is_mirrored(other)
    found = refit_pair(hands, other, pose, betas, transl)
    assert np.isnan(found.pose[2, 1]).all() and np.isnan(found.residual_max[2, 1])
    assert np.isfinite(found.pose[2, 0]).all()
    present = np.isfinite(found.betas).all(axis=-1)
    assert present.sum() == 2 * n - 1
    assert len(np.unique(found.betas[present], axis=0)) == 1
    for side in (0, 1):
        rows = present[:, side]
        truth = skins(hands[side], pose[rows, side], betas[rows, side], transl[rows, side])
        new = skins(
            other[side], found.pose[rows, side], found.betas[rows, side], found.transl[rows, side]
        )
        distance = np.linalg.norm(new - truth, axis=-1)
        np.testing.assert_allclose(
            distance.mean(axis=1), found.residual_mean[rows, side], atol=1e-9
        )
        assert distance.mean() < 1e-3
    # Without the mirror each side is fitted on its own model, and lies as near.
    left = perturbed(hands.left, seed=9)
    lone = refit_pair(hands, HandPair(other.right, left), pose, betas, transl)
    assert not is_mirrored(HandPair(other.right, left))
    assert np.nanmax(lone.residual_mean) < 2e-3


def test_misuse_is_refused(hands: HandPair) -> None:
    zero = np.zeros((1, 16, 3)), np.zeros((1, 10)), np.zeros((1, 3))
    with pytest.raises(ValueError, match="left"):
        refit(hands.right, hands.left, *zero)
    with pytest.raises(ValueError, match="finite"):
        refit(hands.right, hands.right, zero[0] * np.nan, *zero[1:])
    empty = refit(hands.right, hands.right, *(a[:0] for a in zero))
    assert empty.pose.shape == (0, 16, 3)
