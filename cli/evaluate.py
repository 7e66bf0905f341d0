"""`twohand evaluate`: a trained prior or image network and held-out data in, how good it is out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from twohand500k.cli import options
from twohand500k.cli.training import need_torch

# `interaction_prior.metrics.PROTOCOLS` has what they mean, a test holds the two together: --help
# must not need torch.
PROTOCOLS: Mapping[str, str] = {
    "root9_scaled": "each hand from its joint 9, scaled by its bone 9-0; the paper's",
    "root9": "each hand from its joint 9, not scaled",
    "wrist": "each hand from its wrist, not scaled; InterNet's",
    "wrist_scaled": "each hand from its wrist, scaled by its bone 9-0",
    "procrustes": "each hand rotated, scaled and moved to fit; PA",
    "right_wrist": "both hands from the right wrist",
}
_RECON_FILE = "recon.safetensors"


def _epilog() -> str:
    width = max(map(len, PROTOCOLS)) + 2
    lines = [f"  {name:{width}}{meaning}" for name, meaning in PROTOCOLS.items()]
    return "\b\nProtocols (docs/metrics.md):\n" + "\n".join(lines)


@click.command(context_settings={"max_content_width": 100}, epilog=_epilog())
@click.argument("run", metavar="RUN|FILE|open")
@click.option("--data", "folders", type=click.Path(path_type=Path), multiple=True, required=True,
              metavar="DIR", help="A dataset of interactions; of pictures for an image network. "
              "May be repeated.")  # fmt: skip
@click.option("--split", type=click.Choice(["train", "val", "test", "all"]), default="test",
              show_default=True, help="Which of its samples it is held to.")  # fmt: skip
@options.out_dir
@click.option("--samples", type=click.IntRange(min=0), default=2000, show_default=True,
              help="Of a prior: pairs to draw and judge. Of an image network: answers to judge, at "
              "most. 0: none.")  # fmt: skip
@click.option("--protocol", "protocols", multiple=True, metavar="NAME|all",
              help="Of an image network: how errors are aligned, see below; the first is the one "
              "of curve and parts. May be repeated.  [default: root9_scaled]")  # fmt: skip
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
              show_default=True, help="Of an image network.")  # fmt: skip
@click.option("--pictures/--no-pictures", default=True, show_default=True,
              help="Figures, map, strips, samples, overlays, as PNG and PDF.")  # fmt: skip
@options.hand_model
@options.seed
@options.workers
@options.as_json
@options.quiet
def evaluate(run: str, **given: Any) -> None:
    """How good a trained prior or image network is: numbers, pictures, and OUT/evaluation.html.

    A prior: reconstruction of held-out pairs, what the latents hold, how plausible its own draws
    are and how like the data. An image network: errors in the field's protocols, the PCK curve,
    errors by how much is hidden, how plausible its answers are, its best, median and worst.
    """
    if given["seed"] < 0:
        raise click.UsageError("--seed is not below 0")
    unknown = sorted({*given["protocols"]} - {*PROTOCOLS, "all"})
    if unknown:
        raise click.UsageError(f"--protocol {unknown[0]}: choose of {', '.join(PROTOCOLS)}, all")
    need_torch()

    def log(line: str) -> None:
        if not given["quiet"]:
            click.echo(line, err=True)

    if is_of_an_image_network(run):
        need_torch("transformers")
        from twohand500k.cli.evaluate_recon import evaluate_recon

        evaluate_recon(Path(run), given, log)
        return
    if given["protocols"]:
        raise click.UsageError("--protocol is for image networks, and this is a prior")
    from twohand500k.cli.evaluate_prior import evaluate_prior

    evaluate_prior(run, given, log)


def is_of_an_image_network(run: str) -> bool:
    """Whether a run folder or file is train-recon's."""
    path = Path(run)
    return path.name == _RECON_FILE or (path / _RECON_FILE).exists()
