"""From `Facts` to what a person wants to know: counts, quantiles, the worst, one sentence.

Every finding has a level. "wrong": such a hand, or pair, cannot be what it is said to be; counts
for `--strict`. "watch": worth a look, not a fault by itself. Lines are drawn where the rest of the
toolkit draws them: the reasons are those of the build (docs/verdicts.md), a pair overlaps where the
repair would refuse it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from twohand500k.audit.facts import ANGLES, BENT, OK, PAST, Facts
from twohand500k.conventions import SIDES
from twohand500k.shards.verify import KEPT_DEPTH_M, KEPT_VOLUME_M3

Array = np.ndarray

Level = Literal["wrong", "watch"]

# A hand holds so much of itself before it counts, m3: what drawn natural postures keep to.
SELF_VOLUME_M3: Final = 1e-6
# A residual (median, m) from which overlap of fitted hands is said to be unsure.
_NOISE_M = 0.5e-3
# How a detail says the excess over a limit.
_DEGREES = re.compile(r"(\d+) deg past")

# What each finding means, in the order in which it is told.
HAND_FINDINGS: Final[Mapping[str, str]] = {
    "unreadable": "the frame cannot be read",
    "not_finite": "a coordinate is infinite, or a point has some of its three numbers",
    "too_few_joints": "too few points of the palm, or none of a finger, to pose it",
    "wrong_units": "less than half or more than twice the size of a hand: another unit",
    "vertex_order": "the vertices are not in the order of the hand model's faces",
    "tip_to_base": "fingers listed from tip to base",
    "joint_order": "joints in another order",
    "mirrored": "a hand of the other side: left given as right, or mirrored coordinates",
    "bent_backwards": f"a joint {np.degrees(BENT):.0f} degrees or more past a limit",
    "residual_too_large": "no hand explains the points",
    "annotation_disagrees": "its MANO parameters do not give its own joints",
}
OVERLAP, SELF_OVERLAP = "overlap", "self_overlap"
PAST_LIMIT, UNJUDGED = "past_limit", "not_judged"
OTHER_FINDINGS: Final[Mapping[str, tuple[str, Level]]] = {
    OVERLAP: (
        f"over {1e6 * KEPT_VOLUME_M3:g} cm³ inside both hands, or over {1e3 * KEPT_DEPTH_M:g} mm "
        "deep",
        "wrong",
    ),
    SELF_OVERLAP: (f"a hand with over {1e6 * SELF_VOLUME_M3:g} cm³ inside itself", "watch"),
    PAST_LIMIT: (f"a joint {np.degrees(PAST):.0f} degrees or more past its limit", "watch"),
    UNJUDGED: ("pairs of two good hands whose overlap could not be measured", "watch"),
}


@dataclass(frozen=True, eq=False)
class Finding:
    """Who has it: rows (n,) and sides (n,) of `Facts`, worst first; side -1 for a pair.

    of: what it is counted among, hands or pairs, and how many of those there are.
    """

    name: str
    meaning: str
    level: Level
    of: Literal["hands", "pairs"]
    among: int
    rows: Array
    sides: Array

    @property
    def count(self) -> int:
        return len(self.rows)

    @property
    def share(self) -> float:
        return self.count / self.among if self.among else 0.0


def findings_of(facts: Facts) -> list[Finding]:
    """Every finding that some hand or pair has, in the order in which to tell them."""
    n_hands, n_pairs = int(facts.there.sum()), int(facts.pairs.sum())
    out = []
    seen = sorted(set(np.unique(facts.reason[facts.there]).tolist()) - {OK} - set(HAND_FINDINGS))
    for name in (*HAND_FINDINGS, *seen):
        rows, sides = np.nonzero(facts.there & (facts.reason == name))
        worst = _by_badness(facts, name, rows, sides)
        meaning = HAND_FINDINGS.get(name, name.replace("_", " "))
        out.append(Finding(name, meaning, "wrong", "hands", n_hands, rows[worst], sides[worst]))
    with np.errstate(invalid="ignore"):
        over = (facts.volume > KEPT_VOLUME_M3) | (facts.depth > KEPT_DEPTH_M)
        inside = facts.self_volume > SELF_VOLUME_M3
        past = facts.ok & (facts.excess > PAST)
    unjudged = facts.ok.all(axis=1) & (np.isnan(facts.volume) | np.isnan(facts.depth))
    n_judged = int(np.isfinite(facts.volume).sum())
    rows = np.flatnonzero(over)
    rows = rows[np.argsort(-np.nan_to_num(facts.volume[rows]), kind="stable")]
    out.append(_other(OVERLAP, "pairs", n_judged, rows, np.full(len(rows), -1)))
    for name, mask, value in (
        (SELF_OVERLAP, inside, facts.self_volume),
        (PAST_LIMIT, past, facts.excess),
    ):
        rows, sides = np.nonzero(mask)
        worst = np.argsort(-value[rows, sides], kind="stable")
        out.append(_other(name, "hands", n_hands, rows[worst], sides[worst]))
    rows = np.flatnonzero(unjudged)
    out.append(_other(UNJUDGED, "pairs", n_pairs, rows, np.full(len(rows), -1)))
    return [finding for finding in out if finding.count]


def _other(
    name: str, of: Literal["hands", "pairs"], among: int, rows: Array, sides: Array
) -> Finding:
    meaning, level = OTHER_FINDINGS[name]
    return Finding(name, meaning, level, of, among, rows, sides)


def _by_badness(facts: Facts, name: str, rows: Array, sides: Array) -> Array:
    """Worst first where there is a measure of it; else spread evenly over the data."""
    if name == "bent_backwards":
        said = [facts.detail.get((int(r), int(s)), "") for r, s in zip(rows, sides, strict=True)]
        degrees = [int(at[1]) if (at := _DEGREES.search(text)) else 0 for text in said]
        return np.argsort(-np.array(degrees, dtype=int), kind="stable")
    n = len(rows)
    # Halves, quarters, ...: the first few of any count lie all over the data.
    bits = max(int(np.ceil(np.log2(max(n, 2)))), 1)
    place = np.arange(2**bits)
    order = np.sum([((place >> b) & 1) << (bits - 1 - b) for b in range(bits)], axis=0)
    return order[order < n]


QUANTITIES: Final = {
    "residual_mm": ("residual", 1e3, "mean distance of the fit from the points, mm"),
    "limit_excess_deg": ("excess", float(np.degrees(1.0)), "largest excess over a limit, degrees"),
    "volume_cm3": ("volume", 1e6, "inside both hands, cm³"),
    "depth_mm": ("depth", 1e3, "deepest point of one hand in the other, mm"),
    "distance_mm": ("distance", 1e3, "smallest distance between the skins, mm"),
    "self_volume_cm3": ("self_volume", 1e6, "of a hand inside itself, cm³"),
}


def summary_of(facts: Facts, findings: Sequence[Finding], worst: int) -> dict[str, Any]:
    """audit.json without what is told of the input: counts, quantiles, joints, takes.

    worst: so many ids are listed of each finding. A number that is not known is null.
    """
    n_judged = int(np.isfinite(facts.volume).sum())
    with np.errstate(invalid="ignore"):
        touching = int((facts.distance <= 0).sum())
    return {
        "frames": len(facts),
        "hands": int(facts.there.sum()),
        "pairs": int(facts.pairs.sum()),
        "pairs_judged": n_judged,
        "pairs_touching": touching if n_judged else None,
        "hands_ok": int(facts.ok.sum()),
        "findings": {f.name: _finding_json(facts, f, worst) for f in findings},
        "joints_past_limit": {
            ANGLES[k]: int(facts.past[k])
            for k in np.argsort(-facts.past, kind="stable")
            if facts.past[k]
        },
        "joints_bent_backwards": _bent_joints(facts),
        "quantities": {
            key: {"meaning": meaning, **_quantiles(scale * getattr(facts, column))}
            for key, (column, scale, meaning) in QUANTITIES.items()
        },
        "takes": _takes(facts, findings),
    }


def _finding_json(facts: Facts, finding: Finding, worst: int) -> dict[str, Any]:
    per_side: dict[str, Any] = {s: int((finding.sides == k).sum()) for k, s in enumerate(SIDES)}
    return {
        "meaning": finding.meaning,
        "level": finding.level,
        "of": finding.of,
        "count": finding.count,
        "share": finding.share,
        **(per_side if finding.of == "hands" else {}),
        "worst": [worst_line(facts, finding, k) for k in range(min(worst, finding.count))],
    }


def worst_line(facts: Facts, finding: Finding, k: int) -> dict[str, Any]:
    """The k-th worst of a finding: its id, take, frame, side, and what is wrong in words."""
    row, side = int(finding.rows[k]), int(finding.sides[k])
    said = facts.detail.get((row, side), "")
    if finding.name == OVERLAP:
        said = f"{1e6 * facts.volume[row]:.2f} cm³, {1e3 * facts.depth[row]:.1f} mm deep"
    elif finding.name == SELF_OVERLAP:
        said = f"{1e6 * facts.self_volume[row, side]:.2f} cm³ inside itself"
    elif finding.name == PAST_LIMIT:
        angle = ANGLES[facts.angle[row, side]]
        said = f"{angle} {np.degrees(facts.excess[row, side]):.0f} deg past its limit"
    return {
        "id": str(facts.sample_id[row]),
        "take": str(facts.take[row]),
        "frame": int(facts.frame[row]),
        "side": SIDES[side] if side >= 0 else None,
        "detail": said,
    }


def _bent_joints(facts: Facts) -> dict[str, int]:
    """At which joint the hands are bent that are refused for it, as their details say."""
    counts: dict[str, int] = {}
    for (row, side), said in facts.detail.items():
        if facts.reason[row, side] == "bent_backwards":
            name = next((angle for angle in ANGLES if said.startswith(angle)), "unnamed")
            counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _quantiles(values: Array) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    if not len(known):
        return {"n": 0, "median": None, "p95": None, "p99": None, "largest": None}
    median, p95, p99 = np.percentile(known, [50, 95, 99])
    numbers = {"median": median, "p95": p95, "p99": p99, "largest": known.max()}
    return {"n": len(known), **{key: float(value) for key, value in numbers.items()}}


def _takes(facts: Facts, findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """A line a take, in the order of their names."""
    names, of = np.unique(facts.take, return_inverse=True)
    of = of.reshape(-1)
    T = len(names)
    frames = np.bincount(of, minlength=T)
    hands = np.bincount(of, weights=facts.there.sum(axis=1), minlength=T).astype(int)
    counts = {f.name: np.bincount(of[f.rows], minlength=T) for f in findings}
    order = np.argsort(of, kind="stable")
    groups = np.split(order, np.cumsum(frames)[:-1])
    out = []
    for k, rows in enumerate(groups):
        residual, volume = facts.residual[rows], facts.volume[rows]
        out.append(
            {
                "take": str(names[k]),
                "frames": int(frames[k]),
                "hands": int(hands[k]),
                "findings": {name: int(count[k]) for name, count in counts.items() if count[k]},
                "residual_median_mm": _quantiles(1e3 * residual)["median"],
                "volume_median_cm3": _quantiles(1e6 * volume)["median"],
            }
        )
    return out


def wrong_share(findings: Sequence[Finding]) -> float:
    """The largest share that a finding of level "wrong" has of its hands or pairs."""
    return max((f.share for f in findings if f.level == "wrong"), default=0.0)


def verdict_of(facts: Facts, findings: Sequence[Finding], fitted: bool = False) -> str:
    """One sentence or two. fitted: the skins judged are fits, no surer than their residual."""
    hands, pairs = int(facts.there.sum()), int(facts.pairs.sum())
    bad = hands - int(facts.ok.sum())
    refused = [f for f in findings if f.name not in OTHER_FINDINGS]
    if bad:
        parts = ", ".join(
            f"{f.count:,} {f.name.replace('_', ' ')}{_sides(f)}"
            for f in sorted(refused, key=lambda f: -f.count)
        )
        said = f"{bad:,} of {hands:,} hands ({_percent(bad, hands)}) fail a gate: {parts}."
    else:
        said = f"All {hands:,} hands pass every gate."
    bent = _bent_joints(facts)
    if bent and next(iter(bent)) != "unnamed":
        said += f" Most often bent past its limit: {next(iter(bent))}."
    judged = int(np.isfinite(facts.volume).sum())
    over = next((f for f in findings if f.name == OVERLAP), None)
    if not pairs:
        return said + " There are no pairs to judge."
    if not judged:
        return said + f" Of {pairs:,} pairs none could be judged for overlap."
    if over is None:
        return said + f" None of {judged:,} pairs judged overlaps."
    volume = 1e6 * float(np.median(facts.volume[over.rows]))
    deepest = 1e3 * float(np.nanmax(facts.depth))
    said += (
        f" {over.count:,} of {judged:,} pairs judged ({_percent(over.count, judged)}) overlap, "
        f"by {volume:.2g} cm³ in the median, {deepest:.1f} mm deep at most."
    )
    residual = facts.residual[np.isfinite(facts.residual)]
    noise = float(np.median(residual)) if fitted and len(residual) else 0.0
    if noise > _NOISE_M:
        sure = int((facts.depth[over.rows] > 3 * noise).sum())
        said += (
            f" The points lie {1e3 * noise:.1f} mm from the fitted hands, so a shallow overlap may "
            f"be noise: {sure:,} of them are deeper than three times that."
        )
    return said


def _sides(finding: Finding) -> str:
    """Which side, where it is one alone."""
    alone = np.unique(finding.sides)
    return f" ({SIDES[int(alone[0])]})" if len(alone) == 1 and finding.count > 1 else ""


def _percent(part: int, whole: int) -> str:
    share = 100 * part / max(whole, 1)
    return f"{share:.0f} %" if share >= 10 or share == 0 else f"{share:.2g} %"
