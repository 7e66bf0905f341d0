"""`twohand select`: datasets filtered, thinned to a number, and merged."""

import json
from pathlib import Path
from typing import Any

import click

from twohand500k.cli import options
from twohand500k.conventions import FRAMES
from twohand500k.cores import available_cores
from twohand500k.hand import load_hands
from twohand500k.pipeline import RunSummary
from twohand500k.select.run import (
    SHARD_SIZE,
    SelectOptions,
    SelectPlan,
    plan_select,
    select_samples,
)
from twohand500k.select.where import names_help
from twohand500k.shards import SPLITS
from twohand500k.shards.schema import OPTIONAL_GROUPS


def _list_fields(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        click.echo("\n".join(names_help()))
        ctx.exit()


@click.command()
@click.argument("folders", metavar="DIR…", nargs=-1, required=True,
                type=click.Path(path_type=Path))  # fmt: skip
@options.out_dir
@click.option("--where", "conditions", multiple=True, metavar="CONDITION",
              help="Only these, as 'penetration_volume_cm3 < 0.1 and source in (\"splice\",)'. "
              "Repeated: all of them.")  # fmt: skip
@click.option("--fields", is_flag=True, is_eager=True, expose_value=False, callback=_list_fields,
              help="List the fields of --where and stop.")  # fmt: skip
@click.option("--split", "splits", multiple=True, type=click.Choice(SPLITS),
              help="Only this split. May be repeated.")  # fmt: skip
@click.option("--count", type=click.IntRange(min=1), default=None,
              help="How many, drawn with the seed.  [default: all]")  # fmt: skip
@click.option("--share", "shares", multiple=True, metavar="NAME=WEIGHT",
              help="How much of the folder called NAME; those not named are left out.")  # fmt: skip
@click.option("--fill", is_flag=True,
              help="Others make up for a folder that has less than its share.")  # fmt: skip
@click.option("--frame", type=click.Choice(FRAMES), default=None,
              help="Frame of space of the result.  [default: the inputs', or the right wrist "
              "where they differ]")  # fmt: skip
@click.option("--on-duplicate", type=click.Choice(["refuse", "first"]), default="refuse",
              show_default=True, help="What to do with an id that is in two folders.")  # fmt: skip
@click.option("--drop", multiple=True, type=click.Choice(OPTIONAL_GROUPS),
              help="Leave this optional group of fields away. May be repeated.")  # fmt: skip
@click.option("--shard-size", type=click.IntRange(min=1), default=SHARD_SIZE, show_default=True,
              help="Samples in a shard.")  # fmt: skip
@options.hand_model
@options.seed
@options.workers
@options.executor
@options.dry_run
@options.as_json
@options.verbose
@options.quiet
def select(**given: Any) -> None:
    """Choose samples of one or more datasets, and put them into one.

    What was measured of a sample stays as it was. Datasets in different frames of space are brought
    to the right wrist; all must be made on the same hand model. `--dry-run` counts. The same
    command again resumes.
    """
    quiet = given["quiet"]

    def log(line: str) -> None:
        if not quiet:
            click.echo(line, err=True)

    conditions = given["conditions"]
    chosen = SelectOptions(
        where=conditions[0] if len(conditions) == 1 else " and ".join(f"({c})" for c in conditions),
        count=given["count"],
        shares=_shares(given["shares"]),
        splits=given["splits"],
        frame=given["frame"],
        shard_size=given["shard_size"],
        on_duplicate=given["on_duplicate"],
        drop=given["drop"],
        fill=given["fill"],
    )
    hands = load_hands(given["hand_model"])
    plan = plan_select(given["folders"], hands, chosen, given["seed"], log)
    if given["dry_run"]:
        click.echo(
            json.dumps(_counted(plan), indent=1) if given["as_json"] else _counted_lines(plan)
        )
        return
    with options.open_executor(given["executor"], given["scheduler"]) as executor:
        summary = select_samples(
            plan,
            given["out"],
            chosen,
            workers=given["workers"] or available_cores(),
            executor=executor,
            progress=not quiet,
        )
    if given["as_json"]:
        click.echo(json.dumps(_counted(plan) | _told(summary), indent=1))
        return
    click.echo(_counted_lines(plan))
    if summary.was_finished:
        click.echo(f"{summary.folder} was already finished; nothing was done")
    else:
        click.echo(f"{summary.folder}: {summary.units} shards in {summary.seconds:.1f} s")
    click.echo(f"next: twohand verify {summary.folder}")


def _shares(given: tuple[str, ...]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for text in given:
        name, equals, weight = text.rpartition("=")
        try:
            value = float(weight)
        except ValueError:
            value = -1.0
        if not equals or not name or not 0 <= value < float("inf"):
            raise click.UsageError(f"--share {text!r} is not NAME=WEIGHT, as --share repaired=0.7")
        if name in shares:
            raise click.UsageError(f"--share {name} is given twice")
        shares[name] = value
    return shares


def _counted(plan: SelectPlan) -> dict[str, Any]:
    return {
        "samples": plan.samples,
        "frame": plan.frame,
        "groups": list(plan.stage.groups),
        "datasets": [
            {
                "name": part.name,
                "samples": len(part.dataset),
                "meeting": part.meeting,
                "chosen": len(part.rows),
            }
            for part in plan.chosen
        ],
        "work_units": len(plan.units),
    }


def _counted_lines(plan: SelectPlan) -> str:
    width = max(12, *(len(part.name) for part in plan.chosen))
    lines = [f"{'dataset':{width}}{'samples':>12}{'meeting':>12}{'chosen':>12}"]
    rows = [(p.name, len(p.dataset), p.meeting, len(p.rows)) for p in plan.chosen]
    if len(rows) > 1:
        a, b, c = (sum(column) for column in list(zip(*rows, strict=True))[1:])
        rows.append(("together", a, b, c))
    lines += [f"{name:{width}}{a:12,}{b:12,}{c:12,}" for name, a, b, c in rows]
    return "\n".join([*lines, f"frame: {plan.frame}"])


def _told(summary: RunSummary) -> dict[str, Any]:
    return {
        "folder": str(summary.folder),
        "kept": summary.n_kept,
        "units": summary.units,
        "reused": summary.reused,
        "was_finished": summary.was_finished,
        "seconds": summary.seconds,
    }
