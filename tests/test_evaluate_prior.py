"""Evaluation of a prior: planted errors, planted turns, planted posteriors come out as planted."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from drawn_fixture import hands as open_hands  # noqa: E402
from prior_fixture import layer, random_pairs  # noqa: E402
from train_fixture import dataset  # noqa: E402

from interaction_prior.evaluation import PcaGaussian, latent_figures, pair_errors  # noqa: E402
from interaction_prior.evaluation.half_turn import half_turn  # noqa: E402
from interaction_prior.evaluation.reconstruction import turned_onto  # noqa: E402
from interaction_prior.hands.layer import HandLayer  # noqa: E402
from interaction_prior.hands.rotations import (  # noqa: E402
    matrix_from_axis_angle,
    random_rotations,
    sixd_from_matrix,
)
from interaction_prior.prior import (  # noqa: E402
    Architecture,
    Posterior,
    PriorNetwork,
    PriorRecord,
    write_prior,
)
from interaction_prior.representations import (  # noqa: E402
    Normalisation,
    Representation,
    fit_normalisation,
)
from twohand500k.cli import evaluate_prior as command  # noqa: E402
from twohand500k.cli.draws import likeness_figures  # noqa: E402
from twohand500k.cli.main import twohand  # noqa: E402
from twohand500k.errors import DataError  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small products: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


JOINTS = Representation("joints")
MANO = Representation("mano", "6d", with_translation=True)


def test_a_planted_error_is_that_error() -> None:
    x = JOINTS.vectors(layer(), *random_pairs(5))
    off = torch.zeros(5, 2, 20, 3, dtype=x.dtype)
    off[:, 0, :, 0] = 0.003
    off[:, 1, 4] = torch.tensor([0.0, 0.004, 0.003])
    errors = pair_errors(JOINTS, layer(), x, x + off.flatten(1))
    assert errors.joints[:, 0] == pytest.approx(3.0)
    assert errors.mpjpe_mm == pytest.approx((20 * 3.0 + 5.0) / 40)
    told = errors.to_json()
    assert told["per_joint_mm"]["index1"] == pytest.approx((3.0 + 5.0) / 2)
    assert told["per_joint_mm"]["thumb1"] == pytest.approx(1.5)
    assert told["mpjpe_mm_of_sides"] == pytest.approx({"right": 3.0, "left": 0.25})
    assert told["mpvpe_mm"] is None and told["place_mm"] is None


@pytest.mark.parametrize("name", ["joints", "vertices", "mano"])
def test_removing_the_wrists_rotation_removes_it_and_nothing_else(name: str) -> None:
    representation = Representation(name)  # type: ignore[arg-type]
    pose, betas, place = random_pairs(6)
    x = representation.vectors(layer(), pose, betas, place)
    # Each hand turned by itself: a pair turned as a whole would hide a mix-up of sides.
    Q = random_rotations(12, torch.Generator().manual_seed(1)).double().reshape(6, 2, 3, 3)
    turned = representation.split(x)[0]
    if name == "mano":
        R = Q @ matrix_from_axis_angle(pose[:, :, 0])
        turned = torch.cat([sixd_from_matrix(R).flatten(1), x[:, 12:]], dim=1)
    else:
        points = turned.unflatten(1, (2, -1, 3))
        turned = (points @ Q.mT).flatten(1)
    errors = pair_errors(representation, layer(), x, turned)
    assert errors.joints.mean() > 20.0
    assert errors.joints_removed.max() < 1e-3
    if errors.vertices is not None and errors.vertices_removed is not None:
        assert errors.vertices.mean() > 20.0 and errors.vertices_removed.max() < 1e-3
    # A finger's own error stays.
    bent = pose.clone()
    bent[:, :, 4, 2] += 0.3
    both = representation.vectors(layer(), bent, betas, place)
    errors = pair_errors(representation, layer(), x, both)
    assert errors.joints_removed.mean() > 0.3
    # What is turned onto the truth is turned for the least squares.
    kept, removed = (np.square(e).mean() for e in (errors.joints, errors.joints_removed))
    assert removed <= kept * (1 + 1e-9)


def test_a_hand_is_not_aligned_by_a_mirror() -> None:
    points = torch.randn(4, 9, 3, generator=torch.Generator().manual_seed(0)).double()
    mirrored = points * torch.tensor([-1.0, 1.0, 1.0])
    assert (turned_onto(mirrored, points) - points).norm(dim=-1).mean() > 0.3


def test_errors_by_the_wrists_angle_tell_which_angles_fail() -> None:
    pose, betas, place = random_pairs(40)
    angles = torch.linspace(0.05, np.pi - 0.01, 40, dtype=torch.float64)
    pose[:, :, 0] = torch.nn.functional.normalize(pose[:, :, 0], dim=-1) * angles[:, None, None]
    x = MANO.vectors(layer(), pose, betas, place)
    worse = pose.clone()
    # Beyond 150 degrees every wrist is 0.2 rad off, about its own axis.
    far = angles > np.radians(150.0)
    worse[far, :, 0] *= ((angles[far] - 0.2) / angles[far])[:, None, None]
    bins = pair_errors(MANO, layer(), x, MANO.vectors(layer(), worse, betas, place))
    rows = bins.by_wrist_angle()
    assert rows is not None and sum(row["hands"] for row in rows) == 80
    for row in rows:
        if row["from_deg"] >= 150.0 and row["hands"]:
            assert row["wrist_rotation_deg"] == pytest.approx(np.degrees(0.2), rel=1e-4)
            assert row["mpjpe_mm"] > 1.0
        elif row["hands"]:
            assert row["mpjpe_mm"] < 1e-3
        else:
            assert row["mpjpe_mm"] is None


def test_latents_that_vary_are_active_and_the_divergence_is_the_planted_one() -> None:
    generator = torch.Generator().manual_seed(0)
    mean = torch.zeros(4000, 6)
    mean[:, :2] = 0.9 * torch.randn(4000, 2, generator=generator)
    mean[:, 2] = 3.0  # far from zero, but the same for every pair
    mean[:, 3] = 0.05 * torch.randn(4000, generator=generator)
    log_variance = torch.zeros(4000, 6)
    log_variance[:, 4] = np.log(0.5)
    found = latent_figures(Posterior(mean, log_variance))
    assert found["active"] == 2
    assert found["kl_nats_per_latent"][2] == pytest.approx(4.5)
    assert found["kl_nats_per_latent"][4] == pytest.approx(0.5 * (0.5 - 1 - np.log(0.5)))
    assert found["kl_nats_per_latent"][5] == 0.0
    assert found["kl_nats"] == pytest.approx(sum(found["kl_nats_per_latent"]))
    assert found["aggregate"]["variance"] == pytest.approx(1.81, abs=0.05)


def test_an_autoencoder_has_no_divergence() -> None:
    mean = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    found = latent_figures(Posterior(mean, torch.full_like(mean, -torch.inf)))
    assert found["kl_nats"] is None and found["kl_nats_per_latent"] is None
    assert found["active"] == 4
    json.dumps(found, allow_nan=False)


def test_all_components_are_the_identity_and_fewer_are_the_best_linear_model() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 3, generator=generator) @ torch.randn(3, 12, generator=generator)
    x = x + 0.1 * torch.randn(500, 12, generator=generator) + 2.0
    pca = PcaGaussian.fit(x)
    assert (pca.reconstruct(x, 12) - x).abs().max() < 1e-6
    assert pca.is_identity(12) and pca.is_identity(128) and not pca.is_identity(11)
    assert torch.equal(pca.reconstruct(x, 128), pca.reconstruct(x, 12))
    errors = [(pca.reconstruct(x, k) - x).square().sum(1).mean().item() for k in range(1, 13)]
    assert errors == sorted(errors, reverse=True)
    # What k components leave is the variance of the others.
    left = [499 / 500 * pca.variances[k:].sum().item() for k in range(1, 13)]
    assert errors == pytest.approx(left, rel=1e-4, abs=1e-9)


def test_draws_of_the_gaussian_have_the_datas_moments() -> None:
    x = torch.randn(400, 5, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 6.0)
    pca = PcaGaussian.fit(x)
    drawn = pca.sample(40_000, 5, seed=3)
    assert (torch.cov(drawn.T) - torch.cov(x.T)).abs().max() < 0.6
    assert torch.equal(drawn, pca.sample(40_000, 5, seed=3))
    # Of two components a draw lies in their plane.
    flat = pca.sample(50, 2, seed=3)
    assert (pca.reconstruct(flat, 2) - flat).abs().max() < 1e-5


class _Identity:
    """What `half_turn` asks of a prior, with codes that are the raw vectors themselves."""

    def __init__(self, rotation: str) -> None:
        self.representation = Representation("mano", rotation)  # type: ignore[arg-type]
        self.layer = layer()

    def encode(self, x: "torch.Tensor") -> Posterior:
        return Posterior(x, torch.zeros_like(x))

    def decode(self, z: "torch.Tensor") -> "_Decoded":
        return _Decoded(z)


class _Decoded:
    def __init__(self, x: "torch.Tensor") -> None:
        self.x = x


def test_rotation_vectors_jump_at_half_a_turn_and_six_numbers_do_not() -> None:
    pose, betas, place = random_pairs(20)
    pose[:, 0, 0] = 0.0  # the frame of the right wrist
    found = {}
    for rotation in ("axis-angle", "6d"):
        prior = _Identity(rotation)
        x = prior.representation.vectors(layer(), pose, betas, place)
        found[rotation] = {
            row["angle_deg"]: row["mpjpe_mm"]
            for row in half_turn(prior, x)  # type: ignore[arg-type]
        }
    assert max(found["6d"].values()) < 0.1
    assert found["axis-angle"][170.0] < 0.1
    assert found["axis-angle"][180.0] > 50.0


def test_hands_without_a_place_are_compared_hand_by_hand_alone() -> None:
    features = np.random.default_rng(0).normal(scale=0.05, size=(120, 126))
    told = likeness_figures(features, features, 100, placed=False, seed=0)
    assert told["pairs"] is None and "place" in told["reason"]
    assert told["hands"]["coverage"] > 0.5
    few = likeness_figures(features, features, 10, placed=True, seed=0)
    assert few["pairs"] is None and few["hands"] is None and "are needed" in few["reason"]


# The command


def _prior(folder: Path, data: Path, name: str = "mano", *, model: str = "vae",
           place: bool = True, sha256: str | None = None) -> Path:  # fmt: skip
    """A run folder with a prior of random weights about the data's mean."""
    from interaction_prior.data import read_pairs

    torch.manual_seed(0)
    representation = Representation(name, with_translation=place)  # type: ignore[arg-type]
    hands = open_hands()
    pairs = read_pairs([data], hands, "train")
    arrays = (torch.tensor(a).float() for a in (pairs.pose, pairs.betas, pairs.place))
    x = representation.vectors(HandLayer(hands), *arrays)
    network = PriorNetwork(Architecture(representation.dim, model, latents=6, hidden=32))  # type: ignore[arg-type]
    fitted = fit_normalisation("block", representation, x)
    record = PriorRecord(
        architecture=network.architecture,
        representation=representation,
        normalisation=Normalisation(fitted.mean, 0.3 * fitted.scale),
        weights=network.state_dict(),
        hand_model={
            "name": "open",
            "right_sha256": sha256 or hands.right.sha256,
            "left_sha256": hands.left.sha256,
        },
        latents={"mean": torch.zeros(6), "covariance": torch.eye(6)},
    )
    write_prior(folder / "prior.safetensors", record)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset(tmp_path_factory.mktemp("data") / "pairs", train=80, val=60)


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(twohand, ["evaluate", *map(str, arguments)])


def test_the_command_writes_numbers_pictures_and_a_page(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As many pictures as take a moment.
    for name, few in (("_STRIPS", 1), ("_STEPS", 2), ("_SHEET", 2)):
        monkeypatch.setattr(command, name, few)
    run = _prior(tmp_path / "run", data)
    out = tmp_path / "out"
    asked = (run, "--data", data, "--split", "val", "--samples", 55, "--workers", 1, "-q")
    result = _run(*asked, "--out", out)
    assert result.exit_code == 0, result.output
    assert "MPJPE" in result.output and "coverage" in result.output
    told = json.loads((out / "evaluation.json").read_text())
    assert told["data"]["pairs"] == 60 and told["prior"]["model"] == "vae"
    found = told["reconstruction"]["unrotated"]["posterior_mean"]
    assert found["mpjpe_mm"] > 1.0 and found["mpvpe_mm"] > 1.0 and found["place_mm"] > 0.0
    assert set(told["samples"]["sets"]) == {"standard", "fitted"}
    drawn = told["samples"]["sets"]["standard"]
    assert drawn["plausibility"]["penetration_cm3"]["judged"] == 55
    assert 0.0 <= drawn["likeness"]["pairs"]["coverage"] <= 1.0
    # The data are within their limits and the training pairs are likest the held-out ones.
    assert told["samples"]["data"]["limit_violation"]["over_1_deg"] == 0.0
    apart = drawn["plausibility"]
    assert 0.0 <= apart["meet_without_overlap"] <= 1.0 - apart["penetration_cm3"]["over_1"]
    assert told["samples"]["floor"]["pairs"]["coverage"] > drawn["likeness"]["pairs"]["coverage"]
    page = (out / "evaluation.html").read_text()
    assert page.count("data:image/png;base64,") == 6
    assert "http://" not in page and "https://" not in page
    for name in ("errors", "wrist-angle", "latents", "map", "strips", "samples"):
        assert (out / f"{name}.png").stat().st_size > 1000, name
        assert (out / f"{name}.pdf").read_bytes().startswith(b"%PDF"), name
    assert not list(out.glob(".*"))
    again = tmp_path / "again"
    assert _run(*asked, "--out", again, "--no-pictures").exit_code == 0
    assert (again / "evaluation.json").read_bytes() == (out / "evaluation.json").read_bytes()


def test_a_prior_without_a_place_is_judged_hand_by_hand(tmp_path: Path, data: Path) -> None:
    run = _prior(tmp_path / "run", data, "joints", place=False, model="ae")
    result = _run(run, "--data", data, "--split", "val", "--samples", 52, "--workers", 1, "-q",
                  "--no-pictures", "--json", "--out", tmp_path / "out")  # fmt: skip
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert set(told["samples"]["sets"]) == {"fitted"}
    drawn = told["samples"]["sets"]["fitted"]
    assert drawn["plausibility"]["penetration_cm3"]["judged"] == 0
    assert drawn["plausibility"]["penetration_cm3"]["over_1"] is None
    assert drawn["plausibility"]["fit_residual_mm"]["mean"] > 0.0
    assert drawn["likeness"]["pairs"] is None and drawn["likeness"]["hands"] is not None
    assert told["latents"]["kl_nats"] is None
    assert told["reconstruction"]["training_rotation"]["sampled_z"] is None
    assert told["reconstruction"]["by_wrist_angle"] is None


def test_what_cannot_be_evaluated_is_refused_in_one_line(tmp_path: Path, data: Path) -> None:
    unfinished = tmp_path / "unfinished"
    (unfinished / "checkpoints").mkdir(parents=True)
    good = _prior(tmp_path / "good", data)
    other = _prior(tmp_path / "other", data, sha256="00" * 32)
    for run, split, said in (
        (unfinished, "val", "the run is not finished"),
        (other, "val", "was trained on the hand model"),
        (good, "test", "has no sample in split 'test'"),
    ):
        result = _run(run, "--data", data, "--split", split, "--out", tmp_path / "out")
        assert isinstance(result.exception, DataError), result.output
        assert said in str(result.exception) and "\n" not in str(result.exception)
        assert not (tmp_path / "out").exists()
