"""Options that several commands share, each written once, and the log that -v and -q set."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
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


def _need_scheduler(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """--executor dask and --scheduler ADDRESS go together."""
    if ctx.params.get("executor") == "dask" and not value:
        raise click.UsageError(
            "--executor dask needs --scheduler ADDRESS: start `dask scheduler` on a machine that "
            "all others reach, and give the address it prints (tcp://HOST:8786) or its "
            "--scheduler-file"
        )
    if value and ctx.params.get("executor") != "dask":
        raise click.UsageError("--scheduler ADDRESS works with --executor dask only")
    return value


def executor(command: Callable[..., Any]) -> Callable[..., Any]:
    """--executor and --scheduler: where the units of work are done."""
    scheduler = click.option(
        "--scheduler",
        default=None,
        metavar="ADDRESS|FILE",
        callback=_need_scheduler,
        help="With --executor dask: the scheduler's address (tcp://HOST:8786), or its "
        "scheduler file.",
    )
    kind = click.option(
        "--executor",
        type=click.Choice(["local", "dask"]),
        default="local",
        show_default=True,
        is_eager=True,
        help="Processes on this machine, or the workers of a Dask cluster.",
    )
    return kind(scheduler(command))


@contextlib.contextmanager
def open_executor(executor: str, scheduler: str | None) -> Iterator[Executor | None]:
    """What `executor=` of a stage takes: None for local processes, else the cluster.

    Raises DataError if Dask is not installed or no scheduler answers.
    """
    if executor == "local":
        yield None
        return
    if not scheduler:
        raise click.UsageError("--executor dask needs --scheduler ADDRESS")
    from twohand500k.pipeline.cluster import dask_cluster

    with dask_cluster(scheduler) as cluster:
        yield cluster


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
        # Ours alone: libraries tell of every glyph of a font and every page of a file.
        logging.basicConfig(stream=sys.stderr, format="%(message)s", force=True)
        logging.getLogger("twohand500k").setLevel(level)
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
