"""From features to hands: variants, the frozen decoder, losses and their gradients, the floor."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from judge_twins import winding_numbers  # noqa: E402

from interaction_prior import InteractionPrior  # noqa: E402
from interaction_prior.fusion import (  # noqa: E402
    VARIANTS,
    ReconArchitecture,
    ReconNetwork,
    ReconRecord,
    decoder_floor,
    read_recon,
    write_recon,
)
from interaction_prior.fusion.losses import normal_loss  # noqa: E402
from interaction_prior.fusion.penetration import penetration_depths, penetration_loss  # noqa: E402
from interaction_prior.prior.prior import prior_file  # noqa: E402
from twohand500k.errors import DataError  # noqa: E402
from twohand500k.physics.judge import Judge  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def prior() -> InteractionPrior:
    return InteractionPrior.load("open")


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v not in ("joints", "vertices",
                                                                      "hrnet32")])  # fmt: skip
def test_every_variant_gives_hands(prior: InteractionPrior, variant: str) -> None:
    network = ReconNetwork(ReconArchitecture(variant, "tiny"), prior, prior.hands)
    said = network(torch.rand(2, 3, 128, 128))
    assert said.joints.shape == (2, 2, 21, 3) and said.vertices.shape == (2, 2, 778, 3)
    assert torch.isfinite(said.vertices).all() and (said.z is None) == (variant == "no-prior")


def test_the_decoder_stays_as_it_was(prior: InteractionPrior) -> None:
    before = {k: v.clone() for k, v in prior.network.state_dict().items()}
    network = ReconNetwork(ReconArchitecture("full", "tiny"), prior, prior.hands).train()
    adam = torch.optim.Adam(network.parameters(), lr=0.1)
    said = network(torch.rand(2, 3, 128, 128))
    said.joints.square().sum().backward()
    assert network.alignment.weight.grad.abs().sum() > 0, "gradients reach through the decoder"
    adam.step()
    assert all(torch.equal(v, before[k]) for k, v in prior.network.state_dict().items())
    assert not any(name.startswith("prior") for name in network.state_dict())


def test_a_prior_of_another_kind_is_refused(prior: InteractionPrior) -> None:
    with pytest.raises(DataError, match="wants a prior of joints"):
        ReconNetwork(ReconArchitecture("joints", "tiny"), prior, prior.hands)
    with pytest.raises(DataError, match="none was given"):
        ReconNetwork(ReconArchitecture("full", "tiny"), None, prior.hands)


def test_a_network_comes_back_from_its_file(prior: InteractionPrior, tmp_path) -> None:
    network = ReconNetwork(ReconArchitecture("all-in-one", "tiny"), prior, prior.hands).eval()
    facts = prior.record.hand_model
    record = ReconRecord(network.architecture, network.state_dict(), facts, prior.record, {"a": 1})
    write_recon(tmp_path / "recon.safetensors", record)
    back = read_recon(tmp_path / "recon.safetensors")
    inside = InteractionPrior(back.prior, prior.hands, "cpu")
    again = ReconNetwork(back.architecture, inside, prior.hands).eval()
    again.load_state_dict(dict(back.weights))
    image = torch.rand(1, 3, 128, 128)
    assert torch.equal(network(image).vertices, again(image).vertices)
    with pytest.raises(DataError, match="no image network"):
        read_recon(prior_file("open"))


def test_the_normal_losss_gradient(prior: InteractionPrior) -> None:
    generator = torch.Generator().manual_seed(0)
    true = prior.sample(1, seed=1).vertices.double()[..., :60, :]
    faces = prior.layer.faces
    inside = faces[(faces < 60).all(-1)]
    faces = inside[: len(inside) // 2 * 2].unflatten(0, (2, -1))
    said = true + 0.004 * torch.randn(true.shape, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: normal_loss(x, true, faces), said.requires_grad_(), eps=1e-7, atol=1e-5
    )
    flat = true.clone()
    flat[..., 2] = 0.0
    assert normal_loss(flat, flat, faces) < 1e-9, "edges lie across their own normals"


def test_the_penetration_losss_gradient(prior: InteractionPrior) -> None:
    """The fingertips of the left hand pushed into the right one, moved by three numbers."""
    pairs = prior.sample(40, seed=5)
    depths = penetration_depths(pairs.vertices, pairs.place, prior.layer)
    row = int(depths.sum((-1, -2)).argmax())
    skins, place = pairs.vertices[row : row + 1].double(), pairs.place[row : row + 1].double()
    layer = prior.layer
    assert torch.autograd.gradcheck(
        lambda t: penetration_loss(skins, t, layer), place.requires_grad_(), eps=1e-7, atol=1e-4
    )
    (pull,) = torch.autograd.grad(penetration_loss(skins, place, layer), place)
    step = place - 1e-3 * pull / pull.norm()
    assert penetration_loss(skins, step, layer) < penetration_loss(skins, place, layer)


def test_penetration_agrees_with_winding_numbers(prior: InteractionPrior) -> None:
    """The naive twin, by solid angles over all faces; pairs pressed into each other by chance."""
    pairs = prior.sample(12, seed=3)
    shift = 0.02 * torch.randn(12, 3, generator=torch.Generator().manual_seed(1))
    place = pairs.place + shift
    depths = penetration_depths(pairs.vertices, place, prior.layer)
    skins = pairs.vertices.double().numpy()
    skins[:, 1] += place.double().numpy()[:, None]
    many = 0
    for k in range(12):
        for side in (0, 1):
            there = winding_numbers(
                skins[k, side], skins[k, 1 - side], prior.hands[1 - side].closed_faces
            )
            inside = there > 0.5
            # A drawn hand may pass through itself; who is inside such a place may be missed.
            assert ((depths[k, side].numpy() > 0) & ~inside).sum() == 0
            missed = inside & (depths[k, side].numpy() == 0)
            assert missed.sum() <= 0.02 * inside.sum() + 1
            many += int(inside.sum())
    assert many > 200


def test_penetration_agrees_with_the_judge(prior: InteractionPrior) -> None:
    """Above 0.01 cm3: that a vertex is inside says that the judge finds a volume, and back."""
    pairs = prior.sample(150, seed=9)
    ours = penetration_depths(pairs.vertices, pairs.place, prior.layer).flatten(1).amax(-1) > 0
    judge, skins = Judge.of(prior.hands), pairs.vertices.double().numpy()
    place = pairs.place.double().numpy()
    volume = np.array(
        [judge.pair(s[0], s[1] + t).volume for s, t in zip(skins, place, strict=True)]
    )
    sure = (volume > 1e-8) | (volume == 0)
    agree = (ours.numpy() == (volume > 1e-8))[sure]
    assert (volume > 1e-8).sum() > 30 and agree.mean() >= 0.97


def test_the_floor_is_near_and_a_coarse_decoder_is_refused(prior: InteractionPrior) -> None:
    pairs = prior.sample(2, seed=2)
    R, betas = prior.representation.rotations(pairs.x)
    first = prior.decode(prior.encode(pairs).mean).joints - pairs.joints
    report = decoder_floor(prior, R, betas, steps=40)
    assert report.each_mm.shape == (2,) and report.mpjpe_mm < 1e3 * first.norm(dim=-1).mean()
    with pytest.raises(DataError, match="comes no nearer than"):
        decoder_floor(prior, R, betas, steps=1, limit_mm=1e-3)
