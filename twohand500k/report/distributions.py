"""How a quality of a dataset is distributed: quantiles, a histogram, and how much nobody knows.

Comes in: the values of one quality of all hands or pairs it applies to, NaN where it was never
measured. Goes out: the `quality` entries of `numbers.json`. NaN is counted as unknown and enters
no quantile; a quality of which nothing is known has nulls, not zeros.

Histograms of several datasets share their edges, so that they can be drawn over one another. Most
qualities span decades (a nick of 0.001 cm3, a hand inside the other of 60 cm3) and have a heap at
exactly zero: their edges are logarithmic, and what lies under the first edge is counted as `below`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np


@dataclass(frozen=True)
class Quality:
    """One quality: its key and label, the field of `Samples` it is read from, how it is drawn.

    per: whether there is one value a hand or one a pair. scale: from the field's unit to `unit`.
    lowest, highest: the histogram's ends unless a value lies beyond the highest.
    """

    key: str
    label: str
    unit: str
    field: str
    scale: float
    per: Literal["hand", "pair"]
    lowest: float
    highest: float
    group: Literal["core", "repair"] = "core"
    log: bool = True


QUALITIES: Final[tuple[Quality, ...]] = (
    Quality(
        "fit_error_mm", "Fit residual", "mm", "fit_error", 1e3, "hand", 0.0, 10.0, log=False
    ),
    Quality(
        "limit_violation_deg", "Excess over joint limits", "°", "limit_violation", 180 / np.pi,
        "hand", 0.1, 90.0,
    ),
    Quality(
        "penetration_volume_cm3", "Volume inside both hands", "cm³", "penetration_volume", 1e6,
        "pair", 1e-3, 10.0,
    ),
    Quality(
        "penetration_depth_mm", "Deepest overlap", "mm", "penetration_depth", 1e3, "pair",
        1e-2, 20.0,
    ),
    Quality(
        "contact_distance_mm", "Distance between the skins", "mm", "contact_distance", 1e3, "pair",
        1e-2, 100.0,
    ),
    Quality(
        "self_penetration_volume_cm3", "Volume of a hand inside itself", "cm³",
        "self_penetration_volume", 1e6, "hand", 1e-3, 10.0,
    ),
    Quality(
        "volume_before_cm3", "Volume inside both hands before the repair", "cm³", "volume_before",
        1e6, "pair", 1e-3, 10.0, group="repair",
    ),
    Quality(
        "depth_before_mm", "Deepest overlap before the repair", "mm", "depth_before", 1e3, "pair",
        1e-2, 20.0, group="repair",
    ),
    Quality(
        "displacement_mm", "How far the repair moved the joints", "mm", "displacement", 1e3, "pair",
        1e-2, 20.0, group="repair",
    ),
)  # fmt: skip

_BINS: Final = 48
_NOTHING: Final = {
    "median": None, "p95": None, "p99": None, "largest": None, "mean": None, "histogram": None,
}  # fmt: skip


def shared_edges(quality: Quality, values: Sequence[np.ndarray]) -> np.ndarray:
    """Histogram edges (49,) that hold every dataset's values, ascending."""
    largest = [float(np.nanmax(v)) for v in values if not np.isnan(v).all()]
    # A hair above: the largest value lies inside, whatever float32 made of it.
    highest = max([quality.highest, *(top * (1 + 1e-6) for top in largest)])
    if quality.log:
        return np.geomspace(quality.lowest, highest, _BINS + 1)
    return np.linspace(quality.lowest, highest, _BINS + 1)


def distribution(quality: Quality, values: np.ndarray, edges: np.ndarray) -> dict[str, Any]:
    """The entry of one quality: n known values (n,), unknown NaNs, quantiles, histogram.

    Percentiles are of the known values; `below` + the histogram's counts add up to n.
    """
    known = values[~np.isnan(values)].astype(np.float64)
    entry: dict[str, Any] = {
        "unit": quality.unit,
        "label": quality.label,
        "per": quality.per,
        "n": len(known),
        "unknown": len(values) - len(known),
    }
    if not len(known):
        what = "hand" if quality.per == "hand" else "pair"
        why = "nothing recorded it" if len(values) else f"the dataset has no {what} it applies to"
        return entry | _NOTHING | {"reason": why}
    median, p95, p99 = np.quantile(known, [0.5, 0.95, 0.99])
    counts, _ = np.histogram(known, edges)
    return entry | {
        "median": float(median),
        "p95": float(p95),
        "p99": float(p99),
        "largest": float(known.max()),
        "mean": float(known.mean()),
        "histogram": {
            "edges": [float(edge) for edge in edges],
            "counts": counts.tolist(),
            "below": int((known < edges[0]).sum()),
            "log": quality.log,
        },
    }


def distributions(datasets: Sequence[Mapping[str, np.ndarray]]) -> list[dict[str, Any]]:
    """The `quality` entry of every dataset; each comes as {key: values (n,), NaN unknown}."""
    out: list[dict[str, Any]] = [{} for _ in datasets]
    for quality in QUALITIES:
        values = [dataset[quality.key] for dataset in datasets]
        edges = shared_edges(quality, values)
        for entry, of_one in zip(out, values, strict=True):
            entry[quality.key] = distribution(quality, of_one, edges)
    return out
