"""``python -m interaction_prior``: a trained prior handed on (`export RUN --out FILE`, `card RUN`).

Results to stdout; exit 0 good, 1 the data failed (one line on stderr), 2 misuse.
"""

import sys
from pathlib import Path

import click

from interaction_prior.prior import InteractionPrior, read_prior
from interaction_prior.prior.card import card_text
from interaction_prior.prior.prior import prior_file
from twohand500k.errors import DataError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """What is done with a trained prior (RUN: a run folder, a prior.safetensors, or "open")."""


@commands.command()
@click.argument("run")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="*.pt2 or *.onnx")
@click.option("--hand-model", default="open", show_default=True, help="the prior's own")
def export(run: str, out: Path, hand_model: str) -> None:
    """Write the frozen decoder, latents to raw vectors, as torch.export or ONNX."""
    prior = InteractionPrior.load(run, hands=hand_model)
    done = prior.export(out, "onnx" if out.suffix == ".onnx" else "torch")
    click.echo(
        f"{done.path}: z (B, {prior.latents}) -> {prior.representation} "
        f"(B, {prior.representation.dim}); read back with {done.checked_with}, "
        f"{done.difference:.1e} off"
    )


@commands.command()
@click.argument("run")
def card(run: str) -> None:
    """Print the model card."""
    click.echo(card_text(read_prior(prior_file(run))), nl=False)


if __name__ == "__main__":
    try:
        commands(prog_name="python -m interaction_prior")
    except DataError as fault:
        click.echo(f"interaction_prior: {fault}", err=True)
        sys.exit(1)
