"""`twohand audit PATH`: the gates and the judge on anybody's two-hand data, with a page."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from twohand500k.cli import options
from twohand500k.cores import available_cores
from twohand500k.hand import load_hands
from twohand500k.sources import SOURCES, Choice

_TAKES_SHOWN = 12
# What --source takes; a test holds it to `twohand500k.audit.AUDITED`.
_SOURCES = ("dataset", "vertices", *(name for name in SOURCES if name != "synthetic"))


@click.command()
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@click.option("--source", metavar="NAME",
              help="What PATH is, if it does not show: dataset (one of ours), vertices, joints, "
              "mano, mocap, or a public set's name.")  # fmt: skip
@options.out_dir
@click.option("--split", "splits", metavar="NAME", multiple=True,
              help="Of a public set only this split of its own. May be repeated.")  # fmt: skip
@click.option("--subset", type=click.Choice(["single", "interacting"]),
              help="Of a public set only frames with one hand, or with two.")  # fmt: skip
@click.option("--map", metavar="NAME|FILE", help="Joint map, if none is found by names.")
@click.option("--unit", metavar="UNIT",
              help="m, dm, cm, mm or inch: what the numbers are said to be.")  # fmt: skip
@click.option(
    "--side", type=click.Choice(["right", "left"]), help="The hand in a file that does not say."
)
@click.option("--coordinates", type=click.Choice(["left-handed", "right-handed"]),
              help="Handedness of the axes, if the map does not know.")  # fmt: skip
@click.option("--convention", metavar="FILE", type=click.Path(dir_okay=False, exists=True),
              help="Of plain MANO arrays: a TOML that says what their numbers mean.")  # fmt: skip
@click.option("--subject", help="Whose hands these are.")
@options.hand_model
@click.option("--every", type=click.IntRange(min=1), default=1, show_default=True,
              help="Look at every n-th frame.")  # fmt: skip
@options.limit
@click.option("--judge/--no-judge", default=True, show_default=True, help="Measure overlap.")
@click.option("--anew", type=click.IntRange(min=0), default=200, show_default=True,
              help="Of a judged dataset: pairs that are judged again and compared.")  # fmt: skip
@click.option("--worst", type=click.IntRange(min=1), default=20, show_default=True,
              help="How many samples to list of each finding.")  # fmt: skip
@click.option("--pictures", type=click.IntRange(min=0), default=4, show_default=True,
              help="How many samples to draw of each finding.")  # fmt: skip
@click.option("--report", is_flag=True,
              help="Also the report of the frames that pass: OUT/report.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Exit 1 when more is wrong than --tolerate.")
@click.option("--tolerate", type=click.FloatRange(0.0, 1.0), default=0.0, show_default=True,
              metavar="SHARE", help="Share of hands or pairs allowed.")  # fmt: skip
@options.seed
@options.workers
@options.executor
@options.as_json
@options.verbose
@options.quiet
@click.pass_context
def audit(ctx: click.Context, **given: Any) -> None:
    """Find what is wrong with the hands in PATH, alter nothing, write OUT/audit.html.

    PATH: joints (N, 2, 21, 3), vertices (N, 2, 778, 3) or MANO parameters as .npy or .npz, a
    recording or a folder of them, a public dataset, or a dataset of this toolkit. Counted are hands
    that are mirrored, bent backwards, of another size, in another order, past joint limits; pairs
    that overlap; and named, the worst of each. Numbers also in OUT/audit.json.
    """
    # Not at the top: the solver and the judge are compiled, and take a moment to load.
    from twohand500k.audit import AuditOptions
    from twohand500k.audit import audit as run_audit
    from twohand500k.audit.page import write_page
    from twohand500k.audit.sections import sections_of
    from twohand500k.report.run import ReportOptions, make_report

    if given["source"] is not None and given["source"] not in _SOURCES:
        raise click.UsageError(f"--source {given['source']}: one of {', '.join(_SOURCES)}")
    if given["tolerate"] and not given["strict"]:
        raise click.UsageError("--tolerate goes with --strict")
    declared = {
        name: given[name]
        for name in ("map", "unit", "side", "coordinates", "convention", "subject")
        if given[name] is not None
    }
    quiet = given["quiet"]

    def log(line: str) -> None:
        if not quiet:
            click.echo(line, err=True)

    hands = load_hands(given["hand_model"])
    with options.open_executor(given["executor"], given["scheduler"]) as executor:
        report = run_audit(
            given["path"],
            given["out"],
            hands,
            source=given["source"],
            choice=Choice(tuple(given["splits"]), given["subset"] or "", None),
            declared=declared,
            options=AuditOptions(
                every=given["every"],
                limit=given["limit"],
                judge=given["judge"],
                anew=given["anew"],
                worst=given["worst"],
                tolerate=given["tolerate"],
            ),
            seed=given["seed"],
            workers=given["workers"] or available_cores(),
            executor=executor,
            progress=not quiet,
            log=log,
        )
    sections = sections_of(report, hands, given["pictures"])
    page = write_page(report, sections, given["out"])
    if given["report"]:
        good = report.evidence.dataset
        if good is None:
            log("--report: there is no good frame to report on")
        else:
            title = f"What passed of {report.data['path']}"
            make_report(
                [good],
                given["out"] / "report",
                hands,
                ReportOptions(
                    title=title,
                    names=(given["path"].resolve().stem,),
                    seed=given["seed"],
                    n_jobs=given["workers"],
                ),
                sections=sections,
                log=log,
            )
    if given["as_json"]:
        click.echo(json.dumps(report.data, indent=1, allow_nan=False))
    else:
        click.echo(_table(report.data))
        click.echo(f"page: {page}")
    if given["strict"] and report.failed:
        ctx.exit(1)


def _table(data: Mapping[str, Any]) -> str:
    """What was found, for a terminal."""
    lines = [
        f"{data['path']}: {data['understood']}",
        f"{data['frames']:,} frames, {data['hands']:,} hands, {data['pairs']:,} pairs",
        "",
    ]
    for check in data.get("checks", ()):
        if not check["passed"]:
            lines.append(f"FAIL  {check['check']}: {check['summary']}")
            lines += [f"      {fault}" for fault in check["faults"][:5]]
    if data["findings"]:
        lines.append(
            f"{'finding':20}  {'count':>9}  {'share':>7}  {'right':>8}  {'left':>8}  worst"
        )
    for name, found in data["findings"].items():
        sides = [f"{found[s]:,}" if found["of"] == "hands" else "" for s in ("right", "left")]
        worst = found["worst"][0]
        where = f"{worst['take']} {worst['frame']}" if worst["frame"] >= 0 else worst["id"]
        lines.append(
            f"{name:20}  {found['count']:9,}  {found['share']:7.1%}  {sides[0]:>8}  {sides[1]:>8}  "
            f"{where}: {worst['detail']}"[:150]
        )
    lines += ["", f"{'':18}{'n':>10}{'median':>10}{'95 %':>10}{'99 %':>10}{'most':>10}"]
    for key, q in data["quantities"].items():
        numbers = "".join(
            f"{'-' if q[k] is None else format(q[k], '.3g'):>10}"
            for k in ("median", "p95", "p99", "largest")
        )
        lines.append(f"{key:18}{q['n']:10,}{numbers}")
    if data["joints_past_limit"]:
        told = list(data["joints_past_limit"].items())[:5]
        lines.append("past a limit most often: " + ", ".join(f"{a} {n:,}" for a, n in told))
    if len(data["takes"]) > 1:
        lines += ["", *_takes(data["takes"])]
    lines += [f"note: {note}" for note in data.get("notes", ())[:12]]
    return "\n".join([*lines, "", data["verdict"]])


def _takes(takes: list[dict[str, Any]]) -> list[str]:
    ranked = sorted(takes, key=lambda t: -sum(t["findings"].values()) / max(t["hands"], 1))
    width = max(len(take["take"]) for take in ranked[:_TAKES_SHOWN])
    lines = []
    for take in ranked[:_TAKES_SHOWN]:
        found = ", ".join(f"{name} {n:,}" for name, n in take["findings"].items()) or "nothing"
        lines.append(f"{take['take']:{width}}  {take['frames']:8,} frames  {found}")
    if len(ranked) > _TAKES_SHOWN:
        lines.append(f"… and {len(ranked) - _TAKES_SHOWN:,} more takes, see the page")
    return lines
