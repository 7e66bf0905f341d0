"""`twohand make`: one recipe in, the whole dataset and its report out."""

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from twohand500k.cli import options
from twohand500k.cores import available_cores
from twohand500k.hand import load_hands

if TYPE_CHECKING:
    from twohand500k.recipe.make import Made
    from twohand500k.recipe.recipe import Recipe


@click.command()
@click.argument("recipe")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="Folder to write.  [default: the recipe's name]")  # fmt: skip
@click.option("--data", "data", metavar="DIR|NAME=DIR", multiple=True,
              help="The folder that the recipe's inputs are under, or where one build's are. "
              "May be repeated.")  # fmt: skip
@click.option("--without", metavar="NAME", multiple=True,
              help="Leave out a build or a part; the others fill its share. "
              "May be repeated.")  # fmt: skip
@click.option("--set", "changes", metavar="KEY=VALUE", multiple=True,
              help="Change a key of the recipe: samples=20000, parts.NAME.share=0.5. "
              "May be repeated.")  # fmt: skip
@options.hand_model
@options.workers
@options.executor
@options.dry_run
@options.as_json
@options.verbose
@options.quiet
def make(**given: Any) -> None:
    """Make a dataset from a recipe: build, splice, physics-fix, select, report.

    RECIPE is a TOML file or the name of a shipped one: demo, open-500k, prior-interhand,
    two-hand-500k. The same command again goes on where it stopped and does nothing twice; a
    changed option is refused by its name.

    \b
    twohand make demo
    twohand make open-500k --set samples=20000 --out open-20k --dry-run
    twohand make two-hand-500k --data /datasets --without lsmv --hand-model /mano
    """
    # Bullet and the compiled judge: seconds that --help need not take.
    from twohand500k.recipe.estimate import estimate, table
    from twohand500k.recipe.make import as_json, make
    from twohand500k.recipe.recipe import load_recipe

    data, places = _data(given["data"])
    recipe = load_recipe(
        given["recipe"],
        data=data,
        places=places,
        without=given["without"],
        changes=dict(_change(text) for text in given["changes"]),
    )
    out = given["out"] or Path(recipe.name)
    hands = load_hands(given["hand_model"])
    workers = given["workers"] or available_cores()
    if given["dry_run"]:
        rows = estimate(recipe, out, hands, workers)
        if given["as_json"]:
            told = [
                {"step": str(r.step), "samples": r.samples, "seconds": _known(r.seconds),
                 "bytes": _known(r.bytes), "measured_here": r.measured, "note": r.note}
                for r in rows
            ]  # fmt: skip
            click.echo(json.dumps({"samples": recipe.samples, "workers": workers, "steps": told}))
        else:
            click.echo(table(rows, recipe, workers))
        return

    def log(line: str) -> None:
        if not given["quiet"]:
            click.echo(line, err=True)

    with options.open_executor(given["executor"], given["scheduler"]) as executor:
        made = make(
            recipe,
            out,
            hands,
            workers=workers,
            executor=executor,
            progress=not given["quiet"],
            log=log,
        )
    if given["as_json"]:
        click.echo(json.dumps(as_json(made, recipe), indent=1, allow_nan=False))
    else:
        click.echo(_table(made, recipe))


def _data(given: tuple[str, ...]) -> tuple[Path | None, dict[str, Path]]:
    """The folder of all inputs, and the places of single builds."""
    data, places = None, {}
    for text in given:
        name, equals, folder = text.partition("=")
        if equals and "/" not in name:
            places[name] = Path(folder)
        elif data is not None:
            raise click.UsageError(f"--data names two folders for all inputs, {data} and {text}")
        else:
            data = Path(text)
    if data is not None and not data.is_dir():
        raise click.UsageError(f"--data {data} is no folder")
    return data, places


def _change(text: str) -> tuple[str, Any]:
    """KEY=VALUE, the value as TOML has it; a word without quotes is text."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise click.UsageError(f"--set {text!r} is not KEY=VALUE")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def _known(value: float) -> float | None:
    return None if value != value else round(value, 2)


def _table(made: "Made", recipe: "Recipe") -> str:
    from twohand500k.recipe.estimate import duration

    width = max(len(str(r.step)) for r in made.steps)
    lines = [
        f"{'step':{width}}  {'in':>9}  {'kept':>9}  {'time':>8}  {'samples/s':>9}  {'disk':>9}"
    ]
    for r in made.steps:
        speed = "-" if r.per_second != r.per_second else f"{r.per_second:,.1f}"
        lines.append(
            f"{r.step!s:{width}}  {r.done.n_in:9,}  {r.done.n_kept:9,}  "
            f"{duration(r.done.seconds):>8}  {speed:>9}  {r.done.bytes / 1e6:6.1f} MB"
            + ("  already done" if r.reused else "")
        )
    if made.short:
        lines.append(
            f"short of {made.short:,} samples: {made.samples:,} of the {recipe.samples:,} asked "
            "for; the repair refused more than the recipe's spare, or recordings hold too few"
        )
    lines.append(f"{made.samples:,} samples: {made.out / 'dataset'}, made in this run in "
                 f"{duration(made.seconds)}")  # fmt: skip
    lines.append(f"look at: {made.out / 'report' / 'index.html'}")
    lines.append(f"next: twohand verify {made.out / 'dataset'}")
    return "\n".join(lines)
