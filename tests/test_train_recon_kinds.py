"""Training an image network in every way there is, and what it refuses."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from images_fixture import hands, image_dataset  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from train_recon_fixture import SMALL, prior, train  # noqa: E402

from interaction_prior.recon_training import plan_recon, validation  # noqa: E402
from interaction_prior.recon_training.validation import errors_of_run  # noqa: E402
from interaction_prior.training.metrics import Row, read_metrics  # noqa: E402
from twohand500k.errors import DataError  # noqa: E402

pytestmark = pytest.mark.torch
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _one_thread_no_picture(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pictures and floor take longer than such a run; `run` below has them."""
    from interaction_prior.recon_training import loop

    monkeypatch.setattr(loop, "draw_curves", lambda path, rows, title, panels: None)
    monkeypatch.setattr(loop, "prior_floor", lambda prior, images, log: {"mpjpe_mm": 5.0})
    monkeypatch.setattr(validation, "draw_predictions", lambda path, predicted, title: None)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "painted"
    return image_dataset(folder, train=12, val=4, test=5)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run that others are held against."""
    out = tmp_path_factory.mktemp("runs") / "run"
    torch.set_num_threads(1)
    said: list[str] = []
    train(data, out, log=said.append)
    (out.parent / "said.txt").write_text("\n".join(said))
    return out


def untimed(out: Path) -> list[Row]:
    """The metrics without what a clock told."""
    rows = read_metrics(out / "metrics.jsonl")
    timed = ("seconds", "samples_per_s", "waiting")
    return [{k: v for k, v in r.items() if k not in timed} for r in rows]


def same_weights(a: Path, b: Path) -> bool:
    ours, theirs = (load_file(out / "recon.safetensors") for out in (a, b))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def losses(out: Path) -> list[float]:
    return [r["loss"] for r in untimed(out) if "loss" in r]


# What it can be


@pytest.mark.parametrize("changed", [
    {"precision": "bfloat16"},
    {"channels_last": False},
    {"schedule": "plateau"},
    {"split": "all"},
], ids=lambda c: next(iter(c)))  # fmt: skip
def test_every_way_trains(data: Path, tmp_path: Path, changed: dict[str, object]) -> None:
    summary = train(data, tmp_path / "run", **changed)
    assert np.isfinite(losses(tmp_path / "run")).all()
    assert (summary.final == {}) == (changed.get("split") == "all")


def test_errors_on_the_test_split(run: Path, data: Path) -> None:
    found = errors_of_run(run, [data], hands())
    assert found.mpjpe_mm.shape == (5,) and np.isfinite(found.mpjpe_mm).all()
    figures = found.figures()
    worst = int(found.hidden.argmax())
    assert figures["hidden_mpjpe_mm"] == pytest.approx(found.mpjpe_mm[worst])
    assert figures["pictures"] == 5


def test_a_plan_says_what_would_be_done(data: Path) -> None:
    plan = plan_recon([data], SMALL, hands(), prior())
    assert plan.pictures == (("painted", 12),) and plan.validation_pictures == 2
    assert plan.set_bytes == 12 * (3 * plan.size**2 + 2 * (plan.size // 4) ** 2)
    assert 0 < plan.feature_parameters < plan.parameters and plan.seconds > 0


# What it refuses


def test_other_options_are_refused_with_both_values(run: Path, data: Path) -> None:
    with pytest.raises(DataError, match=r"learning_rate = 0\.001, this command has 0\.002"):
        train(data, run, learning_rate=2e-3)
    with pytest.raises(DataError, match="prior_sha256"):
        train(data, run, prior=prior(seed=1))


def test_a_finished_run_is_left_alone(run: Path, data: Path) -> None:
    summary = train(data, run)
    assert summary.was_finished and summary.final["pictures"] == 2


def test_a_prior_that_does_not_fit_is_one_line(data: Path, tmp_path: Path) -> None:
    from prior_fixture import small_prior

    with pytest.raises(DataError, match="prior is on the hand model 'synthetic'"):
        train(data, tmp_path / "run", prior=small_prior(steps=1))
    with pytest.raises(DataError, match="wants a prior of joints, this one is of mano"):
        train(data, tmp_path / "run", variant="joints")
    assert not (tmp_path / "run").exists()


def test_a_coarse_decoder_is_refused_before_anything_is_written(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from interaction_prior.recon_training import loop
    from interaction_prior.recon_training.floor import prior_floor

    monkeypatch.setattr(loop, "prior_floor", prior_floor)
    with pytest.raises(DataError, match="10 mm"):
        train(data, tmp_path / "run", prior=prior(coarse=True))
    assert not (tmp_path / "run").exists()
