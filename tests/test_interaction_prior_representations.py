"""Vectors of pairs: mirrored, turned, there and back, held to the toolkit's own hands."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from prior_fixture import REPRESENTATIONS, layer, numpy_points, random_pairs  # noqa: E402

from interaction_prior.hands.rotations import (  # noqa: E402
    matrix_from_axis_angle,
    random_rotations,
)
from interaction_prior.representations import Representation, fit_normalisation  # noqa: E402
from twohand500k.errors import DataError  # noqa: E402
from twohand500k.hand.rotations import (  # noqa: E402
    axis_angle_from_matrix,
    mirror_axis_angle,
    mirror_points,
)
from twohand500k.hand.rotations import matrix_from_axis_angle as numpy_matrix  # noqa: E402

pytestmark = pytest.mark.torch

every = pytest.mark.parametrize("representation", REPRESENTATIONS, ids=str)


def _agrees(representation: Representation, x: torch.Tensor, pose, betas, place) -> None:  # type: ignore[no-untyped-def]
    """Vectors x say what the toolkit says of these hands: joints, skin, place."""
    joints, vertices, regressed = numpy_points(pose, betas)
    mine = representation.joints(layer(), x).numpy()
    if representation.name == "vertices":
        openpose = [0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3]
        np.testing.assert_allclose(mine[..., openpose, :], regressed, atol=1e-7)
    else:
        np.testing.assert_allclose(mine, joints, atol=1e-7)
    if representation.name != "joints":
        np.testing.assert_allclose(representation.vertices(layer(), x), vertices, atol=1e-7)
    if representation.with_translation:
        np.testing.assert_allclose(representation.place(x), place, atol=1e-12)


@every
def test_vectors_say_what_the_hands_are(representation: Representation) -> None:
    pose, betas, place = random_pairs(5)
    x = representation.vectors(layer(), pose, betas, place)
    assert x.shape == (5, representation.dim)
    _agrees(representation, x, pose, betas, place)
    if representation.name == "mano":
        R, shapes = representation.rotations(x)
        torch.testing.assert_close(R, matrix_from_axis_angle(pose))
        torch.testing.assert_close(shapes, betas)


@every
def test_mirrored_vectors_are_those_of_mirrored_hands(representation: Representation) -> None:
    pose, betas, place = random_pairs(5, seed=1)
    x = representation.vectors(layer(), pose, betas, place)
    mirrored = torch.tensor(mirror_axis_angle(pose.numpy())).flip(1)
    # wrist_left - wrist_right of the mirrored pair is S (wrist_right - wrist_left).
    other = torch.tensor(-mirror_points(place.numpy()))
    _agrees(representation, representation.mirrored(x), mirrored, betas.flip(1), other)
    twice = representation.mirrored(representation.mirrored(x))
    torch.testing.assert_close(twice, x, rtol=0, atol=0)


@every
def test_turned_vectors_are_those_of_turned_hands(representation: Representation) -> None:
    pose, betas, place = random_pairs(5, seed=2)
    Q = random_rotations(5, torch.Generator().manual_seed(0)).double()
    Q[0] = torch.eye(3)
    x = representation.vectors(layer(), pose, betas, place)
    turned = pose.clone()
    turned[:, :, 0] = torch.tensor(
        axis_angle_from_matrix(Q[:, None].numpy() @ numpy_matrix(pose[:, :, 0].numpy()))
    )
    moved = (Q @ place[..., None])[..., 0]
    _agrees(representation, representation.turned(x, Q), turned, betas, moved)


@every
def test_turning_is_a_group_and_the_mirror_goes_with_it(representation: Representation) -> None:
    pose, betas, place = random_pairs(4, seed=3)
    x = representation.vectors(layer(), pose, betas, place)
    P, Q = random_rotations(8, torch.Generator().manual_seed(1)).double().split(4)

    def points(x: torch.Tensor) -> torch.Tensor:
        # Axis-angle may flip at half a turn: the hands may not.
        return representation.joints(layer(), x)

    turned = representation.turned(representation.turned(x, P), Q)
    at_once = representation.turned(x, Q @ P)
    torch.testing.assert_close(points(turned), points(at_once), atol=1e-7, rtol=0)
    S = torch.diag(torch.tensor([-1.0, 1.0, 1.0]).double())
    one = representation.mirrored(representation.turned(x, Q))
    other = representation.turned(representation.mirrored(x), S @ Q @ S)
    torch.testing.assert_close(points(one), points(other), atol=1e-7, rtol=0)


def test_dimensions_are_the_papers_numbers() -> None:
    dims = {str(r): r.dim for r in REPRESENTATIONS}
    assert dims == {
        "joints": 120,
        "joints with translation": 123,
        "vertices": 4668,
        "vertices with translation": 4671,
        "mano (axis-angle)": 116,
        "mano (axis-angle) with translation": 119,
        "mano (6d)": 212,
        "mano (6d) with translation": 215,
    }


def test_what_a_vector_does_not_hold_is_refused() -> None:
    joints = Representation("joints")
    with pytest.raises(DataError, match=r"holds no relative translation.*--with-translation"):
        joints.place(torch.zeros(1, 120))
    with pytest.raises(DataError, match="no skin"):
        joints.vertices(layer(), torch.zeros(1, 120))
    with pytest.raises(DataError, match="no MANO parameters"):
        joints.rotations(torch.zeros(1, 120))
    with pytest.raises(DataError, match="'smplx' is none of joints, vertices, mano"):
        Representation("smplx")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="'euler' is none of axis-angle, 6d"):
        Representation("mano", "euler")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["block", "zscore", "none"])
@every
def test_normalisation_there_and_back(kind: str, representation: Representation) -> None:
    x = representation.vectors(layer(), *random_pairs(50, seed=4)).float()
    norm = fit_normalisation(kind, representation, x)  # type: ignore[arg-type]
    torch.testing.assert_close(norm.undone(norm.applied(x)), x, atol=1e-5, rtol=1e-5)
    y = norm.applied(x)
    if kind == "none":
        torch.testing.assert_close(y, x)
        return
    assert y.mean(0).abs().max() < 1e-4
    if kind == "zscore":
        torch.testing.assert_close(y.square().mean(0), torch.ones(representation.dim), atol=1e-3,
                                   rtol=0)  # fmt: skip
    else:
        for part, scale in zip(
            representation.split(y), representation.split(norm.scale), strict=True
        ):
            assert abs(part.square().mean() - 1) < 1e-3
            # One number a block: the geometry is kept.
            assert scale.unique().numel() == 1


def test_a_number_that_never_varies_is_not_blown_up() -> None:
    representation = Representation("joints")
    x = torch.randn(100, 120, generator=torch.Generator().manual_seed(0))
    x[:, 7] = 0.25
    norm = fit_normalisation("zscore", representation, x)
    assert norm.scale[7] == 1.0
    assert norm.applied(x)[:, 7].abs().max() < 1e-6
