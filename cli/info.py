"""`twohand info [DIR]`: what a dataset is, or what this installation is and can read."""

import dataclasses
import json
import textwrap
from pathlib import Path
from typing import Any

import click

from twohand500k import __version__
from twohand500k.cli import options
from twohand500k.pipeline.provenance import git_revision, versions
from twohand500k.shards import FORMAT, Dataset
from twohand500k.shards.describe import describe
from twohand500k.sources import list_manifests, list_maps

_TAKES_SHOWN = 12


@click.command(name="info")
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--sources", is_flag=True, help="List the sources that can be read.")
@options.as_json
def info(folder: Path | None, sources: bool, as_json: bool) -> None:
    """Say what the dataset in DIR is: counts, splits, rejects, quality, conventions, history.

    Without DIR: versions of this installation; with --sources, the sources it can read.
    """
    if folder is not None and sources:
        raise click.UsageError("--sources lists what can be read; it does not go with a DIR")
    if folder is not None:
        told = describe(Dataset(folder))
        lines = _dataset_lines(told)
    elif sources:
        told = {"sources": _sources(), "joint_maps": _maps()}
        lines = _source_lines(told)
    else:
        told = {"format": FORMAT, "versions": versions(), "git_revision": git_revision()}
        lines = [f"twohand500k {__version__}, dataset format {FORMAT}"]
        lines += [f"  {name:12} {version}" for name, version in told["versions"].items()]
        lines += [f"  {'revision':12} {told['git_revision'] or 'not a checkout'}"]
    click.echo(json.dumps(told, indent=1, ensure_ascii=False) if as_json else "\n".join(lines))


def _sources() -> list[dict[str, Any]]:
    return [dataclasses.asdict(manifest) for manifest in list_manifests()]


def _maps() -> list[dict[str, Any]]:
    return [
        {
            "name": joint_map.name,
            "title": joint_map.title,
            "formats": list(joint_map.formats),
            "unit": joint_map.unit,
            "frame": joint_map.frame,
            "license": joint_map.license,
            "citation": joint_map.citation,
            "url": joint_map.url,
            "defects": list(joint_map.defects),
        }
        for joint_map in list_maps()
    ]


def _source_lines(told: dict[str, Any]) -> list[str]:
    lines = ["twohand build --source NAME --input DIR reads"]
    for source in told["sources"]:
        splits = f"; splits {', '.join(source['splits'])}" if source["splits"] else ""
        lines += [
            "",
            f"{source['name']}: {source['title']}",
            f"  {source['annotation']}, {source['unit']}, {source['frame']} frame; hands: "
            f"{source['hands']}{splits}",
            *(f"  file: {path}" for path in source["layout"]),
            *_wrapped(
                "get", f"{source['get']} ({source['url']})" if source["url"] else source["get"]
            ),
            *_wrapped("license", source["license"]),
            *_wrapped("citation", source["citation"]),
        ]
        if source["relative_to"]:
            lines += _wrapped(
                "MANO",
                f"relative to the {' or '.join(source['relative_to'])} hand, left shape directions "
                f"{' or '.join(source['left_shapedirs'])}, tips {source['tips']}, joints "
                f"{' or '.join(source['joints'])}, {source['agreement_mm']:g} mm allowed from its "
                "own joints",
            )
        if source["estimated"]:
            lines.append(f"  estimated, of little weight: {', '.join(source['estimated'])}")
        for defect in source["defects"]:
            lines += _wrapped("note", defect)
    lines += ["", "twohand build --source mocap finds one of these joint maps, or takes --map NAME"]
    for joint_map in told["joint_maps"]:
        unit = joint_map["unit"] or "unit from the file or inferred"
        formats = ", ".join(joint_map["formats"])
        lines += ["", f"{joint_map['name']}: {joint_map['title']} ({formats}; {unit})"]
        for key in ("license", "citation", "url"):
            lines += _wrapped(key, joint_map[key]) if joint_map[key] else []
        for defect in joint_map["defects"]:
            lines += _wrapped("note", defect)
    return lines


def _wrapped(key: str, said: str) -> list[str]:
    return textwrap.wrap(
        f"{key}: {said}", 100, initial_indent="  ", subsequent_indent="    ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _dataset_lines(told: dict[str, Any]) -> list[str]:
    conventions = told["conventions"]
    ambiguous = told["hands_of_ambiguous_side"]
    models = " and ".join(dict.fromkeys(conventions["hand_model"]))
    a_sample = f", {told['bytes_per_sample']:,.0f} bytes a sample" if told["samples"] else ""
    lines = [
        f"{told['folder']}: {told['samples']:,} samples in {told['shards']} shards, "
        f"{told['bytes'] / 1e6:,.1f} MB{a_sample}",
        f"format {conventions['format']}, frame {conventions['frame']}, hand model {models} "
        f"({conventions['hand_model_right_sha256'][:12]}…), tips {conventions['tip_set']}, "
        f"joints {conventions['joint_definition']}",
        "hands: " + ", ".join(f"{count:,} {kind}" for kind, count in told["hands"].items())
        + (f"; {ambiguous:,} hands of ambiguous side" if ambiguous else ""),
        *_table("source", {s: f"{c['kept']:,} kept, {c['rejected']:,} rejected"
                           for s, c in told["sources"].items()}),
        *_table("split", told["splits"]),
        *_table(f"take ({len(told['takes'])}, of {told['subjects']} named subjects)",
                told["takes"], _TAKES_SHOWN),
        *_table("rejected for", told["rejects"] or {"nothing": 0}),
    ]  # fmt: skip
    if told["quality"]:
        lines += ["", f"{'quality':29} {'median':>10} {'95 %':>10} {'99 %':>10} {'largest':>10}  n"]
        for key, q in told["quality"].items():
            numbers = " ".join(f"{q[k]:10.4g}" for k in ("median", "p95", "p99", "largest"))
            lines.append(f"  {key:27} {numbers}  {q['n']:,}")
    lines += ["", "history"]
    for record in told["history"]:
        chosen = ", ".join(f"{key} {value}" for key, value in record["options"].items())
        lines.append(
            f"  {record['stage']} (twohand500k {record['version']}, seed {record['seed']}, "
            f"{len(record['inputs'])} inputs){': ' + chosen if chosen else ''}"
        )
    run = told["run"]
    lines += [
        "",
        f"made by: {run['command']}",
        f"revision {run['git_revision'] or 'not a checkout'}, "
        f"{run['unit_seconds'] or 0:,.1f} s of work",
    ]
    return lines


def _table(title: str, counts: dict[str, Any], most: int | None = None) -> list[str]:
    shown = list(counts.items())[:most]
    lines = ["", title]
    for name, count in shown:
        lines.append(
            f"  {name:28} {count:>10,}" if isinstance(count, int) else f"  {name:28} {count}"
        )
    if len(counts) > len(shown):
        lines.append(f"  … and {len(counts) - len(shown)} more")
    return lines
