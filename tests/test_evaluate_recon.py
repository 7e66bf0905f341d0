"""`twohand evaluate` of an image network: its figures recomputed, its page, what it refuses."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from images_fixture import image_dataset  # noqa: E402
from train_recon_fixture import train  # noqa: E402

from interaction_prior.evaluation.recon import Seen, errors_in, recon_figures, see, worst_to_best  # noqa: E402
from interaction_prior.images import LabelledImages, read_images  # noqa: E402
from interaction_prior.metrics import PROTOCOLS  # noqa: E402
from interaction_prior.recon_training.network import trained_network  # noqa: E402
from interaction_prior.recon_training.validation import errors_of_run  # noqa: E402
from twohand500k.cli import evaluate as command  # noqa: E402
from twohand500k.cli import evaluate_recon  # noqa: E402
from twohand500k.cli.main import twohand  # noqa: E402
from twohand500k.hand import load_hands  # noqa: E402

pytestmark = pytest.mark.torch
PAGE = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_dataset(tmp_path_factory.mktemp("images") / "d", train=8, val=12)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("runs") / "full"
    train(data, out)
    return out


@pytest.fixture(scope="module")
def seen(run: Path, data: Path) -> Seen:
    hands = load_hands("open")
    network, options = trained_network(run, hands, torch.device("cpu"))
    images = LabelledImages.opened(
        read_images([data], hands, "val"), network.architecture.size, torch.device("cpu"),
        resident=False, orientation=options.orientation,
    )  # fmt: skip
    return see(network, images)


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(twohand, ["evaluate", *map(str, arguments)])


def test_figures_are_those_of_training(run: Path, data: Path, seen: Seen) -> None:
    """Another way to the same number: what validation says while a network trains."""
    hands = load_hands("open")
    theirs = errors_of_run(run, [data], hands, split="val").figures()
    ours = recon_figures(seen, ["root9_scaled"], hands)
    main = ours["protocols"]["root9_scaled"]
    assert main["mpjpe_mm"]["mean"] == pytest.approx(theirs["mpjpe_mm"], rel=1e-5)
    assert main["mpvpe_mm"]["mean"] == pytest.approx(theirs["mpvpe_mm"], rel=1e-5)
    assert ours["mrrpe_mm"]["mean"] == pytest.approx(theirs["tau_mm"], rel=1e-5)
    both = [main["mpjpe_mm"]["right"], main["mpjpe_mm"]["left"]]
    assert np.mean(both) == pytest.approx(main["mpjpe_mm"]["mean"])


def perfect(seen: Seen, **changed: Any) -> Seen:
    """Answers that are the annotation."""
    values = {name: getattr(seen, name) for name in Seen.__dataclass_fields__}
    return Seen(**{**values, "skins": seen.true_skins, "tau": seen.true_tau, **changed})


def test_true_answers_have_no_error_in_any_protocol(seen: Seen) -> None:
    hands = load_hands("open")
    found = recon_figures(perfect(seen), list(PROTOCOLS), hands)
    for row in found["protocols"].values():
        assert row["mpjpe_mm"]["mean"] < 1e-3 and row["mpvpe_mm"]["mean"] < 1e-3
    assert found["pck"]["auc"] > 0.99 and found["mrrpe_mm"]["mean"] == 0


def test_a_left_hand_displaced_shows_where_it_should(seen: Seen) -> None:
    hands = load_hands("open")
    off = perfect(seen, tau=seen.true_tau + np.array([0.03, 0, 0.04]))
    assert errors_in("wrist", off, hands).mpjpe_mm.max() < 1e-3
    both = errors_in("right_wrist", off, hands).mpjpe_mm
    assert both[:, 0].max() < 1e-3 and both[:, 1] == pytest.approx(50.0, abs=1e-3)
    assert recon_figures(off, ["wrist"], hands)["mrrpe_mm"]["mean"] == pytest.approx(50.0, abs=1e-3)


def test_parts_by_what_is_hidden_are_all_pictures(seen: Seen) -> None:
    hands = load_hands("open")
    parts = recon_figures(seen, ["root9"], hands)["hidden"]
    assert sum(p["pictures"] for p in parts) == len(seen)
    assert all(a["hidden_to"] <= b["hidden_from"] for a, b in pairwise(parts))
    mean = np.average([p["mpjpe_mm"] for p in parts], weights=[p["pictures"] for p in parts])
    assert mean == pytest.approx(errors_in("root9", seen, hands).mpjpe_mm.mean())


def test_a_network_of_joints_has_no_skin_and_says_so(seen: Seen) -> None:
    hands = load_hands("open")
    found = recon_figures(perfect(seen, skins=None), ["root9_scaled"], hands)
    assert found["protocols"]["root9_scaled"]["mpvpe_mm"]["mean"] is None
    assert "joints alone" in found["skin"]


def test_pictures_shown_are_chosen_by_error_alone() -> None:
    chosen = worst_to_best(np.array([5.0, 1.0, 9.0, 3.0, 7.0]), 1)
    assert chosen == [("best", 1), ("median", 0), ("worst", 2)]


def test_the_command_writes_numbers_pictures_and_a_page(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate_recon, "_EACH", 1)
    out = tmp_path / "e"
    result = evaluate(run, "--data", data, "--split", "val", "--protocol", "all", "--samples", 3,
                      "--workers", 1, "--out", out)  # fmt: skip
    assert result.exit_code == 0, result.output
    said = json.loads((out / "evaluation.json").read_text())
    assert set(said["errors"]["protocols"]) == set(PROTOCOLS)
    assert said["plausibility"]["answers"]["pairs"] == 3
    page = (out / "evaluation.html").read_text()
    assert page.count("data:image/png") == 3 and "most hidden tenth" in page
    assert "http" not in re.sub(r"data:image/png;base64,[^\"]*", "", page)
    for name in ("pck", "hidden", "pictures"):
        assert (out / f"{name}.png").exists() and (out / f"{name}.pdf").exists()
    assert "AUC of PCK" in result.output and "root9_scaled" in result.output
    # The run's file is as good as its folder.
    again = evaluate(run / "recon.safetensors", "--data", data, "--split", "val", "--samples", 0,
                     "--no-pictures", "--json", "--out", tmp_path / "f", "-q")  # fmt: skip
    told = json.loads(again.stdout)
    assert told["plausibility"] is None
    assert (
        told["errors"]["protocols"]["root9_scaled"] == (said["errors"]["protocols"]["root9_scaled"])
    )


def test_misuse_is_said_in_one_line(run: Path, data: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "o")
    assert "choose of" in evaluate(run, "--data", data, "--protocol", "best", *out).output
    prior = evaluate("open", "--data", data, "--protocol", "root9", *out)
    assert prior.exit_code == 2 and "this is a prior" in prior.output
    empty = evaluate(run, "--data", data, "--split", "test", *out)
    assert empty.exit_code == 1 and "test" in str(empty.exception)


def test_the_help_names_every_protocol() -> None:
    assert set(command.PROTOCOLS) == set(PROTOCOLS)
    for name in PROTOCOLS:
        assert name in PAGE.read_text() and name in evaluate("--help").output


def test_the_pages_snippet_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(compile(block, PAGE.name, "exec"), names)
    said = dict(line.split()[:2] for line in capsys.readouterr().out.splitlines())
    # A tenth too large: nothing is left where the scale is taken out.
    assert float(said["root9_scaled"]) < 1e-3 < float(said["root9"])
    assert names["place"] == pytest.approx([20.0])
