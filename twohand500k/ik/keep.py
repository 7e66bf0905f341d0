"""A take that brings MANO parameters keeps them: converted to the house's conventions and checked.

In: a `Take` with `mano`, and the hand models its parameters were made for. Out: a `JudgedSide` per
side. Nothing is fitted: fingers are made relative to the flat hand, axes turned into the take's, a
left hand annotated on another left model moved to the house's by `hand.refit`, and the joints that
result held against the dataset's own. Where a dataset's convention is not certain, `choose` takes
the one that agrees best, over the whole take, and says so; where none agrees, the take is refused.
"""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from twohand500k.conventions import N_BETAS, N_JOINTS, OPENPOSE_FROM_MANO21, SIDES, TIP_SETS
from twohand500k.errors import DataError
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.model import HandModel, HandPair, PosedHand
from twohand500k.hand.refit import refit, shape_groups, spread
from twohand500k.hand.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from twohand500k.ik.judged import JudgedSide
from twohand500k.ik.verdict import Reason, Thresholds, Verdicts, describe_excess
from twohand500k.sources import ManoParameters, Take
from twohand500k.sources.take import JointsMade, LeftShapedirs, PoseMean

Array = np.ndarray

# Hands of a take on which a convention is decided.
_HANDS = 200
# No parameter of a hand is this large, in any unit: it is a damaged number.
_ABSURD = 1e4
# A hand whose skin the house's left model misses by more than this (mean, m) is refused.
_MOST_REFIT = 5e-3


@dataclass(frozen=True)
class Convention:
    """How one side's parameters are to be read, of the choices the dataset leaves.

    agreement m: median distance of the joints from the take's own; NaN where it has none.
    """

    relative_to: PoseMean
    left_shapedirs: LeftShapedirs
    joints: JointsMade
    agreement: float


@dataclass(frozen=True, eq=False)
class KeptSide:
    """What is known of one side of a take whose parameters are kept.

    old_betas (G, 10) are the shapes that several hands have on the model they were annotated on,
    where that is another than the house's; new_betas (G, 10) the shapes they get on the house's.
    """

    convention: Convention
    old_betas: Array
    new_betas: Array

    def known(self, betas: Array) -> Array:
        """New betas (n, 10) of old ones (n, 10), NaN where the shape is one hand's own."""
        place = {row.tobytes(): k for k, row in enumerate(self.old_betas)}
        at = np.array([place.get(row.tobytes(), -1) for row in betas], dtype=np.int64)
        if not len(self.new_betas):
            return np.full_like(betas, np.nan)
        return np.where(at[:, None] >= 0, self.new_betas[at], np.nan)


def plan_side(take: Take, side: int, hands: HandPair) -> KeptSide:
    """Settle a side's convention and, where its hands move to another left model, their shapes.

    A shape that several hands share is found once for the take, from hands that agree with their
    joints, so that it does not hang on how the take is cut. Raises DataError as `choose` does.
    """
    convention = choose(take, side, hands)
    none = KeptSide(convention, np.empty((0, N_BETAS)), np.empty((0, N_BETAS)))
    if SIDES[side] == "right" or convention.left_shapedirs == "mirrored":
        return none
    rows = np.flatnonzero(_sane(take, side))
    betas = _of(take).betas[rows, side]
    group = shape_groups(betas)
    shared = np.bincount(group, minlength=1)[group] > 1
    rows, group = rows[shared], group[shared]
    if not len(rows):
        return none
    posed = _pose(take, side, rows, convention, hands)
    with np.errstate(invalid="ignore"):
        good = ~(_distance(take, side, posed, convention.joints, rows) > _of(take).agreement)
    rows = rows[good][spread(group[good])]
    posed = _pose(take, side, rows, convention, hands)
    found = refit(posed.shaped.model, hands[side], posed.pose, posed.shaped.betas, posed.transl)
    old, first = np.unique(posed.shaped.betas, axis=0, return_index=True)
    return KeptSide(convention, old, found.betas[first])


def keeps(take: Take, hands: HandPair) -> bool:
    """Whether a take's MANO parameters mean something on these hands: same kind of model.

    The open hand is one kind, every licensed MANO file the other.
    """
    mano = take.mano
    return mano is not None and (mano.model == "open") == (hands.right.name == "open")


def choose(take: Take, side: int, hands: HandPair) -> Convention:
    """The convention under which a side's parameters agree best with the take's points.

    Raises DataError if even the best disagrees by more than the source allows, or if several are
    possible and the take has no joints to decide by. Joints that were measured apart may disagree
    because a sequence was fitted poorly: where no more than the left shape directions are left to
    decide, its hands are refused one by one and the other takes go on.
    """
    mano = _of(take)
    left = mano.left_shapedirs if SIDES[side] == "left" else mano.left_shapedirs[:1]
    choices = list(product(mano.relative_to, left, mano.joints))
    sane = _sane(take, side)
    if not sane.any():
        return Convention(*choices[0], np.nan)
    rows = np.flatnonzero(sane & take.seen[:, side].any(axis=1))
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(_HANDS, len(rows))).astype(int))]
    if not len(rows):
        if len(mano.relative_to) * len(left) > 1:
            raise DataError(
                f"take {take.name}: no joints to tell by whether its {SIDES[side]} MANO parameters "
                f"are {' or '.join(_read_as(c, side) for c in choices)}; declare it"
            )
        return Convention(*choices[0], np.nan)
    some = take.rows(rows)
    medians = []
    for choice in choices:
        convention = Convention(*choice, np.nan)
        posed = _pose(some, side, np.arange(len(rows)), convention, hands)
        medians.append(float(np.median(_distance(some, side, posed, convention.joints))))
    best = int(np.argmin(medians))
    poorly_fitted = len(mano.relative_to) == 1 and mano.joints == ("measured",)
    if not medians[best] <= mano.agreement and not poorly_fitted:
        said = "; ".join(
            f"{1e3 * m:.1f} mm, read as {_read_as(c, side)}"
            for m, c in zip(medians, choices, strict=True)
        )
        raise DataError(
            f"take {take.name}: from the dataset's own joints those of its {SIDES[side]} MANO "
            f"parameters lie {said}; {1e3 * mano.agreement:g} mm are allowed: not the hand model "
            "they were made for, or other conventions than were declared"
        )
    return Convention(*choices[best], medians[best])


def _read_as(choice: tuple[PoseMean, LeftShapedirs, JointsMade], side: int) -> str:
    relative_to, shapedirs, joints = choice
    left = f", left shape directions {shapedirs}" if SIDES[side] == "left" else ""
    return f"relative to the {relative_to} hand{left}, joints {joints}"


def keep_side(take: Take, side: int, kept: KeptSide, hands: HandPair) -> JudgedSide:
    """One side's parameters in the house's conventions, every hand judged."""
    T, model, mano, convention = take.n_frames, hands[side], _of(take), kept.convention
    rows = np.flatnonzero(_sane(take, side))
    posed = _pose(take, side, rows, convention, hands)
    pose, betas, transl = posed.pose, posed.shaped.betas, posed.transl
    refit_residual = np.full(T, np.nan)
    distance = np.full(T, np.nan)
    distance[rows] = _distance(take, side, posed, convention.joints, rows)
    fit_error = distance.copy()
    converged = np.ones(T, dtype=bool)
    if posed.shaped.model.sha256 != model.sha256 and len(rows):
        known = kept.known(betas)
        moved = refit(posed.shaped.model, model, pose, betas, transl, known_betas=known)
        converged[rows] = moved.converged
        pose, betas, transl = moved.pose, moved.betas, moved.transl
        refit_residual[rows] = moved.residual_mean
        stored = model.with_shape(betas).with_pose(pose, transl)
        fit_error[rows] = _distance(take, side, stored, convention.joints, rows)
    anatomy = Anatomy.of(model)
    angles = anatomy.angles_from_pose(pose)
    excess = anatomy.limit_excess(angles)
    joints = model.with_shape(betas).with_pose(pose, transl).joints

    def laid_out(values: Array, tail: tuple[int, ...] = ()) -> Array:
        out = np.full((T, *tail), np.nan)
        out[rows] = values
        return out

    reason = np.full(T, Reason.OK.value, dtype="U20")
    detail = [""] * T
    for row in np.setdiff1d(np.arange(T), rows).tolist():
        reason[row], detail[row] = Reason.NOT_FINITE.value, "no finite MANO parameters"
    for row in np.flatnonzero(distance > mano.agreement).tolist():
        reason[row] = Reason.ANNOTATION_DISAGREES.value
        detail[row] = (
            f"MANO joints {1e3 * distance[row]:.1f} mm from the dataset's own (mean), "
            f"{1e3 * mano.agreement:g} mm allowed"
        )
    for row in np.flatnonzero(refit_residual > _MOST_REFIT).tolist():
        if reason[row] == Reason.OK:
            reason[row] = Reason.ANNOTATION_DISAGREES.value
            detail[row] = (
                f"no such hand on the left model with mirrored shape directions: skin "
                f"{1e3 * refit_residual[row]:.1f} mm off (mean)"
            )
    for k in np.flatnonzero(excess.max(axis=(1, 2), initial=0.0) >= Thresholds.bent).tolist():
        row = int(rows[k])
        if reason[row] == Reason.OK:
            reason[row] = Reason.BENT_BACKWARDS.value
            detail[row] = describe_excess(excess[k], angles[k])
    largest = laid_out(excess.max(axis=(1, 2), initial=0.0))
    return JudgedSide(
        pose=laid_out(pose, (16, 3)),
        transl=laid_out(transl, (3,)),
        betas=laid_out(betas, (N_BETAS,)),
        joints=laid_out(joints, (N_JOINTS, 3)),
        fit_error=fit_error,
        limit_violation=largest,
        converged=converged,
        verdicts=Verdicts(
            reason, tuple(detail), largest, np.zeros(T, dtype=bool), np.full(T, np.nan)
        ),
        ambiguous=np.zeros(T, dtype=bool),
        refit_residual=refit_residual,
    )


def left_as_annotated(left: HandModel, which: LeftShapedirs) -> HandModel:
    """The left model that betas were made on; `left` is the house's, mirrored from the right.

    MANO_LEFT ships with the right hand's shape directions, which its x axis contradicts ("as
    shipped"); some code multiplies all three axes of those by -1 ("negated").
    """
    sign = {"mirrored": (1, 1, 1), "as shipped": (-1, 1, 1), "negated": (1, -1, -1)}[which]
    if which == "mirrored":
        return left
    return replace(left, shapedirs=left.shapedirs * np.array(sign, dtype=np.float64)[:, None])


def _of(take: Take) -> ManoParameters:
    if take.mano is None:
        raise ValueError(f"take {take.name} has no MANO parameters")
    return take.mano


def _sane(take: Take, side: int) -> Array:
    """Hands (T,) bool with parameters that a hand could have: there, and no damaged number."""
    mano = _of(take)
    with np.errstate(invalid="ignore"):
        small = [
            (np.abs(array[:, side]) < _ABSURD).reshape(take.n_frames, -1).all(axis=1)
            for array in (mano.pose, mano.betas, np.nan_to_num(mano.transl, posinf=np.inf))
        ]
    return np.asarray(mano.given[:, side] & small[0] & small[1] & small[2])


def _pose(take: Take, side: int, rows: Array, convention: Convention, hands: HandPair) -> PosedHand:
    """Some of a side's hands, posed on the model they were annotated on, in the take's axes."""
    mano, model = _of(take), hands[side]
    if SIDES[side] == "left":
        model = left_as_annotated(model, convention.left_shapedirs)
    shaped = model.with_shape(mano.betas[rows, side])
    pose, transl = mano.pose[rows, side].copy(), mano.transl[rows, side].copy()
    if convention.relative_to == "mean":
        pose[:, 1:] += model.hands_mean.reshape(-1, 3)
    R = mano.R_house_dataset
    if not np.array_equal(R, np.eye(3)):
        root = shaped.rest_joints[:, 0]
        pose[:, 0] = axis_angle_from_matrix(R @ matrix_from_axis_angle(pose[:, 0]))
        transl = (root + transl) @ R.T - root
    unplaced = ~np.isfinite(transl).all(axis=1)
    if unplaced.any():
        transl[unplaced] = 0.0
        own = _joints(take, shaped.with_pose(pose, transl), convention.joints)
        offset = take.points[rows, side] - own
        known = np.isfinite(offset).all(axis=-1)
        placed = np.where(known[..., None], offset, 0.0).sum(axis=1)
        # Without a joint to lie on, the wrist goes to the origin.
        place = np.where(
            known.any(axis=1, keepdims=True),
            placed / np.maximum(known.sum(axis=1, keepdims=True), 1),
            -shaped.rest_joints[:, 0],
        )
        transl[unplaced] = place[unplaced]
    return shaped.with_pose(pose, transl)


def _joints(take: Take, posed: PosedHand, made: JointsMade) -> Array:
    """The take's landmarks (n, K, 3) on posed hands, as its dataset made its joints."""
    model = posed.shaped.model.with_tips(TIP_SETS[take.tips])
    posed = replace(posed, shaped=replace(posed.shaped, model=model))
    joints = posed.joints
    if made == "regressed":
        tips = posed.vertices[..., list(model.tip_vertex_ids), :]
        joints = np.concatenate([posed.regressed_joints, tips], axis=-2)
        joints = joints[..., OPENPOSE_FROM_MANO21, :]
    return joints[..., [mark.joint for mark in take.landmarks], :]


def _distance(
    take: Take, side: int, posed: PosedHand, made: JointsMade, rows: Array | None = None
) -> Array:
    """Mean distance (n,) m of posed hands from the take's points; NaN where it has none.

    Estimated landmarks (weight below 1) do not count.
    """
    points = take.points[slice(None) if rows is None else rows, side]
    measured = np.array([mark.weight == 1.0 for mark in take.landmarks])
    seen = np.isfinite(points).all(axis=-1)[:, measured]
    with np.errstate(invalid="ignore", over="ignore"):
        # A point too far for a float is far, not missing.
        gap = np.linalg.norm(points - _joints(take, posed, made), axis=-1)[:, measured]
        return np.where(seen, gap, 0.0).sum(axis=1) / seen.sum(axis=1)
