"""An image network's `evaluation.html`, its figures, and the same few numbers for a terminal.

Comes in: what `evaluation.json` holds, and pictures. Goes out: text, matplotlib figures.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from interaction_prior.evaluation.html import Picture, Section, Table, html, number, percent
from interaction_prior.evaluation.page import plausible_rows
from interaction_prior.evaluation.pictures import DATA, DRAWN, panels

Figures = Mapping[str, Any]


def recon_page(evaluation: Figures, pictures: Sequence[Picture]) -> str:
    """The page as text."""

    def of(section: str) -> tuple[Picture, ...]:
        return tuple(p for p in pictures if p.section == section)

    found = evaluation["errors"]
    sections = [
        Section("Errors", _error_texts(found), (protocol_table(evaluation),), of("errors")),
        Section("What is hidden", (
            "Tenths of the pictures by their more hidden hand: the share of its outline that the "
            "other hand, an arm or a thing covers, or the picture cuts off.",
        ), (hidden_table(evaluation),), of("hidden")),
        Section("Plausibility", _plausible_texts(evaluation), plausible_tables(evaluation), ()),
        Section("Pictures", (
            "Chosen by their error alone. Each: the picture as the network sees it, the annotated "
            "hands over it, the hands it answered, placed at the annotated right wrist, for it is "
            "asked for no place; the left hand stands where the network says. Right red, left "
            "blue.",
        ), (), of("pictures")),
    ]  # fmt: skip
    return html(title(evaluation), about(evaluation), _keys(evaluation), sections)


def title(evaluation: Figures) -> str:
    """Which network it is."""
    network = evaluation["network"]
    return f"Image network {network['name']}: {network['variant']}, {network['sizes']}"


def about(evaluation: Figures) -> str:
    """On what it was measured."""
    network, data = evaluation["network"], evaluation["data"]
    prior = f"a prior of {network['prior']}" if network["prior"] else "no prior"
    return (
        f"{network['parameters']:,} parameters before {prior}, {network['steps']:,} steps of "
        f"{network['batch']} pictures. Measured on {evaluation['errors']['pictures']:,} pictures "
        f"of split {data['split']!r} of {', '.join(data['folders'])}; hand model "
        f"{data['hand_model']}."
    )


def protocol_table(evaluation: Figures) -> Table:
    """MPJPE and MPVPE in every protocol asked for."""
    rows = []
    for name, row in evaluation["errors"]["protocols"].items():
        joint, vertex = row["mpjpe_mm"], row["mpvpe_mm"]
        rows.append(
            (f"{name}: {row['meaning']}", number(joint["mean"]), number(joint["median"]),
             number(joint["right"]), number(joint["left"]), number(vertex["mean"]))
        )  # fmt: skip
    head = ("mm", "MPJPE", "median", "right", "left", "MPVPE")
    return Table(head, tuple(rows))


def hidden_table(evaluation: Figures) -> Table:
    """Errors by how much is hidden."""
    rows = []
    parts = evaluation["errors"]["hidden"]
    for k, part in enumerate(parts):
        name = f"{percent(part['hidden_from'])} to {percent(part['hidden_to'])}"
        name += ", the most hidden tenth" if k == len(parts) - 1 else ""
        rows.append(
            (name, f"{part['pictures']:,}", number(part["mpjpe_mm"]), number(part["mpvpe_mm"]),
             number(part["mrrpe_mm"]))
        )  # fmt: skip
    return Table(("hidden", "pictures", "MPJPE, mm", "MPVPE, mm", "MRRPE, mm"), tuple(rows))


def plausible_tables(evaluation: Figures) -> tuple[Table, ...]:
    """Overlap and limits of answers, beside those of the annotation."""
    found = evaluation["plausibility"]
    if found is None:
        return ()
    rows = plausible_rows([found["answers"], found["annotation"]])
    return (Table(("", "answers", "annotation"), rows),)


def curve_figure(evaluation: Figures) -> Figure:
    """PCK over the threshold, the paper's Fig. 6."""
    figure, (axis,) = panels(1, (5.4, 3.8))
    found = evaluation["errors"]["pck"]
    label = f"{evaluation['network']['name']}, AUC {found['auc']:.3f}"
    axis.plot(found["thresholds_mm"], found["share"], color=DRAWN, label=label)
    axis.set_xlabel(f"error of a joint, mm ({found['protocol']})")
    axis.set_ylabel("share of joints within it (PCK)")
    axis.set_xlim(0, found["thresholds_mm"][-1])
    axis.set_ylim(0, 1)
    axis.grid(color="#e4e4e4", linewidth=0.6)
    axis.legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def hidden_figure(evaluation: Figures) -> Figure:
    """MPJPE over how much is hidden."""
    figure, (axis,) = panels(1, (5.4, 3.6))
    parts = evaluation["errors"]["hidden"]
    middle = [50 * (p["hidden_from"] + p["hidden_to"]) for p in parts]
    axis.plot(middle, [p["mpjpe_mm"] for p in parts], "o-", color=DATA, ms=4)
    axis.set_xlabel("the more hidden hand, % hidden (middle of each tenth)")
    axis.set_ylabel(f"MPJPE, mm ({evaluation['errors']['pck']['protocol']})")
    axis.set_ylim(0, None)
    axis.grid(color="#e4e4e4", linewidth=0.6)
    return figure


def _error_texts(found: Figures) -> tuple[str, ...]:
    place, peak = found["mrrpe_mm"], found["peak_px"]["median"]
    told = [
        "Errors are means over both hands and all pictures; the median is of pictures. A protocol "
        "is its alignment: figures of different ones do not compare.",
        f"The left wrist beside the right one (MRRPE): {number(place['mean'])} mm, median "
        f"{number(place['median'])}.",
    ]
    if peak is not None:
        told.append(f"Peaks of visible joints' heatmaps are {number(peak)} px of 256 off (median).")
    if found["skin"] != "known":
        told.append(f"No MPVPE: {found['skin']}.")
    return tuple(told)


def _plausible_texts(evaluation: Figures) -> tuple[str, ...]:
    if evaluation["plausibility"] is None:
        return ("Not judged (--samples 0).",)
    n = evaluation["plausibility"]["answers"]["pairs"]
    return (
        f"{n:,} pictures' hands, judged on closed skins by exact volume, as answered and as "
        "annotated.",
    )


def _keys(evaluation: Figures) -> list[tuple[str, str]]:
    found = evaluation["errors"]
    name = found["pck"]["protocol"]
    row = found["protocols"][name]
    keys = [(f"{number(row['mpjpe_mm']['mean'])} mm", f"MPJPE, {name}")]
    if row["mpvpe_mm"]["mean"] is not None:
        keys.append((f"{number(row['mpvpe_mm']['mean'])} mm", f"MPVPE, {name}"))
    keys += [
        (f"{found['pck']['auc']:.3f}", "AUC of PCK, 0 to 50 mm"),
        (f"{number(found['mrrpe_mm']['mean'])} mm", "MRRPE"),
        (f"{number(found['hidden'][-1]['mpjpe_mm'])} mm", "MPJPE, most hidden tenth"),
    ]
    if evaluation["plausibility"] is not None:
        share = evaluation["plausibility"]["answers"]["penetration_cm3"]["over_1"]
        keys.append((percent(share), "of answers overlap by more than 1 cm³"))
    return keys
