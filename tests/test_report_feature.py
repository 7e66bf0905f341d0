"""The open feature: what it must not see, what it must see, and thinning."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from splice_fixture import hands

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.rigid import in_right_wrist, moved_rigidly
from twohand500k.hand.rotations import mirror_points
from twohand500k.physics.stage import joints_of
from twohand500k.report.feature import (
    DIMENSIONS,
    STANDARD_M,
    distance_mm,
    hand_features,
    pair_features,
)
from twohand500k.report.thinning import thinned


def some_pairs(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pose (n, 2, 16, 3), betas (n, 2, 10), transl (n, 2, 3) of hands bent and turned at random."""
    rng = np.random.default_rng(seed)
    pose = np.empty((n, 2, 16, 3))
    for side in (RIGHT, LEFT):
        angles = np.zeros((n, 15, 3))
        angles[..., 0] = rng.uniform(0.0, 1.0, (n, 15))
        pose[:, side] = Anatomy.of(hands()[side]).pose_from_angles(
            angles, rng.normal(0.0, 1.5, (n, 3))
        )
    return pose, rng.normal(0.0, 0.5, (n, 2, 10)), rng.normal(0.0, 0.2, (n, 2, 3))


def features_of(pose: np.ndarray, betas: np.ndarray, transl: np.ndarray) -> np.ndarray:
    return pair_features(joints_of(hands(), pose, betas, transl), pose[:, RIGHT, 0])


def test_feature_does_not_know_where_the_pair_is() -> None:
    pose, betas, transl = some_pairs(20)
    R = Rotation.random(rng=np.random.default_rng(1)).as_matrix()
    J0 = np.stack([hands()[s].with_shape(betas[:, s]).rest_joints[:, 0] for s in (0, 1)], axis=1)
    moved = moved_rigidly(pose, transl, J0, R, np.array([0.3, -2.0, 1.0]))
    before, after = features_of(pose, betas, transl), features_of(moved[0], betas, moved[1])
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_feature_is_the_joints_that_in_right_wrist_gives() -> None:
    """Twin: the parameters moved by the hand room's own function, then posed."""
    pose, betas, transl = some_pairs(20)
    joints = joints_of(hands(), pose, betas, transl)
    size = np.linalg.norm(joints[:, :, 9] - joints[:, :, 0], axis=-1).mean(axis=1)
    moved_pose, moved_transl = in_right_wrist(hands(), pose, betas, transl)
    expected = joints_of(hands(), moved_pose, betas, moved_transl)
    expected = expected * (STANDARD_M / size)[:, None, None, None]
    found = features_of(pose, betas, transl)
    np.testing.assert_allclose(found, expected.reshape(20, -1), atol=1e-6)
    assert found.shape == (20, DIMENSIONS) and found.dtype == np.float32
    assert (found[:, :3] == 0.0).all()


def test_feature_does_not_know_the_size_but_the_ratio_of_sizes() -> None:
    pose, betas, transl = some_pairs(5)
    joints = joints_of(hands(), pose, betas, transl)
    orientation = pose[:, RIGHT, 0]
    same = pair_features(joints * 1.3, orientation)
    np.testing.assert_allclose(same, pair_features(joints, orientation), atol=1e-6)
    grown = joints.copy()
    grown[:, LEFT] = grown[:, LEFT, :1] + 1.3 * (grown[:, LEFT] - grown[:, LEFT, :1])
    assert np.abs(pair_features(grown, orientation) - same).max() > 0.01


def test_hands_without_size_and_missing_joints_are_unknown_not_zero() -> None:
    joints = np.zeros((2, 2, 21, 3))
    joints[1] = np.nan
    assert np.isnan(pair_features(joints, np.zeros((2, 3)))[:, 3:]).all()
    with pytest.raises(ValueError, match="must be"):
        pair_features(joints[:, 0], np.zeros((2, 3)))


def test_distance_is_the_rms_of_joints_in_millimetres() -> None:
    a, b = np.zeros((2, 42, 3))
    b[:, 1] = 0.007
    assert distance_mm(np.linalg.norm(a - b)) == pytest.approx(7.0)


def test_hand_features_see_fingers_and_not_the_place_of_the_other_hand() -> None:
    pose, betas, transl = some_pairs(10)
    elsewhere = transl.copy()
    elsewhere[:, LEFT] += 0.1
    turned = pose.copy()
    turned[:, LEFT, 0] = np.random.default_rng(2).normal(0.0, 1.0, (10, 3))
    alone = hand_features(features_of(pose, betas, transl))
    same = hand_features(features_of(turned, betas, elsewhere))
    np.testing.assert_allclose(same, alone, atol=1e-6)
    bent = pose.copy()
    bent[:, LEFT, 2] += 0.5
    changed = hand_features(features_of(bent, betas, transl))
    np.testing.assert_allclose(changed[:, RIGHT], alone[:, RIGHT], atol=1e-6)
    assert np.abs(changed[:, LEFT] - alone[:, LEFT]).max(axis=1).min() > 0.004


def test_a_hand_and_its_mirror_image_have_one_hand_feature() -> None:
    pose, betas, transl = some_pairs(10)
    joints = joints_of(hands(), pose, betas, transl)
    joints[:, LEFT] = mirror_points(joints[:, RIGHT]) + 0.05
    alone = hand_features(pair_features(joints, pose[:, RIGHT, 0]))
    np.testing.assert_allclose(alone[:, LEFT], alone[:, RIGHT], atol=1e-6)


def moving(steps_mm: list[float]) -> np.ndarray:
    """Features of one pair whose joints have all moved so far along x, mm."""
    features = np.zeros((len(steps_mm), 42, 3), dtype=np.float32)
    features[:, :, 0] = np.array(steps_mm)[:, None] * 1e-3
    return features.reshape(len(steps_mm), -1)


def test_thinning_counts_from_the_last_frame_kept() -> None:
    """Slow drift is not lost: every step is 0.9 mm, every third frame has moved 2.7."""
    features = moving([0.0, 0.9, 1.8, 2.7, 3.6, 4.5, 5.4])
    stay = thinned(features, np.zeros(7), np.arange(7), 2.0)
    assert stay.tolist() == [True, False, False, True, False, False, True]


def test_thinning_goes_by_take_and_frame_not_by_row() -> None:
    features = moving([0.0, 0.0, 2.5, 0.1, 2.6, 0.2])
    take, frame = np.array([1, 2, 1, 1, 2, 2]), np.array([0, 0, 9, 1, 9, 1])
    assert thinned(features, take, frame, 2.0).tolist() == [True, True, True, False, True, False]


def test_what_has_no_frame_number_is_never_thinned() -> None:
    features = moving([0.0] * 5)
    assert thinned(features, np.zeros(5), np.full(5, -1), 2.0).all()
    assert thinned(features, np.zeros(5), np.arange(5), 0.0).all()
    with pytest.raises(ValueError, match="thin_mm"):
        thinned(features, np.zeros(5), np.arange(5), -1.0)
