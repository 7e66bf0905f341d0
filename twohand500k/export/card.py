"""The dataset card, README.md: what an export is, read by people and, its head, by hubs."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from twohand500k.export.content import Source
from twohand500k.export.licences import Licence

FILE = "README.md"
PICTURE = "samples.png"
_QUALITY = (
    ("fit error, mm", "fit_error", 1e3),
    ("over joint limits, deg", "limit_violation", 180 / np.pi),
    ("volume inside both hands, cm3", "penetration_volume", 1e6),
    ("deepest overlap, mm", "penetration_depth", 1e3),
    ("distance of the skins, mm", "contact_distance", 1e3),
    ("a hand inside itself, cm3", "self_penetration_volume", 1e6),
    ("volume before the repair, cm3", "volume_before", 1e6),
    ("depth before the repair, mm", "depth_before", 1e3),
    ("joints moved by the repair, mm", "displacement", 1e3),
)
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_FORMATS = {
    "parquet": "`parquet/samples.parquet`: every field, unrounded, a row group a shard; unit and "
    "meaning in each column's metadata",
    "npz": "`npz/shard-*.npz`: MANO's arrays under smplx's names, unrounded "
    "(`use_pca=False, flat_hand_mean=True`)",
    "interhand": "`interhand/annotations/`: InterHand2.6M's joint_3d.json (mm, rounded to "
    "0.001 mm) and MANO_NeuralAnnot.json (pose relative to the mean hand, rounded to 1e-6); "
    "samples without a split stand under train",
    "obj": "`obj/*.obj`: a mesh a sample, a group a hand, metres rounded to 1e-6",
    "glb": "`glb/*.glb`: a mesh a sample, a node a hand, metres",
    "ply": "`ply/*.ply`: a mesh a sample, property `hand` 0 right, 1 left, metres",
}


def card(
    name: str,
    source: Source,
    formats: Sequence[str],
    licences: Sequence[Licence],
    command: str,
    picture: bool,
    whole: bool,
) -> str:
    """The text of README.md. whole: every sample of the dataset is in it."""
    parts = [
        _head(name, len(source), formats),
        f"# {name}",
        description(source),
        f"![samples drawn from this dataset]({PICTURE})" if picture else "",
        "" if whole else f"A part of the dataset: {len(source):,} of {len(source.dataset):,}.",
        "## Licences of what went in\n\n" + _licences(licences),
        "## What is in it\n\n" + _counts(source),
        "## Quality\n\n" + _quality(source),
        "## Files\n\n"
        + "\n".join(f"- {_FORMATS[kind]}" for kind in formats)
        + "\n- `croissant.json`: Croissant 1.0 metadata\n- `export.json`: hashes of files and of "
        "contents; `twohand verify DIR` reads everything again and compares",
        "## Conventions\n\n" + _conventions(source),
        "## How it was made\n\n" + _history(source.dataset.index.history, command),
        "## Limits\n\n" + _limits(source),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def description(source: Source) -> str:
    """One sentence: what and how many."""
    present = source.dataset.array("present", source.rows)
    both = int(present.all(axis=1).sum())
    single = len(source) - both
    what = f"{both:,} poses of two hands" if both else ""
    if single:
        what += (" and " if what else "") + f"{single:,} single hands"
    model = source.dataset.conventions["hand_model"][0]
    return (
        f"{what}: MANO parameters (of the hand model `{model}`) and 21 joints a hand in 3D, "
        f"metres, in the frame of the {source.dataset.conventions['frame']}."
    )


def _head(name: str, n: int, formats: Sequence[str]) -> str:
    size = next((word for most, word in _SIZES if n < most), "1M<n<10M")
    lines = ["---", f"pretty_name: {_quoted(name)}", "license: other",
             f"license_name: {_quoted('see the card: terms of each source')}",
             f"size_categories:\n- {size}", "tags:\n- hand-pose\n- two-hands\n- MANO\n- 3d",
             "annotations_creators:\n- machine-generated"]  # fmt: skip
    if "parquet" in formats:
        lines.append("configs:\n- config_name: default\n  data_files: parquet/samples.parquet")
    return "\n".join([*lines, "---"])


def _licences(licences: Sequence[Licence]) -> str:
    rows = ["| source | terms | plainly |", "|---|---|---|"]
    for item in licences:
        title = f"[{_cell(item.title)}]({item.url})" if item.url else _cell(item.title)
        plainly = "; ".join(item.flags) or "no restriction known"
        rows.append(f"| `{item.source}`: {title} | {_cell(item.terms)} | **{plainly}** |")
    told = []
    if any(item.non_commercial for item in licences):
        told.append("At least one source is for non-commercial or research use: so is the whole.")
    if any(item.no_derivatives for item in licences):
        told.append("At least one source forbids redistribution or derivatives: do not pass on "
                    "what was made of it.")  # fmt: skip
    if any(item.share_alike for item in licences):
        told.append("At least one source asks that derivatives be shared under its own terms.")
    if any(not item.known for item in licences):
        unknown = ", ".join(f"`{item.source}`" for item in licences if not item.known)
        told.append(f"The licence of {unknown} is not known here: find it out before you share.")
    cited = [f"- {item.citation}" for item in licences if item.citation]
    cite = ["Cite:\n\n" + "\n".join(cited)] if cited else []
    return "\n\n".join(["\n".join(rows), *told, *cite])


def _counts(source: Source) -> str:
    blocks = []
    for label in ("source", "split", "repair_verdict"):
        if label == "repair_verdict" and "repair" not in source.dataset.groups:
            continue
        values, n = np.unique(source.dataset.array(label, source.rows), return_counts=True)
        told = ", ".join(
            f"{value or 'none'} {count:,}"
            for value, count in zip(values.tolist(), n.tolist(), strict=True)
        )
        blocks.append(f"- {label.replace('_', ' ')}: {told}")
    takes, subjects = (
        len(set(source.dataset.array(name, source.rows).tolist()) - {""})
        for name in ("take", "subject")
    )
    blocks.append(f"- takes: {takes:,}; named subjects: {subjects:,}")
    return "\n".join(blocks)


def _quality(source: Source) -> str:
    rows = ["| measure | median | 95 % | 99 % | largest | known of |", "|---|---|---|---|---|---|"]
    for label, attribute, scale in _QUALITY:
        if attribute in _REPAIR and "repair" not in source.dataset.groups:
            continue
        values = source.dataset.array(attribute, source.rows).astype(np.float64).ravel()
        known = values[~np.isnan(values)] * scale
        if not len(known):
            rows.append(f"| {label} | not measured | | | | 0 of {len(values):,} |")
            continue
        numbers = [*np.quantile(known, [0.5, 0.95, 0.99]), known.max()]
        told = " | ".join(f"{number:.3g}" for number in numbers)
        rows.append(f"| {label} | {told} | {len(known):,} of {len(values):,} |")
    return "\n".join(rows)


_REPAIR = ("volume_before", "depth_before", "displacement")


def _conventions(source: Source) -> str:
    declared = source.dataset.conventions
    return "\n".join(
        [
            f"- frame of space: {declared['frame']}; metres, radians, seconds",
            "- sides: an axis of size 2, 0 right, 1 left",
            "- joints: 21, OpenPose order (wrist, thumb, index, middle, ring, little; base to "
            f"tip), {declared['joint_definition']}, tips on the skin ({declared['tip_set']}: "
            f"vertices {', '.join(map(str, declared['tip_vertex_ids']))})",
            "- pose: axis-angle of MANO's 16 joints, entry 0 the global orientation, relative to "
            "the flat hand (`flat_hand_mean=True`)",
            f"- transl: {declared['transl']}",
            f"- left shape directions: {declared['left_shapedirs']}",
            f"- hand model: {declared['hand_model'][0]} (right sha256 "
            f"{declared['hand_model_right_sha256'][:12]}…): betas mean something on it alone",
            "- NaN is not known or not there, never zero",
        ]
    )


def _history(history: Sequence[Mapping[str, Any]], command: str) -> str:
    lines = []
    for number, record in enumerate(history, start=1):
        given = record.get("options", {})
        told = ", ".join(f"{k} {v}" for k, v in sorted(given.items()) if v not in (None, [], {}))
        lines.append(
            f"{number}. {record.get('stage')} (twohand500k {record.get('version')}, seed "
            f"{record.get('seed')}): {told}"
        )
    return "\n".join([*lines, "", f"Exported by: `{command}`"])


def _limits(source: Source) -> str:
    told = []
    history = source.dataset.index.history
    stages = {record.get("stage") for record in history}
    if "splice" in stages:
        told.append("- Spliced pairs join two single hands: plausible, but never seen together.")
    if "synthetic" in _sources(history):
        told.append("- Synthetic hands are drawn from written postures, not recorded.")
    volume = source.dataset.array("penetration_volume", source.rows)
    if np.isnan(volume).any():
        told.append(f"- {int(np.isnan(volume).sum()):,} samples were never judged for overlap.")
    if "physics-fix" not in stages:
        told.append("- Overlap was not repaired.")
    if source.dataset.conventions["hand_model"][0] == "open":
        told.append("- The hand model is the toolkit's open hand, not MANO: fit betas anew "
                    "(`twohand hand convert`) to use these parameters with MANO.")  # fmt: skip
    told.append("- Hands only: no images, no objects, no forearms.")
    return "\n".join(told)


def _sources(history: Sequence[Mapping[str, Any]]) -> set[str]:
    return {str(record.get("options", {}).get("source")) for record in history}


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
