"""How far a pair has changed: `pair_displacement` against what is known of rigid motions."""

import numpy as np
import pytest

from twohand500k.hand.measure import common_motion, pair_displacement
from twohand500k.hand.rotations import matrix_from_axis_angle


@pytest.fixture
def joints() -> np.ndarray:
    """Two hands' joints (2, 21, 3) m, ten centimetres across."""
    return np.random.default_rng(0).normal(scale=0.04, size=(2, 21, 3))


@pytest.mark.parametrize("angle", [0.0, 1e-7, 0.3, 3.1, np.pi])
def test_a_common_rigid_motion_is_no_displacement(joints, angle):
    rng = np.random.default_rng(1)
    axis = rng.normal(size=3)
    R = matrix_from_axis_angle(angle * axis / np.linalg.norm(axis))
    t = rng.normal(size=3)
    assert pair_displacement(joints, joints @ R.T + t) < 1e-12
    found = common_motion(joints, joints @ R.T + t)
    assert np.abs(found[0] - R).max() < 1e-12 and np.abs(found[1] - t).max() < 1e-12


def test_joints_that_stayed_moved_by_exactly_nothing(joints):
    assert pair_displacement(joints, joints.copy()) == 0.0


def test_one_hand_against_the_other_counts_the_same_from_either_side(joints):
    """Pulled apart by 6 mm, half is each hand's: 3 mm a joint, but for the turn that pays."""
    apart = joints.copy()
    apart[1, :, 0] += 6e-3
    there, back = pair_displacement(joints, apart), pair_displacement(apart, joints)
    assert there == pytest.approx(back, rel=1e-9)
    assert 2.5e-3 < there <= 3e-3 + 1e-12


def test_no_rotation_beats_the_one_removed(joints):
    """Twin: the sum of squares over the rotations near the best one is never smaller."""
    rng = np.random.default_rng(2)
    moved = joints + rng.normal(scale=5e-3, size=joints.shape)
    R = matrix_from_axis_angle([0.4, -0.2, 0.9])
    assert pair_displacement(joints, moved @ R.T) == pytest.approx(pair_displacement(joints, moved))
    a = (joints - joints.mean(axis=(0, 1))).reshape(-1, 3)
    b = (moved - moved.mean(axis=(0, 1))).reshape(-1, 3)
    tried = matrix_from_axis_angle(rng.normal(scale=0.05, size=(500, 3)))
    squares = ((b @ tried.transpose(0, 2, 1) - a) ** 2).sum(axis=(1, 2))
    mean = pair_displacement(joints, moved)
    # The mean is at most the root mean square, and that at most any other rotation's.
    assert mean <= np.sqrt(squares.min() / 42) + 1e-12


def test_a_mirrored_pair_is_not_the_same_pair(joints):
    assert pair_displacement(joints, joints * [-1, 1, 1]) > 5e-3


def test_nan_is_unknown_and_shapes_are_checked(joints):
    hole = joints.copy()
    hole[1, 3, 0] = np.nan
    assert np.isnan(pair_displacement(joints, hole)) and np.isnan(pair_displacement(hole, joints))
    with pytest.raises(ValueError, match=r"\(2, 21, 3\)"):
        pair_displacement(joints[0], joints[0])
