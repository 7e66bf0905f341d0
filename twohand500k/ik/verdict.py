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
from dataclasses import dataclass, replace
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
from twohand500k.ik.hypotheses import DistanceCheck, nearest_unit, shape_from_distances
from twohand500k.ik.solver import Attachments, Settings, Solution, solve

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


@dataclass(frozen=True)
class Thresholds:
    """Where the lines are drawn. `sigma` is the calibrated noise of one coordinate of a point."""

    # sigma is held to this range, m. Below, the model's own error is larger than the noise; above,
    # a bad calibration would excuse any residual.
    sigma_least: float = 0.5e-3
    sigma_most: float = 4e-3
    # Size relative to the template hand. Human hands lie within 0.75..1.25; the nearest unit
    # mix-up (inches and cm) is a factor 2.54.
    scale_least: float = 0.5
    scale_most: float = 2.0
    # Root mean square disagreement of distances, m, from which another joint order is considered,
    # and the share of it that the other order must get below.
    order_misfit: float = 8e-3
    order_gain: float = 0.5
    # Palm landmarks (wrist and finger bases) needed.
    palm_points: int = 3
    # Residual over all landmarks (root mean square distance) and of the worst one, sigmas.
    residual: float = 3.5
    worst_residual: float = 8.0
    # Beyond either, the rival explanations are solved: root mean square residual, sigmas, and
    # excess over a limit, rad.
    suspect_residual: float = 1.6
    suspect_excess: float = float(np.radians(1.5))
    # A hand is visibly bent if its mirror image would break a flexion limit by this, rad.
    visible_bend: float = float(np.radians(25))
    # Difference of costs (log odds) that decides between two explanations.
    margin: float = 10.0
    # A joint this far past its limit, rad, is bent backwards ...
    bent: float = float(np.radians(45))
    # ... less so many standard deviations of the angle, so that noise does not hide it, but never
    # less than so many above the limit, so that noise alone does not get there.
    bent_slack: float = 4.0
    bent_noise: float = 3.2


@dataclass(frozen=True, eq=False)
class Verdicts:
    """N verdicts.

    reason (N,) of `Reason` values; detail (N,) one line for a reject, "" otherwise.
    limit_violation (N,) rad: the largest excess over a joint limit that the points ask for,
    NaN without a fit. Where the limits held the fit back, it is the excess with the limits let go.
    ambiguous (N,): right and left explain the points about equally well (not a reject).
    side_margin (N,): cost of the mirrored explanation minus that of the given one, positive where
    the given side is right, NaN where it was plain without asking.
    """

    reason: Array
    detail: tuple[str, ...]
    limit_violation: Array
    ambiguous: Array
    side_margin: Array

    @property
    def ok(self) -> Array:
        """(N,) bool."""
        return self.reason == Reason.OK.value


@dataclass(frozen=True)
class SideVote:
    """What the hands of a take say about their declared side, one vote each."""

    side: Side
    declared: int
    mirrored: int
    undecided: int

    @property
    def decision(self) -> Literal["declared", "mirrored", "undecided"]:
        """The majority of those that can tell."""
        if self.declared == self.mirrored:
            return "undecided"
        return "declared" if self.declared > self.mirrored else "mirrored"

    def require_declared(self, take: str) -> None:
        """Raise DataError if the take's hands are mostly of the other side."""
        if self.decision != "mirrored":
            return
        other = SIDES[1 - SIDES.index(self.side)]
        total = self.declared + self.mirrored
        raise DataError(
            f"take {take}: {self.mirrored} of {total} hands declared {self.side} fit only a "
            f"{other} hand ({self.undecided} could be either); if both sides are affected, swap "
            "right and left in the joint map, or mirror one axis of left-handed coordinates; if "
            f"the file holds one hand, read it with --side {other}"
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
    excess = solution.limit_excess.reshape(len(points), -1)
    violation = np.where(solution.solved, np.nan_to_num(excess).max(axis=1, initial=0.0), np.nan)
    ambiguous = np.zeros(len(points), dtype=bool)
    margin = np.full(len(points), np.nan)

    for hand in np.flatnonzero(np.logical_not(solution.solved)):
        ledger.refuse(hand, Reason.TOO_FEW_JOINTS, "fewer than three points, or all on a line")
    for hand in np.flatnonzero(np.logical_not(np.isfinite(solution.pose).all(axis=(1, 2)))):
        ledger.refuse(hand, Reason.NOT_FINITE, "the fitted pose is not finite")

    open_ = ledger.open
    rms, worst = _residual_in_sigmas(solution, attachments, sigma)
    with np.errstate(invalid="ignore"):
        odd = (rms > limits.suspect_residual) | (worst > limits.worst_residual)
    odd = (odd | (violation > limits.suspect_excess)) & open_
    flat = open_ & ~odd & ~_visibly_bent(solution.angles, Anatomy.of(shaped.model), limits)

    hands = np.flatnonzero(flat)
    if len(hands):
        # The given side fits. Does the other one, about as well?
        some = _Subset(points[hands], _rows(shaped, hands), attachments, threads)
        own = some.solve(judging)
        other = some.mirrored().solve(replace(judging, restart=np.inf))
        margin[hands] = other.cost - own.cost
        ambiguous[hands] = margin[hands] < limits.margin

    hands = np.flatnonzero(odd)
    if len(hands):
        some = _Subset(points[hands], _rows(shaped, hands), attachments, threads)
        rivals = _Rivals.of(some, judging, limits)
        margin[hands] = rivals.side_margin
        violation[hands] = rivals.violation
        for k, hand in enumerate(hands):
            ambiguous[hand] = rivals.ambiguous(k)
            found = rivals.reason(k)
            if found is not None:
                ledger.refuse(hand, *found)
    return Verdicts(ledger.reason, tuple(ledger.detail), violation, ambiguous, margin)


def vote_on_side(
    points: Array,
    model: HandModel,
    attachments: Attachments | None = None,
    *,
    sigma: float = 3e-3,
    frames: int = 200,
    thresholds: Thresholds | None = None,
    threads: int | None = None,
) -> SideVote:
    """Do the hands of a take (N, K, 3) belong to the side of `model`? Asked before calibration.

    At most `frames` hands, evenly spaced over those that pass `screen`, are fitted as they are and
    in the mirror, both with the one shape that distances give (`shape_from_distances`), which does
    not know right from left. `sigma` (m) covers noise and what that shape leaves over.
    """
    limits = thresholds or Thresholds()
    attachments = attachments or Attachments.of_joints()
    reason, _ = screen(points, attachments.joint, model, limits)
    good = np.flatnonzero(reason == Reason.OK.value)
    good = good[np.unique(np.linspace(0, len(good) - 1, min(frames, len(good))).astype(int))]
    betas = shape_from_distances(points[good], attachments.joint, model)
    some = _Subset(points[good], model.with_shape(betas), attachments, threads)
    settings = Settings(sigma_point=sigma)
    margin = some.mirrored().solve(settings).cost - some.solve(settings).cost
    declared, mirrored = int((margin > limits.margin).sum()), int((margin < -limits.margin).sum())
    return SideVote(model.side, declared, mirrored, len(good) - declared - mirrored)


@dataclass(frozen=True, eq=False)
class _Subset:
    """Hands to solve again under another hypothesis."""

    points: Array
    shaped: ShapedHand
    attachments: Attachments
    threads: int | None

    def solve(self, settings: Settings) -> Solution:
        return solve(self.points, self.shaped, self.attachments, settings, threads=self.threads)

    def mirrored(self) -> "_Subset":
        return replace(self, points=mirror_points(self.points))

    def rows(self, which: Array) -> "_Subset":
        return replace(self, points=self.points[which], shaped=_rows(self.shaped, which))


@dataclass(frozen=True, eq=False)
class _Rivals:
    """Explanations of the same hands: as given, as given without limits, in the mirror."""

    given: Solution
    free: Solution
    mirror: Solution
    rms: dict[str, Array]  # of each, sigmas
    worst: dict[str, Array]
    bent_at: Array  # (M,) rad: the excess at which each hand's worst joint counts as bent
    some: _Subset
    settings: Settings
    limits: Thresholds

    @staticmethod
    def of(some: _Subset, settings: Settings, limits: Thresholds) -> "_Rivals":
        wide = replace(
            settings,
            sigma_limit=np.radians(12),
            limit_knee=np.radians(3),
            prior_scale=4.0,
        )
        solved = {
            "given": some.solve(settings),
            "free": some.solve(wide),
            "mirror": some.mirrored().solve(settings),
        }
        residual = {
            name: _residual_in_sigmas(s, some.attachments, settings.sigma_point)
            for name, s in solved.items()
        }
        free = solved["free"]
        count = len(some.points)
        worst_joint = free.limit_excess.reshape(count, -1).argmax(axis=1)
        angle_sigma = free.angle_sigma.reshape(count, -1)[np.arange(count), worst_joint]
        return _Rivals(
            given=solved["given"],
            free=free,
            mirror=solved["mirror"],
            rms={name: r[0] for name, r in residual.items()},
            worst={name: r[1] for name, r in residual.items()},
            bent_at=np.maximum(
                limits.bent - limits.bent_slack * angle_sigma, limits.bent_noise * angle_sigma
            ),
            some=some,
            settings=settings,
            limits=limits,
        )

    @property
    def violation(self) -> Array:
        """Largest excess over a limit, with the limits let go, rad."""
        return self.free.limit_excess.reshape(len(self.bent_at), -1).max(axis=1)

    @property
    def bent(self) -> Array:
        return self.violation >= self.bent_at

    @property
    def given_cost(self) -> Array:
        """Cost of the given side: within soft limits, or with bent joints at a price each."""
        beyond = (self.free.limit_excess > self.bent_at[:, None, None]).sum(axis=(1, 2))
        with_bends = self.free.cost + self.limits.margin * beyond
        return np.where(beyond > 0, np.minimum(self.given.cost, with_bends), self.given.cost)

    @property
    def side_margin(self) -> Array:
        return self.mirror.cost - self.given_cost

    def plausible(self, name: str, k: int) -> bool:
        """Noise explains what this fit leaves over."""
        residual, worst = self.rms[name][k], self.worst[name][k]
        return bool(residual <= self.limits.residual and worst <= self.limits.worst_residual)

    def ambiguous(self, k: int) -> bool:
        return bool(
            abs(self.side_margin[k]) < self.limits.margin
            and self.plausible("mirror", k)
            and (self.plausible("given", k) or self.plausible("free", k))
        )

    def reason(self, k: int) -> tuple[Reason, str] | None:
        """What is wrong with hand k; None if nothing is."""
        lead = -self.side_margin[k]
        given_fits = self.plausible("given", k) and not self.bent[k]
        mirror_fits = self.plausible("mirror", k)
        # A hand that is refused either way goes to the likelier reason.
        if mirror_fits and lead > (self.limits.margin if given_fits else 0.0):
            rms = [self.rms[n][k] * self.settings.sigma_point * 1e3 for n in ("mirror", "given")]
            return Reason.MIRRORED, (
                f"fits a hand of the other side: {rms[0]:.1f} mm against {rms[1]:.1f} mm "
                f"(log odds {lead:.0f})"
            )
        if given_fits:
            return None
        if self.bent[k] and self.plausible("free", k):
            excess = self.free.limit_excess[k]
            joint, angle = np.unravel_index(excess.argmax(), excess.shape)
            bent = self.free.angles[k, joint, angle]
            way = "" if angle else (" (backwards)" if bent < 0 else " (inwards)")
            return Reason.BENT_BACKWARDS, (
                f"{MANO_JOINT_NAMES[joint + 1]} {ANGLE_NAMES[angle]} "
                f"{np.degrees(excess[joint, angle]):.0f} deg past its limit{way}"
            )
        return self._order(k) or (
            Reason.RESIDUAL_TOO_LARGE,
            f"{self.rms['given'][k] * self.settings.sigma_point * 1e3:.1f} mm over all points, "
            f"worst {_worst_name(self.given, self.some.attachments, k)} "
            f"{np.nanmax(self.given.residual[k]) * 1e3:.1f} mm",
        )

    def _order(self, k: int) -> tuple[Reason, str] | None:
        """Another joint order under which hand k fits, among the three its distances like best.

        `screen` has found the orders that distances alone settle; left are those that keep bone
        lengths nearly as they are, as the fingers counted from the other side do.
        """
        check = DistanceCheck.of(self.some.shaped.model, self.some.attachments.joint)
        hand = self.some.rows(np.array([k]))
        misfits = check.misfit(hand.points, check.alternatives)[0]
        for number in np.argsort(misfits)[:3]:
            order = check.alternatives[number]
            if not np.isfinite(misfits[number]):
                continue
            read = replace(Attachments.of_joints(order.joints), weight=self.some.attachments.weight)
            fit = replace(hand, attachments=read).solve(self.settings)
            rms, worst = _residual_in_sigmas(fit, read, self.settings.sigma_point)
            fits = rms[0] <= self.limits.residual and worst[0] <= self.limits.worst_residual
            if fits and fit.cost[0] + self.limits.margin < self.given_cost[k]:
                why = Reason.TIP_TO_BASE if order.reverses_fingers else Reason.JOINT_ORDER
                return why, f"fits {order.name} (log odds {self.given_cost[k] - fit.cost[0]:.0f})"
        return None


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


def _rows(shaped: ShapedHand, which: Array) -> ShapedHand:
    """The shape of some of the hands, where each has its own."""
    return shaped if shaped.betas.ndim == 1 else ShapedHand(shaped.model, shaped.betas[which])


def _names(joints: Sequence[int] | Array, which: Array) -> str:
    return ", ".join(JOINT_NAMES[j] for j in np.asarray(joints)[which])


def _worst_name(solution: Solution, attachments: Attachments, hand: int) -> str:
    return JOINT_NAMES[int(attachments.joint[np.nanargmax(solution.residual[hand])])]
