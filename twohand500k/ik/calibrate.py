"""One subject's shape from a take: betas, where the markers sit, how noisy the points are.

In: a `Take` and the hand models. Out: a `Calibration`, with which every frame is then fitted.

A deterministic sample of frames (complete ones, spread over poses and time) is fitted in turns:
poses by the batched solver with everything else held; then one Gauss-Newton step on the shared
unknowns (betas, marker offsets), from which the frames' poses are eliminated by a Schur complement,
so that the step knows how the poses will follow; then the noise level from what is left over. A
point's weight falls with its residual (Huber), and frames whose residual stands far out of the
sample's are left out. docs/ik.md has the equations.

Both hands share one shape by default: they do in life, and twice the data decide it. Left hands are
mirrored into right ones throughout, as in the solver.
"""

import warnings
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from twohand500k.conventions import N_BETAS, OPENPOSE_FROM_MANO21, SIDES, TIP_JOINTS
from twohand500k.errors import DataError
from twohand500k.hand.anatomy import ABDUCTION, FLEXION, TWIST, Anatomy
from twohand500k.hand.model import HandModel, HandPair
from twohand500k.hand.rotations import Array, matrix_from_axis_angle, mirror_points
from twohand500k.ik._kernels import MIN_SPREAD
from twohand500k.ik.attachments import Attachments, Ints
from twohand500k.ik.residuals import (
    N_COORDINATES,
    AnglePrior,
    Chain,
    limit_residual,
    points_on,
)
from twohand500k.ik.solver import Settings, Solution, solve
from twohand500k.sources.take import Landmark, Take

# Frames a side, and how many of them count as independent witnesses: errors of a model and of
# markers on skin repeat from frame to frame, and must not be trusted as if they averaged out.
_FRAMES = 96
_INDEPENDENT_FRAMES = 2
_ITERATIONS = 30
# Which frames stand out and which landmarks misfit is settled in the 3rd and 4th iteration and kept
# from then on: decided anew each time, the choice and the fit can chase each other for ever.
_TRUST_FROM, _FREEZE = 3, 4
# What counts as standing still: the length of a step of all shared unknowns in their own standard
# deviations, and the change of the noise.
_STILL = 0.05
_MEMORY, _FAR = 4, 5.0
_SIGMA_STILL = 0.02
# m: how far a frame's mutual distances (root of summed squares) may lie beyond the take's spread.
_STRANGE = 0.05
# Sigmas of the shared unknowns: betas in standard deviations of the model's population; a marker's
# offset about its first guess, m; on the back of the hand that guess says little.
_SIGMA_BETAS = 1.0
_SIGMA_OFFSET = 5e-3
_SIGMA_OFFSET_PALM = 40e-3
# From the skin to the middle of a marker: most hand markers are balls of 6 to 10 mm on a base.
_MARKER_HEIGHT = 4.5e-3
# m: the noise a calibration starts from, and the least it will believe.
_SIGMA_START = 3e-3
_SIGMA_LEAST = 2e-5
_HUBER = 2.5  # sigmas
_SIDES_ALIKE = 0.5  # a side's noise is at least this share of the other's
# A landmark that misses by more than so many times what the others do, in the typical frame, is
# defined otherwise than the model's (a rig's thumb base, say) and loses weight, down to a floor.
_MISFIT = 4.0
_WEIGHT_LEAST = 0.1


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a take says about its subject. Index with 0 (right) or 1 (left).

    betas (2, 10): equal rows when the hands share a shape. attachments: where each landmark sits.
    sigma (2,) m: standard deviation of one coordinate of a point of weight 1, the model's own
    misfit included; NaN for a side not recorded.
    frames: the row numbers of the take that were used, per side. iterations, converged: of the fit.
    """

    betas: Array
    attachments: tuple[Attachments, Attachments]
    sigma: Array
    frames: tuple[Ints, Ints]
    iterations: int
    converged: bool


def calibrate(
    take: Take, hands: HandPair, *, per_side: bool = False, threads: int | None = None
) -> Calibration:
    """Fit one shape to the take's subject (or one a side), marker offsets, and the noise.

    Raises DataError if no recorded side has a frame with three points that are not on a line.
    """
    sides = []
    for index in np.flatnonzero(take.sides).tolist():
        model = _as_right(hands[index])
        points = take.points[:, index]
        points = points if index == 0 else mirror_points(points)
        rows = choose_frames(points)
        if len(rows):
            attachments = first_guess(take.landmarks, model)
            sides.append(_Side.start(index, model, points[rows], rows, attachments, per_side))
    if not sides:
        seen = ", ".join(SIDES[i] for i in np.flatnonzero(take.sides)) or "no"
        raise DataError(
            f"take {take.name}: nothing to calibrate a hand on: of {take.n_frames} frames of the "
            f"{seen} side none has three points that do not lie on a line; check the joint map"
        )
    problem = _Problem(take.name, sides, per_side, threads)
    iterations, converged = problem.run()

    betas = np.zeros((2, N_BETAS))
    sigma = np.full(2, np.nan)
    attachments_of: list[Attachments] = []
    frames: list[Ints] = []
    for index in range(2):
        found = [side for side in sides if side.index == index]
        # A side that was not recorded has its sister's shape where shapes are shared.
        source = found or ([] if per_side else sides[:1])
        for side in source:
            betas[index] = problem.betas_of(side)
        for side in found:
            sigma[index] = side.sigma
        attachments = (
            found[0].attachments if found else first_guess(take.landmarks, _as_right(hands[index]))
        )
        attachments_of.append(attachments if index == 0 else attachments.mirrored())
        frames.append(found[0].rows if found else np.empty(0, dtype=np.int64))
    return Calibration(
        betas=betas,
        attachments=(attachments_of[0], attachments_of[1]),
        sigma=sigma,
        frames=(frames[0], frames[1]),
        iterations=iterations,
        converged=converged,
    )


def choose_frames(points: Array, count: int = _FRAMES) -> Ints:
    """Rows of points (T, K, 3) to calibrate on: complete, and different from each other.

    Half are spread evenly over time, half by taking again and again the frame whose mutual
    distances are farthest from those taken (distances do not see where the hand is). Frames that
    are strange beyond the take's own spread are passed over. Deterministic.
    """
    seen = np.isfinite(points).all(axis=-1)
    number = seen.sum(axis=1)
    enough = np.flatnonzero((number >= 3) & ~_on_a_line(points))
    if len(enough) == 0:
        return enough
    complete = enough[number[enough] >= 0.9 * np.quantile(number[enough], 0.9)]
    candidates = complete[_evenly(len(complete), 2000)]
    a, b = np.triu_indices(points.shape[1], 1)
    distances = np.linalg.norm(points[candidates][:, a] - points[candidates][:, b], axis=-1)
    known = np.isfinite(distances).any(axis=0)
    distances = distances[:, known]
    middle = np.nanmedian(distances, axis=0)
    # A distance that is not known says nothing: it counts as usual.
    feature = np.where(np.isfinite(distances), distances - middle, 0.0)
    size = np.linalg.norm(feature, axis=1)
    usual = np.flatnonzero(size <= 3.0 * np.quantile(size, 0.9) + _STRANGE)
    candidates, feature = candidates[usual], feature[usual]
    if len(candidates) <= count:
        return candidates
    chosen = _evenly(len(candidates), count // 2).tolist()
    nearest = np.full(len(candidates), np.inf)
    for place in range(count):
        if place >= len(chosen):
            chosen.append(int(nearest.argmax()))
        row = chosen[place]
        nearest = np.minimum(nearest, np.linalg.norm(feature - feature[row], axis=1))
        nearest[row] = -1.0  # never twice, not even where all others are the same pose
    return np.sort(candidates[chosen])


def first_guess(landmarks: tuple[Landmark, ...], model: HandModel) -> Attachments:
    """Where a take's landmarks sit on a right hand before anything is known of the subject.

    Joints are joints. A marker is put on the template's skin on its `surface` side of its joint, a
    marker's height above.
    """
    attachments = Attachments.of_joints([landmark.joint for landmark in landmarks])
    offset, tip = attachments.offset.copy(), attachments.tip.copy()
    for k, landmark in enumerate(landmarks):
        if landmark.kind == "marker":
            tip[k] = -1
            offset[k] = _on_skin(landmark, model) - model.J_template[landmark.carrier]
    return replace(
        attachments,
        carrier=np.array([landmark.carrier for landmark in landmarks], dtype=np.int64),
        tip=tip,
        offset=offset,
        weight=np.array([landmark.weight for landmark in landmarks]),
    )


def _on_skin(landmark: Landmark, model: HandModel) -> Array:
    """A point above the template's skin (3,), on the landmark's side of its joint, m."""
    A = Anatomy.of(model).A
    if landmark.joint in TIP_JOINTS:
        origin = model.v_template[model.tip_vertex_ids[TIP_JOINTS.index(landmark.joint)]]
    else:
        origin = model.J_template[OPENPOSE_FROM_MANO21[landmark.joint]]
    # The wrist has no frame of its own; the middle finger's base lies over it.
    frame = A[(landmark.carrier or 4) - 1]
    direction = {
        "dorsal": frame[:, ABDUCTION],
        "palmar": -frame[:, ABDUCTION],
        "radial": frame[:, FLEXION],
        "ulnar": -frame[:, FLEXION],
        "tip": frame[:, TWIST],
    }[str(landmark.surface)]
    if landmark.carrier == 0 and landmark.joint == 0:
        # On the back of the hand rather than over the wrist itself: half way to the knuckles.
        origin = 0.5 * (model.J_template[0] + model.J_template[4])
    own = model.weights[:, landmark.carrier] > 0.3
    skin = model.v_template[own] - origin
    height = skin @ direction
    aside = np.linalg.norm(skin - height[:, None] * direction, axis=1)
    # Of the skin about the line through the joint, the outermost.
    outermost = skin[(height - aside).argmax()]
    return origin + outermost + _MARKER_HEIGHT * direction


@dataclass(eq=False)
class _Side:
    """One side's sample, as a right hand, and what is believed of it so far."""

    index: int
    model: HandModel
    anatomy: Anatomy
    points: Array
    rows: Ints
    attachments: Attachments
    guess: Array
    markers: Ints
    offset_sigma: Array
    sigma: float
    declared: Array
    place: int = 0
    measured: float = _SIGMA_START
    good: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @staticmethod
    def start(
        index: int,
        model: HandModel,
        points: Array,
        rows: Ints,
        attachments: Attachments,
        per_side: bool,
    ) -> "_Side":
        markers = np.flatnonzero((attachments.tip < 0) & attachments.offset.any(axis=1))
        on_palm = attachments.carrier[markers] == 0
        return _Side(
            index=index,
            model=model,
            anatomy=Anatomy.of(model),
            points=points,
            rows=rows,
            attachments=attachments,
            guess=attachments.offset.copy(),
            markers=markers,
            offset_sigma=np.where(on_palm, _SIGMA_OFFSET_PALM, _SIGMA_OFFSET),
            sigma=_SIGMA_START,
            declared=attachments.weight,
        )


class _Problem:
    """Shared unknowns: betas (one set, or one a side), then each side's marker offsets."""

    def __init__(self, take: str, sides: list[_Side], per_side: bool, threads: int | None) -> None:
        self.take = take
        self.sides, self.threads = sides, threads
        self.shapes = len(sides) if per_side else 1
        self.betas: Array = np.zeros((self.shapes, N_BETAS))
        self.size = self.shapes * N_BETAS
        for side in sides:
            side.place = self.size
            self.size += 3 * len(side.markers)

    def betas_of(self, side: _Side) -> Array:
        """(10,)"""
        return self.betas[self._shape(side)]

    def betas_columns(self, side: _Side) -> slice:
        """Where that side's betas are among the shared unknowns."""
        start = N_BETAS * self._shape(side)
        return slice(start, start + N_BETAS)

    def _columns(self, side: _Side) -> Ints:
        """The shared unknowns that a side depends on: its betas, then its markers' offsets."""
        betas, markers = self.betas_columns(side), 3 * len(side.markers)
        return np.r_[betas.start : betas.stop, side.place : side.place + markers]

    def _shape(self, side: _Side) -> int:
        return self.sides.index(side) if self.shapes > 1 else 0

    def run(self) -> tuple[int, bool]:
        """Alternate until betas, offsets and noise stand still; iterations and whether they do."""
        history: list[tuple[Array, Array]] = []
        for iteration in range(1, _ITERATIONS + 1):
            solutions = [self._poses(side, palm=iteration > 1) for side in self.sides]
            if iteration == 1:
                for side, solution in zip(self.sides, solutions, strict=True):
                    _place_palm_markers(side, solution, self.betas_of(side))
            H, g = self._prior()
            for side, solution in zip(self.sides, solutions, strict=True):
                if iteration <= _FREEZE:
                    side.good = _usual(solution)
                if len(side.good) == 0:
                    raise DataError(
                        f"take {self.take}: no frame of the {SIDES[side.index]} side could be "
                        "fitted to calibrate on; check the joint map and the unit"
                    )
                self._add(side, solution, H, g, trust=_TRUST_FROM <= iteration <= _FREEZE)
            if self.shapes == 1:
                # One shape for two unlike hands must not settle on one of them and call the other
                # noise: neither side's weight may run away from its sister's.
                loudest = max(side.measured for side in self.sides)
                for side in self.sides:
                    side.measured = max(side.measured, _SIDES_ALIKE * loudest)
            step = -np.linalg.inv(H) @ g
            # Everything that is renewed: the shared unknowns, and the noise in logarithms.
            old = np.log([side.sigma for side in self.sides])
            change = np.concatenate([step, np.log([s.measured for s in self.sides]) - old])
            # A step in the standard deviations of what is sought; the noise in its tolerance.
            metric = np.zeros((len(change), len(change)))
            metric[: self.size, : self.size] = np.linalg.cholesky(H).T
            metric[self.size :, self.size :] = np.eye(len(old)) * (_STILL / _SIGMA_STILL)
            if iteration > _FREEZE:
                history.append((np.concatenate([self._unknowns(), old]), change))
                still = np.linalg.norm(metric @ change) < _STILL
                change = _accelerated(history[-_MEMORY:], metric)
            self._apply(change[: self.size])
            for side, log_sigma in zip(self.sides, old + change[self.size :], strict=True):
                side.sigma = max(float(np.exp(log_sigma)), _SIGMA_LEAST)
            if iteration > _FREEZE and still:
                return iteration, True
        return _ITERATIONS, False

    def _poses(self, side: _Side, palm: bool) -> Solution:
        """Every frame's pose with the shared unknowns held."""
        weight = side.attachments.weight
        if not palm:
            # Nobody knows yet where on the hand's back a marker is.
            unknown = np.isin(np.arange(len(weight)), side.markers)
            weight = np.where(unknown & (side.attachments.carrier == 0), 0.0, weight)
        return solve(
            side.points,
            side.model.with_shape(self.betas_of(side)),
            replace(side.attachments, weight=weight),
            Settings(sigma_point=side.sigma),
            threads=self.threads,
        )

    def _prior(self) -> tuple[Array, Array]:
        H, g = np.zeros((self.size, self.size)), np.zeros(self.size)
        n = self.shapes * N_BETAS
        H[np.arange(n), np.arange(n)] = 1.0 / _SIGMA_BETAS**2
        g[:n] = self.betas.ravel() / _SIGMA_BETAS**2
        for side in self.sides:
            own = slice(side.place, side.place + 3 * len(side.markers))
            stiffness = np.repeat(1.0 / side.offset_sigma**2, 3)
            H[own, own] = np.diag(stiffness)
            moved = (side.attachments.offset - side.guess)[side.markers].ravel()
            g[own] = stiffness * moved
        return H, g

    def _add(self, side: _Side, solution: Solution, H: Array, g: Array, *, trust: bool) -> None:
        """Add a side's frames, poses eliminated, to the shared normal equations; renew sigma."""
        shaped = side.model.with_shape(self.betas_of(side))
        good = side.good
        poses = solution.rows(good)
        R0 = matrix_from_axis_angle(poses.pose[:, 0])
        wrist = poses.transl + shaped.rest_joints[0]
        chain = Chain.of(shaped, side.anatomy, R0, wrist, poses.angles)
        X, J, dX_dbetas = points_on(chain, side.attachments)
        n, k = X.shape[:2]
        residual = X - side.points[good]
        seen: NDArray[np.bool_] = np.asarray(np.isfinite(residual).all(axis=-1))
        residual = np.where(seen[..., None], residual, 0.0)
        weight = np.where(seen, side.attachments.weight / side.sigma, 0.0)
        size = weight * np.linalg.norm(residual, axis=-1)
        # sqrt(3): a point has three coordinates of one sigma each.
        threshold = _HUBER * np.sqrt(3.0)
        weight = weight * np.sqrt(np.minimum(1.0, threshold / np.maximum(size, 1e-12)))

        own = self._columns(side)
        shared = np.zeros((n, k, 3, len(own)))
        shared[..., :N_BETAS] = dX_dbetas
        for place, landmark in enumerate(side.markers):
            column = N_BETAS + 3 * place
            R = chain.R[:, side.attachments.carrier[landmark]]
            shared[:, landmark, :, column : column + 3] = R
        w = weight[..., None, None]
        Jp = (w * J).reshape(n, 3 * k, N_COORDINATES)
        Js = (w * shared).reshape(n, 3 * k, len(own))
        r = (weight[..., None] * residual).reshape(n, 3 * k, 1)

        Jp_T = np.swapaxes(Jp, 1, 2)
        stiffness = _angle_stiffness(side.anatomy, poses.angles)
        inverse = np.linalg.inv(Jp_T @ Jp + stiffness)
        gp = Jp_T @ r
        gp[:, 6:, 0] += _angle_pull(side.anatomy, poses.angles)
        # What the poses take up: H_ss - H_sp Hpp^-1 H_ps, and the same for the gradient.
        Hps = Jp_T @ Js
        taken = (inverse @ Hps).reshape(-1, len(own))
        Js = Js.reshape(-1, len(own))
        share = min(1.0, _INDEPENDENT_FRAMES / n)
        H[np.ix_(own, own)] += share * (Js.T @ Js - Hps.reshape(-1, len(own)).T @ taken)
        g[own] += share * (Js.T @ r.ravel() - taken.T @ gp.ravel())

        # Degrees of freedom that the poses used up: the trace of Hpp^-1 (Jp^T Jp).
        used = n * N_COORDINATES - np.vdot(inverse, stiffness)
        freedom = max(3.0 * seen.sum() - used - self.size, 0.1 * 3.0 * seen.sum())
        plain = np.where(seen, side.attachments.weight, 0.0)
        # Huber again: beyond the threshold a point counts linearly, not with its square.
        square = np.minimum(size, threshold) * size * side.sigma**2
        square = np.where(plain > 0, square, 0.0)
        if trust:
            side.attachments = _trusted(
                side, np.where(seen, np.linalg.norm(residual, axis=-1), np.nan)
            )
        side.measured = float(np.sqrt(square.sum() / freedom).clip(_SIGMA_LEAST, 4 * side.sigma))

    def _unknowns(self) -> Array:
        """Betas, then each side's offsets, as they are now: (size,)."""
        offsets = [side.attachments.offset[side.markers].ravel() for side in self.sides]
        return np.concatenate([self.betas.ravel(), *offsets])

    def _apply(self, step: Array) -> None:
        n = self.shapes * N_BETAS
        self.betas = self.betas + step[:n].reshape(self.shapes, N_BETAS)
        for side in self.sides:
            offset = side.attachments.offset.copy()
            own = step[side.place : side.place + 3 * len(side.markers)]
            offset[side.markers] += own.reshape(-1, 3)
            side.attachments = replace(side.attachments, offset=offset)


def _accelerated(history: list[tuple[Array, Array]], metric: Array) -> Array:
    """The step to take, from the last places and their plain steps (Anderson 1965).

    Poses follow the shared unknowns not quite as the slope says, so plain steps creep or swing. Of
    the last places the combination is taken whose step would have been the shortest in the metric,
    unless it leads far away from the plain step.
    """
    places, steps = (np.array(column) for column in zip(*history, strict=True))
    plain: Array = steps[-1]
    dF, dZ = np.diff(steps, axis=0).T, np.diff(places, axis=0).T
    mix = np.linalg.lstsq(metric @ dF, metric @ plain, rcond=1e-3)[0]
    step: Array = plain - (dZ + dF) @ mix
    far = np.linalg.norm(metric @ step) > _FAR * np.linalg.norm(metric @ plain)
    return plain if far else step


def _angle_stiffness(anatomy: Anatomy, angles: Array) -> Array:
    """Second derivatives (N, 51, 51) of limits and prior, as the solver weighs them."""
    settings = Settings()
    prior = AnglePrior.resting(anatomy, settings.prior_scale).jacobian()
    H = np.zeros((len(angles), N_COORDINATES, N_COORDINATES))
    H[:, 6:, 6:] = prior.T @ prior
    r, w = limit_residual(angles, anatomy.limits, settings.sigma_limit, settings.limit_knee)
    on = np.where(r != 0.0, w, 0.0).reshape(len(angles), -1) / settings.sigma_limit**2
    diagonal = np.arange(6, N_COORDINATES)
    H[:, diagonal, diagonal] += on
    return H


def _angle_pull(anatomy: Anatomy, angles: Array) -> Array:
    """First derivatives (N, 45) of limits and prior."""
    settings = Settings()
    prior = AnglePrior.resting(anatomy, settings.prior_scale)
    r, w = limit_residual(angles, anatomy.limits, settings.sigma_limit, settings.limit_knee)
    pull = prior.residual(angles).reshape(len(angles), -1) @ prior.jacobian()
    return pull + (w * r).reshape(len(angles), -1) / settings.sigma_limit


def _place_palm_markers(side: _Side, solution: Solution, betas: Array) -> None:
    """Put markers of the back of the hand where the first poses saw them (median)."""
    rest = side.model.with_shape(betas).rest_joints
    R0 = matrix_from_axis_angle(solution.pose[:, 0])
    wrist = solution.transl + rest[0]
    offset = side.attachments.offset.copy()
    for landmark in side.markers[side.attachments.carrier[side.markers] == 0]:
        in_wrist = np.einsum("nji,nj->ni", R0, side.points[:, landmark] - wrist)
        if np.isfinite(in_wrist).all(axis=1).any():
            offset[landmark] = np.nanmedian(in_wrist, axis=0)
    side.attachments = replace(side.attachments, offset=offset)


def _trusted(side: _Side, distance: Array) -> Attachments:
    """Weights renewed from the residuals (N, K) m: declared, but less for landmarks that misfit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a landmark that was never seen
        typical = np.nanmedian(distance, axis=0)
    ordinary = np.nanmedian(typical)
    share = _MISFIT * ordinary / np.maximum(np.nan_to_num(typical), 1e-12)
    return replace(side.attachments, weight=side.declared * share.clip(_WEIGHT_LEAST, 1.0))


def _on_a_line(points: Array) -> NDArray[np.bool_]:
    """Hands (N, K, 3) whose points the solver would refuse: none far from a line through them."""
    seen: NDArray[np.bool_] = np.asarray(np.isfinite(points).all(axis=-1))
    known = np.where(seen[..., None], points, 0.0)
    centred = known - (known.sum(axis=1) / np.maximum(seen.sum(axis=1), 1)[:, None])[:, None]
    centred = np.where(seen[..., None], centred, 0.0)
    square = (centred**2).sum(axis=-1)
    farthest = square.argmax(axis=1)[:, None]
    line = np.take_along_axis(centred, farthest[..., None], axis=1)
    longest = np.maximum(np.take_along_axis(square, farthest, axis=1), 1e-300)
    aside = square - (centred * line).sum(axis=-1) ** 2 / longest
    return np.asarray(aside.max(axis=1) <= MIN_SPREAD**2)


def _usual(solution: Solution) -> Ints:
    """Rows of a sample that are fitted and whose residual does not stand far out."""
    rms = _rms(solution)
    return np.flatnonzero(solution.solved & (rms <= 2.5 * np.nanmedian(rms)))


def _rms(solution: Solution) -> Array:
    """Root mean square residual of every hand (N,), m; NaN where there is none."""
    seen = np.isfinite(solution.residual)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(
            np.where(seen, solution.residual, 0.0) ** 2 @ np.ones(seen.shape[1]) / seen.sum(1)
        )


def _evenly(count: int, most: int) -> Ints:
    """At most `most` row numbers out of `count`, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _as_right(model: HandModel) -> HandModel:
    return model if model.side == "right" else model.mirrored()
