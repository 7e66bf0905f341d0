"""`twohand build`: recordings in, a verified dataset of interactions out."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from twohand500k.cli import options
from twohand500k.cores import available_cores
from twohand500k.hand import HandPair, load_hands
from twohand500k.ik import BuildOptions, BuildReport, build_takes, plan_takes
from twohand500k.pictures import FittedFrames, overlay_sheet, pick_moments, save_png, skeleton_edges
from twohand500k.shards import Dataset
from twohand500k.sources import DECLARATIONS, SOURCES, Choice, Landmark, Reading, Take

_TAKES_SHOWN = 24


@click.command()
@click.option(
    "--source",
    type=click.Choice(SOURCES),
    required=True,
    metavar="NAME",
    help="mocap, synthetic, or a dataset's name: `twohand info --sources` lists them.",
)
@click.option(
    "--input",
    "inputs",
    type=click.Path(path_type=Path),
    multiple=True,
    help="mocap: a recording or a folder of them (BVH, C3D, TRC, CSV, NPZ, NPY); else the folder "
    "of the dataset. May be repeated.",
)
@options.out_dir
@click.option("--count", type=click.IntRange(min=1), help="synthetic: how many hands to draw.")
@click.option("--split", "splits", metavar="NAME", multiple=True,
              help="Of a dataset only this split of its own. May be repeated.")  # fmt: skip
@click.option("--subset", type=click.Choice(["single", "interacting"]),
              help="Of a dataset only frames with one hand, or with two.")  # fmt: skip
@click.option("--map", metavar="NAME|FILE", help="Joint map, if none is found by names.")
@click.option("--unit", metavar="UNIT", help="m, dm, cm, mm or inch, over what the file says.")
@click.option(
    "--side", type=click.Choice(["right", "left"]), help="The hand in a file that does not say."
)
@click.option("--coordinates", type=click.Choice(["left-handed", "right-handed"]),
              help="Handedness of the axes, if the map does not know.")  # fmt: skip
@click.option("--convention", metavar="FILE", type=click.Path(dir_okay=False, exists=True),
              help="Of plain MANO arrays: a TOML that says what their numbers mean.")  # fmt: skip
@click.option("--subject", help="Whose hands these are; names the subject in the dataset.")
@options.hand_model
@click.option("--every", type=click.IntRange(min=1), default=1, show_default=True,
              help="Keep every n-th frame.")  # fmt: skip
@options.limit
@click.option("--smooth", is_flag=True, help="Steady each hand over time.")
@click.option("--shape-per-side", is_flag=True, help="Calibrate right and left betas apart.")
@click.option("--one-hand", is_flag=True, help="Of two recorded hands keep frames with one good.")
@click.option("--shard-size", type=click.IntRange(min=1), default=4096, show_default=True,
              help="Frames per work unit, the most samples in a shard.")  # fmt: skip
@options.judge
@click.option("--preview", type=click.IntRange(min=1), default=None,
              help="Draw this many fitted frames over their input: OUT/preview.png.")  # fmt: skip
@options.seed
@options.workers
@options.executor
@options.dry_run
@options.as_json
@options.verbose
@options.quiet
def build(**given: Any) -> None:
    """Read recorded hands, fit MANO or keep its parameters, write verified HDF5 shards.

    Of recordings the format, the joint map, the unit and which hand is which are found from the
    files. A subject's shape is calibrated over the take; every hand gets a verdict, and what is
    refused stands in rejects.jsonl with its reason. MANO annotations are kept, converted and
    checked where --hand-model is MANO, else fitted to their joints. The same command again resumes.
    """
    reading = _reading(given)
    hands = load_hands(given["hand_model"])
    takes = reading.takes(hands, given["seed"])
    build_options = BuildOptions(
        **{field.name: given[field.name] for field in dataclasses.fields(BuildOptions)}
    )
    quiet = given["quiet"]

    def log(line: str) -> None:
        if not quiet:
            click.echo(line, err=True)

    for take in takes:
        for note in take.notes:
            log(f"{take.name}: {note}")
    if given["dry_run"]:
        planned = plan_takes(takes, hands, build_options, log)
        units = sum(len(plan.units) for plan in planned)
        frames = sum(plan.take.n_frames for plan in planned)
        plan = {"frames": frames, "takes": len(planned), "work_units": units}
        if given["as_json"]:
            click.echo(json.dumps(plan))
        else:
            click.echo(f"would fit {frames:,} frames of {len(planned)} takes in {units} work units")
        return
    with options.open_executor(given["executor"], given["scheduler"]) as executor:
        report = build_takes(
            takes,
            hands,
            given["out"],
            build_options,
            declared=reading.record(),
            seed=given["seed"],
            workers=given["workers"] or available_cores(),
            executor=executor,
            progress=not quiet,
            log=log,
            judging=options.judging(hands) if given["judge"] else None,
        )
    if given["preview"]:
        for picture in _preview(hands, takes, given["out"], given["preview"]):
            log(f"fitted hands over the recording: {picture}")
    if given["as_json"]:
        click.echo(json.dumps(_as_json(report), indent=1, allow_nan=False))
    else:
        click.echo(_table(report))


def _reading(given: dict[str, Any]) -> Reading:
    """What the options say is to be read. Misuse: an option that the source does not take."""
    names = {name for names in DECLARATIONS.values() for name in names}
    reading = Reading(
        source=given["source"],
        inputs=tuple(given["inputs"]),
        choice=Choice(
            tuple(given["splits"]),
            given["subset"] or "",
            given["limit"] and given["limit"] * given["every"],
        ),
        declared={name: given[name] for name in sorted(names) if given[name] is not None},
    )
    if misuse := reading.misuse():
        raise click.UsageError(misuse)
    return reading


def _table(report: BuildReport) -> str:
    run = report.run
    width = max(len("take"), *(len(take.name) for take in report.takes))
    lines = [
        f"{'take':{width}}  {'frames':>9}  {'kept':>7}  {'residual median':>15}  {'95 %':>8}"
        f"  {'past a limit':>12}"
    ]
    lines += [
        f"{take.name:{width}}  {take.frames:9,}  {take.kept / take.frames:7.1%}  "
        f"{_mm(take.residual_median, 15)}  {_mm(take.residual_p95, 8)}  "
        f"{take.past_limit_share:12.1%}"
        for take in report.takes[:_TAKES_SHOWN]
    ]
    if len(report.takes) > _TAKES_SHOWN:
        lines.append(f"… and {len(report.takes) - _TAKES_SHOWN} more takes")
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in run.rejected_per_reason.items())
    lines.append(f"{run.n_kept:,} samples kept of {run.n_in:,}; rejected: {reasons or 'none'}")
    lines += options.judged_lines(run)
    if run.was_finished:
        lines.append(f"{run.folder} was already finished; nothing was done")
    else:
        lines.append(
            f"{run.folder}: {run.units} shards in {run.seconds:.1f} s"
            + (f", {run.reused} of them from an earlier run" if run.reused else "")
        )
    return "\n".join(lines)


def _mm(metres: float, width: int) -> str:
    """A length, or a dash where there was nothing to measure it against."""
    return f"{'-' if math.isnan(metres) else f'{1e3 * metres:.2f} mm':>{width}}"


def _as_json(report: BuildReport) -> dict[str, Any]:
    run = dataclasses.asdict(report.run) | {
        "folder": str(report.run.folder),
        "stats": report.run.stats.to_json(),
    }
    return _json_ready({"run": run, "takes": [dataclasses.asdict(t) for t in report.takes]})


def _json_ready(value: Any) -> Any:
    """NaN, which JSON does not have, as null; all the way down."""
    if isinstance(value, dict):
        return {key: _json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_ready(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _preview(hands: HandPair, takes: Sequence[Take], out: Path, count: int) -> list[Path]:
    """Draw chosen samples over the points they were fitted to: OUT/preview.png.

    Takes of other landmarks (another recording system) get a picture of their own.
    """
    dataset = Dataset(out)
    name = dataset.array("take")
    joints, error = dataset.array("joints"), dataset.array("fit_error")
    pictures: list[Path] = []
    for alike in _by_landmarks(takes):
        rows = np.flatnonzero(np.isin(name, list(alike)))
        chosen = rows[pick_moments(joints[rows], error[rows], count)]
        if not len(chosen):
            continue
        samples = dataset.samples(chosen)
        points = [
            alike[take].points[np.flatnonzero(alike[take].frames == frame)[0]]
            for take, frame in zip(samples.take, samples.frame, strict=True)
        ]
        landmarks = alike[str(samples.take[0])].landmarks
        fitted = FittedFrames(
            betas=samples.betas.astype(np.float64),
            pose=samples.pose.astype(np.float64),
            transl=samples.transl.astype(np.float64),
            points=np.stack(points),
            edges=skeleton_edges([mark.joint for mark in landmarks]),
            captions=[f"{t} frame {f}" for t, f in zip(samples.take, samples.frame, strict=True)],
            fit_error=samples.fit_error,
        )
        file = f"preview-{len(pictures) + 1}.png" if pictures else "preview.png"
        sheet = overlay_sheet(hands, fitted, rows=range(len(chosen)))
        pictures.append(save_png(out / file, sheet, colours=256))
    return pictures


def _by_landmarks(takes: Sequence[Take]) -> list[dict[str, Take]]:
    """Takes by name, in groups that share their landmarks."""
    groups: dict[tuple[Landmark, ...], dict[str, Take]] = {}
    for take in takes:
        groups.setdefault(take.landmarks, {})[take.name] = take
    return list(groups.values())
