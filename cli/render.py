"""`twohand render`: a dataset in, pictures of its hands out, with everything known of them."""

import dataclasses
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from twohand500k.cli import options
from twohand500k.cores import available_cores
from twohand500k.hand import load_hands
from twohand500k.pipeline import RunSummary


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@options.out_dir
@click.option("--views", type=click.IntRange(min=1), default=1, show_default=True,
              help="Pictures of each sample, each from elsewhere in another light.")  # fmt: skip
@click.option("--occluded", type=click.FloatRange(0, 1), default=0.25, show_default=True,
              help="Share of pictures with things before the hands.")  # fmt: skip
@click.option("--upright", type=click.FloatRange(0, 1), default=0.0, show_default=True,
              help="Share of pictures in which arms come from below or the sides; the others are "
              "seen from anywhere at any roll.")  # fmt: skip
@click.option("--ego", type=click.FloatRange(0, 1), default=0.0, show_default=True,
              help="Share of pictures that the person's own eyes see, from the head the arms "
              "lead to.")  # fmt: skip
@click.option("--photos", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="InterHand2.6M's folder: its photos of the dataset's frames.")  # fmt: skip
@options.hand_model
@click.option("--limit", type=click.IntRange(min=1), default=None,
              help="Only the first so many samples.")  # fmt: skip
@click.option("--shard-size", type=click.IntRange(min=1), default=256, show_default=True,
              help="Pictures per work unit, the most pictures in a shard.")  # fmt: skip
@click.option("--preview", type=click.IntRange(min=1), default=None,
              help="Show this many with their labels: OUT/preview.png.")  # fmt: skip
@options.seed
@options.workers
@options.executor
@options.dry_run
@options.as_json
@options.verbose
@options.quiet
def render(**given: Any) -> None:
    """Pictures of a dataset's hands, to train an image network on.

    Each is a 256 x 256 crop with skins, light, background, camera and things in the way drawn by
    chance, and knows its camera, joints, which of them can be seen, masks and how much of each hand
    is hidden. The same command again resumes.

    \b
    twohand render fixed --out images --preview 16
    twohand verify images
    twohand train-recon --data images --prior open --out run --preset tiny

    With --photos the pictures are InterHand2.6M's, of a dataset that was built from it: crops by
    the projected skin, masks of the fitted hands.
    """
    from twohand500k.render import RenderOptions, draw_preview, plan_render
    from twohand500k.render import render as run_render
    from twohand500k.render.photos import plan_photos
    from twohand500k.render.run import SHARD_SIZE

    hands = load_hands(given["hand_model"])
    chosen = RenderOptions(
        **{field.name: given[field.name] for field in dataclasses.fields(RenderOptions)}
    )
    if given["photos"]:
        if replace(chosen, limit=None, shard_size=SHARD_SIZE) != RenderOptions():
            raise click.UsageError(
                "--photos shows what was photographed: --views, --occluded, --upright and --ego "
                "are for pictures of our own"
            )
        plan = plan_photos(
            given["folder"], given["photos"], hands, chosen.limit, chosen.shard_size, given["seed"]
        )
    else:
        if chosen.upright + chosen.ego > 1:
            raise click.UsageError("--upright and --ego are shares: together at most 1")
        plan = plan_render(given["folder"], hands, chosen, given["seed"])
    if given["dry_run"]:
        told = {
            "samples": len(plan.dataset),
            "pictures": plan.pictures,
            "work_units": len(plan.units),
        }
        click.echo(
            json.dumps(told)
            if given["as_json"]
            else f"would make {plan.pictures:,} pictures of {len(plan.dataset):,} samples in "
            f"{len(plan.units)} work units"
        )
        return
    with options.open_executor(given["executor"], given["scheduler"]) as executor:
        summary = run_render(
            plan,
            given["out"],
            workers=given["workers"] or available_cores(),
            executor=executor,
            progress=not given["quiet"],
        )
    drawn = draw_preview(given["out"], given["preview"]) if given["preview"] else None
    told = _told(summary)
    if given["as_json"]:
        click.echo(json.dumps({**told, "preview": drawn and str(drawn)}, indent=1, allow_nan=False))
        return
    click.echo(_page(summary, told))
    if drawn:
        click.echo(f"pictures to look at: {drawn}")


def _told(summary: RunSummary) -> dict[str, Any]:
    done = summary.n_kept * (1 - summary.reused / summary.units)
    return {
        "folder": str(summary.folder),
        "samples": summary.n_in,
        "pictures": summary.n_kept,
        "rejected": dict(summary.rejected_per_reason),
        "hidden": summary.stats.summaries["hidden"].to_json(),
        "visible_joints": summary.stats.summaries["visible_joints"].to_json(),
        "units": summary.units,
        "reused": summary.reused,
        "was_finished": summary.was_finished,
        "seconds": summary.seconds,
        "pictures_per_second": (
            None if summary.was_finished else done / max(summary.seconds, 1e-9)
        ),
    }


def _page(summary: RunSummary, told: dict[str, Any]) -> str:
    lines = [f"{summary.n_kept:,} pictures of {summary.n_in:,} samples"]
    lines += [f"refused, {reason}: {n:,}" for reason, n in summary.rejected_per_reason.items()]
    if summary.n_kept:
        lines.append(
            f"a hand is hidden by {told['hidden']['mean']:.0%} on average, "
            f"{told['visible_joints']['mean']:.1f} of its 21 joints can be seen"
        )
    if summary.was_finished:
        lines.append(f"{summary.folder} was already finished; nothing was done")
    else:
        reused = f", {summary.reused} of them from an earlier run" if summary.reused else ""
        lines.append(
            f"{summary.folder}: {summary.units} work units in {summary.seconds:.1f} s{reused}, "
            f"{told['pictures_per_second']:.1f} pictures/s"
        )
    lines.append(f"next: twohand verify {summary.folder}")
    return "\n".join(lines)
