"""A run's curves as one picture: loss, its terms, and the joints of held-out pairs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from interaction_prior.training.metrics import Row

_TRAIN, _VALIDATION, _DRAWS = "#3b6ea5", "#c8553d", "#7a9e3f"


class _Plain(LogFormatter):
    """20,000 rather than 2e+04, for the ticks that `LogFormatter` would label."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:,g}" if super().__call__(x, pos) else ""


def draw_curves(path: Path, rows: Sequence[Row], title: str) -> None:
    """Write the picture of the lines of a `metrics.jsonl`."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2, sharex=True)
    train = [row for row in rows if "loss" in row]
    held_out = [row for row in rows if "validation" in row]
    names = (
        ("loss", "loss"),
        ("kl", "KL, nats"),
        ("error", "squared error, normalised units"),
    )
    for axis, (name, label) in zip(axes.flat, names, strict=False):
        _line(axis, [(row["step"], row[name]) for row in train], _TRAIN, "training")
        points = [(row["step"], row["validation"][name]) for row in held_out]
        _line(axis, points, _VALIDATION, "held out, posterior mean")
        axis.set_ylabel(label)
    # Beside equation 4, where a run has it; not part of the held-out loss.
    draws = [(row["step"], row.get("draws")) for row in train]
    _line(axes[0, 0], draws, _DRAWS, "of it the prior's own draws")
    points = [(row["step"], row["validation"]["mpjpe_mm"]) for row in held_out]
    _line(axes[1, 1], points, _VALIDATION, "held out, posterior mean")
    axes[1, 1].set_ylabel("MPJPE, mm, each hand from its wrist")
    for axis in axes.flat:
        if axis.lines:
            axis.set_yscale("log")
            # Between the powers of ten too where there is room.
            axis.yaxis.set_major_formatter(_Plain(labelOnlyBase=False))
            axis.yaxis.set_minor_formatter(_Plain(minor_thresholds=(1.5, 0.4)))
            axis.legend(frameon=False, fontsize=9)
        else:
            axis.text(0.5, 0.5, "none", transform=axis.transAxes, ha="center", color="#888888")
        axis.grid(which="major", color="#dddddd", linewidth=0.6)
        axis.grid(which="minor", color="#eeeeee", linewidth=0.4)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[1]:
        axis.set_xlabel("step")
    figure.suptitle(title, fontsize=11)
    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, dpi=110, format="png")
    temporary.replace(path)


def _line(axis: Axes, points: Sequence[tuple[int, float | None]], colour: str, label: str) -> None:
    """A line of points; what is not known or not above zero has no place on a log axis."""
    there = np.array([(x, y) for x, y in points if y is not None and y > 0], dtype=float)
    if len(there):
        marker = "o" if len(there) < 40 else ""
        axis.plot(there[:, 0], there[:, 1], color=colour, label=label, lw=1.4, marker=marker, ms=3)
