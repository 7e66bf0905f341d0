"""`twohand export`: a dataset in other people's formats, with its card and metadata."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

from twohand500k.cli import options
from twohand500k.export.run import FORMATS, ExportOptions, export_dataset
from twohand500k.hand import HandPair, load_hands
from twohand500k.pictures import (
    BACKDROP,
    SKIN,
    Camera,
    Surface,
    contact_sheet,
    draw_pair,
    pair_cameras,
    render_meshes,
)
from twohand500k.select.run import rows_meeting
from twohand500k.select.where import parse_where
from twohand500k.shards import Dataset, Samples

_TILE = (320, 260)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--format", "formats", multiple=True, required=True, type=click.Choice([*FORMATS]),
              help="What to write. May be repeated.")  # fmt: skip
@options.out_dir
@click.option("--where", default="", metavar="CONDITION",
              help="Only these samples, as in `twohand select`.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), default=None,
              help="Only the first so many samples (a mesh is a file a sample).")  # fmt: skip
@click.option("--closed", is_flag=True, help="Meshes with the wrist capped.")
@click.option("--name", default="", help="What the dataset is called.  [default: its folder]")
@click.option("--no-picture", is_flag=True, help="A card without a picture.")
@options.hand_model
@options.dry_run
@options.as_json
@options.verbose
@options.quiet
def export(**given: Any) -> None:
    """Write the dataset in DIR as Parquet, NPZ, InterHand2.6M's JSON or meshes.

    Beside them: a dataset card with the licences of the sources that went in (README.md) and
    Croissant metadata. `twohand verify OUT` reads it all back.
    """
    dataset = Dataset(given["folder"])
    where = given["where"].strip()
    rows = rows_meeting(dataset, parse_where(where) if where else None)[: given["limit"]]
    if given["dry_run"]:
        told = {"samples": len(rows), "of": len(dataset), "formats": list(given["formats"])}
        click.echo(
            json.dumps(told)
            if given["as_json"]
            else f"would write {len(rows):,} of {len(dataset):,} samples as "
            f"{', '.join(given['formats'])}"
        )
        return
    hands = load_hands(given["hand_model"])

    def log(line: str) -> None:
        if not given["quiet"]:
            click.echo(f"export: {line}", err=True)

    done = export_dataset(
        dataset,
        given["out"],
        hands,
        ExportOptions(
            tuple(dict.fromkeys(given["formats"])), given["name"], given["closed"], where
        ),
        rows=rows,
        draw=None if given["no_picture"] else lambda samples: _picture(hands, samples),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        log=log,
    )
    if given["as_json"]:
        click.echo(json.dumps({**vars(done), "folder": str(done.folder)}))
        return
    if done.was_finished:
        click.echo(f"{done.folder} was already finished; nothing was done")
    else:
        click.echo(
            f"{done.folder}: {done.samples:,} samples, {done.files:,} files, "
            f"{done.bytes / 1e6:,.1f} MB"
        )
    click.echo(f"next: twohand verify {done.folder}")


def _picture(hands: HandPair, samples: Samples) -> np.ndarray:
    """The card's picture: a few samples, each seen from where most of it shows."""
    tiles = []
    for row in range(len(samples)):
        there = np.flatnonzero(samples.present[row]).tolist()
        skins = [
            hands[s]
            .with_shape(samples.betas[row, s].astype(np.float64))
            .with_pose(
                samples.pose[row, s].astype(np.float64), samples.transl[row, s].astype(np.float64)
            )
            .vertices
            for s in there
        ]
        if len(there) == 2:
            pair = (skins[0], skins[1])
            camera, _ = pair_cameras(hands, [pair], _TILE[0] / _TILE[1])
            tiles.append(draw_pair(hands, pair, camera, _TILE))
        else:
            side = there[0]
            surface = Surface(skins[0], hands[side].faces, SKIN[side])
            camera = Camera.framing(skins[0], seen_from=(0.3, 1.0, 0.4))
            tiles.append(render_meshes([surface], camera, _TILE, background=BACKDROP))
    return contact_sheet(tiles, columns=min(4, len(tiles)))
