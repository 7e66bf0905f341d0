"""`twohand physics-fix`: interactions in, the same interactions without overlap out."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from twohand500k.cli import options
from twohand500k.cores import available_cores
from twohand500k.hand import load_hands
from twohand500k.pipeline import RunSummary
from twohand500k.shards import Dataset

if TYPE_CHECKING:
    from twohand500k.physics.run import PhysicsFixPlan

# Verdicts in the order in which they are told.
_VERDICTS = (
    "repaired", "untouched", "single_hand", "penetration_left", "self_penetration", "unjudgeable",
)  # fmt: skip


@click.command(name="physics-fix")
@click.option("--input", "folder", type=click.Path(path_type=Path), required=True,
              help="The dataset to repair, finished.")  # fmt: skip
@options.out_dir
@click.option("--method", type=click.Choice(["guided", "sampling"]), default="guided",
              show_default=True,
              help="Steps guided by contacts, or the paper's plain sampling.")  # fmt: skip
@click.option("--effort", type=click.Choice(["fast", "best"]), default="best", show_default=True,
              help="fast: fewer steps, no restarts.")  # fmt: skip
@click.option("--smooth", is_flag=True,
              help="Frames of a take start where the frame before was left.")  # fmt: skip
@options.hand_model
@click.option("--limit", type=click.IntRange(min=1), default=None,
              help="Only the first so many samples.")  # fmt: skip
@click.option("--shard-size", type=click.IntRange(min=1), default=512, show_default=True,
              help="Samples per work unit, the most samples in a shard.")  # fmt: skip
@click.option("--preview", type=click.IntRange(min=1), default=None,
              help="Draw this many repairs, the largest first: OUT/preview.png.")  # fmt: skip
@options.seed
@options.workers
@options.executor
@options.dry_run
@options.as_json
@options.verbose
@options.quiet
def physics_fix(**given: Any) -> None:
    """Move hands that overlap apart, no more than they must.

    Every sample is judged before and after by an engine that knows nothing of Bullet. What keeps
    more than 0.1 cm3 or 2 mm of overlap, or comes into itself, is refused with its reason; what
    merely stands apart passes untouched. What each was before stands beside what it is. The same
    command again resumes.

    \b
    twohand splice --count 2000 --out pairs
    twohand physics-fix --input pairs --out fixed --preview 12
    twohand verify fixed
    """
    # Bullet and the compiled judge: seconds that --help need not take.
    from twohand500k.physics.preview import draw_repairs
    from twohand500k.physics.run import PhysicsFixOptions, plan_physics_fix
    from twohand500k.physics.run import physics_fix as run_physics_fix

    chosen = PhysicsFixOptions(
        **{field.name: given[field.name] for field in dataclasses.fields(PhysicsFixOptions)}
    )
    hands = load_hands(given["hand_model"])
    plan = plan_physics_fix(given["folder"], hands, chosen, given["seed"])
    if given["dry_run"]:
        _say_plan(plan, given["as_json"])
        return
    with options.open_executor(given["executor"], given["scheduler"]) as executor:
        summary = run_physics_fix(
            plan,
            given["out"],
            chosen,
            workers=given["workers"] or available_cores(),
            executor=executor,
            progress=not given["quiet"],
        )
    drawn: list[Path] = []
    if given["preview"] and summary.n_kept:
        drawn = draw_repairs(
            hands, given["out"], given["preview"], plan.stage.options, given["seed"]
        )
    told = _told(summary)
    if given["as_json"]:
        told["pictures"] = [str(path) for path in drawn]
        click.echo(json.dumps(told, indent=1, allow_nan=False))
        return
    click.echo(_page(summary, told))
    if given["preview"]:
        click.echo(f"pictures: {drawn[0]}" if drawn else "no pictures: nothing was repaired")


def _say_plan(plan: "PhysicsFixPlan", as_json: bool) -> None:
    dataset = plan.dataset
    present = dataset.array("present")[: plan.samples]
    told = {
        "samples": plan.samples,
        "pairs": int(present.all(axis=1).sum()),
        "shapes": len(np.unique(dataset.array("betas").reshape(len(dataset), -1), axis=0)),
        "frame": plan.stage.frame,
        "work_units": len(plan.units),
    }
    if as_json:
        click.echo(json.dumps(told))
    else:
        click.echo(
            f"would repair {told['pairs']:,} pairs of {told['samples']:,} samples "
            f"({told['shapes']:,} pairs of hand shapes, frame {told['frame']}) in "
            f"{told['work_units']} work units"
        )


def _told(summary: RunSummary) -> dict[str, Any]:
    """The run in numbers; before and after are of the pairs kept."""
    counts = summary.stats.counts
    dataset = Dataset(summary.folder)
    both: np.ndarray = np.all(dataset.array("present"), axis=1)
    done = summary.n_in * (1 - summary.reused / summary.units)
    return {
        "folder": str(summary.folder),
        "in": summary.n_in,
        "kept": summary.n_kept,
        "rejected": dict(summary.rejected_per_reason),
        "verdicts": {verdict: counts.get(verdict, 0) for verdict in _VERDICTS},
        "kept_by_volume_before": {
            name.removeprefix("from "): {"in": n, "kept": counts.get(f"kept {name}", 0)}
            for name, n in counts.items()
            if name.startswith("from ")
        },
        "pairs_kept": {
            "volume_before_cm3": _quantiles(dataset, "volume_before", both, 1e6),
            "volume_after_cm3": _quantiles(dataset, "penetration_volume", both, 1e6),
            "depth_before_mm": _quantiles(dataset, "depth_before", both, 1e3),
            "depth_after_mm": _quantiles(dataset, "penetration_depth", both, 1e3),
            "displacement_mm": _quantiles(dataset, "displacement", both, 1e3),
        },
        "evaluations": summary.stats.summaries["evaluations"].to_json()["mean"],
        "units": summary.units,
        "reused": summary.reused,
        "was_finished": summary.was_finished,
        "seconds": summary.seconds,
        "samples_per_second": None if summary.was_finished else done / max(summary.seconds, 1e-9),
    }


def _quantiles(
    dataset: Dataset, field: str, rows: np.ndarray, scale: float
) -> dict[str, float] | None:
    """Median, 95th and 99th percentile of what is known; None if nothing is."""
    values = dataset.array(field)[rows].astype(np.float64) * scale if len(rows) else np.empty(0)
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    median, p95, p99 = np.quantile(values, [0.5, 0.95, 0.99]).tolist()
    return {"median": median, "p95": p95, "p99": p99, "largest": float(values.max())}


_COLUMNS = ("median", "p95", "p99", "largest")


def _page(summary: RunSummary, told: Mapping[str, Any]) -> str:
    verdicts = [f"{name} {n:,}" for name, n in told["verdicts"].items() if n]
    lines = [
        f"{summary.n_kept:,} of {summary.n_in:,} samples kept: " + ", ".join(verdicts),
        "",
        f"{'pairs kept':24}" + "".join(f"{name:>10}" for name in _COLUMNS),
    ]
    for name, label in (
        ("volume_before_cm3", "overlap before, cm3"),
        ("volume_after_cm3", "        after"),
        ("depth_before_mm", "depth before, mm"),
        ("depth_after_mm", "      after"),
        ("displacement_mm", "joints moved, mm"),
    ):
        numbers = told["pairs_kept"][name]
        if numbers is not None:
            lines.append(f"{label:24}" + "".join(f"{numbers[q]:10.3f}" for q in _COLUMNS))
    lines.append("")
    by_volume = told["kept_by_volume_before"]
    # "0-2 cm3", "2-5 cm3", …, "over 60 cm3", "unknown": by their first number.
    for name in sorted(by_volume, key=_first_number):
        n_in, kept = by_volume[name]["in"], by_volume[name]["kept"]
        lines.append(f"{'began with ' + name:24}{kept:10,} of {n_in:,} kept, {kept / n_in:.1%}")
    lines.append("")
    if summary.was_finished:
        lines.append(f"{summary.folder} was already finished; nothing was done")
    else:
        reused = f", {summary.reused} of them from an earlier run" if summary.reused else ""
        lines.append(
            f"{summary.folder}: {summary.units} work units in {summary.seconds:.1f} s{reused}, "
            f"{told['samples_per_second']:.1f} samples/s"
        )
    lines.append(f"next: twohand verify {summary.folder}")
    return "\n".join(lines)


def _first_number(name: str) -> float:
    words = name.removeprefix("over ").split("-")[0].split(" ")[0]
    return float(words) + name.startswith("over") if words[0].isdigit() else np.inf
