"""Hands in torch against the toolkit's own: rotations near 0 and pi, joints, skin, gradients."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mano_fixture import random_pair  # noqa: E402
from prior_fixture import layer, numpy_points, random_pairs  # noqa: E402

from interaction_prior.hands import HandLayer, rotations  # noqa: E402
from twohand500k.hand import rotations as twin  # noqa: E402

pytestmark = pytest.mark.torch


def _axis_angles(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Axes in all directions and along the axes, angles at, near and between 0 and pi."""
    rng = np.random.default_rng(0)
    axes = np.concatenate([rng.normal(size=(40, 3)), np.eye(3), -np.eye(3), np.ones((1, 3))])
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    angles = [0, 1e-12, 1e-7, 9.99e-4, 1.001e-3, 0.1, 1.0, 3.0, np.pi - 1e-4, np.pi - 1e-9, np.pi]
    return torch.tensor((axes * np.array(angles)[:, None, None]).reshape(-1, 3)).to(dtype)


def test_matrices_equal_the_toolkits_at_every_angle() -> None:
    v = _axis_angles()
    R = rotations.matrix_from_axis_angle(v)
    np.testing.assert_allclose(R, twin.matrix_from_axis_angle(v.numpy()), atol=1e-12)
    eye = torch.eye(3, dtype=torch.float64).expand_as(R)
    torch.testing.assert_close(R @ R.mT, eye, atol=1e-12, rtol=0)


def test_series_and_formula_meet_in_single_precision() -> None:
    v = _axis_angles(torch.float32)
    R = rotations.matrix_from_axis_angle(v)
    exact = rotations.matrix_from_axis_angle(v.double())
    assert (R - exact).abs().max() < 1e-6


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-7), (torch.float32, 2e-3)])
def test_axis_angle_comes_back(dtype: torch.dtype, tolerance: float) -> None:
    v = _axis_angles(dtype)
    R = rotations.matrix_from_axis_angle(v)
    back = rotations.axis_angle_from_matrix(R)
    # At half a turn v and -v are one rotation.
    apart = torch.minimum((back - v).norm(dim=-1), (back + v).norm(dim=-1))
    half = v.norm(dim=-1) > np.pi - 1e-3
    assert apart[half].max() < tolerance
    assert (back - v).norm(dim=-1)[~half].max() < tolerance
    # The vectors may flip, the matrices may not.
    assert (rotations.matrix_from_axis_angle(back) - R).abs().max() < 10 * torch.finfo(dtype).eps
    assert back.norm(dim=-1).max() <= np.pi + 1e-6


def test_axis_angle_equals_the_toolkits() -> None:
    v = _axis_angles()
    v = v[v.norm(dim=-1) < np.pi - 1e-3]
    R = twin.matrix_from_axis_angle(v.numpy())
    mine = rotations.axis_angle_from_matrix(torch.tensor(R))
    np.testing.assert_allclose(mine, twin.axis_angle_from_matrix(R), atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gradients_are_finite_everywhere(dtype: torch.dtype) -> None:
    v = _axis_angles(dtype).requires_grad_()
    R = rotations.matrix_from_axis_angle(v)
    weights = torch.linspace(0.3, 1.7, 9, dtype=dtype).reshape(3, 3)
    torch.autograd.backward((R * weights).sum())
    assert v.grad is not None and torch.isfinite(v.grad).all()
    R = R.detach().requires_grad_()
    back = rotations.axis_angle_from_matrix(R) * weights[0]
    torch.autograd.backward(back.sum())
    assert R.grad is not None and torch.isfinite(R.grad).all()


def test_derivatives_of_rotations_are_right() -> None:
    generator = torch.Generator().manual_seed(1)
    v = torch.randn(6, 3, dtype=torch.float64, generator=generator)
    v[0] = 0.0
    v[1] *= 1e-5
    v.requires_grad_()
    assert torch.autograd.gradcheck(rotations.matrix_from_axis_angle, v)
    R = rotations.matrix_from_axis_angle(v.detach()).requires_grad_()
    # Off the rotations the four formulas differ: only directions along them are asked about.
    assert torch.autograd.gradcheck(
        lambda w: rotations.axis_angle_from_matrix(rotations.matrix_from_axis_angle(w)),
        v.detach()[2:].requires_grad_(),
    )
    assert torch.autograd.gradcheck(
        lambda m: rotations.matrix_from_sixd(rotations.sixd_from_matrix(m)), R
    )


def test_sixd_holds_a_rotation_and_mends_any_six_numbers() -> None:
    R = rotations.matrix_from_axis_angle(_axis_angles())
    again = rotations.matrix_from_sixd(rotations.sixd_from_matrix(R))
    torch.testing.assert_close(again, R, atol=1e-12, rtol=0)
    any_six = torch.randn(200, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    R = rotations.matrix_from_sixd(any_six)
    eye = torch.eye(3, dtype=torch.float64).expand_as(R)
    torch.testing.assert_close(R.mT @ R, eye, atol=1e-12, rtol=0)
    torch.testing.assert_close(torch.linalg.det(R), torch.ones(200).double())
    assert torch.isfinite(rotations.matrix_from_sixd(torch.zeros(1, 6))).all()


def test_random_rotations_are_even() -> None:
    R = rotations.random_rotations(40_000, torch.Generator().manual_seed(0)).double()
    eye = torch.eye(3, dtype=torch.float64).expand_as(R)
    torch.testing.assert_close(R @ R.mT, eye, atol=1e-5, rtol=0)
    # Haar: every column even on the sphere (mean 0, covariance I/3), trace of mean 0, square 1.
    assert R.mean(0).abs().max() < 0.02
    torch.testing.assert_close(R[..., 0].T.cov(), torch.eye(3).double() / 3, atol=0.01, rtol=0)
    trace = R.diagonal(dim1=-2, dim2=-1).sum(-1)
    assert abs(trace.mean()) < 0.03 and abs(trace.square().mean() - 1) < 0.03


def test_the_hand_layer_is_the_toolkits_hand() -> None:
    pose, betas, _ = random_pairs(7)
    R = rotations.matrix_from_axis_angle(pose)
    joints, vertices, regressed = numpy_points(pose, betas)
    mine = layer().vertices(R, betas)
    np.testing.assert_allclose(layer().joints(R, betas), joints, atol=1e-7)
    np.testing.assert_allclose(mine, vertices, atol=1e-7)
    # The regressor's 16 joints in MANO order, tips aside.
    openpose = [0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3]
    np.testing.assert_allclose(
        layer().regressed_joints(mine)[..., openpose, :], regressed, atol=1e-7
    )


def test_the_hand_layer_takes_any_batch_shape_and_any_hands() -> None:
    hands = random_pair()
    other = HandLayer(hands)
    pose, betas, _ = random_pairs(6)
    R = rotations.matrix_from_axis_angle(pose).float()
    flat = other.vertices(R, betas.float())
    shaped = other.vertices(R.unflatten(0, (2, 3)), betas.float().unflatten(0, (2, 3)))
    torch.testing.assert_close(shaped.flatten(0, 1), flat)
    assert other.joints(R[0], betas[0].float()).shape == (2, 21, 3)
    # A tube with pose correctives a thousand times the open hand's: an untidy model, same numbers.
    posed = hands.left.with_shape(betas[:, 1].numpy()).with_pose(pose[:, 1].numpy())
    expected = posed.vertices - posed.joints[:, :1]
    np.testing.assert_allclose(flat[:, 1], expected, atol=2e-6)


def test_derivatives_of_the_hand_are_right() -> None:
    pose, betas, _ = random_pairs(1)
    pose[0, 0, 3] = 0.0
    pose, betas = pose.requires_grad_(), betas.requires_grad_()

    def joints(pose: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
        return layer().joints(rotations.matrix_from_axis_angle(pose), betas)[..., 1:, :]

    assert torch.autograd.gradcheck(joints, (pose, betas))
    # The skin: a random projection of its 4668 numbers.
    weights = torch.randn(2, 778, 3, 4, generator=torch.Generator().manual_seed(3)).double()

    def skin(pose: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
        R = rotations.matrix_from_axis_angle(pose)
        return torch.einsum("nsvc,svck->k", layer().vertices(R, betas), weights)

    assert torch.autograd.gradcheck(skin, (pose, betas))
