"""The energy of pairs: finds broken hands, knows no direction of space, helps a fit."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from prior_fixture import paired_hands, small_prior  # noqa: E402
from shards_fixture import synthetic_hands  # noqa: E402

from interaction_prior import InteractionPrior  # noqa: E402
from interaction_prior.hands.rotations import (  # noqa: E402
    axis_angle_from_matrix,
    matrix_from_axis_angle,
    random_rotations,
)
from interaction_prior.prior.energy import error_weight, turns_freely  # noqa: E402
from interaction_prior.representations import Representation  # noqa: E402
from twohand500k.errors import DataError  # noqa: E402

pytestmark = pytest.mark.torch


def _turned(
    pose: torch.Tensor, place: torch.Tensor, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    Q = random_rotations(len(pose), torch.Generator().manual_seed(seed))
    out = pose.clone()
    out[:, :, 0] = axis_angle_from_matrix(Q[:, None] @ matrix_from_axis_angle(pose[:, :, 0]))
    return out, (Q @ place[..., None])[..., 0]


def _said_to_turn(prior: InteractionPrior, kind: str = "uniform") -> InteractionPrior:
    """The same network said to be trained on pairs turned any way."""
    training = {**prior.training, "rotation": {"kind": kind}}
    return InteractionPrior(replace(prior.record, training=training), synthetic_hands(), "cpu")


def _auc(of_data: torch.Tensor, of_others: torch.Tensor) -> float:
    return float((of_others[:, None] > of_data).double().mean())


def test_a_finger_bent_backwards_costs_more() -> None:
    prior = small_prior()
    pose, betas, place = paired_hands(300, seed=7)
    bent = pose.clone()
    rows, joints = torch.arange(300), torch.arange(300) % 15 + 1
    bent[rows, rows % 2, joints, 2] -= torch.tensor([1.2, -1.2])[rows % 2]
    of_data = prior.energy(pose, betas, place)
    assert of_data.shape == (300,) and torch.isfinite(of_data).all()
    assert _auc(of_data, prior.energy(bent, betas, place)) > 0.9
    # The other hand of another pair: here each hand says how far the other closes.
    mixed = torch.stack([pose[:, 0], pose.roll(150, 0)[:, 1]], dim=1)
    assert _auc(of_data, prior.energy(mixed, betas, place)) > 0.7


def test_the_energy_is_the_formula() -> None:
    prior = small_prior()
    pose, betas, place = paired_hands(4)
    pairs = prior.pairs_from_mano(pose, betas, place)
    z = prior.encode(pairs).mean
    scale = prior.normalisation.scale
    error = (((prior.decode(z).x - pairs.x) / scale) ** 2).sum(-1)
    expected = 0.5 * (z**2).sum(-1) + 100.0 * error
    torch.testing.assert_close(prior.energy(pose, betas, place), expected, rtol=1e-3, atol=1e-2)


def test_the_codes_of_an_ae_are_held_against_their_own_normal() -> None:
    prior = small_prior(model="ae", steps=20)
    pose, betas, place = paired_hands(4)
    pairs = prior.pairs_from_mano(pose, betas, place)
    z = prior.encode(pairs).mean
    # A random covariance: that of twenty steps is all but singular.
    A = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    latents = {"mean": z[0] + 0.1, "covariance": A @ A.T + torch.eye(16)}
    prior = InteractionPrior(replace(prior.record, latents=latents), synthetic_hands(), "cpu")
    bare = InteractionPrior(replace(prior.record, latents={}), synthetic_hands(), "cpu")
    with pytest.raises(DataError, match="holds no fit of its codes"):
        bare.energy(pose, betas, place)
    codes = torch.distributions.MultivariateNormal(latents["mean"], latents["covariance"])
    error = (((prior.decode(z).x - pairs.x) / prior.normalisation.scale) ** 2).sum(-1)
    expected = codes.log_prob(latents["mean"]) - codes.log_prob(z) + 100.0 * error
    torch.testing.assert_close(prior.energy(pose, betas, place), expected, rtol=1e-3, atol=1e-2)


def test_the_weight_is_the_trainings() -> None:
    record = small_prior().record
    assert error_weight(record) == 100.0
    of = {"weight": 50.0, "reduction": "mean"}
    averaged = replace(record, training={"options": of})
    assert error_weight(averaged) == 50.0 / record.representation.dim
    assert error_weight(replace(record, training={})) == 100.0
    assert turns_freely(replace(record, training={})) and not turns_freely(record)


@pytest.mark.parametrize("name", ["mano", "joints"])
def test_a_turned_pair_has_the_same_energy(name: str) -> None:
    representation = Representation(name, with_translation=True)  # type: ignore[arg-type]
    prior = _said_to_turn(small_prior(representation))
    pose, betas, place = paired_hands(20, seed=8)
    still = prior.energy(pose, betas, place)
    turned, moved = _turned(pose, place, 1)
    other = prior.energy(turned, betas, moved)
    torch.testing.assert_close(still, other, rtol=1e-3, atol=0.05)
    # A prior trained in one frame sees the turn.
    fixed = _said_to_turn(prior, "none")
    apart = (fixed.energy(turned, betas, moved) - fixed.energy(pose, betas, place)).abs()
    assert apart.median() > 10.0


def test_gradients_reach_every_argument_and_agree_with_differences() -> None:
    prior = _said_to_turn(small_prior())
    arguments = [a.requires_grad_() for a in paired_hands(2, seed=9)]
    energy = prior.energy(*arguments).sum()
    gradients = torch.autograd.grad(energy, arguments)
    generator = torch.Generator().manual_seed(0)
    for argument, gradient in zip(arguments, gradients, strict=True):
        assert torch.isfinite(gradient).all() and gradient.abs().max() > 0
        direction = torch.randn(argument.shape, generator=generator)
        step = 1e-3
        ends = []
        for sign in (1.0, -1.0):
            moved = [a + sign * step * direction if a is argument else a for a in arguments]
            ends.append(float(prior.energy(*moved).sum().detach()))
        slope = (ends[0] - ends[1]) / (2 * step)
        # ReLU kinks lie within a step; a wrong term would be off by its own size.
        assert abs(slope - float((gradient * direction).sum())) < 0.05 * abs(slope) + 1.0


def test_the_place_is_asked_for_and_refused() -> None:
    pose, betas, place = paired_hands(2)
    with pytest.raises(DataError, match=r"knows where the left hand is: give place"):
        small_prior().energy(pose, betas)
    held = small_prior(Representation("mano"), steps=5)
    assert held.energy(pose, betas).shape == (2,)
    with pytest.raises(DataError, match=r"knows nothing of the left hand's place"):
        held.energy(pose, betas, place)
    with pytest.raises(DataError, match=r"pose ends in \(2, 48\)"):
        small_prior().energy(pose.flatten(-2)[0], betas[0], place[0])
    # Numbers of numpy are taken, one pair is as good as many.
    one = small_prior().energy(*(a[0].double().numpy() for a in (pose, betas, place)))
    assert one.shape == () and np.isfinite(float(one))


def test_a_fit_to_noisy_joints_is_better_with_the_energy() -> None:
    prior = small_prior()
    truth = paired_hands(16, seed=11)
    sigma = 0.02
    hands = prior.layer
    joints = hands.joints(matrix_from_axis_angle(truth[0]), truth[1])
    noise = torch.randn(joints.shape, generator=torch.Generator().manual_seed(0))
    observed = joints + sigma * noise

    def fitted(weight: float) -> float:
        pose = truth[0].mean(0).expand_as(truth[0]).clone().requires_grad_()
        optimiser = torch.optim.Adam([pose], 0.03)
        for _ in range(120):
            found = hands.joints(matrix_from_axis_angle(pose), truth[1])
            loss = ((found - observed) ** 2).sum() / (2 * sigma**2)
            if weight:
                loss = loss + weight * prior.energy(pose, truth[1], truth[2]).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        R, R_true = matrix_from_axis_angle(pose.detach()), matrix_from_axis_angle(truth[0])
        return float(axis_angle_from_matrix(R.mT @ R_true)[:, :, 1:].norm(dim=-1).mean())

    assert fitted(1.0) < 0.5 * fitted(0.0)
