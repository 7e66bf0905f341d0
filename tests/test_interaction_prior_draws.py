"""What a prior draws of itself, and how implausible a pair is: `hands.plausible`, `training.draws`;
and the network that starts as probabilistic PCA, `prior.initial`."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from prior_fixture import paired_hands, synthetic_hands  # noqa: E402

from interaction_prior.hands import HandLayer  # noqa: E402
from interaction_prior.hands.plausible import PlausibleHands  # noqa: E402
from interaction_prior.hands.rotations import (  # noqa: E402
    matrix_from_axis_angle,
    random_rotations,
)
from interaction_prior.prior.initial import initialise_as_pca, principal_axes  # noqa: E402
from interaction_prior.prior.loss import divergence  # noqa: E402
from interaction_prior.prior.network import Architecture, PriorNetwork  # noqa: E402
from interaction_prior.representations import (  # noqa: E402
    Normalisation,
    Representation,
    fit_normalisation,
)
from interaction_prior.representations.normalisation import moved_by_each  # noqa: E402
from interaction_prior.training.draws import (  # noqa: E402
    DrawsLoss,
    energy_distance,
    palm_frame,
)
from twohand500k.errors import DataError  # noqa: E402
from twohand500k.hand import load_hands  # noqa: E402
from twohand500k.hand.anatomy import Anatomy  # noqa: E402
from twohand500k.physics.judge import Judge  # noqa: E402

pytestmark = pytest.mark.torch


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_angles_and_excess_are_the_toolkits() -> None:
    hands = synthetic_hands()
    pose = np.random.default_rng(0).normal(scale=0.5, size=(40, 2, 16, 3))
    R = matrix_from_axis_angle(torch.tensor(pose, dtype=torch.float64))
    plausible = PlausibleHands(hands).double()
    for side in (0, 1):
        anatomy = Anatomy.of(hands[side])
        angles = anatomy.angles_from_pose(pose[:, side])
        np.testing.assert_allclose(plausible.angles(R)[:, side], angles, atol=1e-5)
        np.testing.assert_allclose(
            plausible.limit_excess(R)[:, side], anatomy.limit_excess(angles), atol=1e-5
        )


def test_overlap_of_balls_tells_what_the_judge_says() -> None:
    """Open hands, the left pushed from far off through the right: balls and skins meet together."""
    hands = load_hands("open")
    layer, plausible, judge = HandLayer(hands), PlausibleHands(hands), Judge.of(hands)
    R = torch.eye(3).expand(1, 2, 16, 3, 3)
    betas = torch.zeros(1, 2, 10)
    joints, skins = layer.joints(R, betas), layer.vertices(R, betas)[0].double().numpy()
    depths, volumes = [], []
    for up in (0.08, 0.05, 0.035, 0.02, 0.01, 0.0):
        place = torch.tensor([[-0.15, up, 0.0]])
        depths.append(float(plausible.overlap(joints, place).amax()))
        volumes.append(judge.pair(skins[0], skins[1] + place[0].numpy()).volume)
    assert depths[0] == 0.0 and volumes[0] == 0.0
    assert depths[-1] > 0.005 and volumes[-1] > 1e-6
    assert depths == sorted(depths)
    assert all((d > 0.004) <= (v > 0) for d, v in zip(depths, volumes, strict=True))


def test_overlap_pulls_hands_apart() -> None:
    hands = load_hands("open")
    layer, plausible = HandLayer(hands), PlausibleHands(hands)
    joints = layer.joints(torch.eye(3).expand(1, 2, 16, 3, 3), torch.zeros(1, 2, 10))
    place = torch.tensor([[-0.15, 0.01, 0.002]], requires_grad=True)
    before = plausible.overlap(joints, place).square().sum()
    (gradient,) = torch.autograd.grad(before, place)
    after = plausible.overlap(joints, place - 0.002 * gradient / gradient.norm()).square().sum()
    assert torch.isfinite(gradient).all() and after < before


def test_a_finger_in_another_is_told_as_the_judge_tells_it() -> None:
    """The right index turned towards the middle finger, step by step; flat hands are clean."""
    hands = load_hands("open")
    layer, plausible, judge = HandLayer(hands), PlausibleHands(hands), Judge.of(hands)
    betas = torch.zeros(1, 2, 10)
    depths, volumes = [], []
    for angle in (0.0, 0.15, 0.3, 0.45):
        pose = torch.zeros(1, 2, 16, 3)
        pose[0, 0, 1, 1] = -angle
        R = matrix_from_axis_angle(pose)
        depth = plausible.self_overlap(layer.joints(R, betas))
        assert not depth[0, 1].any(), "the left hand is flat"
        skins = layer.vertices(R, betas)[0].double().numpy()
        depths.append(float(depth.amax()))
        volumes.append(judge.pair(skins[0], skins[1] + [1.0, 0.0, 0.0]).self_volume[0])
    assert depths == sorted(depths) and depths[0] < 1e-4 and depths[-1] > 0.004
    assert volumes[0] < 1e-8 < volumes[-1]


def test_energy_distance_is_nothing_between_equals_and_grows() -> None:
    a, b = _normal(400, 5), _normal(400, 5, seed=1)
    assert abs(energy_distance(a, b)) < 0.03
    moved = [float(energy_distance(a, b + k)) for k in (0.3, 0.6, 1.2)]
    assert 0.03 < moved[0] < moved[1] < moved[2]
    assert energy_distance(a, 2 * b) > 0.3


def test_palm_frames_turn_with_the_hand() -> None:
    joints = HandLayer(synthetic_hands()).joints(
        torch.eye(3).expand(1, 2, 16, 3, 3), torch.zeros(1, 2, 10)
    )[:, 0]
    Q = random_rotations(7, torch.Generator().manual_seed(0))
    turned = joints @ Q.mT
    torch.testing.assert_close(palm_frame(turned), Q @ palm_frame(joints), atol=1e-5, rtol=0)
    assert torch.linalg.det(palm_frame(joints)) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("name", ["mano", "joints", "vertices"])
@pytest.mark.parametrize("with_translation", [True, False])
def test_draws_like_the_data_cost_less(name: str, with_translation: bool) -> None:
    hands = synthetic_hands()
    representation = Representation(name, "6d", with_translation)  # type: ignore[arg-type]
    layer = HandLayer(hands)
    x = representation.vectors(layer, *paired_hands(120))
    norm = fit_normalisation("block", representation, x)
    loss = DrawsLoss(
        hands, representation, norm, torch.device("cpu"), likeness=1.0, plausibility=0.0
    )
    y = norm.applied(x)
    alike = loss(lambda z: y[:60], torch.zeros(60, 4), y[60:])
    blurred = loss(lambda z: y[:60] + 0.5 * _normal(60, y.shape[1]), torch.zeros(60, 4), y[60:])
    assert abs(alike) < 0.5 * blurred
    noise = _normal(60, 4)
    weight = torch.zeros(4, y.shape[1], requires_grad=True)
    value = loss(lambda z: y[:60] + z @ weight, noise, y[60:])
    (gradient,) = torch.autograd.grad(value, weight)
    assert torch.isfinite(gradient).all() and gradient.abs().max() > 0


def test_a_geometric_unit_moves_the_joints_by_it() -> None:
    representation = Representation("mano", "6d", with_translation=True)
    layer = HandLayer(synthetic_hands())
    x = representation.vectors(layer, *paired_hands(200))
    norm = fit_normalisation("geometric", representation, x, layer, unit_m=0.005)
    assert norm.mean.shape == norm.scale.shape == (representation.dim,)
    # A step of one unit in all numbers of a block, at random: the joints move by sqrt(width) units.
    for k, (block, part) in enumerate(
        zip(representation.blocks, representation.split(norm.scale), strict=True)
    ):
        step = torch.zeros(len(x), representation.dim)
        parts = list(representation.split(step))
        parts[k] += 0.02 * part * _normal(len(x), block.width)
        step = torch.cat(parts, dim=-1)
        joints = [representation.joints(layer, v) for v in (x, x + step)]
        if representation.with_translation:
            for j, v in zip(joints, (x, x + step), strict=True):
                j[:, 1] += representation.place(v)[:, None]
        moved = (joints[1] - joints[0]).square().sum(-1).mean().sqrt()
        assert moved == pytest.approx(0.02 * 0.005 * math.sqrt(block.width), rel=0.15), block.name


def test_a_point_moves_itself_alone() -> None:
    representation = Representation("joints")
    moved = moved_by_each(representation, HandLayer(synthetic_hands()), torch.zeros(3, 120))
    np.testing.assert_allclose(moved, 1 / math.sqrt(40))
    with pytest.raises(ValueError, match="no layer"):
        fit_normalisation("geometric", representation, torch.zeros(3, 120))


def _correlated(n: int, dim: int) -> torch.Tensor:
    mix = _normal(dim, dim, seed=3) * torch.logspace(0, -3, dim)[:, None]
    return _normal(n, dim) @ mix + 0.3


@pytest.mark.parametrize("model", ["vae", "ae"])
def test_the_start_is_the_best_linear_model(model: str) -> None:
    x, weight = _correlated(4000, 12), 100.0
    network = PriorNetwork(Architecture(12, model, latents=8, hidden=40))  # type: ignore[arg-type]
    initialise_as_pca(network, x, weight)
    mean, axes, variances = principal_axes(x, 8)
    codes, log_variance = network.encode(x)
    if model == "ae":
        # PCA: what the axes span comes back, whitened codes between.
        expected = mean + (x - mean) @ axes.T @ axes
        torch.testing.assert_close(network.decode(codes), expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(codes.var(0), torch.ones(8), atol=0.01, rtol=0)
        return
    alive = variances > 1 / (2 * weight)
    # The aggregate posterior of every latent is standard normal.
    spread = codes.var(0) + log_variance.exp().mean(0)
    torch.testing.assert_close(spread, torch.ones(8), atol=0.01, rtol=0)
    assert alive.any() and not alive.all()
    z = codes + (0.5 * log_variance).exp() * _normal(len(x), 8, seed=9)
    found = divergence(codes, log_variance).sum(-1).mean()
    found = found + weight * (network.decode(z) - x).square().sum(-1).mean()
    # The bound of probabilistic PCA, latents by latents, and what no axis explains.
    v, s2 = variances[alive], 1 / (2 * weight)
    left = x.var(0, unbiased=False).sum() - v.sum()
    expected = (0.5 * (v / s2).log()).sum() + weight * left + 0.5 * len(v)
    assert found.item() == pytest.approx(float(expected), rel=0.02)


def test_no_linear_neighbour_is_better_than_the_start() -> None:
    x, weight = _correlated(2000, 10), 100.0
    noise = _normal(2000, 4, seed=5)

    def loss(network: PriorNetwork) -> float:
        with torch.no_grad():
            y, mean, log_variance = network(x, noise)
            kl = divergence(mean, log_variance).sum(-1).mean()
            return float(kl + weight * (y - x).square().sum(-1).mean())

    start = PriorNetwork(Architecture(10, "vae", latents=4, hidden=8))
    initialise_as_pca(start, x, weight)
    best = loss(start)
    for factor in (0.97, 1.03):
        other = PriorNetwork(Architecture(10, "vae", latents=4, hidden=8))
        other.load_state_dict(start.state_dict())
        with torch.no_grad():
            other.decoder[-1].weight *= factor
        assert loss(other) > best


def test_too_narrow_a_network_says_so() -> None:
    network = PriorNetwork(Architecture(12, "vae", latents=8, hidden=15))
    with pytest.raises(DataError, match=r"needs at least 16; choose --init he"):
        initialise_as_pca(network, _normal(50, 12), 100.0)


def test_normalisation_is_undone() -> None:
    norm = Normalisation(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 4.0]))
    x = _normal(5, 2)
    torch.testing.assert_close(norm.undone(norm.applied(x)), x)
