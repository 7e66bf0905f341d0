"""A network of `train-recon` in use: read from its file, asked of views, refused if need be."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

from prior_fixture import synthetic_hands  # noqa: E402
from recon_fixture import HEIGHT, WIDTH, K  # noqa: E402

from interaction_prior.fusion import (  # noqa: E402
    ReconArchitecture,
    ReconNetwork,
    ReconRecord,
    write_recon,
)
from interaction_prior.prior import InteractionPrior  # noqa: E402
from interaction_prior.prior.files import write_prior  # noqa: E402
from interaction_prior.reconstruction import Reconstructor  # noqa: E402
from interaction_prior.reconstruction.crop import crop_around, shown  # noqa: E402
from twohand500k.cli.main import twohand  # noqa: E402
from twohand500k.errors import DataError  # noqa: E402
from twohand500k.hand import load_hands  # noqa: E402

BOX = np.array([400.0, 30.0, 600.0, 260.0])


@pytest.fixture(scope="module")
def prior() -> InteractionPrior:
    torch.set_num_threads(1)
    return InteractionPrior.load("open")


def record(prior: InteractionPrior | None, variant: str = "full") -> ReconRecord:
    """A tiny network as it begins."""
    torch.manual_seed(0)
    architecture = ReconArchitecture(variant, "tiny")
    network = ReconNetwork(architecture, prior, load_hands("open"))
    model = InteractionPrior.load("open").record.hand_model
    own = None if network.prior is None else network.prior.record
    return ReconRecord(architecture, network.state_dict(), model, own, {"options": {"seed": 3}})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, prior: InteractionPrior) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mine"
    write_recon(folder / "recon.safetensors", record(prior))
    return folder


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def test_says_what_the_network_says_of_the_view(run: Path, prior: InteractionPrior) -> None:
    look = Reconstructor.load(run)
    assert look.name == "mine" and look.history[0]["stage"] == "train-recon"
    found = look.reconstruct(picture(), BOX, K)
    network = ReconNetwork(ReconArchitecture("full", "tiny"), prior, load_hands("open"))
    network.load_state_dict(dict(record(prior).weights))
    network.eval()
    crop = crop_around(BOX, K)
    with torch.no_grad():
        said = network(shown(picture(), crop, 128, torch.device("cpu"))[None])
    own = found.joints - found.joints[:, :1]
    expected = said.joints[0].double().numpy() @ crop.R_camera_crop.T
    np.testing.assert_allclose(own, expected, atol=1e-5)
    np.testing.assert_allclose(found.tau, crop.R_camera_crop @ said.tau[0].numpy(), atol=1e-6)
    assert found.joints[..., 2].min() > 0 and np.isfinite(found.uv).all()
    for side in (0, 1):
        posed = look.hands[side].with_shape(found.betas[side])
        skin = posed.with_pose(found.pose[side], found.transl[side]).vertices
        np.testing.assert_allclose(skin, found.vertices[side], atol=1e-5)


def test_many_are_as_each_by_itself(run: Path) -> None:
    look = Reconstructor.load(run / "recon.safetensors")
    boxes = [BOX, None, BOX - [300, 0, 300, 0]]
    many = look.reconstruct_many([picture()] * 3, boxes, [K, None, K], batch=2)
    for box, one in zip(boxes, many, strict=True):
        alone = look.reconstruct(picture(), box, None if box is None else K)
        np.testing.assert_allclose(one.vertices, alone.vertices, atol=1e-4)
        assert one.box_from == alone.box_from


def test_a_network_without_a_prior_is_used_likewise(tmp_path: Path) -> None:
    write_recon(tmp_path / "recon.safetensors", record(None, "no-prior"))
    found = Reconstructor.load(tmp_path).reconstruct(picture(), BOX, K)
    assert np.isfinite(found.vertices).all() and np.isfinite(found.pose).all()


def test_what_is_no_such_run_is_refused(run: Path, tmp_path: Path, prior: InteractionPrior) -> None:
    with pytest.raises(DataError, match="not finished"):
        Reconstructor.load(tmp_path)
    with pytest.raises(DataError, match="is not there"):
        Reconstructor.load(tmp_path / "nothing.safetensors")
    write_prior(tmp_path / "prior.safetensors", prior.record)
    with pytest.raises(DataError, match="a run of train-prior"):
        Reconstructor.load(tmp_path)
    with pytest.raises(DataError, match="no image network"):
        Reconstructor.load(tmp_path / "prior.safetensors")
    with pytest.raises(DataError, match="was trained on the hand model 'open'"):
        Reconstructor.load(run, hands=synthetic_hands())
    whole = record(prior)
    for name, broken in {
        "few": replace(whole, weights=dict(list(whole.weights.items())[:5])),
        "blind": record(prior, "no-iah"),
    }.items():
        write_recon(tmp_path / name / "recon.safetensors", broken)
    with pytest.raises(DataError, match="weights do not fit"):
        Reconstructor.load(tmp_path / "few")
    with pytest.raises(DataError, match="no heatmap for each joint"):
        Reconstructor.load(tmp_path / "blind")


def test_the_page_tells_what_runs(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "recon").symlink_to(run)
    Image.fromarray(picture()).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[1] / "docs" / "reconstruct.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(block, "docs/reconstruct.md", "exec"), {})
    assert capsys.readouterr().out.strip() in block


def test_the_command_reads_the_run_itself(run: Path, tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "photo.jpg")
    words = ["reconstruct", tmp_path / "photo.jpg", "--model", run, "--out", tmp_path / "out",
             "--no-overlay", "--device", "cpu", "--as-dataset", tmp_path / "data"]  # fmt: skip
    result = CliRunner().invoke(twohand, list(map(str, words)))
    assert result.exit_code == 0, (result.output, result.exception)
    assert "768 px assumed as the focal length" in result.output
    assert {f.name for f in (tmp_path / "out").iterdir()} == {"photo.json", "photo.glb"}
    again = CliRunner().invoke(twohand, list(map(str, words)))
    assert again.exit_code == 0 and "1 of them from before" in again.output
