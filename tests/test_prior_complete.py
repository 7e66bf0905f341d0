"""One hand given, the other drawn: what is given stays, what is hidden is not read."""

import pytest

torch = pytest.importorskip("torch")

from prior_fixture import REPRESENTATIONS, layer, paired_hands, random_pairs, small_prior  # noqa: E402
from shards_fixture import synthetic_hands  # noqa: E402

from interaction_prior.hands import HandLayer  # noqa: E402
from interaction_prior.hands.rotations import random_rotations  # noqa: E402
from interaction_prior.prior import complete  # noqa: E402
from interaction_prior.representations import Representation  # noqa: E402
from twohand500k.errors import DataError  # noqa: E402

pytestmark = pytest.mark.torch

every = pytest.mark.parametrize("representation", REPRESENTATIONS, ids=str)


@every
def test_a_hands_numbers_are_its_own(representation: Representation) -> None:
    pose, betas, place = random_pairs(3)
    x = representation.vectors(layer(), pose, betas, place)
    changed = [pose.clone(), betas.clone(), place + 1.0]
    changed[0][:, 1] += 0.3
    changed[1][:, 1] += 0.3
    y = representation.vectors(layer(), *changed)
    right = complete.numbers_of_hand(representation, 0)
    left = complete.numbers_of_hand(representation, 1)
    assert torch.equal(x[:, right], y[:, right])
    # Everything else but constants of the rest pose has moved.
    assert ((x != y).any(0) & right).sum() == 0 and (x != y).any(0)[left].float().mean() > 0.95
    assert not (right & left).any()
    assert (~(right | left)).sum() == 3 * representation.with_translation


@every
def test_a_pair_is_turned_onto_the_given_hand(representation: Representation) -> None:
    x = representation.vectors(layer(), *random_pairs(6))
    Q = random_rotations(6, torch.Generator().manual_seed(0)).double()
    goal = representation.turned(x, Q)
    for side in (0, 1):
        found = complete._turned_to(representation, x, goal, side)
        joints, expected = (representation.joints(layer(), v) for v in (found, goal))
        torch.testing.assert_close(joints, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("given", ["right", "left"])
def test_the_given_hand_comes_back_and_the_hidden_one_is_not_read(given: str) -> None:
    prior = small_prior()
    pose, betas, place = paired_hands(5, seed=3)
    hidden = 1 if given == "right" else 0
    whole = prior.pairs_from_mano(pose, betas, place)
    for tensor in (pose, betas):
        tensor[:, hidden] = float("nan")
    half = prior.pairs_from_mano(pose, betas, torch.full((5, 3), float("nan")))
    done = prior.complete(half, given=given, n=3, seed=1, steps=20)  # type: ignore[arg-type]
    assert done.x.shape == (5, 3, prior.representation.dim)
    assert torch.isfinite(done.x).all() and torch.isfinite(done.joints).all()
    known = complete.numbers_of_hand(prior.representation, 1 - hidden)
    assert torch.equal(done.x[..., known], half.x[:, None, known].expand(5, 3, -1))
    # What the hidden hand was does not matter; the seed does.
    again = prior.complete(whole, given=given, n=3, seed=1, steps=20)  # type: ignore[arg-type]
    torch.testing.assert_close(again.x, done.x)
    other = prior.complete(whole, given=given, n=3, seed=2, steps=20)  # type: ignore[arg-type]
    assert (other.x - done.x).abs().max() > 1e-2
    one = prior.complete(half[0], given=given, n=3, steps=2)  # type: ignore[arg-type]
    assert one.x.shape == (3, prior.representation.dim)


def test_completions_fit_the_given_hand_and_differ_in_what_is_free() -> None:
    prior = small_prior()
    truth = prior.pairs_from_mano(*paired_hands(60, seed=4))
    done = prior.complete(truth, given="right", n=8, seed=0)
    # The data: the left hand closes as far as the right one does, its wrist tilts as it likes.
    fingers = done.joints[..., 1, :, :] - truth.joints[:, None, 1]
    error = fingers.norm(dim=-1).mean(-1)
    random = prior.sample(60 * 8, seed=5).joints.unflatten(0, (60, 8))
    chance = (random[..., 1, :, :] - truth.joints[:, None, 1]).norm(dim=-1).mean(-1)
    assert error.mean() < 0.8 * chance.mean()
    assert error.min(1).values.mean() < 0.6 * chance.mean()
    tilt = done.pose[..., 1, 0, 0]
    assert tilt.std(1).median() > 0.05, "the tilt is free: completions differ in it"
    # And as a pair they are as likely as pairs of the data.
    energy = prior.energy(done.pose, done.betas, done.place)
    of_data = prior.energy(truth.pose, truth.betas, truth.place)
    assert energy.median() < 3 * of_data.median()


def test_an_autoencoder_and_other_representations_complete_too() -> None:
    pose, betas, place = paired_hands(3)
    for prior in (
        small_prior(model="ae", steps=20),
        small_prior(Representation("joints", with_translation=True), steps=20, rotation="uniform"),
        small_prior(Representation("vertices"), steps=3, rotation="uniform"),
        small_prior(Representation("mano", "axis-angle"), steps=20, rotation="uniform"),
    ):
        pairs = prior.pairs_from_mano(pose, betas, place)
        done = prior.complete(pairs, n=2, steps=5)
        assert torch.isfinite(done.x).all()
        assert (done.joints[:, :, 0] - pairs.joints[:, None, 0]).abs().max() < 1e-5


def test_what_cannot_be_completed_is_refused() -> None:
    prior = small_prior()
    pose, betas, place = paired_hands(2)
    pose[1, 0, 4] = float("nan")
    pairs = prior.pairs_from_mano(pose, betas, place)
    with pytest.raises(DataError, match="the right hand is given, but not all"):
        prior.complete(pairs, given="right")
    assert torch.isfinite(prior.complete(pairs, given="left", n=1, steps=1).x).all()
    with pytest.raises(DataError, match="it is 'right' or 'left'"):
        prior.complete(pairs, given="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n = 0"):
        prior.complete(pairs, n=0)


def test_nan_of_one_hand_stays_in_it_whatever_the_representation() -> None:
    hands = HandLayer(synthetic_hands()).double()
    pose, betas, place = random_pairs(2)
    pose[:, 1] = float("nan")
    for representation in REPRESENTATIONS:
        x = representation.vectors(hands, pose, betas, place)
        assert torch.isfinite(x[:, complete.numbers_of_hand(representation, 0)]).all()
