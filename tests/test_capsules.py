"""Capsules: how thick the bones' flesh is, where capsules end, how far segments lie apart."""

import numpy as np
import pytest
from numba import njit
from scipy.optimize import minimize

from twohand500k.conventions import JOINT_PARENTS, TIP_JOINTS
from twohand500k.hand import load_hands
from twohand500k.hand.capsules import (
    BONES,
    PHALANGES,
    bone_radii,
    capsule_ends,
    one_segment_distance,
    segment_distance,
)


def test_segment_distance_agrees_with_a_minimiser_and_with_points():
    rng = np.random.default_rng(0)
    ends = rng.normal(size=(30, 4, 3))
    ends[:5, 1] = ends[:5, 0]  # points
    ends[3:8, 3] = ends[3:8, 2]
    ends[8:12, 3] = ends[8:12, 2] + (ends[8:12, 1] - ends[8:12, 0]) * 0.7  # parallel
    fast = segment_distance(*np.moveaxis(ends, 1, 0))
    for (a0, a1, b0, b1), distance in zip(ends, fast, strict=True):

        def squared(st, a0=a0, a1=a1, b0=b0, b1=b1):
            return np.sum((a0 + st[0] * (a1 - a0) - b0 - st[1] * (b1 - b0)) ** 2)

        slow = min(
            minimize(squared, start, bounds=[(0, 1), (0, 1)], tol=1e-14).fun
            for start in ((0.1, 0.1), (0.9, 0.1), (0.1, 0.9), (0.9, 0.9))
        )
        assert distance == pytest.approx(np.sqrt(slow), abs=1e-5)


def test_segment_distance_broadcasts():
    a = np.zeros((4, 1, 3))
    b = np.ones((5, 3))
    assert segment_distance(a, a + np.array([1.0, 0, 0]), b, b).shape == (4, 5)


def test_bones_are_as_thick_as_fingers_are():
    hands = load_hands("open")
    radius = dict(zip(BONES.tolist(), 1e3 * bone_radii(hands.right, np.zeros(10)), strict=True))
    for finger in (5, 9, 13, 17):
        assert 9 < radius[finger] < 20, "half the depth of a palm"
        assert 13 > radius[finger + 2] > 6.5, "half the breadth of a finger"
        assert radius[finger + 1] > radius[finger + 3], "fingers taper"


@njit
def _all_pairs(a0, a1, b0, b1, out):
    for i in range(len(a0)):
        for j in range(len(b0)):
            out[i, j] = one_segment_distance(a0[i], a1[i], b0[j], b1[j])


def test_the_scalar_kernel_and_the_batched_front_agree_bit_for_bit():
    ends = np.random.default_rng(1).normal(size=(4, 20, 3))
    scalar = np.empty((20, 20))
    _all_pairs(*ends, scalar)
    a0, a1, b0, b1 = ends
    assert (scalar == segment_distance(a0[:, None], a1[:, None], b0, b1)).all()


def test_fourteen_phalanges_and_none_of_the_palm():
    assert len(PHALANGES) == 14
    assert not set(PHALANGES) & {1, 2, 5, 9, 13, 17}


def test_a_fingertips_cap_ends_at_the_tips_skin_and_the_rest_at_the_joints():
    hand = load_hands("open").right
    betas = np.zeros(10)
    radius = bone_radii(hand, betas)
    joints = hand.with_shape(betas).with_pose().joints
    start, end = capsule_ends(joints, radius)
    for k, bone in enumerate(BONES):
        np.testing.assert_array_equal(start[k], joints[JOINT_PARENTS[bone]])
        short = np.linalg.norm(joints[bone] - end[k])
        assert short == pytest.approx(radius[k] if bone in TIP_JOINTS else 0.0, abs=1e-12)
    assert (capsule_ends(np.stack([joints] * 2), np.stack([radius] * 2))[1] == end).all()
