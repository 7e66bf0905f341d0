"""The prior that ships: `InteractionPrior.load("open")`."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from interaction_prior import InteractionPrior  # noqa: E402
from interaction_prior.hands.plausible import PlausibleHands  # noqa: E402
from interaction_prior.prior.card import card_text  # noqa: E402
from interaction_prior.prior.prior import prior_file  # noqa: E402
from twohand500k.errors import DataError  # noqa: E402
from twohand500k.hand import HandPair  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def prior() -> InteractionPrior:
    return InteractionPrior.load("open")


def test_it_is_small_and_says_what_it_is(prior: InteractionPrior) -> None:
    file = prior_file("open")
    assert file.stat().st_size < 10_000_000
    assert prior.representation.with_translation and prior.representation.name == "mano"
    assert prior.training["data_sha256"] and prior.training["git_revision"]
    assert file.with_name("card.md").read_text() == card_text(prior.record)


def test_what_it_draws_are_hands(prior: InteractionPrior) -> None:
    pairs = prior.sample(500, seed=11)
    plausible = PlausibleHands(prior.hands)
    R, betas = prior.representation.rotations(pairs.x)
    excess = plausible.limit_excess(R).flatten(2).amax(-1)
    assert (excess > np.radians(1)).float().mean() < 0.03
    # Of the training hands, 2.5 at most.
    assert betas.abs().quantile(0.99) < 2.5
    depth = plausible.overlap(pairs.joints, pairs.place).flatten(1).amax(-1)
    # Draws of PCA and a Gaussian: 0.50. Nor is it that they never meet.
    assert (depth > 0.005).float().mean() < 0.35
    near = plausible.balls(pairs.joints)
    gap = torch.cdist(near[:, 0], near[:, 1] + pairs.place[:, None]).flatten(1).amin(-1)
    assert (gap < 0.035).float().mean() > 0.5


def test_what_it_draws_comes_back(prior: InteractionPrior) -> None:
    pairs = prior.sample(300, seed=12)
    again = prior.decode(prior.encode(pairs).mean)
    assert (again.joints - pairs.joints).norm(dim=-1).mean() < 0.006


def test_a_finger_bent_backwards_is_less_likely(prior: InteractionPrior) -> None:
    pairs = prior.sample(200, seed=13)
    pose = pairs.pose.clone()
    # MANO bends the right hand's fingers about +z; index and middle, base joints, 60 degrees back.
    pose[:, 0, [1, 4], 2] = -np.pi / 3
    told = prior.energy(pose, pairs.betas, pairs.place)
    assert (told > prior.energy(pairs.pose, pairs.betas, pairs.place)).float().mean() > 0.95


def test_other_hands_are_refused(prior: InteractionPrior) -> None:
    right = replace(prior.hands.right, v_template=1.01 * prior.hands.right.v_template)
    with pytest.raises(DataError, match="was trained on the hand model 'open'"):
        InteractionPrior.load("open", hands=HandPair(right, prior.hands.left))
