"""Training an image network from outside: killed and resumed, by two processes, by the command."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from images_fixture import image_dataset  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from train_recon_fixture import train  # noqa: E402

from interaction_prior.recon_training import loop, validation  # noqa: E402
from interaction_prior.training.metrics import Row, read_metrics  # noqa: E402
from twohand500k.cli import train_recon as command  # noqa: E402
from twohand500k.cli.main import main  # noqa: E402

pytestmark = pytest.mark.torch
FIXTURE = Path(__file__).with_name("train_recon_fixture.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
SMALL = (
    "--preset", "tiny", "--batch", "4", "--feature-steps", "3", "--recon-steps", "3", "--warmup",
    "0", "--log-every", "1", "--validate-every", "3", "--checkpoint-every", "3", "--threads", "1",
    "--validated", "4", "--device", "cpu",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread_no_picture(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(loop, "draw_curves", lambda path, rows, title, panels: None)
    monkeypatch.setattr(loop, "prior_floor", lambda prior, images, log: {"mpjpe_mm": 5.0})
    monkeypatch.setattr(validation, "draw_predictions", lambda path, predicted, title: None)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_dataset(tmp_path_factory.mktemp("data") / "painted", train=12, val=4)


def untimed(out: Path) -> list[Row]:
    """The metrics without what a clock told."""
    rows = read_metrics(out / "metrics.jsonl")
    timed = ("seconds", "samples_per_s", "waiting")
    return [{k: v for k, v in r.items() if k not in timed} for r in rows]


def test_killed_at_a_random_step_the_curve_is_the_same_to_the_last_bit(
    data: Path, tmp_path: Path
) -> None:
    changed = {"feature_steps": 8, "recon_steps": 8, "validate_every": 100}
    train(data, tmp_path / "undisturbed", **changed)
    out = tmp_path / "killed"
    run = subprocess.Popen(
        [sys.executable, FIXTURE, data, out, json.dumps(changed)], env=ENVIRONMENT
    )
    reached = random.Random(time.time_ns()).randrange(3, 13)
    while lines(out) < reached and run.poll() is None:
        time.sleep(0.001)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL, "the run ended before it was killed"
    assert not (out / "recon.safetensors").exists()
    assert train(data, out, **changed).resumed_from > 0
    assert untimed(out) == untimed(tmp_path / "undisturbed")
    ours, theirs = (load_file(f / "recon.safetensors") for f in (out, tmp_path / "undisturbed"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def lines(out: Path) -> int:
    path = out / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_two_processes_under_torchrun_train_as_one(data: Path, tmp_path: Path) -> None:
    """Batches and their normalisation are the joint one's: losses agree within rounding.

    At a low rate: Adam's first steps go by the gradient's sign, and blow rounding up to the rate.
    """
    one = ["train-recon", "--data", str(data), *SMALL, "--quiet", "--lr", "1e-6"]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "twohand500k.cli", *one, "--out", tmp_path / "two", "--json"],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 6
    call([*one, "--out", str(tmp_path / "one")])
    ours, theirs = (untimed(tmp_path / name) for name in ("two", "one"))
    assert [r["step"] for r in ours] == [r["step"] for r in theirs]
    for mine, his in zip(ours, theirs, strict=True):
        for key in ("loss", "heatmap", "joints"):
            if his.get(key) is not None:
                assert mine[key] == pytest.approx(his[key], rel=1e-4)
    run = json.loads((tmp_path / "two/run.json").read_text())
    assert run["sessions"][0]["processes"] == 2
    one_start = json.loads((tmp_path / "one/run.json").read_text())["start"]
    assert run["start"] == pytest.approx(one_start, rel=1e-4)


# The command


def call(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str], status: int = 1) -> str:
    """What the command says on stderr as it refuses."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["train-recon", "--quiet", *arguments])
    said = capsys.readouterr().err
    assert ended.value.code == status, said
    if status == 1:
        assert said.startswith("twohand: ") and said.count("\n") == 1
    return said


def test_the_variants_of_the_help_are_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    from interaction_prior.fusion.variants import VARIANTS

    assert set(command.VARIANTS) == set(VARIANTS)
    assert [meaning[0] for meaning in command.VARIANTS.values()] == list("abcdefghijkl")
    call(["train-recon", "--help"])
    said = capsys.readouterr().out
    assert all(f"\n    {name}" in said for name in VARIANTS)


def test_what_is_given_wins_over_the_preset(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = [
        "train-recon",
        "--data",
        str(data),
        "--out",
        str(tmp_path / "run"),
        *SMALL,
        "--dry-run",
    ]
    call([*there, "--json", "--lr", "5e-4", "--variant", "no-prior", "--rotation-deg", "30",
          "--precision", "bfloat16"])  # fmt: skip
    plan = json.loads(capsys.readouterr().out)
    options = plan["options"]
    assert (options["batch"], options["learning_rate"], options["variant"]) == (4, 5e-4, "no-prior")
    assert options["augmentation"]["rotation_deg"] == 30 and options["schedule"] == "cosine"
    assert plan["steps"] == 6 and plan["pictures"] == {"painted": 12}
    assert not (tmp_path / "run").exists()
    call([*there, "--no-augment"])
    said = capsys.readouterr().out
    assert "12 pictures (painted 12), 4 held out" in said and "ms a step" in said


def test_ctrl_c_ends_with_130_and_the_command_that_resumes(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    arguments = ["--data", str(data), "--out", str(out), *SMALL]
    monkeypatch.setattr(sys, "argv", ["twohand", "train-recon", *arguments])
    with monkeypatch.context() as patch:
        patch.setattr(
            command.Shown, "__call__",
            lambda self, at: os.kill(os.getpid(), signal.SIGINT) if at.step == 4 else None,
        )  # fmt: skip
        said = refusal(arguments, capsys, status=130)
    assert f"resume with: twohand train-recon --data {data}" in said
    call(["train-recon", *arguments])
    told = capsys.readouterr()
    assert "goes on from step 5" in told.err and "root9_scaled" in told.out
    call(["train-recon", *arguments])
    assert "already finished" in capsys.readouterr().out


def test_misuse_is_said(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = ["--data", str(data), "--out", str(tmp_path / "run")]
    both = ["--recon-steps", "5", "--recon-epochs", "2"]
    assert "give one" in refusal([*there, *both], capsys, 2)
    features = ["--features", str(tmp_path), "--feature-steps", "5"]
    assert "no --feature-steps" in refusal([*there, *features], capsys, 2)
    assert "--no-augment" in refusal([*there, "--no-augment", "--flip", "1"], capsys, 2)
    assert "is not one of" in refusal([*there, "--variant", "none"], capsys, 2)
    said = refusal([*there, "--preset", "tiny", "--features", str(tmp_path)], capsys)
    assert "holds no features.safetensors" in said
    assert "holds no prior.safetensors" in refusal([*there, "--prior", str(data)], capsys)
    assert not (tmp_path / "run").exists()


def test_without_torch_the_extra_is_named(data: Path, tmp_path: Path) -> None:
    """In a fresh interpreter in which torch cannot be imported."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from twohand500k.cli.main import main\n"
        f"main(['train-recon', '--data', {str(data)!r}, '--out', {str(tmp_path / 'run')!r}])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 1 and run.stderr.count("\n") == 1
    assert 'pip install "twohand500k[train]"' in run.stderr
