"""The network against the paper's, the loss against equation 4 written out, the prior's file."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from prior_fixture import paired_hands, random_pairs, small_prior  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from shards_fixture import synthetic_hands  # noqa: E402
from torch import nn  # noqa: E402

from interaction_prior import InteractionPrior  # noqa: E402
from interaction_prior.prior import (  # noqa: E402
    Architecture,
    PairTensors,
    PriorNetwork,
    PriorRecord,
    read_prior,
    write_prior,
)
from interaction_prior.prior.loss import divergence, prior_loss  # noqa: E402
from interaction_prior.representations import Representation  # noqa: E402
from twohand500k.errors import DataError  # noqa: E402

pytestmark = pytest.mark.torch


# Network and loss


def test_the_network_has_the_papers_layers() -> None:
    network = PriorNetwork(Architecture(dim=212))
    encoder = [m for m in network.encoder if isinstance(m, nn.Linear)]
    decoder = [m for m in network.decoder if isinstance(m, nn.Linear)]
    assert (len(encoder), len(decoder)) == (4, 6)
    assert encoder[0].in_features == decoder[-1].out_features == 212
    # d_z = 128, and the encoder says a mean and a variance of each.
    assert encoder[-1].out_features == 256 and decoder[0].in_features == 128
    # Nothing after the last layer: vectors and means take any sign.
    assert isinstance(network.encoder[-1], nn.Linear) and isinstance(network.decoder[-1], nn.Linear)


def test_a_pass_reparameterises() -> None:
    torch.manual_seed(0)
    network = PriorNetwork(Architecture(dim=12, latents=4, hidden=16))
    x, noise = torch.randn(5, 12), torch.randn(5, 4)
    reconstruction, mean, log_variance = network(x, noise)
    z = mean + torch.exp(log_variance).sqrt() * noise
    torch.testing.assert_close(reconstruction, network.decode(z))
    still, _, _ = network(x, torch.zeros(5, 4))
    torch.testing.assert_close(still, network.decode(mean))
    plain = PriorNetwork(Architecture(dim=12, model="ae", latents=4, hidden=16))
    one, _, none = plain(x, noise)
    other, _, _ = plain(x, -noise)
    assert torch.equal(one, other) and torch.isinf(none).all()


def test_the_loss_is_equation_4() -> None:
    g = torch.Generator().manual_seed(0)
    x, x_hat = torch.randn(3, 7, generator=g), torch.randn(3, 7, generator=g)
    mu, log_variance = torch.randn(3, 4, generator=g), torch.randn(3, 4, generator=g)
    total = 0.0
    for b in range(3):
        kl = 0.0
        for k in range(4):
            m, s = float(mu[b, k]), math.exp(0.5 * float(log_variance[b, k]))
            kl += 0.5 * (m * m + s * s - 1.0) - math.log(s)
        error = sum((float(x_hat[b, d]) - float(x[b, d])) ** 2 for d in range(7))
        total += (kl + 100.0 * error) / 3
    terms = prior_loss(x, x_hat, mu, log_variance)
    assert math.isclose(float(terms.total), total, rel_tol=1e-5)
    assert math.isclose(float(terms.total), float(terms.kl + 100 * terms.error), rel_tol=1e-6)
    averaged = prior_loss(x, x_hat, mu, log_variance, reduction="mean", weight=2.0)
    assert math.isclose(float(averaged.error), float(terms.error) / 7, rel_tol=1e-5)
    assert math.isclose(float(averaged.total), float(terms.kl + 2 * terms.error / 7), rel_tol=1e-5)
    plain = prior_loss(x, x_hat, mu, log_variance, variational=False)
    assert plain.kl == 0 and float(plain.total) == float(100 * plain.error)


def test_the_divergence_is_torchs_own() -> None:
    mu, log_variance = torch.randn(50, 4), torch.randn(50, 4)
    q = torch.distributions.Normal(mu, (0.5 * log_variance).exp())
    p = torch.distributions.Normal(torch.zeros(4), torch.ones(4))
    expected = torch.distributions.kl_divergence(q, p)
    torch.testing.assert_close(divergence(mu, log_variance), expected)
    assert divergence(torch.zeros(4), torch.zeros(4)).abs().max() == 0


# The file


def _record() -> PriorRecord:
    return small_prior().record


def test_a_prior_comes_back_from_its_file(tmp_path: Path) -> None:
    record = _record()
    write_prior(tmp_path / "new" / "prior.safetensors", record)
    again = read_prior(tmp_path / "new" / "prior.safetensors")
    assert again.architecture == record.architecture
    assert again.representation == record.representation
    assert again.hand_model == record.hand_model and again.training == record.training
    for mine, theirs in ((again.weights, record.weights), (again.latents, record.latents)):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[k], theirs[k]) for k in mine)
    assert torch.equal(again.normalisation.mean, record.normalisation.mean)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["prior.safetensors"]


def test_files_that_are_no_prior_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "prior.safetensors"
    with pytest.raises(DataError, match="is not there"):
        read_prior(path)
    write_prior(path, _record())
    whole = path.read_bytes()
    for kept in (4, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(DataError, match="cannot be read as safetensors"):
            read_prior(path)
    path.write_bytes(b"PK\x03\x04" + bytes(500))
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        read_prior(path)
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(DataError, match="no file of interaction_prior"):
        read_prior(path)
    joints = {"name": "joints"}
    for header, message in (
        ({"format": 99}, "format 99, newer than the format 1"),
        ({"format": 1}, "is no prior: its header names no architecture"),
        (
            {"format": 1, "architecture": {"dim": 4}, "representation": {"name": "joints"}},
            "damaged",
        ),
        ({"format": 1, "architecture": {"width": 4}, "representation": joints}, "damaged"),
    ):
        save_file(
            {"network.a": torch.zeros(3)}, path, metadata={"interaction_prior": json.dumps(header)}
        )
        with pytest.raises(DataError, match=message):
            read_prior(path)


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        write_prior(tmp_path / "file" / "prior.safetensors", _record())
    (tmp_path / "folder" / "prior.safetensors").mkdir(parents=True)
    with pytest.raises(DataError, match="cannot write"):
        write_prior(tmp_path / "folder" / "prior.safetensors", _record())
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["prior.safetensors"]


def test_weights_that_do_not_fit_are_refused() -> None:
    record = _record()
    with pytest.raises(DataError, match="do not fit"):
        InteractionPrior(
            replace(record, architecture=replace(record.architecture, hidden=32)),
            synthetic_hands(),
            "cpu",
        )
    other = Representation("joints")
    with pytest.raises(DataError, match=r"takes vectors of 215 numbers .* joints has 120"):
        InteractionPrior(replace(record, representation=other), synthetic_hands(), "cpu")


def test_a_folder_without_a_prior_and_another_hand_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the run is not finished"):
        InteractionPrior.load(tmp_path)
    write_prior(tmp_path / "prior.safetensors", _record())
    with pytest.raises(DataError, match="was trained on the hand model 'synthetic'"):
        InteractionPrior.load(tmp_path)
    loaded = InteractionPrior.load(tmp_path, hands=synthetic_hands())
    assert torch.equal(loaded.sample(3, seed=5).x, small_prior().sample(3, seed=5).x)


# In use


def test_samples_are_decided_by_the_seed() -> None:
    prior = small_prior()
    a, b = prior.sample(6, seed=1), prior.sample(6, seed=1)
    assert torch.equal(a.x, b.x) and not torch.equal(a.x, prior.sample(6, seed=2).x)
    assert len(a) == 6 and a.joints.shape == (6, 2, 21, 3) and a.place.shape == (6, 3)
    assert a.vertices.shape == (6, 2, 778, 3) and a.pose.shape == (6, 2, 16, 3)
    # No temperature, no spread.
    cold = prior.sample(3, temperature=0.0).x
    assert (cold - cold[0]).abs().max() < 1e-6


def test_fitted_latents_have_the_fits_moments() -> None:
    prior = small_prior()
    z = prior.draw_latents(20_000, latents="fitted").double()
    torch.testing.assert_close(z.mean(0), prior.record.latents["mean"].double(), atol=0.05, rtol=0)
    covariance = prior.record.latents["covariance"].double()
    spread = covariance.diagonal().sqrt()
    assert ((z.T.cov() - covariance) / torch.outer(spread, spread)).abs().max() < 0.05
    bare = InteractionPrior(replace(prior.record, latents={}), synthetic_hands(), "cpu")
    with pytest.raises(DataError, match="holds no fit"):
        bare.sample(1, latents="fitted")


def test_an_ae_has_no_standard_latents() -> None:
    prior = small_prior(model="ae", steps=20)
    with pytest.raises(DataError, match="'fitted'"):
        prior.sample(1)
    x = prior.sample(4, latents="fitted").x
    assert torch.isfinite(x).all()
    posterior = prior.encode(x)
    # An AE knows no variance: a draw is the mean.
    assert torch.equal(posterior.draw(torch.Generator().manual_seed(0)), posterior.mean)


def test_encoding_is_deterministic_and_a_draw_has_its_moments() -> None:
    prior = small_prior()
    pairs = prior.sample(2, seed=3)
    posterior = prior.encode(pairs)
    assert torch.equal(posterior.mean, prior.encode(pairs.x).mean)
    g = torch.Generator().manual_seed(0)
    draws = torch.stack([posterior.draw(g) for _ in range(4000)])
    deviation = (0.5 * posterior.log_variance).exp()
    assert ((draws.mean(0) - posterior.mean).abs() < 0.1 * deviation).all()
    torch.testing.assert_close(draws.std(0), deviation, rtol=0.1, atol=0)


def test_interpolation_has_both_ends_and_moves_evenly() -> None:
    prior = small_prior()
    pairs = prior.sample(2, seed=4)
    strip = prior.interpolate(pairs[0], pairs[1], steps=5)
    assert strip.x.shape == (5, prior.representation.dim)
    ends = prior.decode(prior.encode(pairs).mean)
    torch.testing.assert_close(strip.x[[0, -1]], ends.x, atol=1e-5, rtol=1e-5)
    many = prior.interpolate(pairs, prior.sample(2, seed=5), steps=4)
    assert many.x.shape == (4, 2, prior.representation.dim)


def test_gradients_flow_through_use_and_the_network_stays_frozen() -> None:
    prior = small_prior()
    x = prior.sample(3).x.requires_grad_()
    prior.decode(prior.encode(x).mean).joints.square().sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0 and torch.isfinite(x.grad).all()
    assert all(p.grad is None for p in prior.network.parameters())


def test_a_trained_prior_gives_its_pairs_back() -> None:
    prior = small_prior()
    pairs = prior.pairs_from_mano(*paired_hands(200, seed=9))
    again = prior.decode(prior.encode(pairs).mean)
    error = (again.joints - pairs.joints).norm(dim=-1).mean()
    spread = (pairs.joints - pairs.joints.mean(0)).norm(dim=-1).mean()
    assert error < 0.5 * spread


def test_vectors_of_something_else_are_refused() -> None:
    prior = small_prior()
    other = Representation("joints")
    joints = PairTensors(torch.zeros(1, 120), other, prior.layer)
    with pytest.raises(DataError, match=r"these pairs are joints, the prior speaks mano"):
        prior.encode(joints)
    with pytest.raises(DataError, match="vectors end in 7 numbers"):
        prior.encode(torch.zeros(1, 7))
    with pytest.raises(DataError, match="latents end in 128 numbers, this prior has 16"):
        prior.decode(torch.zeros(1, 128))
    pose, betas, place = random_pairs(2)
    pairs = prior.pairs_from_mano(pose.numpy(), betas.numpy(), place.numpy())
    torch.testing.assert_close(pairs.place, place.float())
