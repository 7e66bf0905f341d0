"""`twohand report DIR…`: finished datasets in, a page of pictures and numbers out."""

import dataclasses
import json
import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from twohand500k.cli import options
from twohand500k.hand import load_hands

if TYPE_CHECKING:
    from twohand500k.report.run import ReportSummary


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    names = tuple(name.strip() for name in (value or "").split(",")) if value else ()
    if "" in names:
        raise click.BadParameter(f"{value!r} has an empty name: write NAME,NAME,…")
    return names


@click.command(name="report")
@click.argument("folders", metavar="DIR…", type=click.Path(path_type=Path), nargs=-1, required=True)
@options.out_dir
@click.option("--title", default="", help="The page's title.  [default: the datasets' names]")
@click.option("--names", callback=_names, default=None, metavar="NAME,…",
              help="What to call the datasets, in order.  [default: their folders]")  # fmt: skip
@click.option("--reference", type=click.Path(path_type=Path), default=None, metavar="DIR",
              help="What the others are compared with.  [default: the first DIR]")  # fmt: skip
@click.option("--map", "map_from", type=click.Path(path_type=Path, dir_okay=False), default=None,
              metavar="FILE.npz",
              help="Place the datasets on the map of an earlier report.")  # fmt: skip
@click.option("--map-samples", type=click.IntRange(min=1), default=None,
              help="At most so many pairs of each dataset on the map.  [default: all]")  # fmt: skip
@click.option("--gallery", type=click.IntRange(min=0), default=6, show_default=True,
              help="Draw so many samples, before and after.")  # fmt: skip
@click.option("--shown", type=click.IntRange(1, 400), default=120, show_default=True,
              help="So many samples can be turned in 3D.")  # fmt: skip
@click.option("--no-figures", is_flag=True, help="Leave out the figures as PNG and PDF.")
@options.hand_model
@options.seed
@options.workers
@options.as_json
@options.verbose
@options.quiet
def report(folders: tuple[Path, ...], **given: Any) -> None:
    """Write a page about finished datasets: OUT/index.html, one file that needs no network.

    One map of all pairs, samples to turn in 3D, repairs before and after, how varied the poses are
    and how alike the datasets, contacts, distributions, counts, and how they were made. Beside it
    the same numbers as JSON, the map, and figures for a paper.

    \b
    twohand report out/fixed --out out/report
    twohand report out/fixed out/pairs out/mocap --reference out/mocap --out out/report
    twohand report other/fixed --map out/report/map.npz --out other/report
    """
    # Not at the top: the renderer, matplotlib and the map's libraries take seconds to load.
    from twohand500k.report.run import ReportOptions, make_report

    summary = make_report(
        folders,
        given["out"],
        load_hands(given["hand_model"]),
        ReportOptions(
            title=given["title"],
            names=given["names"],
            reference=given["reference"],
            gallery=given["gallery"],
            shown=given["shown"],
            map_samples=given["map_samples"],
            map_from=given["map_from"],
            figures=not given["no_figures"],
            seed=given["seed"],
            n_jobs=given["workers"],
            command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        ),
        log=_log(given["quiet"]),
    )
    if given["as_json"]:
        told = dataclasses.asdict(summary) | {"folder": str(summary.folder)}
        click.echo(json.dumps(told, indent=1))
    else:
        click.echo(_as_text(summary))


def _log(quiet: bool) -> Any:
    """Lines to stderr as they come, unless -q."""
    if quiet:
        return logging.getLogger("twohand500k.report").debug
    return lambda line: click.echo(line, err=True)


def _as_text(summary: "ReportSummary") -> str:
    page = summary.folder / "index.html"
    lines = [
        f"{summary.samples:,} samples, {summary.pairs:,} pairs of {summary.datasets} "
        f"dataset{'' if summary.datasets == 1 else 's'}"
    ]
    if summary.was_finished:
        lines.append(f"{summary.folder} was already finished; nothing was done")
    else:
        lines.append(
            f"{summary.folder}: {len(summary.files)} files in {summary.seconds:.1f} s, the page "
            f"{summary.page_bytes / 1e6:.1f} MB"
        )
    lines.append(f"look at: {page}")
    return "\n".join(lines)
