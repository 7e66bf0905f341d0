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
from twohand500k.hand.refit import refit
from twohand500k.hand.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from twohand500k.ik.judged import JudgedSide
from twohand500k.ik.verdict import Reason, Thresholds, Verdicts, describe_excess
from twohand500k.sources import ManoParameters, Take
from twohand500k.sources.take import JointsMade, LeftShapedirs, PoseMean

Array = np.ndarray

# Hands of a take on which a convention is decided.
_HANDS = 200


@dataclass(frozen=True)
class Convention:
    """How one side's parameters are to be read, of the choices the dataset leaves.

    agreement m: median distance of the joints from the take's own; NaN where it has none.
    """

    relative_to: PoseMean
    left_shapedirs: LeftShapedirs
    joints: JointsMade
    agreement: float


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
    because a sequence was fitted poorly: where nothing is left to decide, its hands are refused one
    by one and the other takes go on.
    """
    mano = _of(take)
    left = mano.left_shapedirs if SIDES[side] == "left" else mano.left_shapedirs[:1]
    choices = list(product(mano.relative_to, left, mano.joints))
    rows = np.flatnonzero(mano.given[:, side] & take.seen[:, side].any(axis=1))
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
    poorly_fitted = choices == [(*choices[0][:2], "measured")]
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


def keep_side(take: Take, side: int, convention: Convention, hands: HandPair) -> JudgedSide:
    """One side's parameters in the house's conventions, every hand judged."""
    T, model, mano = take.n_frames, hands[side], _of(take)
    rows = np.flatnonzero(mano.given[:, side])
    posed = _pose(take, side, rows, convention, hands)
    pose, betas, transl = posed.pose, posed.shaped.betas, posed.transl
    refit_residual = np.full(T, np.nan)
    distance = np.full(T, np.nan)
    distance[rows] = _distance(take, side, posed, convention.joints, rows)
    fit_error = distance.copy()
    if posed.shaped.model.sha256 != model.sha256 and len(rows):
        moved = refit(posed.shaped.model, model, pose, betas, transl)
        pose, betas, transl = moved.pose, moved.betas, moved.transl
        refit_residual[rows] = moved.residual_mean
        stored = model.with_shape(betas).with_pose(pose, transl)
        fit_error[rows] = _distance(take, side, stored, convention.joints, rows)
    anatomy = Anatomy.of(model)
    angles = anatomy.angles_from_pose(pose)
    excess = anatomy.limit_excess(angles)
    joints = model.with_shape(betas).with_pose(pose, transl).joints

    def spread(values: Array, tail: tuple[int, ...] = ()) -> Array:
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
    for k in np.flatnonzero(excess.max(axis=(1, 2), initial=0.0) >= Thresholds.bent).tolist():
        row = int(rows[k])
        if reason[row] == Reason.OK:
            reason[row] = Reason.BENT_BACKWARDS.value
            detail[row] = describe_excess(excess[k], angles[k])
    largest = spread(excess.max(axis=(1, 2), initial=0.0))
    return JudgedSide(
        pose=spread(pose, (16, 3)),
        transl=spread(transl, (3,)),
        betas=spread(betas, (N_BETAS,)),
        joints=spread(joints, (N_JOINTS, 3)),
        fit_error=fit_error,
        limit_violation=largest,
        converged=np.ones(T, dtype=bool),
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
    gap = np.linalg.norm(points - _joints(take, posed, made), axis=-1)[:, measured]
    seen = np.isfinite(gap)
    with np.errstate(invalid="ignore"):
        return np.where(seen, gap, 0.0).sum(axis=1) / seen.sum(axis=1)
