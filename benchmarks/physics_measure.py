"""What became of pairs of hands, measured the same way whichever method moved them.

In: a pair before, and the pose and translation that a method gave it, rounded to float32 as a
dataset stores them. Out: one row of numbers (`measured`), and tables over rows (`table`).

kept            at most 0.1 cm3 inside both hands, at most 2 mm deep, no new self-penetration
displacement    of 42 joints on average, the pair's common rigid motion removed
contact kept    spliced pairs: the regions meant to touch are within 2 mm. All pairs at most 3 mm
                deep: the regions where they were deepest are. Recordings: of all region pairs that
                touched before (within 1 mm, or at most 3 mm into each other at their vertices)
                those within 2 mm, however deep the pair
new             self-penetration grown by more than 0.02 cm3; an angle's excess over its limit grown
                by more than float32 rounds (1e-4 rad)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from physics_baselines import near_skin

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.hand import HandPair, PosedHand
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.contact_regions import ContactRegions
from twohand500k.hand.measure import pair_displacement
from twohand500k.physics.judge import Judge, Judgement
from twohand500k.physics.repair import PairInput

Array = np.ndarray

MOST_VOLUME, MOST_DEPTH, MOST_NEW_SELF = 1e-7, 2e-3, 2e-8
MOST_NEW_EXCESS = 1e-4
TOUCHING_BEFORE, SHALLOW_BEFORE, TOUCHING_AFTER = 1e-3, 3e-3, 2e-3
# A pair overlaps if it shares more than this, m3.
OVERLAP = 1e-10
# Joints of parameters rounded to float32 in a frame metres wide differ by less, m.
ROUNDING = 2e-6
BINS_CM3 = (0.0, 2.0, 5.0, 15.0, 60.0)

FIELDS = (
    "volume_before", "depth_before", "distance_before", "contact_before", "displacement", "volume",
    "depth", "distance", "contact", "realised", "touched", "still", "new_self", "new_excess",
    "evaluations", "seconds",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Tools:
    """What every measurement needs, made once a process."""

    hands: HandPair
    judge: Judge
    anatomies: tuple[Anatomy, Anatomy]
    regions: tuple[np.ndarray, np.ndarray]

    @staticmethod
    def of(hands: HandPair) -> "Tools":
        both = (RIGHT, LEFT)
        anatomies = tuple(Anatomy.of(hands[s]) for s in both)
        regions = tuple(ContactRegions.of(hands[s]).of_vertex for s in both)
        return Tools(hands, Judge.of(hands), anatomies, regions)  # type: ignore[arg-type]

    def skins(self, pair: PairInput) -> tuple[Array, Array]:
        right, left = (np.ascontiguousarray(posed.vertices) for posed in self._posed(pair))
        return right, left

    def _posed(self, pair: PairInput) -> list[PosedHand]:
        return [
            self.hands[s].with_shape(pair.betas[s]).with_pose(pair.pose[s], pair.transl[s])
            for s in (RIGHT, LEFT)
        ]

    def joints(self, pair: PairInput) -> Array:
        return np.stack(
            [
                self.hands[s]
                .with_shape(pair.betas[s])
                .with_pose(pair.pose[s], pair.transl[s])
                .joints
                for s in (RIGHT, LEFT)
            ]
        )

    def excess(self, pair: PairInput) -> Array:
        return np.stack(
            [
                self.anatomies[s].limit_excess(self.anatomies[s].angles_from_pose(pair.pose[s]))
                for s in (RIGHT, LEFT)
            ]
        )


@dataclass(frozen=True, eq=False)
class Before:
    """A pair as it was, judged. touching: the region pairs whose contact is to be kept."""

    pair: PairInput
    judged: Judgement
    joints: Array
    excess: Array
    contact: float
    touching: tuple[tuple[int, int], ...]

    @staticmethod
    def of(tools: Tools, pair: PairInput) -> "Before":
        skins = tools.skins(pair)
        meant = min(pair.intended) >= 0
        return Before(
            pair,
            tools.judge.pair(*skins),
            tools.joints(pair),
            tools.excess(pair),
            tools.judge.region_distance(*skins, pair.intended) if meant else np.nan,
            () if meant else touching_regions(tools, skins),
        )


def touching_regions(tools: Tools, skins: tuple[Array, Array]) -> tuple[tuple[int, int], ...]:
    """Region pairs (right, left) that touch, or overlap by little, at their vertices."""
    least = np.full((30, 30), np.inf)
    for a, b in ((RIGHT, LEFT), (LEFT, RIGHT)):
        n = len(skins[a])
        gap, face, weights = np.empty(n), np.empty(n, dtype=np.int64), np.empty((n, 3))
        faces = np.ascontiguousarray(tools.hands[b].faces, dtype=np.int64)
        closed = np.ascontiguousarray(tools.hands[b].closed_faces, dtype=np.int64)
        near_skin(skins[a], skins[b], closed, faces, TOUCHING_BEFORE, gap, face, weights)
        ids = np.flatnonzero(face >= 0)
        corner = faces[face[ids], np.argmax(weights[ids], axis=1)]
        mine, theirs = tools.regions[a][ids], tools.regions[b][corner]
        np.minimum.at(least, (mine, theirs) if a == RIGHT else (theirs, mine), gap[ids])
    found = np.argwhere((least <= TOUCHING_BEFORE) & (least >= -SHALLOW_BEFORE))
    return tuple((int(r), int(left)) for r, left in found)


def measured(
    tools: Tools, before: Before, pose: Array, transl: Array, evaluations: int, seconds: float
) -> dict[str, float]:
    """One row: `FIELDS`, metres, cubic metres, radians, seconds."""
    after = PairInput(
        pose.astype(np.float32).astype(np.float64),
        before.pair.betas,
        transl.astype(np.float32).astype(np.float64),
        before.pair.intended,
    )
    skins = tools.skins(after)
    judged = tools.judge.pair(*skins)
    meant = min(after.intended) >= 0
    still = [
        tools.judge.region_distance(*skins, regions) <= TOUCHING_AFTER
        for regions in before.touching
    ]
    return {
        "volume_before": before.judged.volume,
        "depth_before": before.judged.depth,
        "distance_before": before.judged.distance,
        "contact_before": before.contact,
        "displacement": pair_displacement(before.joints, tools.joints(after)),
        "volume": judged.volume,
        "depth": judged.depth,
        "distance": judged.distance,
        "contact": tools.judge.region_distance(*skins, after.intended) if meant else np.nan,
        "realised": _realised(tools, before, skins),
        "touched": len(still),
        "still": sum(still),
        "new_self": float(np.max(judged.self_volume - before.judged.self_volume)),
        "new_excess": float(np.max(tools.excess(after) - before.excess)),
        "evaluations": evaluations,
        "seconds": seconds,
    }


def _realised(tools: Tools, before: Before, skins: tuple[Array, Array]) -> float:
    """Distance now of the regions where a pair at most 3 mm deep was deepest; NaN for others."""
    if not 0.0 < before.judged.depth <= SHALLOW_BEFORE or min(before.judged.nearest) < 0:
        return np.nan
    return tools.judge.region_distance(*skins, before.judged.nearest)


Rows = Mapping[str, Array]


def kept(rows: Rows) -> Array:
    """Which pairs are kept (n,); a NaN is not."""
    return (
        (rows["volume"] <= MOST_VOLUME)
        & (rows["depth"] <= MOST_DEPTH)
        & (rows["new_self"] <= MOST_NEW_SELF)
    )


def overlapping(rows: Rows) -> Array:
    return np.asarray(rows["volume_before"] > OVERLAP)


def in_bin(rows: Rows, low_cm3: float, high_cm3: float) -> Array:
    volume = 1e6 * rows["volume_before"]
    return overlapping(rows) & (volume > low_cm3) & (volume <= high_cm3)


def summary(
    rows: Rows, rigid: Rows | None, workers: int, plain: Rows | None = None
) -> dict[str, float]:
    """All figures of one method on one set; NaN where there is nothing to count.

    rigid, plain: rows of least and of plain rigid separation on the same pairs.
    """
    over, good = overlapping(rows), kept(rows)
    figures: dict[str, float] = {
        "pairs": len(over),
        "overlapping": int(over.sum()),
        "displacement_mm": 1e3 * mean(rows["displacement"][over]),
        "displacement_kept_mm": 1e3 * mean(rows["displacement"][over & good]),
        "volume_median_cm3": 1e6 * share(rows["volume"][over & good], 50),
        "volume_p99_cm3": 1e6 * share(rows["volume"][over & good], 99),
        "volume_p99_all_cm3": 1e6 * share(rows["volume"][over], 99),
        "depth_median_mm": 1e3 * share(rows["depth"][over & good], 50),
        "depth_p99_mm": 1e3 * share(rows["depth"][over & good], 99),
    }
    for low, high in (*pairwise(BINS_CM3), (0.0, 15.0)):
        there = in_bin(rows, low, high)
        figures[f"in_{low:g}-{high:g}"] = int(there.sum())
        figures[f"kept_{low:g}-{high:g}"] = mean(good[there])
    for low, high in pairwise(BINS_CM3):
        there = in_bin(rows, low, high)
        figures[f"displacement_{low:g}-{high:g}_mm"] = 1e3 * mean(rows["displacement"][there])
    meant = good & over & np.isfinite(rows["contact"])
    touching = meant & (rows["contact_before"] <= TOUCHING_AFTER)
    figures |= {
        "contact_kept": mean(rows["contact"][meant] <= TOUCHING_AFTER),
        "contact_kept_of_touching": mean(rows["contact"][touching] <= TOUCHING_AFTER),
        "shallow": int((good & over & np.isfinite(rows["realised"])).sum()),
        "shallow_kept": mean(
            rows["realised"][good & over & np.isfinite(rows["realised"])] <= TOUCHING_AFTER
        ),
        "regions_touched": float(rows["touched"][good & over].sum()),
        "regions_kept": ratio(rows["still"][good & over].sum(), rows["touched"][good & over].sum()),
        "any_skin_kept": mean(rows["distance"][good & over] <= TOUCHING_AFTER),
        "new_self": int((rows["new_self"] > MOST_NEW_SELF).sum()),
        "new_excess": int((rows["new_excess"] > MOST_NEW_EXCESS).sum()),
        "new_self_of_kept": int((rows["new_self"][good] > MOST_NEW_SELF).sum()),
        "new_excess_of_kept": int((rows["new_excess"][good] > MOST_NEW_EXCESS).sum()),
        "new_excess_largest_deg": float(np.degrees(np.nanmax(rows["new_excess"], initial=0.0))),
        "kept": mean(good[over]),
        "kept_self_apart": mean(
            (rows["volume"][over] <= MOST_VOLUME) & (rows["depth"][over] <= MOST_DEPTH)
        ),
        "undefined": int(np.isnan(rows["volume"]).sum()),
        "moved_apart": int((rows["displacement"][~over] > ROUNDING).sum()),
        "evaluations": mean(rows["evaluations"][over]),
        "pairs_per_s": ratio(workers * len(over), rows["seconds"].sum()),
    }
    figures |= {"ratio": np.nan, "ratio_kept": np.nan, "ratio_plain": np.nan}
    if rigid is not None:
        both = over & good & kept(rigid)
        figures["ratio"] = ratio(
            rows["displacement"][over].mean(), rigid["displacement"][over].mean()
        )
        figures["ratio_kept"] = ratio(
            mean(rows["displacement"][both]), mean(rigid["displacement"][both])
        )
    if plain is not None:
        figures["ratio_plain"] = ratio(
            rows["displacement"][over].mean(), plain["displacement"][over].mean()
        )
    return figures


def mean(values: Array) -> float:
    return float(np.mean(values)) if len(values) else np.nan


def share(values: Array, percent: float) -> float:
    return float(np.nanpercentile(values, percent)) if len(values) else np.nan


def ratio(a: float, b: float) -> float:
    return float(a / b) if b else np.nan


def table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown: a row a quantity, a column a method."""
    lines = ["| | " + " | ".join(figures) + " |", "|---" * (len(figures) + 1) + "|"]
    for name, cell in _ROWS:
        cells = [cell(f) for f in figures.values()]
        if any(cells):
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def percent(value: float) -> str:
    return "" if np.isnan(value) else f"{100 * value:.1f} %"


def number(value: float, digits: int) -> str:
    return "" if np.isnan(value) else f"{value:.{digits}f}"


def _bins(f: Mapping[str, float]) -> str:
    cells = (f["kept_0-2"], f["kept_2-5"], f["kept_5-15"])
    return " / ".join("–" if np.isnan(c) else f"{100 * c:.1f}" for c in cells) + " %"


_ROWS = (
    ("pairs, overlapping", lambda f: f"{f['pairs']:,}, {f['overlapping']:,}"),
    ("mean joint displacement, against rigid separation",
     lambda f: f"{number(f.get('ratio', np.nan), 3) or '?'} ({f['displacement_mm']:.2f} mm)"),
    ("the same, against plain rigid separation",
     lambda f: number(f.get("ratio_plain", np.nan), 3)),
    ("against rigid separation, of pairs that both keep",
     lambda f: number(f.get("ratio_kept", np.nan), 3)),
    ("displacement by start volume 0-2 / 2-5 / 5-15 / 15-60 cm3, mm",
     lambda f: " / ".join(number(f[f"displacement_{b}_mm"], 2) or "–"
                          for b in ("0-2", "2-5", "5-15", "15-60"))),
    ("volume of kept, median; 99 %, cm3",
     lambda f: f"{f['volume_median_cm3']:.4f}; {f['volume_p99_cm3']:.4f}"),
    ("volume of all, 99 %, cm3", lambda f: number(f["volume_p99_all_cm3"], 3)),
    ("depth of kept, median; 99 %, mm",
     lambda f: f"{f['depth_median_mm']:.2f}; {f['depth_p99_mm']:.2f}"),
    ("kept, of 0-15 cm3", lambda f: percent(f["kept_0-15"])),
    ("kept, of 0-2 / 2-5 / 5-15 cm3", _bins),
    ("kept, of 15-60 cm3", lambda f: percent(f["kept_15-60"])),
    ("kept, of all; by volume and depth alone",
     lambda f: f"{percent(f['kept'])}; {percent(f['kept_self_apart'])}"),
    ("contact kept: regions meant, within 2 mm", lambda f: percent(f["contact_kept"])),
    ("the same, of those within 2 mm before", lambda f: percent(f["contact_kept_of_touching"])),
    ("contact kept: deepest regions, of pairs at most 3 mm deep",
     lambda f: f"{percent(f['shallow_kept'])} of {f['shallow']}"),
    ("contact kept: regions that touched", lambda f: percent(f["regions_kept"])),
    ("any skin within 2 mm", lambda f: percent(f["any_skin_kept"])),
    ("new self-penetration; new limit violation, pairs",
     lambda f: f"{f['new_self']}; {f['new_excess']}"),
    ("pairs without overlap that moved", lambda f: f"{f['moved_apart']}"),
    ("undefined", lambda f: f"{f['undefined']}"),
    ("Bullet passes a pair", lambda f: number(f["evaluations"], 1)),
    ("pairs/s, both workers, before and after judged", lambda f: number(f["pairs_per_s"], 1)),
)  # fmt: skip
