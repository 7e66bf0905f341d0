"""A run's curves as one picture: loss, its terms, and figures of held-out samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from interaction_prior.training.metrics import Row

TRAIN, VALIDATION, OTHER = "#3b6ea5", "#c8553d", "#7a9e3f"
PALETTE = (TRAIN, VALIDATION, OTHER, "#8a6bb8", "#c49a2c")


class _Plain(LogFormatter):
    """20,000 rather than 2e+04, for the ticks that `LogFormatter` would label."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:,g}" if super().__call__(x, pos) else ""


@dataclass(frozen=True)
class Line:
    """The numbers called `name` of the lines of training, or of those of validation."""

    name: str
    label: str
    held_out: bool
    colour: str


@dataclass(frozen=True)
class Panel:
    """Lines over one axis, which `label` names."""

    label: str
    lines: tuple[Line, ...]


def both(name: str, label: str, held_out: str = "held out") -> Panel:
    """A number that training and validation tell."""
    lines = (Line(name, "training", False, TRAIN), Line(name, held_out, True, VALIDATION))
    return Panel(label, lines)


def told(name: str, label: str, held_out: str = "held out") -> Panel:
    """A number that validation alone tells."""
    return Panel(label, (Line(name, held_out, True, VALIDATION),))


_MEAN = "held out, posterior mean"
_LOSS = both("loss", "loss", _MEAN)
PRIOR_PANELS = (
    # Beside equation 4, where a run has it; not part of the held-out loss.
    Panel("loss", (*_LOSS.lines, Line("draws", "of it the prior's own draws", False, OTHER))),
    both("kl", "KL, nats", _MEAN),
    both("error", "squared error, normalised units", _MEAN),
    told("mpjpe_mm", "MPJPE, mm, each hand from its wrist", _MEAN),
)


def draw_curves(
    path: Path, rows: Sequence[Row], title: str, panels: Sequence[Panel] = PRIOR_PANELS
) -> None:
    """Write the picture of the lines of a `metrics.jsonl`, two rows of panels."""
    columns = -(-len(panels) // 2)
    figure = Figure(figsize=(5.5 * columns, 7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, columns, sharex=True, squeeze=False)
    train = [row for row in rows if "validation" not in row]
    held_out = [{"step": row["step"], **row["validation"]} for row in rows if "validation" in row]
    for axis, panel in zip(axes.flat, panels, strict=False):
        axis.set_ylabel(panel.label)
        for line in panel.lines:
            points = [(r["step"], r.get(line.name)) for r in (held_out if line.held_out else train)]
            _line(axis, points, line.colour, line.label)
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
