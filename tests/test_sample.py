"""`twohand sample`: a prior's draws as a dataset that every other command takes."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from drawn_fixture import hands, parameters  # noqa: E402
from physics_fixture import StandIn  # noqa: E402
from shards_fixture import dataset_bytes  # noqa: E402

from interaction_prior import InteractionPrior  # noqa: E402
from interaction_prior.hands import HandLayer  # noqa: E402
from interaction_prior.prior import (  # noqa: E402
    Architecture,
    PriorNetwork,
    PriorRecord,
    write_prior,
)
from interaction_prior.representations import Normalisation, Representation  # noqa: E402
from twohand500k.cli import sample as command  # noqa: E402
from twohand500k.cli.main import twohand  # noqa: E402
from twohand500k.errors import DataError  # noqa: E402
from twohand500k.physics.run import (  # noqa: E402
    PhysicsFixOptions,
    physics_fix,
    plan_physics_fix,
)
from twohand500k.shards import Dataset  # noqa: E402
from twohand500k.shards.verify import verify  # noqa: E402
from twohand500k.view.catalog import Catalog  # noqa: E402

pytestmark = pytest.mark.torch


def a_prior(
    where: Path, name: str = "mano", *, place: bool = True, model: str = "vae", scale: float = 1.0
) -> Path:
    """A run folder whose prior has random weights: its draws lie about one lawful pair."""
    torch.manual_seed(0)
    representation = Representation(name, with_translation=place)  # type: ignore[arg-type]
    pose, betas, where_left = (torch.tensor(a) for a in parameters([0]))
    x = representation.vectors(HandLayer(hands()).double(), pose, betas, where_left)
    network = PriorNetwork(Architecture(representation.dim, model, latents=16, hidden=64))  # type: ignore[arg-type]
    record = PriorRecord(
        architecture=network.architecture,
        representation=representation,
        normalisation=Normalisation(x[0].float(), torch.full((representation.dim,), scale)),
        weights=network.state_dict(),
        hand_model={
            "name": "open",
            "right_sha256": hands().right.sha256,
            "left_sha256": hands().left.sha256,
        },
        latents={"mean": torch.ones(16), "covariance": 0.25 * torch.eye(16)},
        training={"options": {"seed": 4}, "data_sha256": "ab" * 32, "steps": 7},
    )
    write_prior(where / "prior.safetensors", record)
    return where


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    folder = tmp_path_factory.mktemp("priors")

    def run(label: str, **options) -> Path:  # type: ignore[no-untyped-def]
        path = folder / label
        return path if path.exists() else a_prior(path, **options)

    return run


@pytest.fixture(scope="module")
def dataset(runs: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 judged samples of the prior `small`, one shard."""
    out = tmp_path_factory.mktemp("samples") / "whole"
    told = sample(runs("small"), out, 70, "--judge")
    assert told.exit_code == 0, told.output
    return out


def sample(prior: Path | str, out: Path, count: int, *more: str) -> Result:
    arguments = ["sample", "--prior", str(prior), "--count", str(count), "--out", str(out)]
    return CliRunner().invoke(twohand, [*arguments, "--workers", "1", *more])


def refused(prior: Path | str, out: Path, *more: str) -> str:
    """What the command says when it refuses, having written nothing."""
    with pytest.raises(DataError) as error:
        arguments = ["sample", "--prior", str(prior), "--count", "4", "--out", str(out), *more]
        twohand.main(args=arguments, standalone_mode=False)
    assert not out.exists()
    return str(error.value)


def test_a_sample_is_a_dataset_with_its_provenance(dataset: Path) -> None:
    assert [f.check for f in verify(dataset, hands()) if not f.passed] == []
    samples = Dataset(dataset).shard(0)
    assert len(samples) == 70 and set(samples.source) == {"prior:small"}
    assert np.isfinite(samples.penetration_volume).all()
    trained, drawn_ = Dataset(dataset).index.history
    assert (trained["stage"], trained["seed"], trained["inputs"]) == (
        "train-prior", 4, {"data": "ab" * 32},
    )  # fmt: skip
    sha256 = drawn_["inputs"]["prior.safetensors"]
    assert set(samples.take) == {sha256[:12]}
    assert (drawn_["options"]["temperature"], drawn_["options"]["latents"]) == (1.0, "standard")


@pytest.mark.parametrize("name", ["mano", "joints", "vertices"])
def test_samples_are_what_the_decoder_says(
    name: str, runs: Callable[..., Path], tmp_path: Path
) -> None:
    """At temperature 0 every draw is the decoded mean of the latents."""
    run = runs(f"still-{name}", name=name, scale=3e-4)
    told = sample(run, tmp_path / "out", 3, "--temperature", "0", "--latents", "fitted")
    assert told.exit_code == 0, told.output
    prior = InteractionPrior.load(run)
    with torch.no_grad():
        pairs = prior.decode(torch.ones(16))
        truth = pairs.joints.double().numpy()
        truth[1] += pairs.place.double().numpy()
    samples = Dataset(tmp_path / "out").shard(0)
    # Distances between any two joints: no frame changes them.
    flat = truth.reshape(42, 3)
    before = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    for joints in samples.joints.astype(float).reshape(3, 42, 3):
        after = np.linalg.norm(joints[:, None] - joints[None], axis=-1)
        # Hands fitted to joints, and regressed joints, are others by millimetres.
        assert np.abs(before - after).max() < (2e-6 if name == "mano" else 8e-3)
    assert np.isnan(samples.fit_error).all() == (name == "mano")
    if name != "mano":
        assert 0 < samples.fit_error.max() < 1.5e-3
        assert "hands fitted to what was drawn" in told.stdout


def test_a_larger_count_begins_with_the_same_samples_whatever_the_shards(
    dataset: Path, runs: Callable[..., Path], tmp_path: Path
) -> None:
    prior = runs("small")
    assert sample(prior, tmp_path / "a", 41, "--shard-size", "17", "--judge").exit_code == 0
    few, many = Dataset(tmp_path / "a"), Dataset(dataset)
    rows = np.arange(41)
    for name in ("sample_id", "pose", "transl", "betas", "joints", "penetration_volume"):
        np.testing.assert_array_equal(
            getattr(few.samples(rows), name), getattr(many.samples(rows), name)
        )
    two = ("--shard-size", "17", "--judge", "--workers", "2")
    assert sample(prior, tmp_path / "b", 41, *two).exit_code == 0
    assert dataset_bytes(tmp_path / "a") == dataset_bytes(tmp_path / "b")


def test_draws_go_on_beyond_what_is_decoded_at_a_time(
    runs: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_DECODED", 128)
    command._block.clear()
    file = runs("small") / "prior.safetensors"
    sha256 = command.sha256_of_file(file)
    draws = command.PriorDraws(file, sha256, hands(), 0, "standard", 1.0, "x")
    across = draws(120, 140)
    assert across.pose is not None
    apart = np.concatenate([draws(120, 128).pose, draws(128, 140).pose])
    np.testing.assert_array_equal(across.pose, apart)
    assert len(np.unique(across.pose[:, 0, 1, 0])) == 20
    assert across.sample_id[0] == "x/000000120"
    command._block.clear()


def test_seed_latents_and_temperature_change_samples_and_their_ids(
    dataset: Path, runs: Callable[..., Path], tmp_path: Path
) -> None:
    first = Dataset(dataset).samples(np.arange(4))
    ids = {first.sample_id[0]}
    for k, more in enumerate((("--seed", "1"), ("--temperature", "0.5"), ("--latents", "fitted"))):
        assert sample(runs("small"), tmp_path / str(k), 4, *more).exit_code == 0
        other = Dataset(tmp_path / str(k)).shard(0)
        assert np.abs(other.pose - first.pose).max() > 1e-3
        ids.add(other.sample_id[0])
    assert len(ids) == 4


def test_other_commands_take_it(dataset: Path, tmp_path: Path) -> None:
    plan = plan_physics_fix(dataset, hands(), PhysicsFixOptions(), make=StandIn)
    fixed = physics_fix(plan, tmp_path / "fixed", PhysicsFixOptions(), progress=False)
    assert fixed.n_in == 70
    assert Dataset(tmp_path / "fixed").index.history[1]["stage"] == "sample"
    chosen = ["select", str(dataset), "--where", "source == 'prior:small'", "--count", "9"]
    told = CliRunner().invoke(twohand, [*chosen, "--out", str(tmp_path / "few"), "-q"])
    assert told.exit_code == 0, told.output
    assert [f.check for f in verify(tmp_path / "few", hands()) if not f.passed] == []
    assert len(Catalog.open([dataset], hands()).hands) == 70


def test_what_cannot_be_sampled_is_refused_before_anything_is_written(
    runs: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    told = refused(runs("nowhere", place=False), out)
    assert "a sample of" in told and "is no interaction" in told and "--with-translation" in told
    assert "draw its latents as 'fitted'" in refused(runs("ae", model="ae"), out)
    assert "holds no prior.safetensors" in refused(tmp_path, out)
    (tmp_path / "MANO").mkdir()
    for side in (hands().right, hands().left):
        side.with_tips((745, 317, 444, 556, 673)).save(
            tmp_path / "MANO" / f"MANO_{side.side.upper()}.npz"
        )
    other = refused(runs("small"), out, "--hand-model", str(tmp_path / "MANO"))
    assert "was trained on the hand model" in other


def test_a_prior_trained_anew_under_a_run_is_noticed(
    runs: Callable[..., Path], tmp_path: Path
) -> None:
    a_prior(tmp_path / "run", scale=0.5)
    file = tmp_path / "run" / "prior.safetensors"
    assert sample(tmp_path / "run", tmp_path / "out", 4).exit_code == 0
    draws = command.PriorDraws(file, command.sha256_of_file(file), hands(), 0, "standard", 1.0, "x")
    a_prior(tmp_path / "run", scale=0.6)
    command._loaded.clear()
    command._block.clear()
    with pytest.raises(DataError, match="another prior than when this run began"):
        draws(0, 4)
    with pytest.raises(DataError, match="was begun with"):
        twohand.main(
            args=["sample", "--prior", str(tmp_path / "run"), "--count", "4", "--workers", "1",
                  "--out", str(tmp_path / "out")],
            standalone_mode=False,
        )  # fmt: skip


def test_a_dry_run_tells_and_writes_nothing(runs: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = sample(runs("small"), out, 9000, "--dry-run", "--json")
    assert told.exit_code == 0 and not out.exists()
    plan = json.loads(told.stdout)
    assert (plan["pairs"], plan["work_units"], plan["source"]) == (9000, 3, "prior:small")
    said = sample(runs("small"), out, 5, "--dry-run").stdout
    assert "would draw 5 pairs of prior:small (mano (6d) with translation" in said


def test_without_torch_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, runs: Callable[..., Path], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert 'pip install "twohand500k[train]"' in refused(runs("small"), tmp_path / "out")
