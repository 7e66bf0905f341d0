"""A verdict on every hand: is it what it is said to be, and if not, what is wrong with it?

In: the points of N hands of one side and their fit. Out: `Verdicts`, a reason code and a line of
detail per hand, and for a whole take a `SideVote`. The thresholds are in `Thresholds`, each with
its unit; docs/verdicts.md says what they were measured on.

Three questions, cheapest first.
1. Distances within rigid bodies (`hypotheses`): unit and joint order. No fit, no pose, no shape
   that a calibration could have bent to the fault: they are compared with the template hand.
2. The fit as it is: a hand whose residual is noise, whose limits hold and which is visibly bent the
   way only its own side bends is `ok`, and nothing more is computed. That is nearly every hand.
3. For the others, rival explanations are solved and compared by their cost (half the sum of squares
   in sigmas, so a difference of 10 is odds of e^10): the same points in the mirror; the points with
   the limits let go; the joints in another order. The explanation that fits far better names the
   reason.

A verdict depends on the hand's own points, the shape and the noise level alone, never on which
other hands were judged with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Literal

import numpy as np

from twohand500k.conventions import (
    FINGERS,
    JOINT_NAMES,
    MANO_JOINT_NAMES,
    SIDES,
    Side,
)
from twohand500k.errors import DataError
from twohand500k.hand.anatomy import ANGLE_NAMES, FLEXION, Anatomy
from twohand500k.hand.model import HandModel, ShapedHand
from twohand500k.hand.rotations import mirror_points
from twohand500k.ik.attachments import Attachments
from twohand500k.ik.hypotheses import DistanceCheck, JointOrder, nearest_unit, shape_from_distances
from twohand500k.ik.solver import Settings, Solution, solve
from twohand500k.sources.take import Take

Array = np.ndarray

_PALM = (0, 1, 5, 9, 13, 17)  # the joints that do not move against each other


class Reason(StrEnum):
    """Why a hand is kept or refused. The values are what rejects.jsonl holds."""

    OK = "ok"
    NOT_FINITE = "not_finite"
    TOO_FEW_JOINTS = "too_few_joints"
    WRONG_UNITS = "wrong_units"
    TIP_TO_BASE = "tip_to_base"
    JOINT_ORDER = "joint_order"
    MIRRORED = "mirrored"
    BENT_BACKWARDS = "bent_backwards"
    RESIDUAL_TOO_LARGE = "residual_too_large"
    UNREADABLE = "unreadable"
    ANNOTATION_DISAGREES = "annotation_disagrees"


@dataclass(frozen=True)
class Thresholds:
    """Where the lines are drawn. `sigma` is the calibrated noise of one coordinate of a point."""

    # sigma is held to this range, m. Below, the model's own error is larger than the noise; above,
    # a bad calibration would excuse any residual.
    sigma_least: float = 0.5e-3
    sigma_most: float = 4e-3
    # The least sigma of a side vote, m: the shape it uses is good to about a millimetre.
    sigma_vote: float = 1e-3
    # Size relative to the template hand. Human hands lie within 0.75..1.25; the nearest unit
    # mix-up (inches and cm) is a factor 2.54.
    scale_least: float = 0.5
    scale_most: float = 2.0
    # Points within so little of each other, m, are one place seen many times and no hand in any
    # unit: a hand whose kilometres were read as metres is 0.2 mm long.
    extent_least: float = 1e-6
    # Root mean square disagreement of distances, m, from which another joint order is considered,
    # and the share of it that the other order must get below.
    order_misfit: float = 8e-3
    order_gain: float = 0.5
    # Palm landmarks (wrist and finger bases) needed.
    palm_points: int = 3
    # Residual over all landmarks (root mean square distance) and of the worst one, sigmas.
    residual: float = 3.5
    worst_residual: float = 8.0
    # Beyond either, the hand is fitted again without limits: root mean square residual, sigmas,
    # and excess over a limit, rad.
    suspect_residual: float = 1.6
    suspect_excess: float = float(np.radians(1.5))
    # Excess, rad, from which the other side is tried too.
    suspect_bend: float = float(np.radians(8))
    # A hand is visibly bent if its mirror image would break a flexion limit by this, rad.
    visible_bend: float = float(np.radians(25))
    # Difference of costs (log odds) that decides between two explanations.
    margin: float = 10.0
    # A joint this far past its limit, rad, is bent backwards, whatever the noise: so the line is
    # drawn below it, by so many standard deviations of the angle and by no less than that, rad, ...
    bent: float = float(np.radians(45))
    bent_slack: float = 4.0
    bent_slack_least: float = float(np.radians(10))
    # ... and never so low that noise alone gets there: so many standard deviations past the limit.
    bent_noise: float = 3.2


@dataclass(frozen=True, eq=False)
class Verdicts:
    """N verdicts.

    reason (N,) of `Reason` values; detail (N,) one line for a reject, "" otherwise.
    excess (N,) rad: the largest excess over a joint limit that the points ask for, NaN without a
    fit. A fit is held back by its limits; where they were seen to pull, this is the excess with
    the limits let go. (`quality/limit_violation` of a shard is that of the pose it stores.)
    ambiguous (N,): right and left explain the points about equally well (not a reject).
    side_margin (N,): cost of the mirrored explanation minus that of the given one, positive where
    the given side is right, NaN where it was plain without asking.
    """

    reason: Array
    detail: tuple[str, ...]
    excess: Array
    ambiguous: Array
    side_margin: Array

    @property
    def ok(self) -> Array:
        """(N,) bool."""
        return self.reason == Reason.OK.value


@dataclass(frozen=True)
class SideVote:
    """What the hands of a take say about their declared side, one vote each.

    reordered: hands that fit neither side but one with its joints in another order, `order`, as a
    hand does whose fingers are counted from the other side.
    """

    side: Side
    declared: int
    mirrored: int
    undecided: int
    reordered: int = 0
    order: str = ""

    @property
    def decision(self) -> Literal["declared", "mirrored", "undecided"]:
        """The majority of those that can tell."""
        if self.declared == self.mirrored:
            return "undecided"
        return "declared" if self.declared > self.mirrored else "mirrored"

    def require_declared(self, take: str) -> None:
        """Raise DataError if the take's hands are mostly of the other side, or in another order."""
        total = self.declared + self.mirrored + self.reordered
        if self.reordered > max(self.declared, self.mirrored):
            raise DataError(
                f"take {take}: {self.reordered} of {total} {self.side} hands fit only with "
                f"{self.order}; correct the order of the joints in the joint map"
            )
        if self.decision != "mirrored":
            return
        other = SIDES[1 - SIDES.index(self.side)]
        raise DataError(
            f"take {take}: {self.mirrored} of {total} hands declared {self.side} fit only a "
            f"{other} hand ({self.undecided} could be either); if both sides are affected, swap "
            'right and left in the joint map, or say coordinates = "left-handed" there; if the '
            f"file holds one hand, rename it or give a map that says {other}"
        )


class _Ledger:
    """Reasons and details while they are being found; the first refusal stands."""

    def __init__(self, count: int) -> None:
        self.reason = np.full(count, Reason.OK.value, dtype="U20")
        self.detail = [""] * count

    @property
    def open(self) -> Array:
        """Hands not refused so far (N,) bool."""
        return self.reason == Reason.OK.value

    def refuse(self, hand: int | np.integer, why: Reason, said: str) -> None:
        if self.reason[hand] == Reason.OK:
            self.reason[hand], self.detail[int(hand)] = why.value, said


def screen(
    points: Array,
    joints: Sequence[int] | Array,
    model: HandModel,
    thresholds: Thresholds | None = None,
) -> tuple[Array, tuple[str, ...]]:
    """What needs no fit: reasons (N,) and details of points (N, K, 3) in metres.

    joints (K,): the joint each landmark stands for. Finds not_finite, too_few_joints, wrong_units,
    tip_to_base and joint_order; every other hand is `ok` so far. Run it before the calibration and
    leave what it refuses out of both calibration and solver.
    """
    limits = thresholds or Thresholds()
    points = np.asarray(points, dtype=np.float64)
    check = DistanceCheck.of(model, joints)
    ledger = _Ledger(len(points))
    seen = np.isfinite(points).all(axis=-1)
    broken = np.isinf(points).any(axis=-1) | (np.isnan(points).any(-1) & ~np.isnan(points).all(-1))
    for hand in np.flatnonzero(broken.any(axis=1)):
        said = f"{_names(joints, broken[hand])}: not a finite point"
        ledger.refuse(hand, Reason.NOT_FINITE, said)
    for row, said in _too_few(seen, np.asarray(joints), limits):
        ledger.refuse(row, Reason.TOO_FEW_JOINTS, said)
    for hand in np.flatnonzero(_extent(points) < limits.extent_least):
        ledger.refuse(hand, Reason.TOO_FEW_JOINTS, "all points in one place")

    open_ = np.flatnonzero(ledger.open)
    scale, misfit = check.scale(points[open_]), check.misfit(points[open_])
    with np.errstate(invalid="ignore"):
        odd = (scale < limits.scale_least) | (scale > limits.scale_most)
        # A wrong order upsets the scale, but never by as much as this.
        doubtful = (misfit > limits.order_misfit) & (scale > 0.2) & (scale < 5.0)
    best = np.full(len(open_), np.inf)
    order_of = np.zeros(len(open_), dtype=np.int64)
    if doubtful.any() and check.alternatives:
        other = check.misfit(points[open_[doubtful]], check.alternatives)
        other = np.where(np.isfinite(other), other, np.inf)
        best[doubtful], order_of[doubtful] = other.min(axis=1), other.argmin(axis=1)
    for found in np.flatnonzero(best < limits.order_gain * misfit):
        order = check.alternatives[order_of[found]]
        ledger.refuse(
            open_[found],
            Reason.TIP_TO_BASE if order.reverses_fingers else Reason.JOINT_ORDER,
            f"bone lengths fit {order.name} ({best[found] * 1e3:.1f} mm) and not the given order "
            f"({misfit[found] * 1e3:.1f} mm)",
        )
    for hand, factor in zip(open_[odd], scale[odd], strict=True):
        said = f"{factor:.4g} times the size of a hand: {nearest_unit(factor)}?"
        ledger.refuse(hand, Reason.WRONG_UNITS, said)
    return ledger.reason, tuple(ledger.detail)


def judge(
    points: Array,
    solution: Solution,
    shaped: ShapedHand,
    attachments: Attachments | None = None,
    settings: Settings | None = None,
    *,
    thresholds: Thresholds | None = None,
    threads: int | None = None,
) -> Verdicts:
    """Judge N hands of one side by their points (N, K, 3) and their fit.

    shaped: the calibrated hand of the declared side; attachments and settings as given to `solve`
    (`settings.sigma_point` is the calibrated noise). The rival explanations are solved without any
    temporal target, so a smoothed `solution` is judged by the points of its own frame.
    """
    limits = thresholds or Thresholds()
    attachments = attachments or Attachments.of_joints()
    points = np.asarray(points, dtype=np.float64)
    sigma = (settings or Settings()).sigma_point
    sigma = min(max(sigma, limits.sigma_least), limits.sigma_most)
    judging = replace(settings or Settings(), sigma_point=sigma)

    ledger = _Ledger(len(points))
    reason, detail = screen(points, attachments.joint, shaped.model, limits)
    ledger.reason, ledger.detail = reason, list(detail)
    for hand in np.flatnonzero(solution.too_few_points):
        ledger.refuse(hand, Reason.TOO_FEW_JOINTS, "fewer than three points, or all on a line")
    for hand in np.flatnonzero(np.logical_not(np.isfinite(solution.pose).all(axis=(1, 2)))):
        ledger.refuse(hand, Reason.NOT_FINITE, "the fitted pose is not finite")

    excess = np.nan_to_num(solution.limit_excess).max(axis=(1, 2), initial=0.0)
    excess = np.where(solution.solved, excess, np.nan)
    rms, worst = _residual_in_sigmas(solution, attachments, sigma)
    with np.errstate(invalid="ignore"):
        poor = (rms > limits.suspect_residual) | (worst > limits.worst_residual)
        bends = poor | (excess > limits.suspect_excess)
        other_side = poor | (excess > limits.suspect_bend)
    other_side |= np.logical_not(_visibly_bent(solution.angles, Anatomy.of(shaped.model), limits))

    hands = _Hands(points, shaped, attachments, judging, limits, threads)
    free = hands.without_limits(np.flatnonzero(bends & ledger.open))
    excess[free.rows] = free.excess
    sides = hands.both_sides(np.flatnonzero(other_side & ledger.open), free)
    margin = np.full(len(points), np.nan)
    margin[sides.rows] = sides.margin
    ambiguous = np.zeros(len(points), dtype=bool)
    ambiguous[sides.rows] = sides.ambiguous

    # Plausible so far: noise explains what the fit left over, and no joint is bent backwards.
    fits = np.logical_not(poor)
    fits[sides.rows] = sides.given.fits
    bent = np.zeros(len(points), dtype=bool)
    bent[free.rows] = free.bent
    for k in np.flatnonzero(sides.mirror.fits):
        row = sides.rows[k]
        # A hand that is refused either way goes to the likelier reason.
        if -sides.margin[k] > (limits.margin if fits[row] and not bent[row] else 0.0):
            mirror, given = (1e3 * sigma * fit.rms[k] for fit in (sides.mirror, sides.given))
            ledger.refuse(
                row,
                Reason.MIRRORED,
                f"fits a hand of the other side: {mirror:.1f} mm against {given:.1f} mm "
                f"(log odds {-sides.margin[k]:.0f})",
            )
    for k in np.flatnonzero(free.bent & free.fits):
        ledger.refuse(free.rows[k], Reason.BENT_BACKWARDS, free.describe(k))
    # A bend too slight to name, or one that explains nothing, does not excuse the residual.
    left = np.flatnonzero(np.logical_not(fits & ~bent) & ledger.open)
    for row, order, lead in hands.other_orders(left):
        why = Reason.TIP_TO_BASE if order.reverses_fingers else Reason.JOINT_ORDER
        ledger.refuse(row, why, f"fits {order.name} (log odds {lead:.0f})")
    for row in left:
        far = np.nanargmax(solution.residual[row])
        ledger.refuse(
            row,
            Reason.RESIDUAL_TOO_LARGE,
            f"{1e3 * sigma * rms[row]:.1f} mm over all points, worst "
            f"{JOINT_NAMES[attachments.joint[far]]} {1e3 * solution.residual[row, far]:.1f} mm",
        )
    return Verdicts(ledger.reason, tuple(ledger.detail), excess, ambiguous, margin)


def describe_excess(excess: Array, angles: Array) -> str:
    """The largest excess (15, 3) over a joint limit in words; angles (15, 3) rad say which way."""
    joint, angle = np.unravel_index(excess.argmax(), excess.shape)
    degrees = np.degrees(excess[joint, angle])
    way = ""
    if angle == FLEXION:
        way = " (too far inwards)" if angles[joint, angle] > 0 else " (backwards)"
    return (
        f"{MANO_JOINT_NAMES[joint + 1]} {ANGLE_NAMES[angle]} {degrees:.0f} deg past its limit{way}"
    )


def vote_on_side(
    take: Take,
    side: int,
    model: HandModel,
    *,
    frames: int = 200,
    thresholds: Thresholds | None = None,
    threads: int | None = None,
) -> SideVote:
    """Do the hands that a take declares to be of `side` (0 right, 1 left) belong to it?

    Asked before calibration: at most `frames` hands, evenly spaced over those that pass `screen`,
    are fitted to `model` (of that side) as they are and in the mirror, both with the one shape that
    distances give (`shape_from_distances`), which does not know right from left. The noise level is
    taken from the better of the two fits. Skin markers are taken for the joints they sit at: enough
    for this question.
    """
    limits = thresholds or Thresholds()
    marks = take.landmarks
    attachments = replace(
        Attachments.of_joints([mark.joint for mark in marks]),
        carrier=np.array([mark.carrier for mark in marks]),
        weight=np.array([mark.weight for mark in marks]),
    )
    points = take.points[:, side]
    reason, _ = screen(points, attachments.joint, model, limits)
    good = np.flatnonzero(reason == Reason.OK.value)
    good = good[np.unique(np.linspace(0, len(good) - 1, min(frames, len(good))).astype(int))]
    if not len(good):
        return SideVote(model.side, 0, 0, 0)
    betas = shape_from_distances(points[good], attachments.joint, model)
    hands = _Hands(points, model.with_shape(betas), attachments, Settings(), limits, threads)

    def both(sigma: float) -> tuple[Solution, Solution]:
        settings = Settings(sigma_point=sigma)
        return hands.solve(good, settings), hands.solve(good, settings, mirrored=True)

    first = [_residual_in_sigmas(s, attachments, 1.0)[0] for s in both(limits.sigma_most)]
    # A coordinate's share of the distance, were there no unknowns: an upper bound of the noise.
    sigma = float(np.median(np.minimum(*first))) / np.sqrt(3.0)
    sigma = min(max(sigma, limits.sigma_vote), limits.sigma_most)
    given, mirror = both(sigma)
    margin = mirror.cost - given.cost
    declared = margin > limits.margin
    mirrored = margin < -limits.margin
    # Fingers counted from the other side look like a mirrored hand, but not as much as like one in
    # the right order.
    hands = replace(hands, settings=Settings(sigma_point=sigma))
    lead = dict(zip(good.tolist(), -margin, strict=True))
    orders = [
        order.name
        for row, order, gain in hands.other_orders(good[mirrored])
        if gain > lead[row] + limits.margin
    ]
    return SideVote(
        model.side,
        declared=int(declared.sum()),
        mirrored=int(mirrored.sum()) - len(orders),
        undecided=int(np.logical_not(declared | mirrored).sum()),
        reordered=len(orders),
        order=max(sorted(set(orders)), key=orders.count, default=""),
    )


@dataclass(frozen=True, eq=False)
class _Fit:
    """One explanation of M hands: cost, residual in sigmas, and whether noise explains it."""

    solution: Solution
    cost: Array
    rms: Array
    fits: Array

    @staticmethod
    def of(
        solution: Solution, attachments: Attachments, sigma: float, limits: Thresholds
    ) -> "_Fit":
        rms, worst = _residual_in_sigmas(solution, attachments, sigma)
        fits = (rms <= limits.residual) & (worst <= limits.worst_residual)
        return _Fit(solution, solution.cost, rms, fits)


@dataclass(frozen=True, eq=False)
class _Free(_Fit):
    """Hands fitted with the limits let go. rows (M,): which hands; bent_at (M, 15, 3) rad: the
    excess from which each angle counts as bent."""

    rows: Array
    bent_at: Array

    @property
    def excess(self) -> Array:
        """Largest excess over a limit (M,), rad."""
        return self.solution.limit_excess.max(axis=(1, 2), initial=0.0)

    @property
    def bent(self) -> Array:
        return self.n_bent > 0

    @property
    def n_bent(self) -> Array:
        """Angles of each hand past the line (M,)."""
        return (self.solution.limit_excess >= self.bent_at).sum(axis=(1, 2))

    def describe(self, k: int | np.integer) -> str:
        excess = self.solution.limit_excess[k]
        past = np.where(excess >= self.bent_at[k], excess, 0.0)
        return describe_excess(past, self.solution.angles[k])


@dataclass(frozen=True, eq=False)
class _Sides:
    """Hands fitted as given and in the mirror. rows (M,): which hands.

    margin (M,): cost of the mirrored explanation minus that of the given one.
    """

    rows: Array
    given: _Fit
    mirror: _Fit
    margin: Array
    ambiguous: Array


@dataclass(frozen=True, eq=False)
class _Hands:
    """The hands under judgement, to be solved again under other hypotheses."""

    points: Array
    shaped: ShapedHand
    attachments: Attachments
    settings: Settings
    limits: Thresholds
    threads: int | None

    def solve(self, rows: Array, settings: Settings, mirrored: bool = False) -> Solution:
        points = self.points[rows]
        return solve(
            mirror_points(points) if mirrored else points,
            _rows(self.shaped, rows),
            self.attachments,
            settings,
            threads=self.threads,
        )

    def fit(self, solution: Solution) -> _Fit:
        return _Fit.of(solution, self.attachments, self.settings.sigma_point, self.limits)

    def without_limits(self, rows: Array) -> _Free:
        """What the points alone say of the angles: limits and prior four times as wide."""
        wide = replace(self.settings, sigma_limit=4 * self.settings.sigma_limit, prior_scale=4.0)
        fit = self.fit(self.solve(rows, wide))
        sigma = fit.solution.angle_sigma
        limits = self.limits
        slack = np.maximum(limits.bent_slack * sigma, limits.bent_slack_least)
        bent_at = np.maximum(limits.bent - slack, limits.bent_noise * sigma)
        return _Free(**vars(fit), rows=rows, bent_at=bent_at)

    def both_sides(self, rows: Array, free: _Free) -> _Sides:
        """Right against left."""
        given = self.fit(self.solve(rows, self.settings))
        # The mirror image of a good hand fits badly: looking for better starts would be wasted,
        # and none of 20,000 mirrored hands needed one.
        once = replace(self.settings, restart=np.inf, max_iterations=25)
        mirror = self.fit(self.solve(rows, once, mirrored=True))
        again = np.logical_not(given.fits | mirror.fits)
        if again.any():
            better = self.solve(rows[again], self.settings, mirrored=True)
            mirror = self.fit(_replaced(mirror.solution, again, better))
        # The given side may also have bent joints, at a price each.
        cost = given.cost.copy()
        bent_cost = np.full(len(self.points), np.inf)
        bent_cost[free.rows] = np.where(
            free.n_bent > 0, free.cost + self.limits.margin * free.n_bent, np.inf
        )
        explained = np.zeros(len(self.points), dtype=bool)
        explained[free.rows] = free.bent & free.fits
        cost = np.minimum(cost, bent_cost[rows])
        margin = mirror.cost - cost
        close = np.abs(margin) < self.limits.margin
        ambiguous = close & mirror.fits & (given.fits | explained[rows])
        return _Sides(rows, given, mirror, margin, ambiguous)

    def other_orders(self, rows: Array) -> list[tuple[int, JointOrder, float]]:
        """Hands (of `rows`) that fit when their joints are read in another order, and by how much.

        `screen` has found the orders that distances alone settle. Left are those that keep the
        distances nearly as they are, as the fingers counted from the other side do: of each hand
        the two that fit its distances best, if they do so about as well as the given order.
        """
        check = DistanceCheck.of(self.shaped.model, self.attachments.joint)
        if not len(rows) or not check.alternatives:
            return []
        misfit = check.misfit(self.points[rows], check.alternatives)
        misfit = np.where(misfit < 1.2 * check.misfit(self.points[rows])[:, None], misfit, np.inf)
        given = self.solve(rows, self.settings).cost
        best: dict[int, tuple[JointOrder, float]] = {}
        for rank in range(min(2, misfit.shape[1])):
            choice = np.argsort(misfit, axis=1)[:, rank]
            usable = np.isfinite(misfit[np.arange(len(rows)), choice])
            for number in np.unique(choice[usable]):
                order, some = check.alternatives[number], usable & (choice == number)
                read = replace(Attachments.of_joints(order.joints), weight=self.attachments.weight)
                fit = replace(self, attachments=read)
                tried = fit.fit(fit.solve(rows[some], self.settings))
                lead = given[some] - tried.cost
                for k in np.flatnonzero(tried.fits & (lead > self.limits.margin)):
                    row = int(rows[some][k])
                    if row not in best or lead[k] > best[row][1]:
                        best[row] = (order, float(lead[k]))
        return [(row, order, lead) for row, (order, lead) in best.items()]


def _replaced(solution: Solution, which: Array, by: Solution) -> Solution:
    """A solution with some of its hands (M,) bool taken from another."""
    arrays = {}
    for field in fields(Solution):
        array = getattr(solution, field.name).copy()
        array[which] = getattr(by, field.name)
        arrays[field.name] = array
    return Solution(**arrays)


def _residual_in_sigmas(
    solution: Solution, attachments: Attachments, sigma: float
) -> tuple[Array, Array]:
    """Root mean square and largest distance of every hand (N,), each point in its own sigma."""
    scaled = solution.residual * attachments.weight / sigma
    seen = np.isfinite(scaled)
    square = np.where(seen, scaled, 0.0) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        rms = np.sqrt(square.sum(axis=1) / seen.sum(axis=1))
    return rms, np.sqrt(square.max(axis=1, initial=0.0))


def _visibly_bent(angles: Array, anatomy: Anatomy, limits: Thresholds) -> Array:
    """Would the mirror image, every flexion turned round, break a limit plainly? (N,) bool."""
    beyond = -anatomy.limits[:, FLEXION, 0]  # what the joint can extend to
    turned = np.nan_to_num(angles[..., FLEXION] - beyond, nan=-np.inf)
    return turned.max(axis=1) > limits.visible_bend


def _too_few(seen: Array, joints: Array, limits: Thresholds) -> list[tuple[int, str]]:
    """Hands whose palm or one of whose fingers nothing is known of, with what is missing."""
    out = []
    palm = np.isin(joints, _PALM)
    few = seen[:, palm].sum(axis=1) < min(limits.palm_points, max(int(palm.sum()), 1))
    few |= seen.sum(axis=1) < limits.palm_points
    for hand in np.flatnonzero(few):
        out.append((int(hand), f"{seen[hand, palm].sum()} of {palm.sum()} points of the palm seen"))
    for finger, name in enumerate(FINGERS):
        beyond = (joints > 4 * finger + 1) & (joints <= 4 * finger + 4)
        if beyond.any():
            for hand in np.flatnonzero(~seen[:, beyond].any(axis=1)):
                out.append((int(hand), f"no point of the {name} beyond its base seen"))
    return out


def _extent(points: Array) -> Array:
    """Largest extent of the points seen along an axis (N,), m; 0 where there are none."""
    seen = np.isfinite(points)
    high = np.where(seen, points, -np.inf).max(axis=1, initial=-np.inf)
    low = np.where(seen, points, np.inf).min(axis=1, initial=np.inf)
    return np.where(high > low, high - low, 0.0).max(axis=1, where=high > low, initial=0.0)


def _rows(shaped: ShapedHand, which: Array) -> ShapedHand:
    """The shape of some of the hands, where each has its own."""
    return shaped if shaped.betas.ndim == 1 else ShapedHand(shaped.model, shaped.betas[which])


def _names(joints: Sequence[int] | Array, which: Array) -> str:
    return ", ".join(JOINT_NAMES[j] for j in np.asarray(joints)[which])
