"""Training an image network: what is learned, the folder it leaves, how it goes on."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from images_fixture import hands, image_dataset  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from train_recon_fixture import train  # noqa: E402

from interaction_prior.images import NONE, read_images  # noqa: E402
from interaction_prior.recon_training import validation  # noqa: E402
from interaction_prior.recon_training.checkpoint import (  # noqa: E402
    FEATURES_FILE,
    read_recon_checkpoint,
)
from interaction_prior.recon_training.loop import _ReconWork  # noqa: E402
from interaction_prior.training import Progress  # noqa: E402
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


# What a run leaves


def test_a_run_leaves_its_folder(run: Path, data: Path) -> None:
    assert {p.name for p in run.iterdir()} == {
        "options.json", "run.json", "metrics.jsonl", "tensorboard", "checkpoints", "curves.png",
        "pictures", "features.safetensors", "recon.safetensors", ".work",
    }  # fmt: skip
    assert [p.name for p in sorted((run / "pictures").iterdir())] == [
        f"step-{k:08d}.png" for k in (2, 4, 6)
    ]
    rows = untimed(run)
    assert [r["step"] for r in rows if "validation" not in r] == list(range(1, 7))
    assert [r["step"] for r in rows if "validation" in r] == [2, 4, 6]
    facts = json.loads((run / "run.json").read_text())
    assert facts["floor"]["mpjpe_mm"] < 10 and facts["start"]["heatmap"] > 0
    assert facts["data"][0]["samples"] == 12
    assert facts["data_sha256"] == read_images([data], hands(), "train").sha256()


def test_the_start_is_said_term_by_term(run: Path) -> None:
    said = (run.parent / "said.txt").read_text()
    assert "the decoder's floor" in said and "neighbours per joint" in said
    assert "heatmaps" in said and "masks" in said and "tau" in said


def test_phase_one_is_features_alone_and_phase_two_is_all(run: Path) -> None:
    """Terms of hands are None in the first phase; the loss is the sum of its terms in both."""
    for row in untimed(run):
        if "validation" in row:
            assert (row["validation"]["mpjpe_mm"] is None) == (row["step"] <= 2)
            continue
        of_hands = [row[n] for n in ("parameters", "joints", "vertices")]
        assert all(x is None for x in of_hands) == (row["step"] <= 2)


def test_the_first_phase_moves_the_features_only(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "run", recon_steps=1)
    first = read_recon_checkpoint(tmp_path / "run/checkpoints/step-00000002.safetensors")
    last = read_recon_checkpoint(tmp_path / "run/checkpoints/step-00000003.safetensors")
    assert all(name.startswith(tuple(n for n, _ in features(first))) for name in first.moments)
    kept = load_file(tmp_path / "run" / FEATURES_FILE)
    for name, weight in kept.items():
        assert torch.equal(weight, first.weights[f"features.{name}"])
    moved = {n for n in first.weights if not torch.equal(first.weights[n], last.weights[n])}
    assert any(not n.startswith("features.") for n in moved)
    assert any(n.startswith("features.") for n in moved)


def features(checkpoint: object) -> list[tuple[str, torch.Tensor]]:
    weights = checkpoint.weights  # type: ignore[attr-defined]
    return [(n.removeprefix("features."), w) for n, w in weights.items() if "features." in n]


def test_it_learns(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "run", feature_steps=20, recon_steps=30, log_every=10,
          validate_every=1000, augmentation=NONE)  # fmt: skip
    rows = [r for r in untimed(tmp_path / "run") if "loss" in r]
    assert rows[1]["heatmap"] < 0.8 * rows[0]["heatmap"]
    assert rows[-1]["joints"] < 0.9 * rows[2]["joints"]


# Going on


def test_the_same_seed_repeats_and_another_does_not(run: Path, data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "again")
    assert untimed(tmp_path / "again") == untimed(run) and same_weights(tmp_path / "again", run)
    train(data, tmp_path / "other", seed=1)
    assert losses(tmp_path / "other")[0] != losses(run)[0]


@pytest.mark.parametrize("at", [1, 3])
def test_stopped_in_either_phase_or_between_it_goes_on_to_the_last_bit(
    run: Path, data: Path, tmp_path: Path, at: int
) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.step == at:
            os.kill(os.getpid(), signal.SIGINT)

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt, match=r"of 6, a checkpoint is saved"):
        train(data, out, progress=interrupt)
    assert not (out / "recon.safetensors").exists()
    summary = train(data, out)
    assert summary.resumed_from == at + 1
    assert untimed(out) == untimed(run) and same_weights(out, run)
    facts = json.loads((out / "run.json").read_text())
    assert facts["floor"] and facts["start"] and len(facts["sessions"]) == 2


def test_a_plateau_is_kept_over_a_stop(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rate falls where the held-out error does not; resumed, it falls alike."""
    found = validation.ReconValidation.figures
    monkeypatch.setattr(
        validation.ReconValidation, "figures",
        lambda self, *args: {**found(self, *args), "mpjpe_mm": 20.0},
    )  # fmt: skip
    changed = {
        "schedule": "plateau", "fixed_share": 0.0, "plateau_patience": 0, "plateau_factor": 0.5,
        "validate_every": 1, "checkpoint_every": 3, "feature_steps": 1, "recon_steps": 3,
    }  # fmt: skip
    train(data, tmp_path / "whole", **changed)
    rates = [r["lr"] for r in untimed(tmp_path / "whole") if "lr" in r]
    # The first figure after step 1, then one no better a halving.
    assert rates == [1e-3] * 2 + [5e-4, 2.5e-4]

    def interrupt(progress: Progress) -> None:
        if progress.step == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "stopped", progress=interrupt, **changed)
    train(data, tmp_path / "stopped", **changed)
    assert untimed(tmp_path / "stopped") == untimed(tmp_path / "whole")


def test_streamed_gives_the_same_numbers_as_resident(run: Path, data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "streamed", resident="no")
    assert untimed(tmp_path / "streamed") == untimed(run)


def test_anothers_features_are_begun_with(run: Path, data: Path, tmp_path: Path) -> None:
    """Like the run itself after its first phase, for what a step draws follows from its number."""
    out = tmp_path / "run"
    train(data, out, features=run)
    options = json.loads((out / "options.json").read_text())
    assert options["options"]["feature_steps"] == 0 and options["features_sha256"]
    assert not (out / FEATURES_FILE).exists()
    before = [r["heatmap"] for r in untimed(run) if "loss" in r]
    began = next(r["heatmap"] for r in untimed(out) if "loss" in r)
    assert began < before[0]
    with pytest.raises(DataError, match=r"holds no features\.safetensors"):
        train(data, tmp_path / "third", features=out)


def test_a_loss_that_is_no_number_stops_with_its_step(data: Path, tmp_path: Path) -> None:
    rate = _ReconWork.rate

    def breaks_at_4(self: _ReconWork, step: int) -> float:
        return 1e30 if step == 4 else rate(self, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_ReconWork, "rate", breaks_at_4)
        with pytest.raises(DataError, match=r"in step 6 the .* became (inf|nan)") as fault:
            train(data, tmp_path / "run")
    assert "last checkpoint kept is of step 4" in str(fault.value)
    train(data, tmp_path / "run")
