"""Training a prior: what is drawn and learned, the folder it leaves, what it refuses."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402
from train_fixture import SMALL, dataset, hands, train  # noqa: E402

from interaction_prior import InteractionPrior  # noqa: E402
from interaction_prior.data import read_pairs  # noqa: E402
from interaction_prior.hands import HandLayer  # noqa: E402
from interaction_prior.prior import Architecture, PriorNetwork  # noqa: E402
from interaction_prior.prior.files import write_tensors  # noqa: E402
from interaction_prior.prior.loss import prior_loss  # noqa: E402
from interaction_prior.representations import Normalisation, Representation  # noqa: E402
from interaction_prior.training import (  # noqa: E402
    PRESETS,
    Progress,
    TrainOptions,
    loop,
    plan_training,
)
from interaction_prior.training import rows as rows_module  # noqa: E402
from interaction_prior.training.checkpoint import (  # noqa: E402
    Checkpoint,
    checkpoint_name,
    latest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from interaction_prior.training.distributed import Processes  # noqa: E402
from interaction_prior.training.latents import aggregate_posterior  # noqa: E402
from interaction_prior.training.metrics import read_metrics  # noqa: E402
from interaction_prior.training.rows import (  # noqa: E402
    is_resident,
    make_rows,
    row_weights,
    vectors,
    wide_batches,
)
from interaction_prior.training.run_folder import RunFolder  # noqa: E402
from interaction_prior.training.steps import Stepper  # noqa: E402
from twohand500k.errors import DataError  # noqa: E402

pytestmark = pytest.mark.torch
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _one_thread_no_picture(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The picture takes longer than such a run; `run` below has one."""
    monkeypatch.setattr(loop, "draw_curves", lambda path, rows, title: None)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset(tmp_path_factory.mktemp("data") / "pairs")


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run that others are held against."""
    out = tmp_path_factory.mktemp("runs") / "run"
    torch.set_num_threads(1)
    train(data, out)
    return out


def losses(out: Path) -> list[tuple[int, float, float, float]]:
    rows = read_metrics(out / "metrics.jsonl")
    return [(r["step"], r["loss"], r["kl"], r["error"]) for r in rows if "loss" in r]


def validations(out: Path) -> list[dict[str, float]]:
    return [r for r in read_metrics(out / "metrics.jsonl") if "validation" in r]


# What a run leaves


def test_a_run_learns_and_leaves_its_folder(run: Path, data: Path) -> None:
    assert {p.name for p in run.iterdir()} == {
        "options.json", "run.json", "metrics.jsonl", "tensorboard", "checkpoints", "curves.png",
        "card.md", "prior.safetensors", ".work",
    }  # fmt: skip
    told = losses(run)
    assert [step for step, *_ in told] == list(range(5, 61, 5))
    assert told[-1][1] < 0.7 * told[0][1]
    assert [r["step"] for r in validations(run)] == [20, 40, 60]
    assert len(list((run / "checkpoints").iterdir())) == 3
    prior = InteractionPrior.load(run)
    assert prior.training["data"] == [{"folder": "pairs", "samples": 150, "weight": 1.0}]
    assert prior.training["samples_seen"] == 60 * 16
    assert prior.training["final"] == validations(run)[-1]["validation"]
    assert prior.training["data_sha256"] == read_pairs([data], hands(), "train").sha256()
    assert TrainOptions.from_json(prior.training["options"]) == SMALL
    assert prior.sample(3, latents="fitted").joints.isfinite().all()
    facts = json.loads((run / "run.json").read_text())
    assert facts["rotation"]["kind"] == "uniform" and "SO(3)" in facts["rotation"]["distribution"]
    assert facts["sessions"][0]["threads"] == 1 and facts["sessions"][0]["from_step"] == 0


def test_loss_is_kl_plus_weighted_error_in_every_line(run: Path) -> None:
    for _, loss, kl, error in losses(run):
        assert loss == pytest.approx(kl + SMALL.weight * error, rel=1e-5)


def test_the_same_seed_repeats_and_another_does_not(run: Path, data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "again")
    assert losses(tmp_path / "again") == losses(run)
    train(data, tmp_path / "other", seed=1, steps=5)
    assert losses(tmp_path / "other")[0] != losses(run)[0]


def test_streamed_gives_the_same_numbers_as_resident(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts are smaller than the set, so more than one arrives."""
    monkeypatch.setattr(rows_module, "_CHUNK", 64)
    train(data, tmp_path / "streamed", resident="no")
    train(data, tmp_path / "resident", resident="yes")
    assert losses(tmp_path / "streamed") == losses(tmp_path / "resident")
    ours, theirs = (load_file(tmp_path / n / "prior.safetensors") for n in ("streamed", "resident"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_validation_is_what_the_prior_says_of_held_out_pairs(run: Path, data: Path) -> None:
    """Twin: joints straight from the file, no augmentation; MPJPE agrees roughly, being turned."""
    from interaction_prior.training.validation import make_validation

    prior = InteractionPrior.load(run)
    pairs = read_pairs([data], hands(), "val")
    held_out = make_validation(pairs, HandLayer(hands()), SMALL, CPU)
    decoded = prior.decode(prior.encode(held_out.x).mean)
    apart = (decoded.joints - prior.pairs(held_out.x).joints).norm(dim=-1)[..., 1:]
    final = prior.training["final"]
    assert final["mpjpe_mm"] == pytest.approx(1e3 * apart.mean().item(), rel=1e-4)
    assert final["pairs"] == 30 and 0 <= final["active"] <= 8


def test_aggregate_posterior_is_that_of_drawn_latents(data: Path, run: Path) -> None:
    """The stored moments against those of one z drawn for each of the same vectors."""
    prior = InteractionPrior.load(run)
    pairs = read_pairs([data], hands(), "train")
    rows = make_rows(pairs, SMALL.representation, HandLayer(hands()), CPU, resident=True)
    found = aggregate_posterior(prior.network, rows, prior.normalisation, SMALL, CPU, None)
    assert torch.equal(found["mean"], prior.record.latents["mean"])
    x = torch.cat(
        list(wide_batches(rows, SMALL, prior.normalisation, CPU, None, 1 << 15, purpose=9))
    )
    mean, log_variance = prior.network.encode(x)
    generator = torch.Generator().manual_seed(0)
    z = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=generator)
    assert torch.allclose(found["mean"], z.mean(0), atol=0.05)
    assert torch.allclose(found["covariance"], torch.cov(z.T), atol=0.08)


@pytest.mark.parametrize("changed", [
    {"model": "ae"},
    {"representation": Representation("joints")},
    {"representation": Representation("mano", "axis-angle"), "normalisation": "zscore"},
    {"precision": "bfloat16", "reduction": "mean", "schedule": "cosine", "warmup_steps": 3},
    {"init": "pca", "rotation": "none", "swap": False},
    {"likeness": 10.0, "plausibility": 1.0, "normalisation": "block", "init": "he"},
], ids=lambda c: next(iter(c)))  # fmt: skip
def test_every_kind_of_prior_trains(data: Path, tmp_path: Path, changed: dict[str, object]) -> None:
    summary = train(data, tmp_path / "run", steps=10, **changed)
    prior = InteractionPrior.load(tmp_path / "run")
    assert np.isfinite(summary.final["mpjpe_mm"])
    kl = [row["kl"] for row in read_metrics(tmp_path / "run/metrics.jsonl") if "loss" in row]
    assert {summary.final["kl"] is None, *(k is None for k in kl)} == {prior.model == "ae"}
    assert prior.sample(2, latents="fitted").joints.shape == (2, 2, 21, 3)


def test_starting_as_pca_starts_lower(data: Path, tmp_path: Path) -> None:
    for init in ("he", "pca"):
        train(data, tmp_path / init, init=init, steps=5, learning_rate=1e-5, log_every=1)
    assert losses(tmp_path / "pca")[0][1] < 0.7 * losses(tmp_path / "he")[0][1]


def test_without_held_out_pairs_it_is_said_and_nothing_is_made_up(tmp_path: Path) -> None:
    said: list[str] = []
    data = dataset(tmp_path / "data", train=40, val=0)
    summary = train(data, tmp_path / "run", steps=5, log=said.append)
    assert summary.final == {} and not validations(tmp_path / "run")
    assert any("nothing is held out" in line for line in said)


# Options


def test_presets_differ_from_the_paper_only_in_speed() -> None:
    paper, large = PRESETS["paper"], PRESETS["large-batch"]
    assert (paper.batch, paper.learning_rate, paper.latents, paper.weight) == (64, 1e-5, 128, 100)
    assert paper == TrainOptions()
    speed = ("batch", "learning_rate", "schedule", "warmup_steps", "steps")
    same = {name: getattr(paper, name) for name in speed}
    assert replace(large, **same) == paper


def test_rate_rises_then_falls_to_nothing() -> None:
    o = TrainOptions(steps=1000, warmup_steps=100, schedule="cosine", learning_rate=1.0)
    rates = [o.learning_rate_at(step) for step in range(1000)]
    assert rates[0] == 0.01 and rates[99] == 1.0 and np.argmax(rates) in (99, 100)
    assert np.all(np.diff(rates[100:]) < 0) and 0 < rates[-1] < 1e-4
    assert rates[550] == pytest.approx(0.5, abs=1e-6)


def test_epochs_become_steps_that_see_every_pair_as_often() -> None:
    assert TrainOptions(epochs=3, batch=64).resolved(150).steps == 8
    assert TrainOptions(steps=7).resolved(150).steps == 7


@pytest.mark.parametrize("wrong", [
    {"model": "gan"}, {"batch": 0}, {"learning_rate": float("nan")}, {"weight": -1.0},
    {"dataset_weights": (1.0, 0.0)}, {"warmup_steps": -1}, {"init": "xavier"},
])  # fmt: skip
def test_options_that_mean_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainOptions(**wrong)  # type: ignore[arg-type]


def test_dataset_weights_are_shares_of_the_draws(tmp_path: Path) -> None:
    """30 pairs with three quarters of the draws, 120 with one: four of five are of the first."""
    small = dataset(tmp_path / "small", train=30, val=0, source="few")
    large = dataset(tmp_path / "large", train=120, val=0, source="many")
    pairs = read_pairs([small, large], hands(), "train")
    weights = row_weights(pairs, (3.0, 1.0))
    assert weights is not None and row_weights(pairs, ()) is None
    drawn = torch.multinomial(weights, 20_000, True, generator=torch.Generator().manual_seed(0))
    assert abs((pairs.dataset[drawn.numpy()] == 0).mean() - 0.75) < 0.01
    train([small, large], tmp_path / "run", steps=5, dataset_weights=(3.0, 1.0))
    data = InteractionPrior.load(tmp_path / "run").training["data"]
    assert [(d["folder"], d["weight"]) for d in data] == [("small", 0.75), ("large", 0.25)]


def test_resident_is_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "free_memory", lambda device: 1000)
    assert is_resident("auto", 600, CPU) and not is_resident("auto", 601, CPU)
    assert is_resident("yes", 10_000, CPU) and not is_resident("no", 1, CPU)
    monkeypatch.undo()
    assert rows_module.free_memory(CPU) or os.name != "posix"


def test_a_full_temporary_folder_is_said_before_the_set_is_written(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = read_pairs([data], hands(), "train")
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(rows_module.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DataError, match="TMPDIR"):
        make_rows(pairs, SMALL.representation, HandLayer(hands()), CPU, resident=False)


def test_a_plan_says_what_would_be_done_and_writes_nothing(data: Path) -> None:
    plan = plan_training([data], replace(SMALL, epochs=2.0), hands())
    assert plan.pairs == (("pairs", 150),) and plan.validation_pairs == 30
    assert plan.options.steps == 19 and plan.epochs == pytest.approx(19 * 16 / 150)
    assert plan.set_bytes == 4 * 150 * 215 and plan.resident
    network = PriorNetwork(SMALL.architecture)
    assert plan.parameters == sum(p.numel() for p in network.parameters())
    assert 0 < plan.step_seconds < 5


# One step


def test_a_step_is_adams(data: Path) -> None:
    """Twin: torch's plain Adam, the loss written out, over a few steps."""
    torch.manual_seed(0)
    options = replace(SMALL, representation=Representation("joints"))
    ours, plain = (PriorNetwork(options.architecture) for _ in range(2))
    plain.load_state_dict(ours.state_dict())
    stepper = Stepper(ours, options, Processes(0, 1, CPU))
    adam = torch.optim.Adam(plain.parameters(), lr=1e-3, fused=False)
    for _ in range(5):
        x, noise = torch.randn(16, 120), torch.randn(16, 8)
        terms = stepper(x, noise, 1e-3)
        loss = prior_loss(x, *plain(x, noise), weight=100.0)
        adam.zero_grad()
        loss.total.backward()
        adam.step()
        assert torch.allclose(terms[:3], torch.stack([loss.total, loss.kl, loss.error]), rtol=1e-4)
        assert terms[3] == 0
        assert terms[3] == 0
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_adam_restored_goes_on_as_if_never_stopped() -> None:
    options = replace(SMALL, representation=Representation("joints"))
    torch.manual_seed(0)
    network = PriorNetwork(options.architecture)
    batches = [(torch.randn(16, 120), torch.randn(16, 8)) for _ in range(6)]
    one = Stepper(network, options, Processes(0, 1, CPU))
    for x, noise in batches[:3]:
        one(x, noise, 1e-3)
    other = PriorNetwork(options.architecture)
    other.load_state_dict(network.state_dict())
    two = Stepper(other, options, Processes(0, 1, CPU))
    two.restore({name: m.clone() for name, m in one.moments().items()}, 3)
    for x, noise in batches[3:]:
        assert torch.equal(one(x, noise, 1e-3), two(x, noise, 1e-3))


def test_compile_without_a_compiler_is_one_line(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(DataError, match="C\\+\\+ compiler"):
        train(data, tmp_path / "run", compile=True)


# Checkpoints


def checkpoint(step: int, hidden: int = 8) -> Checkpoint:
    torch.manual_seed(step)
    representation = Representation("joints")
    architecture = Architecture(representation.dim, "vae", 4, hidden)
    network = PriorNetwork(architecture)
    weights = {name: w.detach() for name, w in network.state_dict().items()}
    moments = {f"{n}.{m}": torch.rand_like(w) for n, w in weights.items()
               for m in ("exp_avg", "exp_avg_sq")}  # fmt: skip
    normalisation = Normalisation(torch.rand(120), torch.ones(120))
    return Checkpoint(
        step, 1.5, architecture, representation, normalisation, weights, moments, torch.rand(2, 3)
    )


def test_a_checkpoint_comes_back_and_three_stay(tmp_path: Path) -> None:
    for step in (10, 20, 30, 1000):
        write_checkpoint(tmp_path, checkpoint(step))
    assert [p.name for p in sorted(tmp_path.iterdir())] == [
        checkpoint_name(step) for step in (20, 30, 1000)
    ]
    written, read = checkpoint(1000), read_checkpoint(tmp_path / checkpoint_name(1000))
    assert (read.step, read.seconds) == (1000, 1.5)
    assert all(torch.equal(read.weights[k], w) for k, w in written.weights.items())
    assert all(torch.equal(read.moments[k], m) for k, m in written.moments.items())
    assert torch.equal(read.window, written.window)
    assert torch.equal(read.normalisation.mean, written.normalisation.mean)


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty"])
def test_a_damaged_checkpoint_is_said_and_the_one_before_taken(tmp_path: Path, harm: str) -> None:
    for step in (10, 20):
        write_checkpoint(tmp_path, checkpoint(step))
    newest = tmp_path / checkpoint_name(20)
    content = bytearray(newest.read_bytes())
    if harm == "flipped":
        content[-1000] ^= 0xFF
    newest.write_bytes({"cut": content[:-100], "empty": b"", "flipped": content}[harm])
    said: list[str] = []
    good = checkpoint(10)
    found = latest_checkpoint(tmp_path, good.architecture, good.representation, said.append)
    assert found is not None and found.step == 10
    assert len(said) == 1 and newest.name in said[0]
    (tmp_path / checkpoint_name(10)).write_bytes(b"x")
    with pytest.raises(DataError, match="no checkpoint in"):
        latest_checkpoint(tmp_path, good.architecture, good.representation, said.append)


def test_a_checkpoint_of_something_else_is_one_line(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, checkpoint(10))
    c = checkpoint(10)
    with pytest.raises(DataError, match="checkpoint of joints, the run trains vertices"):
        latest_checkpoint(tmp_path, c.architecture, Representation("vertices"), print)
    with pytest.raises(DataError, match="hidden = 8, the run trains one with hidden = 16"):
        latest_checkpoint(tmp_path, checkpoint(1, hidden=16).architecture, c.representation, print)
    write_tensors(tmp_path / checkpoint_name(20), {"a": torch.ones(1)}, {"format": 1})
    said: list[str] = []
    latest_checkpoint(tmp_path, c.architecture, c.representation, said.append)
    assert "no checkpoint" in said[0]


# The folder


def test_another_option_is_refused_with_both_values(run: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"learning_rate = 0\.001, this command has 0\.002"):
        train(data, run, learning_rate=2e-3)
    with pytest.raises(DataError, match=r"representation\.name = 'mano', .* 'joints'"):
        train(data, run, representation=Representation("joints", "6d", with_translation=True))
    other = dataset(tmp_path / "other", train=20, val=5, source="others")
    with pytest.raises(DataError, match="data_sha256"):
        train(other, run)


def test_a_finished_run_is_left_alone(run: Path, data: Path) -> None:
    before = {
        p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file() and "lock" not in p.name
    }
    summary = train(data, run)
    assert summary.was_finished and summary.final["pairs"] == 30
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_a_folder_of_something_else_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(DataError, match=r"holds other things \(letters\.txt"):
        train(data, tmp_path)
    with pytest.raises(DataError, match="other things"):
        train(data, data)
    with pytest.raises(DataError, match="cannot write"):
        train(data, tmp_path / "letters.txt")


def test_two_runs_cannot_write_one_folder(data: Path, tmp_path: Path) -> None:
    with (
        RunFolder(tmp_path / "run").held(),
        pytest.raises(DataError, match=f"another run \\(process {os.getpid()}\\)"),
    ):
        train(data, tmp_path / "run")
    train(data, tmp_path / "run", steps=5)


# Stopped


def test_ctrl_c_saves_and_the_same_call_finishes_alike(
    run: Path, data: Path, tmp_path: Path
) -> None:
    """Stopped in the middle of a line's steps: step 33 of lines of 5."""
    steps = []

    def interrupt(at: Progress) -> None:
        steps.append(at.step)
        if at.step == 30:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=r"stopped after step 3. of 60, a checkpoint"):
        train(data, tmp_path / "run", progress=interrupt)
    saved = sorted((tmp_path / "run/checkpoints").iterdir())[-1]
    at = read_checkpoint(saved)
    assert 30 <= at.step < 35 and len(at.window) == at.step - 30
    assert not (tmp_path / "run/prior.safetensors").exists()
    summary = train(data, tmp_path / "run")
    assert summary.resumed_from == at.step
    assert losses(tmp_path / "run") == losses(run)
    ours, theirs = (load_file(f / "prior.safetensors") for f in (tmp_path / "run", run))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_resuming_with_other_threads_is_said(data: Path, tmp_path: Path) -> None:
    def interrupt(at: Progress) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "run", progress=interrupt, steps=10)
    said: list[str] = []
    torch.set_num_threads(2)
    train(data, tmp_path / "run", log=said.append, steps=10)
    assert any("threads 1, now 2" in line for line in said)
    assert len(json.loads((tmp_path / "run/run.json").read_text())["sessions"]) == 2


def test_a_loss_that_is_no_number_stops_with_its_step(data: Path, tmp_path: Path) -> None:
    """Adam at a rate of 1e20 breaks in its second step; at 1e-3 first, so that good ones exist."""
    rate = TrainOptions.learning_rate_at

    def breaks_at_27(self: TrainOptions, step: int) -> float:
        return 1e20 if step == 26 else rate(self, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainOptions, "learning_rate_at", breaks_at_27)
        with pytest.raises(DataError, match=r"in step 28 the .* became (inf|nan)") as fault:
            train(data, tmp_path / "run")
    assert "last checkpoint kept is of step 20" in str(fault.value)
    assert [p.name for p in (tmp_path / "run/checkpoints").iterdir()] == [checkpoint_name(20)]
    rows = read_metrics(tmp_path / "run/metrics.jsonl")
    assert all(np.isfinite(r["loss"]) for r in rows if "loss" in r)
    train(data, tmp_path / "run")


def test_vectors_come_in_parts_that_add_up(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = read_pairs([data], hands(), "train")
    layer = HandLayer(hands())
    whole = torch.cat(list(vectors(pairs, Representation("joints"), layer, CPU)))
    monkeypatch.setattr(rows_module, "_CHUNK", 37)
    parts = list(vectors(pairs, Representation("joints"), layer, CPU))
    assert [len(part) for part in parts] == [37, 37, 37, 37, 2]
    assert torch.allclose(torch.cat(parts), whole, atol=1e-7)
