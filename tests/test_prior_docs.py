"""Every block of docs/prior.md runs as it stands, and so do its two commands."""

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")

from prior_fixture import small_prior  # noqa: E402

from interaction_prior import InteractionPrior  # noqa: E402
from interaction_prior.__main__ import commands  # noqa: E402
from interaction_prior.prior import write_prior  # noqa: E402
from interaction_prior.prior.prior import prior_file  # noqa: E402
from twohand500k.errors import DataError  # noqa: E402

pytestmark = pytest.mark.torch

PAGE = Path(__file__).resolve().parents[1] / "docs" / "prior.md"


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names left behind by the page's blocks, run one after the other."""
    if not prior_file("open").exists():
        # A repository in which the prior that ships is not made yet.
        monkeypatch.setattr(InteractionPrior, "load", lambda *_, **__: small_prior())
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
    return names


def test_the_blocks_do_what_the_page_says(page: dict[str, Any]) -> None:
    prior, pairs = page["prior"], page["pairs"]
    assert torch.equal(pairs.x, prior.sample(16, seed=0).x)
    assert page["strip"].x.shape == (9, prior.representation.dim)
    # A pair gone out as MANO parameters comes in again as the same hands.
    torch.testing.assert_close(page["yours"].joints, pairs.joints, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        page["eight"].joints[:, :, 0], pairs.joints[:, None, 0].expand(-1, 8, -1, -1),
        atol=1e-5, rtol=0,
    )  # fmt: skip
    assert torch.isfinite(page["eight"].joints).all() and torch.isfinite(page["eight"].place).all()
    # The fit came nearer to the truth than what was observed.
    fitted = prior.pairs_from_mano(page["pose"].detach(), page["truth"].betas, page["truth"].place)
    before = (page["observed"] - page["truth"].joints).norm(dim=-1).mean()
    assert (fitted.joints - page["truth"].joints).norm(dim=-1).mean() < 0.9 * before
    assert page["x"].shape == (5, prior.representation.dim)
    assert page["done"].path.exists()


def test_the_commands_of_the_page(tmp_path: Path) -> None:
    prior = small_prior()
    write_prior(tmp_path / "run" / "prior.safetensors", prior.record)
    told = CliRunner().invoke(commands, ["card", str(tmp_path / "run")])
    assert told.exit_code == 0 and "# Interaction prior: VAE of mano (6d)" in told.output
    # The hands are the tests' own, which no folder holds: the prior refuses the open ones.
    refused = CliRunner().invoke(
        commands, ["export", str(tmp_path / "run"), "--out", str(tmp_path / "decoder.pt2")]
    )
    assert isinstance(refused.exception, DataError)
    assert "was trained on the hand model 'synthetic'" in str(refused.exception)
