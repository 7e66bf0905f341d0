"""The open hand holds its gates, its joints follow its shape, its file is what the code makes."""

from dataclasses import replace

import numpy as np
import pytest

from twohand500k.conventions import (
    MANO_CHAINS,
    N_BETAS,
    N_FACES,
    N_VERTICES,
    TIP_SETS,
    WRIST_LOOP,
)
from twohand500k.hand import load_hands
from twohand500k.hand.anatomy import FLEXION, Anatomy
from twohand500k.hand.mesh import self_intersections, volume_cm3, wrist_loop
from twohand500k.hand.open_hand import anthropometry
from twohand500k.hand.open_hand.build import generate
from twohand500k.hand.open_hand.gates import POSES, gates, knuckle_depth_mm, posed_vertices
from twohand500k.hand.open_hand.natural_poses import mean_and_components
from twohand500k.hand.open_hand.shape_space import shape_space
from twohand500k.hand.open_hand.skeleton import rest_skeleton
from twohand500k.hand.open_hand.skinning import MOST_WEIGHTS, keep_largest


@pytest.fixture(scope="module")
def hand():
    return load_hands("open").right


@pytest.fixture(scope="module")
def anatomy(hand):
    return Anatomy.of(hand)


def test_every_gate_holds(hand):
    failed = [f"{g.name}: {g.value}, need {g.need}" for g in gates(hand) if not g.holds]
    assert not failed, failed


def test_gates_see_a_bad_hand(hand):
    """A hand too big, its index tip pulled through the middle finger and shared between joints."""
    bad = hand.v_template * 1.2
    tip = TIP_SETS["smplx"][1]
    bad[tip] += [0.0, 0.0, -0.06]
    weights = hand.weights.copy()
    weights[tip, 3], weights[tip, 2] = 0.5, 0.5
    failed = {g.name for g in gates(replace(hand, v_template=bad, weights=weights)) if not g.holds}
    assert {"hand length", "closed volume", "tips carried by the last joint"} <= failed
    assert "self-intersections, rest" in failed


def test_topology_is_manos(hand):
    assert hand.v_template.shape == (N_VERTICES, 3)
    assert hand.faces.shape == (N_FACES, 3)
    assert len(wrist_loop(hand.faces)) == WRIST_LOOP
    assert np.array_equal(np.unique(hand.faces), np.arange(N_VERTICES))
    assert volume_cm3(hand.v_template, hand.closed_faces) > 0  # outward


def test_rest_frame(hand):
    """Wrist towards +x, fingers towards -x, palm down, thumb towards +z: a right hand."""
    joints = hand.with_shape().with_pose().joints
    wrist, thumb_tip, middle_tip, little_tip = joints[[0, 4, 12, 20]]
    assert wrist[0] > 0 > middle_tip[0]
    assert thumb_tip[2] > wrist[2] > little_tip[2]
    pose = np.zeros((16, 3))
    anatomy = Anatomy.of(hand)
    angles = np.zeros((15, 3))
    angles[[c[0] - 1 for c in MANO_CHAINS[1:]], FLEXION] = 1.0
    pose = anatomy.pose_from_angles(angles)
    bent = hand.with_shape().with_pose(pose).joints
    assert (bent[[8, 12, 16, 20], 1] < joints[[8, 12, 16, 20], 1] - 0.03).all()


def test_tips_of_every_package_lie_on_their_finger(hand):
    for name, ids in TIP_SETS.items():
        for finger, vertex in enumerate(ids):
            assert hand.weights[vertex, MANO_CHAINS[finger][2]] == 1.0, (name, finger)


def test_joints_lie_inside_and_bones_are_the_cited_ones(hand):
    for finger, name in enumerate(anthropometry.BONES_MM):
        chain = hand.J_template[list(MANO_CHAINS[finger])]
        tip = hand.v_template[TIP_SETS["smplx"][finger]]
        lengths = np.linalg.norm(np.diff(np.vstack([chain, tip]), axis=0), axis=1) * 1e3
        cited = anthropometry.BONES_MM[name]
        np.testing.assert_allclose(lengths, [cited[0], cited[1], cited[2] + cited[3]], atol=0.02)
    # Winding number of each joint against the closed skin.
    corners = hand.v_template[hand.closed_faces]
    for joint in hand.J_template:
        a, b, c = np.moveaxis(corners - joint, 1, 0)
        la, lb, lc = (np.linalg.norm(x, axis=1) for x in (a, b, c))
        top = np.einsum("fi,fi->f", a, np.cross(b, c))
        dots = [np.einsum("fi,fi->f", x, y) for x, y in ((a, b), (b, c), (c, a))]
        bottom = la * lb * lc + dots[0] * lc + dots[1] * la + dots[2] * lb
        assert np.arctan2(top, bottom).sum() * 2 / (4 * np.pi) == pytest.approx(1.0, abs=1e-9)


def test_joints_follow_every_shape(hand):
    """J_regressor gives the joints the shape space moved, for random betas."""
    skeleton = rest_skeleton()
    space = shape_space(skeleton, hand.v_template * 1e3, hand.weights)
    betas = np.random.default_rng(0).normal(size=(50, N_BETAS)) * 2
    wanted = (skeleton.joints + np.einsum("jck,nk->njc", space.joints, betas)) * 1e-3
    np.testing.assert_allclose(hand.with_shape(betas).rest_joints, wanted, atol=1e-7)
    np.testing.assert_allclose(hand.J_regressor.sum(axis=1), 1.0, atol=1e-9)


def test_betas_are_ten_different_things(hand):
    """No beta is a mix of the others, on the skin; nine move the joints in ways of their own."""
    skin = hand.shapedirs.reshape(-1, N_BETAS)
    skin = skin / np.linalg.norm(skin, axis=0)
    assert np.linalg.svd(skin, compute_uv=False).min() > 0.1
    joints = hand.J_shapedirs.reshape(-1, N_BETAS)
    lengths = np.linalg.svd(joints, compute_uv=False) * 1e3
    assert lengths[8] > 0.5


@pytest.mark.parametrize("beta", range(N_BETAS))
@pytest.mark.parametrize("amount", [-2.0, 2.0])
def test_no_shape_cuts_itself_at_rest(hand, beta, amount):
    betas = np.zeros(N_BETAS)
    betas[beta] = amount
    vertices = hand.with_shape(betas).rest_vertices
    assert len(self_intersections(vertices, hand.faces)) == 0
    assert 150 < volume_cm3(vertices, hand.closed_faces) < 600


def test_posedirs_earn_their_place(hand, anatomy):
    linear = replace(hand, posedirs=np.zeros_like(hand.posedirs))
    for finger in (1, 2, 3, 4):
        for k, degrees in ((0, 90.0), (1, 100.0)):
            rest = knuckle_depth_mm(hand, anatomy, finger, k, 0.0)
            lost_linear = rest - knuckle_depth_mm(linear, anatomy, finger, k, degrees)
            lost = abs(rest - knuckle_depth_mm(hand, anatomy, finger, k, degrees))
            assert lost < 0.6 * lost_linear, (finger, k, rest, lost, lost_linear)


def test_mirror_is_the_left_hand(hand):
    left = load_hands("open").left
    assert left.side == "left"
    anatomy, left_anatomy = Anatomy.of(hand), Anatomy.of(left)
    right_skin = posed_vertices(hand, anatomy, POSES["fist"])
    left_skin = posed_vertices(left, left_anatomy, POSES["fist"])
    np.testing.assert_allclose(left_skin, right_skin * [-1, 1, 1], atol=1e-9)


def test_natural_poses(hand, anatomy):
    """A mean that shows where it is forgotten, and components that say what hands do first."""
    assert np.abs(hand.hands_mean).max() > 0.3
    np.testing.assert_allclose(
        hand.hands_components @ hand.hands_components.T, np.eye(45), atol=1e-9
    )
    mean, components = mean_and_components(anatomy)
    np.testing.assert_allclose(hand.hands_mean, mean, atol=1e-6)
    first = components[0].reshape(15, 3)
    closing = np.einsum("jc,jc->j", first, anatomy.A[..., FLEXION])[:12]
    assert (np.sign(closing) == np.sign(closing[0])).all()  # all fingers close together
    relaxed = np.vstack([np.zeros((1, 3)), hand.hands_mean.reshape(15, 3)])
    vertices = hand.with_shape().with_pose(relaxed).vertices
    assert len(self_intersections(vertices, hand.faces)) == 0


def test_keep_largest():
    weights = np.array([[0.5, 0.2, 0.15, 0.1, 0.05, 0.0], [1.0, 0, 0, 0, 0, 0]])
    kept = keep_largest(weights)
    assert (kept > 0).sum(axis=1).max() == MOST_WEIGHTS
    np.testing.assert_allclose(kept.sum(axis=1), 1.0)
    assert kept[0, 4] == 0.0


def test_the_file_is_what_the_code_makes(hand):
    """A fresh build equals the committed file (about ten seconds)."""
    fresh = generate()
    assert np.array_equal(fresh.faces, hand.faces)
    for key in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "hands_mean"):
        np.testing.assert_allclose(getattr(fresh, key), getattr(hand, key), atol=1e-7, err_msg=key)
