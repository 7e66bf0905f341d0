"""Draws of a prior, of a baseline or of the data itself, made hands and held to one judge.

Comes in: `DrawnPairs`. Goes out: `JudgedDraws`, and two groups of plain numbers: how plausible the
pairs are, and how like a reference. What `twohand evaluate` and the comparison with PCA both show.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.drawn import DrawnPairs, FittedPairs, Plausibility, fit_drawn, plausibility
from twohand500k.hand import HandPair
from twohand500k.report.diversity import FEWEST, NEIGHBOURS, likeness
from twohand500k.report.feature import hand_features, pair_features

if TYPE_CHECKING:
    from interaction_prior.data import Pairs
    from interaction_prior.prior import PairTensors

Array = np.ndarray

# A hand breaks its joints' limits where an angle lies further outside than this.
LIMIT_DEG = 1.0
# Overlaps that are counted, cm3: any that a judge tells from contact, and a gross one.
OVERLAPS_CM3 = (0.01, 1.0)
# Hands no further apart than this interact. Few overlaps alone may mean hands that never meet.
MEET_MM = 5.0


@dataclass(frozen=True, eq=False)
class JudgedDraws:
    """Drawn pairs, the hands fitted to them, what the judge says.

    features (n, 126): of those pairs whose hands are both known, as the report compares them.
    """

    drawn: DrawnPairs
    fitted: FittedPairs
    plausibility: Plausibility
    features: Array

    @property
    def placed(self) -> bool:
        """Whether the pairs know where their left hand is."""
        return self.drawn.place is not None


def drawn_of(pairs: "PairTensors", stem: str) -> DrawnPairs:
    """A prior's vectors as pairs of hands, numbered under `stem`."""
    form = pairs.representation
    names: tuple[str, ...] = ("pose", "betas") if form.name == "mano" else (form.name,)
    names += ("place",) * form.with_translation
    return DrawnPairs(
        np.array([f"{stem}/{k:06d}" for k in range(len(pairs))]),
        **{name: getattr(pairs, name).cpu().numpy() for name in names},
    )


def drawn_of_data(pairs: "Pairs", *, placed: bool) -> DrawnPairs:
    """The data itself, as if something had drawn it; placed: whether with its place."""
    place = pairs.place if placed else None
    return DrawnPairs(pairs.sample_id, place, pose=pairs.pose, betas=pairs.betas)


def judge_draws(drawn: DrawnPairs, hands: HandPair, *, workers: int = 1) -> JudgedDraws:
    """Fit, judge and describe drawn pairs."""
    fitted = fit_drawn(drawn, hands)
    judged = plausibility(drawn, fitted, hands, workers=workers)
    return JudgedDraws(drawn, fitted, judged, features_of(drawn, fitted, hands))


def features_of(drawn: DrawnPairs, fitted: FittedPairs, hands: HandPair) -> Array:
    """The report's features (n, 126) of the pairs whose hands are both known, in order.

    Without a place both wrists lie in one point: only single hands may then be compared.
    """
    known: Array = np.asarray(fitted.known.all(axis=1))
    fitted = fitted.rows(known)
    joints = np.empty((len(fitted), 2, 21, 3))
    for side in (RIGHT, LEFT):
        posed = hands[side].with_shape(fitted.betas[:, side]).with_pose(fitted.pose[:, side])
        joints[:, side] = posed.joints - posed.joints[:, :1]
    if drawn.place is not None:
        joints += fitted.wrist[:, :, None]
        joints[:, LEFT] += drawn.place[known][:, None]
    features = pair_features(joints, fitted.pose[:, RIGHT, 0])
    return features[np.isfinite(features).all(axis=1)]


def plausibility_figures(draws: JudgedDraws) -> dict[str, Any]:
    """How plausible, in degrees, mm and cm3. None: not known, for want of a place or of a hand."""
    found = draws.plausibility
    known = draws.fitted.known
    excess = np.degrees(found.limit_violation[known])
    inside = 1e6 * found.self_penetration_volume[known]
    volume = 1e6 * found.penetration_volume
    placed = np.isfinite(volume)
    volume = volume[placed]
    met = (1e3 * found.contact_distance[placed] <= MEET_MM) & (volume <= OVERLAPS_CM3[1])
    return {
        "pairs": len(found),
        "hands_not_known": int((~known).sum()),
        "limit_violation": {
            "over_1_deg": _mean(excess > LIMIT_DEG),
            "mean_deg": _mean(excess),
            "p95_deg": _quantile(excess, 0.95),
            "max_deg": _quantile(excess, 1.0),
        },
        "penetration_cm3": {
            "judged": len(volume),
            "mean": _mean(volume),
            "median": _quantile(volume, 0.5),
            "p95": _quantile(volume, 0.95),
            "over_0_01": _mean(volume > OVERLAPS_CM3[0]),
            "over_1": _mean(volume > OVERLAPS_CM3[1]),
        },
        "meet_without_overlap": _mean(met),
        "penetration_depth_mm": _mean(1e3 * found.penetration_depth),
        "apart_mm": {
            "median": _quantile(1e3 * found.contact_distance, 0.5),
            "p95": _quantile(1e3 * found.contact_distance, 0.95),
        },
        "self_penetration_cm3": {
            "mean": _mean(inside),
            "over_0_01": _mean(inside > OVERLAPS_CM3[0]),
        },
        "fit_residual_mm": {
            "mean": _mean(1e3 * found.residual[known]),
            "p95": _quantile(1e3 * found.residual[known], 0.95),
            "not_converged": int((~draws.fitted.converged).sum()),
        },
    }


def likeness_figures(
    features: Array, reference: Array, n: int, *, placed: bool, seed: int
) -> dict[str, Any]:
    """How like n pairs are to n of a reference: of pairs, and of single hands (report.diversity).

    All these numbers change with n, so whatever stands in one table is given the same. Pairs whose
    place is not known are compared hand by hand alone; None, and why, where there are too few.
    """
    told: dict[str, Any] = {"n": n, "k": NEIGHBOURS, "pairs": None, "hands": None, "reason": None}
    n_there = min(len(features), len(reference))
    if n < FEWEST or n_there < n:
        return told | {"reason": f"{min(n, n_there)} pairs a side, {max(n, FEWEST)} are needed"}
    rng = np.random.default_rng(seed)
    a, b = (f[rng.permutation(len(f))[:n]] for f in (features, reference))
    if placed:
        told["pairs"] = likeness(a, b).to_json()
    else:
        told["reason"] = "the left hand's place is not known: single hands are compared"
    x, y = (hand_features(f)[np.arange(n), rng.integers(2, size=n)] for f in (a, b))
    return told | {"hands": likeness(x, y).to_json()}


def _mean(values: Array) -> float | None:
    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None


def _quantile(values: Array, q: float) -> float | None:
    values = values[np.isfinite(values)]
    return float(np.quantile(values, q)) if len(values) else None
