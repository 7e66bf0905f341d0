"""Options that several commands share, each written once, and the log that -v and -q set."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from twohand500k.hand import HandPair
from twohand500k.pipeline import RunSummary
from twohand500k.pipeline.worker import Stage

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

hand_model: Decorator = click.option(
    "--hand-model",
    default="open",
    show_default=True,
    metavar="open|DIR",
    help="'open' (ours, licence-free) or a folder with MANO_RIGHT and MANO_LEFT, .pkl or .npz.",
)
out_dir: Decorator = click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write.",
)
seed: Decorator = click.option("--seed", default=0, show_default=True, help="Seed of every draw.")
workers: Decorator = click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=None,
    help="Processes to work with.  [default: one per core]",
)
limit: Decorator = click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=None,
    help="Stop after this many frames per take.",
)
dry_run: Decorator = click.option(
    "--dry-run", is_flag=True, help="Say what would be done, write nothing."
)
as_json: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


judge: Decorator = click.option(
    "--judge",
    is_flag=True,
    help="Measure how far hands overlap, each other and themselves, and fill those fields.",
)


def _set_log_level(ctx: click.Context, param: click.Parameter, value: int) -> int:
    if value or param.name == "verbose":
        level = {"verbose": logging.INFO - 10 * value, "quiet": logging.ERROR}[str(param.name)]
        logging.basicConfig(stream=sys.stderr, format="%(message)s", level=level, force=True)
    return value


verbose: Decorator = click.option(
    "-v", "--verbose", count=True, callback=_set_log_level, is_eager=True, help="Say more (stderr)."
)
quiet: Decorator = click.option(
    "-q", "--quiet", is_flag=True, callback=_set_log_level, help="Errors only (stderr)."
)


def judging(hands: HandPair) -> Callable[[Stage], Stage]:
    """What --judge wraps about a stage."""
    # Not at the top: most commands do without the judge and its compiled code.
    from twohand500k.physics.judging import Judging

    return lambda stage: Judging(stage, hands)


def judged_lines(summary: RunSummary) -> list[str]:
    """What --judge found, a line; none where it was not asked for."""
    if "penetration_volume_m3" not in summary.stats.summaries:
        return []
    from twohand500k.physics.judging import judged_line

    return [judged_line(summary.stats)]
