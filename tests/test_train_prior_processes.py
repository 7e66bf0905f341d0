"""Training from outside: killed and resumed, by two processes, by the command, on bad data."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402
from shards_fixture import build  # noqa: E402
from train_fixture import dataset, train  # noqa: E402

from interaction_prior import InteractionPrior  # noqa: E402
from interaction_prior.training import loop  # noqa: E402
from interaction_prior.training.metrics import Row, read_metrics  # noqa: E402
from twohand500k.cli import train_prior as command  # noqa: E402
from twohand500k.cli.main import main  # noqa: E402

pytestmark = pytest.mark.torch
FIXTURE = Path(__file__).with_name("train_fixture.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
SMALL = (
    "--latents", "8", "--hidden", "32", "--batch", "16", "--lr", "1e-3", "--steps", "10",
    "--log-every", "1", "--validate-every", "10", "--checkpoint-every", "5", "--threads", "1",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread_no_picture(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(loop, "draw_curves", lambda path, rows, title: None)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset(tmp_path_factory.mktemp("data") / "pairs")


def untimed(out: Path) -> list[Row]:
    """The metrics without what a clock told."""
    rows = read_metrics(out / "metrics.jsonl")
    return [{k: v for k, v in r.items() if k not in ("seconds", "samples_per_s")} for r in rows]


def test_killed_at_a_random_step_the_curve_is_the_same_to_the_last_bit(
    data: Path, tmp_path: Path
) -> None:
    """Once here; `benchmarks/train_prior_killed.py` kills more often."""
    changed = {"steps": 700, "log_every": 7, "checkpoint_every": 50, "validate_every": 250}
    train(data, tmp_path / "undisturbed", **changed)
    out = tmp_path / "killed"
    run = subprocess.Popen(
        [sys.executable, FIXTURE, data, out, json.dumps(changed)], env=ENVIRONMENT
    )
    reached = random.Random(time.time_ns()).randrange(10, 60)
    while lines(out) < reached and run.poll() is None:
        time.sleep(0.001)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL, "the run ended before it was killed"
    assert not (out / "prior.safetensors").exists()
    assert train(data, out, **changed).resumed_from > 0
    assert untimed(out) == untimed(tmp_path / "undisturbed")
    ours, theirs = (load_file(f / "prior.safetensors") for f in (out, tmp_path / "undisturbed"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def lines(out: Path) -> int:
    path = out / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_two_processes_under_torchrun_train_as_one(data: Path, tmp_path: Path) -> None:
    one = ["train-prior", "--data", str(data), *SMALL, "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "twohand500k.cli", *one, "--out", tmp_path / "two", "--device", "cpu", "--json"],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 10
    call([*one, "--out", str(tmp_path / "one"), "--device", "cpu"])
    ours, theirs = (untimed(tmp_path / name) for name in ("two", "one"))
    assert [r["step"] for r in ours] == [r["step"] for r in theirs]
    for mine, his in zip(ours, theirs, strict=True):
        for key in ("loss", "kl", "error"):
            if key in his:
                assert mine[key] == pytest.approx(his[key], rel=1e-4)
    run = json.loads((tmp_path / "two/run.json").read_text())
    assert run["sessions"][0]["processes"] == 2
    said = run["sessions"][0]["command"]
    assert said.startswith("torchrun --nproc-per-node 2 -m twohand500k.cli train-prior")


# The command


def call(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str], status: int = 1) -> str:
    """What the command says on stderr as it refuses."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["train-prior", "--quiet", *arguments])
    said = capsys.readouterr().err
    assert ended.value.code == status, said
    return said


def one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    said = refusal(arguments, capsys)
    assert said.startswith("twohand: ") and said.count("\n") == 1
    return said


def test_what_is_given_wins_over_the_preset(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call([
        "train-prior", "--data", str(data), "--out", str(tmp_path / "run"), "--dry-run", "--json",
        "--preset", "large-batch", "--hidden", "32", "--lr", "5e-4", "--representation", "joints",
        "--no-swap", "--epochs", "8", "--lambda", "10", "--with-translation",
    ])  # fmt: skip
    plan = json.loads(capsys.readouterr().out)
    options = plan["options"]
    assert (options["batch"], options["learning_rate"], options["hidden"]) == (512, 5e-4, 32)
    assert (options["weight"], options["swap"], options["schedule"]) == (10.0, False, "cosine")
    assert plan["dim"] == 123 and plan["steps"] == 3 and plan["validation_pairs"] == 30
    assert not (tmp_path / "run").exists()
    call(["train-prior", "--data", str(data), "--out", str(tmp_path / "run"), "--dry-run"])
    said = capsys.readouterr().out
    assert "150 pairs (pairs 150), 30 held out" in said and "parameters" in said


def test_ctrl_c_ends_with_130_and_the_command_that_resumes(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    arguments = ["--data", str(data), "--out", str(out), *SMALL]
    monkeypatch.setattr(sys, "argv", ["twohand", "train-prior", *arguments])
    with monkeypatch.context() as patch:
        patch.setattr(
            command.Shown, "__call__",
            lambda self, at: os.kill(os.getpid(), signal.SIGINT) if at.step == 4 else None,
        )  # fmt: skip
        said = refusal(arguments, capsys, status=130)
    assert "a checkpoint is saved" in said
    assert f"resume with: twohand train-prior --data {data}" in said
    call(["train-prior", *arguments])
    told = capsys.readouterr()
    assert "MPJPE" in told.out and "goes on from step" in told.err
    call(["train-prior", *arguments])
    assert "already finished" in capsys.readouterr().out
    assert InteractionPrior.load(out).training["data"][0]["licences"]


def test_misuse_is_said(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = ["--data", str(data), "--out", str(tmp_path / "run")]
    assert "give one" in refusal([*there, "--steps", "5", "--epochs", "2"], capsys, status=2)
    assert "2 --weight for 1" in refusal(
        [*there, "--weight", "1", "--weight", "2"], capsys, status=2
    )
    assert "above 0" in refusal([*there, "--lr", "0"], capsys, status=2)
    assert "above 0" in refusal([*there, "--weight", "-1"], capsys, status=2)
    assert "--seed" in refusal([*there, "--seed", "-1"], capsys, status=2)
    if not torch.cuda.is_available():
        assert "torch sees no GPU" in one_line([*there, "--device", "cuda"], capsys)
    assert not (tmp_path / "run").exists()


def test_without_torch_the_extra_is_named(data: Path, tmp_path: Path) -> None:
    """In a fresh interpreter in which torch cannot be imported."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from twohand500k.cli.main import main\n"
        f"main(['train-prior', '--data', {str(data)!r}, '--out', {str(tmp_path / 'run')!r}])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 1 and run.stderr.count("\n") == 1
    assert 'pip install "twohand500k[train]"' in run.stderr


def test_data_that_cannot_be_trained_on_is_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(folder: Path, *more: str) -> str:
        out = tmp_path / f"run of {folder.name}"
        line = one_line(["--data", str(folder), "--out", str(out), *SMALL, *more], capsys)
        assert (more or (str(folder),))[-1] in line and not out.exists()
        return line

    assert "hold numbers that are not finite" in said(with_nan(data, tmp_path / "nan"))
    other = tmp_path / "other hands"
    build(other, units=2)
    assert "another hand model (synthetic" in said(other)
    assert "another hand model" in said(data, "--data", str(other))
    newer = shutil.copytree(data, tmp_path / "newer")
    index = json.loads((newer / "index.json").read_text())
    (newer / "index.json").write_text(json.dumps(index | {"format": 99}))
    assert "has format 99, newer than" in said(newer)
    only_val = dataset(tmp_path / "only val", train=0, val=5)
    assert "no sample in split 'train': it has 5 val" in said(only_val)
    assert "is not a folder" in said(tmp_path / "nowhere")


def test_a_checkpoint_of_another_representation_is_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {}
    for name in ("mano", "joints"):
        runs[name] = ["--data", str(data), "--out", str(tmp_path / name), *SMALL]
        runs[name] += ["--representation", name]
        call(["train-prior", "--quiet", *runs[name]])
    (tmp_path / "mano/prior.safetensors").unlink()
    shutil.rmtree(tmp_path / "mano/checkpoints")
    shutil.copytree(tmp_path / "joints/checkpoints", tmp_path / "mano/checkpoints")
    line = one_line(runs["mano"], capsys)
    assert "is a checkpoint of joints, the run trains mano (6d)" in line


def with_nan(data: Path, out: Path) -> Path:
    """The dataset with one number of one pose gone, and nobody told."""
    shutil.copytree(data, out)
    with h5py.File(next(out.glob("shard-*.h5")), "r+") as file:
        poses: list[h5py.Dataset] = []
        file.visititems(lambda name, item: poses.append(item) if name.endswith("pose") else None)
        poses[0][0, 0, 3, 1] = np.nan
    return out
