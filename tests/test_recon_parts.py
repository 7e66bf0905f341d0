"""Parts of training an image network: the plateau against torch's, batch norm over processes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from interaction_prior.recon_training.batch_norm import joint_batch_norm  # noqa: E402
from interaction_prior.recon_training.checkpoint import (  # noqa: E402
    ReconCheckpoint,
    check_is_of,
    read_features,
    read_recon_checkpoint,
    write_features,
    write_recon_checkpoint,
)
from interaction_prior.recon_training.options import PRESETS, ReconOptions  # noqa: E402
from interaction_prior.recon_training.pictures import placed  # noqa: E402
from interaction_prior.recon_training.plateau import Plateau  # noqa: E402
from interaction_prior.training.distributed import Processes  # noqa: E402
from twohand500k.errors import DataError  # noqa: E402

pytestmark = pytest.mark.torch


# The rate


def test_plateau_is_torchs() -> None:
    """Twin: ReduceLROnPlateau, over figures that fall, stall and fall again."""
    rng = np.random.default_rng(0)
    figures = np.concatenate([np.linspace(10, 5, 8), 5 + rng.random(20), np.linspace(4, 3, 5),
                              np.full(15, 3.0)])  # fmt: skip
    parameter = torch.nn.Parameter(torch.zeros(1))
    adam = torch.optim.Adam([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(adam, factor=0.5, patience=3, eps=0)
    ours = Plateau()
    for figure in figures.tolist():
        theirs.step(figure)
        ours = ours.after(figure, factor=0.5, patience=3)
        assert ours.factor == adam.param_groups[0]["lr"]
    assert ours.factor < 0.2 and Plateau(**ours.to_json()) == ours
    assert Plateau(**Plateau().to_json()) == Plateau()


def test_the_papers_rate_is_fixed_for_a_hundred_of_150_epochs() -> None:
    paper = PRESETS["paper"].resolved(366_000)
    assert paper == ReconOptions(recon_steps=paper.recon_steps)
    assert (paper.batch, paper.learning_rate, paper.feature_steps) == (64, 1e-4, 500_000)
    epoch = 366_000 / 64
    assert paper.steps == 500_000 + np.ceil(150 * epoch)
    assert paper.fixed(int(500_000 + 99.9 * epoch))
    assert not paper.fixed(int(500_000 + 100.1 * epoch))
    assert {paper.learning_rate_at(k) for k in (0, 499_999, 500_000, paper.steps - 1)} == {1e-4}
    with pytest.raises(ValueError, match="resolved"):
        _ = ReconOptions().steps


def test_cosine_warms_up_in_each_phase_and_falls_in_the_second() -> None:
    o = ReconOptions(schedule="cosine", feature_steps=100, recon_steps=200, warmup_steps=10,
                     learning_rate=1.0)  # fmt: skip
    rates = [o.learning_rate_at(k) for k in range(300)]
    assert rates[0] == rates[100] == 0.1 and rates[9] == rates[99] == rates[109] == 1.0
    assert np.all(np.diff(rates[110:]) < 0) and 0 < rates[-1] < 1e-3
    assert ReconOptions.from_json(o.to_json()) == o


@pytest.mark.parametrize("wrong", [
    {"network": "huge"}, {"batch": 0}, {"schedule": "step"}, {"fixed_share": 1.5},
    {"learning_rate": float("nan")}, {"feature_steps": -1}, {"precision": "float16"},
])  # fmt: skip
def test_options_that_mean_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ReconOptions(**wrong)  # type: ignore[arg-type]


# Batch normalisation

_CODE = """
import sys, torch
from torch import nn
from interaction_prior.recon_training.batch_norm import joint_batch_norm
from interaction_prior.training.distributed import joined
torch.set_num_threads(1)
with joined(torch.device("cpu")) as processes:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 2, 1))
    joint_batch_norm(network, processes)
    x = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    share = x[processes.rank * 8 // processes.size : (processes.rank + 1) * 8 // processes.size]
    for _ in range(3):
        network.zero_grad()
        network(share).square().mean().backward()
        processes.average([p.grad for p in network.parameters()])
        with torch.no_grad():
            for p in network.parameters():
                p -= 0.1 * p.grad
    if processes.first:
        network.eval()
        torch.save({"state": network.state_dict(), "out": network(x)}, sys.argv[1])
"""


def test_two_processes_normalise_the_joint_batch(tmp_path: Path) -> None:
    script = tmp_path / "norm.py"
    script.write_text(_CODE)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    subprocess.run([sys.executable, script, tmp_path / "one"], check=True, env=env, timeout=120)
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         script, tmp_path / "two"], check=True, env=env, timeout=120, capture_output=True,
    )  # fmt: skip
    one, two = (torch.load(tmp_path / name) for name in ("one", "two"))
    for name, tensor in one["state"].items():
        assert torch.allclose(tensor.float(), two["state"][name].float(), atol=1e-5), name
    assert torch.allclose(one["out"], two["out"], atol=1e-5)


def test_one_process_keeps_torchs_own() -> None:
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    assert joint_batch_norm(network, Processes(0, 1, torch.device("cpu"))) is network
    assert type(network[0]) is torch.nn.BatchNorm2d


# Files


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    written = ReconCheckpoint(
        70, 2.5, {"variant": "full", "dim": 8}, Plateau(0.1, 3.5, 2), {"a": torch.rand(3)},
        {"a.exp_avg": torch.rand(3)}, torch.rand(2, 4),
    )  # fmt: skip
    read = read_recon_checkpoint(write_recon_checkpoint(tmp_path, written))
    assert (read.step, read.seconds, read.network, read.plateau) == (
        70, 2.5, written.network, written.plateau,
    )  # fmt: skip
    assert torch.equal(read.weights["a"], written.weights["a"])
    assert torch.equal(read.moments["a.exp_avg"], written.moments["a.exp_avg"])
    assert torch.equal(read.window, written.window)
    with pytest.raises(DataError, match=r"with dim = 8, the run trains one with dim = 9"):
        check_is_of(tmp_path, read.network, {"variant": "full", "dim": 9})


def test_features_of_a_run_are_for_a_run_alike(tmp_path: Path) -> None:
    write_features(tmp_path / "features.safetensors", {"w": torch.ones(2)}, {"size": 64}, 5)
    assert torch.equal(read_features(tmp_path, {"size": 64})["w"], torch.ones(2))
    with pytest.raises(DataError, match="size = 64, the run trains one with size = 128"):
        read_features(tmp_path, {"size": 128})
    with pytest.raises(DataError, match=r"holds no features\.safetensors"):
        read_features(tmp_path.parent, {"size": 64})


# Pictures


def test_joints_are_placed_on_the_peaks() -> None:
    rng = np.random.default_rng(0)
    joints = rng.normal(size=(2, 21, 3))
    uv = 4.0 * joints[..., :2] + [15.0, 17.0]
    assert np.allclose(placed(joints, None, uv), uv)
    maps = np.zeros((42, 32, 32))
    at = np.clip(uv.reshape(-1, 2).astype(int), 0, 31)
    maps[np.arange(42), at[:, 1], at[:, 0]] = 1.0
    assert np.abs(placed(joints, maps, uv * 0) - uv).mean() < 1.0
