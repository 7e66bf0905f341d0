"""Figures for a paper: the map, the gallery, distributions, contacts; each as PNG and PDF.

In: the report's numbers, places on the map, exhibits. Out: file names and their bytes. Widths are a
paper's: one column 3.3 in, two 6.9 in. Bytes depend on what is drawn alone, not on the day.
"""

import io
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from twohand500k.pictures import contact_sheet
from twohand500k.report.gallery import Exhibit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from twohand500k.report.html import MapPoints

# Okabe and Ito's colours, told apart by every kind of colour vision.
PALETTE: Final = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F6D5F", "#4B3F8F",
)  # fmt: skip
_MOST_POINTS: Final = 60_000


def write_figures(
    numbers: dict[str, Any],
    points: "MapPoints | None",
    exhibits: Sequence[Exhibit],
    names: Sequence[str],
) -> dict[str, bytes]:
    """Bytes by file name; a figure of which nothing is known is left out."""
    figures = {
        "map": None if points is None else _map(points, names),
        "gallery": _gallery(exhibits),
        "distributions": _distributions(numbers, names),
        "contacts": _contacts(numbers),
    }
    files: dict[str, bytes] = {}
    for name, figure in figures.items():
        if figure is not None:
            files |= _both(name, figure)
    return files


def _both(name: str, figure: "Figure") -> dict[str, bytes]:
    """The figure as PNG and PDF. Pictures and point clouds in it are pixels at 220 dpi."""
    from matplotlib import rc_context

    # The subsetting of fonts tells every table it drops.
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    files = {}
    for kind in ("png", "pdf"):
        buffer = io.BytesIO()
        metadata = {"Software": None} if kind == "png" else {"CreationDate": None, "Creator": None}
        with rc_context({"pdf.fonttype": 42}):
            figure.savefig(
                buffer, format=kind, dpi=220, metadata=metadata, bbox_inches="tight",
                pad_inches=0.03,
            )  # fmt: skip
        files[f"{name}.{kind}"] = buffer.getvalue()
    return files


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _map(points: "MapPoints", names: Sequence[str]) -> "Figure":
    figure = _figure(3.3, 3.5)
    axes = figure.add_subplot()
    order = np.random.default_rng(0).permutation(len(points.xy))[:_MOST_POINTS]
    x, y = points.xy[order].T
    size = float(np.clip(6000 / max(len(order), 1), 0.3, 5.0))
    colours = np.array(PALETTE)[points.dataset[order] % len(PALETTE)]
    axes.scatter(x, y, s=size, c=colours, linewidths=0, alpha=0.7, rasterized=True)
    for k, name in enumerate(names):
        n = int((points.dataset == k).sum())
        if n:
            axes.scatter([], [], s=14, c=PALETTE[k % len(PALETTE)], label=f"{_plain(name)} ({n:,})")
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(False)
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, 0.0), frameon=False, fontsize=7, ncols=2,
        handletextpad=0.2,
    )  # fmt: skip
    return figure


def _gallery(exhibits: Sequence[Exhibit]) -> "Figure | None":
    if not exhibits:
        return None
    columns = max(len(e.tiles) for e in exhibits)
    shown = [e for e in exhibits if len(e.tiles) == columns]
    sheet = contact_sheet(
        [picture for e in shown for _, picture in e.tiles],
        [name if k == len(shown) - 1 else "" for k, e in enumerate(shown) for name, _ in e.tiles],
        columns=columns,
    )
    figure = _figure(6.9, 6.9 * sheet.shape[0] / sheet.shape[1])
    axes = figure.add_subplot()
    axes.imshow(sheet, interpolation="antialiased")
    axes.set_axis_off()
    return figure


def _distributions(numbers: dict[str, Any], names: Sequence[str]) -> "Figure | None":
    qualities = [d["quality"] for d in numbers["datasets"]]
    keys = [key for key in qualities[0] if any(q[key]["histogram"] for q in qualities)]
    if not keys:
        return None
    rows = -(-len(keys) // 3)
    figure = _figure(6.9, 1.45 * rows + 0.2)
    grid = figure.subplots(rows, 3, squeeze=False)
    for axes, key in zip(grid.flat, keys, strict=False):
        for k, quality in enumerate(qualities):
            if quality[key]["histogram"]:
                _steps(axes, quality[key], PALETTE[k % len(PALETTE)], _plain(names[k]))
        entry = next(q[key] for q in qualities if q[key]["histogram"])
        axes.set_title(entry["label"], fontsize=7)
        axes.set_xlabel(entry["unit"], fontsize=6.5, labelpad=1)
        if entry["histogram"]["log"]:
            axes.set_xscale("log")
        axes.tick_params(labelsize=6)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid.flat[len(keys) :]:
        axes.set_axis_off()
    if len(names) > 1:
        known = {
            label: handle
            for axes in grid.flat[: len(keys)]
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        order = [name for name in map(_plain, names) if name in known]
        figure.legend(
            [known[name] for name in order], order, loc="outside lower center", ncols=4,
            fontsize=7, frameon=False,
        )  # fmt: skip
    return figure


def _steps(axes: "Axes", quality: dict[str, Any], colour: str, name: str) -> None:
    histogram = quality["histogram"]
    share = 100 * np.array(histogram["counts"]) / quality["n"]
    axes.stairs(share, histogram["edges"], color=colour, linewidth=0.9, label=name)
    axes.stairs(share, histogram["edges"], color=colour, alpha=0.12, fill=True)
    axes.set_ylabel("% of all", fontsize=6, labelpad=1)


def _contacts(numbers: dict[str, Any]) -> "Figure | None":
    found = [
        (k, d["name"], d["contacts"]["realised"])
        for k, d in enumerate(numbers["datasets"])
        if d["contacts"]["realised"]
    ]
    if not found:
        return None
    regions = numbers["datasets"][0]["contacts"]["regions"]
    columns = min(2, len(found))
    rows = -(-len(found) // columns)
    figure = _figure(3.45 * columns, 3.5 * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, (k, name, contacts) in zip(grid.flat, found, strict=False):
        axes.imshow(
            np.sqrt(np.array(contacts["counts"])), cmap=_from_white(PALETTE[k % len(PALETTE)]),
            interpolation="nearest",
        )  # fmt: skip
        axes.set_xticks(range(len(regions)), regions, rotation=90, fontsize=4)
        axes.set_yticks(range(len(regions)), regions, fontsize=4)
        axes.tick_params(length=0, pad=1)
        axes.set_xlabel("left hand", fontsize=6)
        axes.set_ylabel("right hand", fontsize=6)
        axes.set_title(
            f"{_plain(name)}: {contacts['entropy_bits']:.2f} bits, "
            f"{contacts['pairs_seen']:,} contacts",
            fontsize=7,
        )
        axes.spines[:].set_linewidth(0.4)
    for axes in grid.flat[len(found) :]:
        axes.set_axis_off()
    return figure


def _from_white(colour: str) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("from_white", ["#ffffff", colour, "#10151a"])


def _plain(name: str) -> str:
    """A name that matplotlib does not take for mathematics, nor a legend for something hidden."""
    return name.replace("$", r"\$").lstrip("_") or "unnamed"
