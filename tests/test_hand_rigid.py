"""Hands moved rigidly: every point of the skin goes where the motion of space takes it."""

import numpy as np
import pytest

from twohand500k.hand import load_hands
from twohand500k.hand.rigid import in_right_wrist, moved_rigidly
from twohand500k.hand.rotations import matrix_from_axis_angle


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """pose (5, 2, 16, 3), betas (5, 2, 10), transl (5, 2, 3); one hardly turned, one by pi."""
    rng = np.random.default_rng(0)
    pose = rng.normal(scale=0.4, size=(5, 2, 16, 3))
    pose[0, :, 0] = 1e-9
    pose[1, 0, 0] = [np.pi, 0, 0]
    return pose, rng.normal(size=(5, 2, 10)), rng.normal(scale=0.3, size=(5, 2, 3))


@pytest.mark.parametrize("angle", [0.0, 1e-8, 1.2, np.pi])
def test_the_skin_moves_as_space_does(drawn, angle):
    pose, betas, transl = drawn
    R, t = matrix_from_axis_angle([0.0, angle, 0.0]), np.array([0.1, -0.4, 2.0])
    for side in (0, 1):
        shaped = load_hands("open")[side].with_shape(betas[:, side])
        J0 = shaped.rest_joints[:, 0]
        moved = moved_rigidly(pose[:, side], transl[:, side], J0, R, t)
        expected = shaped.with_pose(pose[:, side], transl[:, side]).vertices @ R.T + t
        assert np.abs(shaped.with_pose(*moved).vertices - expected).max() < 1e-12


def test_a_pair_in_its_right_wrist_keeps_its_shape_and_its_distances(drawn):
    pose, betas, transl = drawn
    hands = load_hands("open")
    there = in_right_wrist(hands, pose, betas, transl)
    assert (there[0][:, 0, 0] == 0).all()

    def joints(pose: np.ndarray, transl: np.ndarray) -> np.ndarray:
        parts = [
            hands[s].with_shape(betas[:, s]).with_pose(pose[:, s], transl[:, s]) for s in (0, 1)
        ]
        return np.concatenate([part.joints for part in parts], axis=1)

    before, after = joints(pose, transl), joints(*there)
    assert np.abs(after[:, 0]).max() < 1e-12
    apart = [np.linalg.norm(j[:, :, None] - j[:, None], axis=-1) for j in (before, after)]
    assert np.abs(apart[0] - apart[1]).max() < 1e-12
    again = in_right_wrist(hands, there[0], betas, there[1])
    assert np.abs(again[0] - there[0]).max() < 1e-9 and np.abs(again[1] - there[1]).max() < 1e-12
