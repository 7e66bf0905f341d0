"""From nothing to hands out of a picture, command by command, on tiny settings."""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import load_file  # noqa: E402

from interaction_prior.training import loop  # noqa: E402
from twohand500k.cli import train_recon as command  # noqa: E402
from twohand500k.cli.main import main  # noqa: E402
from twohand500k.shards import Dataset  # noqa: E402

pytestmark = pytest.mark.torch

PRIOR = (
    "--latents", "96", "--hidden", "256", "--batch", "16", "--steps", "60", "--lr", "1e-3",
    "--log-every", "30", "--validate-every", "60", "--threads", "1",
)  # fmt: skip
RECON = (
    "--preset", "tiny", "--batch", "4", "--feature-steps", "3", "--recon-steps", "4",
    "--log-every", "1", "--validate-every", "7", "--checkpoint-every", "2", "--threads", "1",
    "--validated", "2",
)  # fmt: skip


def call(*arguments: object, status: int = 0) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    assert ended.value.code == status


def test_the_whole_chain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "draw_curves", lambda path, rows, title: None)
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    quiet = ("--workers", 1, "-q")
    call("build", "--source", "synthetic", "--count", 300, "--out", "hands", *quiet)
    call("splice", "--bank", "hands", "--count", 300, "--out", "pairs", *quiet)
    call("render", "pairs", "--out", "images", "--ego", 0.5, "--limit", 40, *quiet)
    call("verify", "images")
    assert len(Dataset("images")) == 40 and set(Dataset("images").array("split")) >= {
        "train",
        "val",
    }
    call("train-prior", "--data", "pairs", "--out", "prior", *PRIOR, "-q")
    # The paper's prior, without the left hand's place.
    arguments = ["--data", "images", "--prior", "prior", *RECON]
    call("train-recon", *arguments, "--out", "undisturbed", "-q")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["twohand", "train-recon", *arguments, "--out", "run"])
        patch.setattr(
            command.Shown, "__call__",
            lambda self, at: os.kill(os.getpid(), signal.SIGINT) if at.step == 5 else None,
        )  # fmt: skip
        call("train-recon", *arguments, "--out", "run", "-q", status=130)
    assert not Path("run/recon.safetensors").exists()
    call("train-recon", *arguments, "--out", "run", "-q")
    ours, theirs = (load_file(f"{run}/recon.safetensors") for run in ("run", "undisturbed"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)

    capsys.readouterr()
    call("evaluate", "run", "--data", "images", "--split", "all", "--samples", 4, "--out", "e",
         "--json", *quiet)  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    assert found["errors"]["pictures"] == 40
    assert 0 < found["errors"]["protocols"]["root9_scaled"]["mpjpe_mm"]["median"] < 500
    assert Path("e/evaluation.html").exists() and Path("e/pictures.png").exists()

    samples = Dataset("images").samples([0])
    assert samples.image is not None
    Image.fromarray(samples.image[0]).save("photo.png")
    call("reconstruct", "photo.png", "--model", "run", "--out", "found", *quiet)
    told = json.loads(Path("found/photo.json").read_text())
    assert np.isfinite(np.array(told["hands"]["right"]["pose"] if "hands" in told else 0.0)).all()
    assert Path("found/photo.glb").stat().st_size > 10_000
    assert Path("found/photo_overlay.png").exists()
