"""Anatomy: angles and poses are two names of one thing, signs mean what they say, on both hands."""

import numpy as np
import pytest

from twohand500k.conventions import FINGERS, MANO_CHAINS, MANO_JOINT_NAMES, WRIST
from twohand500k.hand import load_hands
from twohand500k.hand.anatomy import ABDUCTION, FLEXION, TWIST, Anatomy
from twohand500k.hand.rotations import matrix_from_axis_angle, mirror_axis_angle


@pytest.fixture(scope="module")
def hands():
    return load_hands("open")


def _posed(model, angles):
    return model.with_shape().with_pose(Anatomy.of(model).pose_from_angles(angles)).joints


@pytest.mark.parametrize("side", [0, 1])
def test_frames_are_rotations_with_twist_along_the_bone(hands, side):
    model = hands[side]
    A = Anatomy.of(model).A
    np.testing.assert_allclose(
        A @ np.swapaxes(A, -1, -2), np.broadcast_to(np.eye(3), A.shape), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(A), 1.0)
    for chain in MANO_CHAINS:
        bone = model.J_template[chain[1]] - model.J_template[chain[0]]
        towards_tip = 1.0 if side == 0 else -1.0
        np.testing.assert_allclose(
            A[chain[0] - 1][:, TWIST], towards_tip * bone / np.linalg.norm(bone), atol=1e-12
        )


@pytest.mark.parametrize("spread", [1e-9, 0.3, 1.2])
def test_angles_and_pose_are_inverse(hands, spread):
    anatomy = Anatomy.of(hands.right)
    rng = np.random.default_rng(1)
    angles = rng.uniform(-spread, spread, (200, 15, 3))
    orientation = rng.normal(size=(200, 3))
    pose = anatomy.pose_from_angles(angles, orientation)
    np.testing.assert_array_equal(pose[:, 0], orientation)
    np.testing.assert_allclose(anatomy.angles_from_pose(pose), angles, atol=1e-11)


def test_any_rotation_survives_the_way_through_angles(hands):
    anatomy = Anatomy.of(hands.right)
    rng = np.random.default_rng(2)
    pose = rng.normal(size=(500, 16, 3)) * 2
    # abduction of exactly 90 degrees, where flexion and twist become one
    locked = np.zeros((15, 3))
    locked[:, ABDUCTION], locked[:, FLEXION] = np.pi / 2, 0.4
    pose[0] = anatomy.pose_from_angles(locked)
    back = anatomy.pose_from_angles(anatomy.angles_from_pose(pose), pose[:, 0])
    np.testing.assert_allclose(
        matrix_from_axis_angle(back), matrix_from_axis_angle(pose), atol=1e-7
    )


def test_mirrored_pose_has_the_same_angles(hands):
    right, left = Anatomy.of(hands.right), Anatomy.of(hands.right.mirrored())
    pose = np.random.default_rng(3).normal(size=(50, 16, 3)) * 0.5
    np.testing.assert_allclose(
        left.angles_from_pose(mirror_axis_angle(pose)), right.angles_from_pose(pose), atol=1e-12
    )


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("finger", range(5))
def test_signs(hands, side, finger):
    """Flexion bends to the palm, abduction goes to the thumb's side, twist supinates."""
    model = hands[side]
    rest = _posed(model, np.zeros((15, 3)))
    palm_normal = np.array([0.0, -1.0, 0.0])
    base = MANO_CHAINS[finger][0] - 1
    tip = 4 * finger + 4
    flexed = np.zeros((15, 3))
    flexed[base : base + 3, FLEXION] = np.radians(40)
    moved = _posed(model, flexed)[tip] - rest[tip]
    assert moved @ palm_normal > 0.01
    assert (moved @ (rest[WRIST] - rest[tip])) > 0, "flexion brings the tip closer to the wrist"
    if finger == 0:
        return
    spread = np.zeros((15, 3))
    spread[base, ABDUCTION] = np.radians(20)
    moved = _posed(model, spread)[tip] - rest[tip]
    assert moved[2] > 0.01, "the thumb's side is +z on both hands"
    # a finger flexed at its second joint points down; supination swings it to the little finger,
    # so that the back of the finger turns that way too.
    hooked = np.zeros((15, 3))
    hooked[base + 1, FLEXION] = np.radians(90)
    twisted = hooked.copy()
    twisted[base, TWIST] = np.radians(10)
    moved = (_posed(model, twisted) - _posed(model, hooked))[tip]
    assert moved[2] > 0.001, "palmar side turns towards the thumb, the back away from it"


def test_limits_hold_a_plain_fist_and_refuse_a_backwards_finger(hands):
    anatomy = Anatomy.of(hands.right)
    fist = np.zeros((15, 3))
    for finger, bend in zip(FINGERS, [(30, 40, 50)] + [(85, 100, 65)] * 4, strict=True):
        for k in range(3):
            fist[MANO_JOINT_NAMES.index(f"{finger}{k + 1}") - 1, FLEXION] = np.radians(bend[k])
    assert not anatomy.limit_excess(fist).any()
    backwards = fist.copy()
    backwards[1, FLEXION] = anatomy.limits[1, FLEXION, 0] - np.radians(45)
    excess = anatomy.limit_excess(backwards)
    assert excess[1, FLEXION] == pytest.approx(np.radians(45))
    assert np.count_nonzero(excess) == 1
    fist[3, TWIST] = np.nan
    assert np.isnan(anatomy.limit_excess(fist)[3, TWIST])


def test_hinges_have_no_free_twist(hands):
    limits = np.degrees(Anatomy.of(hands.right).limits)
    for name in ("index2", "middle2", "ring2", "little2", "index3", "little3", "thumb3"):
        row = limits[MANO_JOINT_NAMES.index(name) - 1]
        assert (np.abs(row[ABDUCTION]) <= 8).all() and (np.abs(row[TWIST]) <= 8).all()


def test_angles_do_not_depend_on_the_tip_set(hands):
    other = hands.right.with_tips((745, 317, 444, 556, 673))
    np.testing.assert_array_equal(Anatomy.of(other).A, Anatomy.of(hands.right).A)
