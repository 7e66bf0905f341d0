"""`twohand splice`: single hands in, interactions of two hands out."""

import dataclasses
import json
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import click
import numpy as np

from twohand500k.cli import options
from twohand500k.cores import available_cores
from twohand500k.hand import HandPair, load_hands
from twohand500k.ik import build_takes
from twohand500k.pictures import SKIN, Camera, contact_sheet, render_meshes, save_png
from twohand500k.pipeline import RunSummary
from twohand500k.shards import Dataset, Samples
from twohand500k.sources import synthetic_takes
from twohand500k.splice import SpliceOptions, SplicePlan, plan_splice, splice_pairs

# Hands of the bank that is drawn where nobody has one.
_DRAWN_HANDS = 10_000


@click.command()
@click.option("--bank", "banks", type=click.Path(path_type=Path), multiple=True,
              help="A dataset whose hands are drawn from. May be repeated.  "
              "[default: synthetic hands, drawn into OUT-bank]")  # fmt: skip
@click.option("--count", type=click.IntRange(min=1), required=True, help="Pairs to make.")
@options.out_dir
@click.option("--share", "shares", multiple=True, metavar="SOURCE[:right|left]=WEIGHT",
              help="How often a source's hands are drawn; those not named are left out.  "
              "[default: the square root of their number]")  # fmt: skip
@click.option("--contacts", default="natural", show_default=True, metavar="natural|uniform|FILE",
              help="Weights of the contacts drawn.")  # fmt: skip
@click.option("--placement", type=click.Choice(["contact", "learned"]), default="contact",
              show_default=True,
              help="By drawn contacts, or by relative poses of real hands.")  # fmt: skip
@click.option("--from", "learn_from", type=click.Path(path_type=Path), multiple=True,
              help="With --placement learned: a two-hand dataset. May be repeated.")  # fmt: skip
@click.option("--thin", "thin_mm", type=click.FloatRange(min=0), default=2.0, show_default=True,
              help="Least mean movement between two hands of a take, mm.")  # fmt: skip
@click.option("--no-mirror", is_flag=True, help="A hand serves only as the side it was recorded.")
@options.hand_model
@click.option("--shard-size", type=click.IntRange(min=1), default=4096, show_default=True,
              help="Pairs per work unit, the most samples in a shard.")  # fmt: skip
@options.judge
@click.option("--preview", type=click.IntRange(min=1), default=None,
              help="Draw this many pairs, chosen at random: OUT/preview.png.")  # fmt: skip
@options.seed
@options.workers
@options.executor
@options.dry_run
@options.as_json
@options.verbose
@options.quiet
def splice(**given: Any) -> None:
    """Put single hands together so that they touch.

    Each pair takes a right and a left hand from the banks (mirrored where need be), places them by
    a drawn contact so that two arms could hold them there, and keeps what touches as meant with
    little overlap. No two pairs join the same two hands; none joins two splits. What overlap
    remains is for physics-fix. The same command again resumes.
    """
    if (given["placement"] == "learned") != bool(given["learn_from"]):
        raise click.UsageError(
            "--placement learned and --from DIR go together: the dataset to learn from"
        )
    hands = load_hands(given["hand_model"])
    chosen = SpliceOptions(
        count=given["count"],
        shares=given["shares"],
        contacts=given["contacts"],
        learn_from=given["learn_from"],
        thin_mm=given["thin_mm"],
        mirror=not given["no_mirror"],
        shard_size=given["shard_size"],
    )
    quiet = given["quiet"]

    def log(line: str) -> None:
        if not quiet:
            click.echo(line, err=True)

    banks = given["banks"]
    if given["dry_run"]:
        if not banks:
            raise click.UsageError("--dry-run writes nothing, so it needs a --bank that is there")
        plan = plan_splice(banks, hands, chosen, given["seed"], log)
        _say_plan(plan, chosen, given["as_json"])
        return
    with options.open_executor(given["executor"], given["scheduler"]) as executor:
        banks = banks or (_drawn_bank(hands, given, executor, log),)
        summary = splice_pairs(
            plan_splice(banks, hands, chosen, given["seed"], log),
            given["out"],
            chosen,
            seed=given["seed"],
            workers=given["workers"] or available_cores(),
            executor=executor,
            progress=not quiet,
            judging=options.judging(hands) if given["judge"] else None,
        )
    if given["preview"]:
        log(f"pairs drawn: {_preview(hands, given['out'], given['preview'], given['seed'])}")
    if given["as_json"]:
        click.echo(json.dumps(_as_json(summary), indent=1, allow_nan=False))
    else:
        click.echo(_table(summary))


def _drawn_bank(
    hands: HandPair, given: dict[str, Any], executor: Executor | None, log: Callable[[str], None]
) -> Path:
    """A pose bank out of nothing: what `build --source synthetic --count 10000` makes."""
    folder: Path = given["out"].with_name(f"{given['out'].name}-bank")
    log(f"no --bank: {_DRAWN_HANDS:,} synthetic hands are drawn into {folder}")
    build_takes(
        synthetic_takes(_DRAWN_HANDS, given["seed"], hands),
        hands,
        folder,
        declared={"source": "synthetic", "count": _DRAWN_HANDS, "splits": [], "subset": None},
        seed=given["seed"],
        workers=given["workers"] or available_cores(),
        executor=executor,
        progress=not given["quiet"],
    )
    return folder


def _say_plan(plan: SplicePlan, chosen: SpliceOptions, as_json: bool) -> None:
    blocks = plan.draw
    pairs = int((blocks.right[:, 1] * blocks.left[:, 1])[blocks.interlocked == 0].sum())
    told = {
        "hands": len(plan.bank),
        "distinct_pairs": pairs,
        "pairs": chosen.count,
        "interlocked": int(blocks.slots[blocks.interlocked].sum()),
        "work_units": len(plan.units),
    }
    if as_json:
        click.echo(json.dumps(told))
    else:
        click.echo(
            f"would place {chosen.count:,} pairs ({told['interlocked']:,} with interlocked "
            f"fingers) of {told['hands']:,} hands, {pairs:,} distinct "
            f"pairs, in {len(plan.units)} work units"
        )


def _table(summary: RunSummary) -> str:
    counts = summary.stats.counts
    volume = summary.stats.summaries["estimated_volume_m3"].to_json()
    width = max(len(name) for name in counts)
    lines = [
        f"{name:{width}}  {count:12,}  {count / max(summary.n_in, 1):9.2f} a pair"
        for name, count in counts.items()
    ]
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in summary.rejected_per_reason.items())
    lines.append(
        f"{summary.n_kept:,} pairs kept of {summary.n_in:,}; refused: {reasons or 'none'}; "
        f"overlap {1e6 * (volume['mean'] or 0.0):.2f} cm3 on average, estimated"
    )
    lines += options.judged_lines(summary)
    if summary.was_finished:
        lines.append(f"{summary.folder} was already finished; nothing was done")
    else:
        lines.append(
            f"{summary.folder}: {summary.units} shards in {summary.seconds:.1f} s"
            + (f", {summary.reused} of them from an earlier run" if summary.reused else "")
        )
    return "\n".join(lines)


def _as_json(summary: RunSummary) -> dict[str, Any]:
    return dataclasses.asdict(summary) | {
        "folder": str(summary.folder),
        "stats": summary.stats.to_json(),
    }


def _preview(hands: HandPair, out: Path, count: int, seed: int) -> Path:
    """Draw pairs chosen at random, the right hand light, the left hand dark: OUT/preview.png."""
    dataset = Dataset(out)
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(dataset), size=min(count, len(dataset)), replace=False))
    samples = dataset.samples(rows)
    tiles = [_picture(hands, samples, k) for k in range(len(samples))]
    labels = [
        f"{samples.contact_intended[k, 0]} / {samples.contact_intended[k, 1]}\n"
        + ("interlocked, " if _way(samples, k) == "interlocked" else "")
        + f"{samples.sample_id[k].rsplit('/')[-1]}"
        for k in range(len(samples))
    ]
    columns = min(6, len(tiles))
    sheet = contact_sheet(tiles, labels, columns=columns)
    return save_png(out / "preview.png", sheet, colours=256)


def _way(samples: Samples, row: int) -> str:
    return "" if samples.placement is None else str(samples.placement[row])


def _picture(hands: HandPair, samples: Samples, row: int, size: int = 280) -> np.ndarray:
    """One pair, seen from where both hands show most of themselves."""
    skins = [
        hands[side]
        .with_shape(samples.betas[row, side])
        .with_pose(samples.pose[row, side], samples.transl[row, side])
        .vertices
        for side in range(2)
    ]
    points = np.concatenate(skins)
    # Along the direction in which the two together are thinnest, a little aslant.
    _, _, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    # The wrists below.
    up = points.mean(axis=0) - samples.joints[row, :, 0].mean(axis=0)
    seen = axes[2] + 0.45 * axes[1]
    camera = Camera.framing(points, seen, up=up)
    surfaces = [(skins[s], hands[s].faces, SKIN[s]) for s in range(2)]
    return render_meshes(surfaces, camera, (size, size))
