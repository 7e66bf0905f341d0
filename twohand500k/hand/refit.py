"""The same skin on another hand model: parameters that mean something there.

Comes in: poses, shapes and translations on one model, and another model with the same vertices in
the same order. Goes out: parameters on the other model whose skin lies nearest, vertex to vertex,
with the distance that remains for every hand. Parameters mean something only on the model they
were made for, so this is the only way they may cross from one to another.

For one subject's hands with one shape, betas b and frames f, it minimises

    sum_f |V(pose_f, b, transl_f) - target_f|^2 + (w |b|)^2        over b, pose_f, transl_f

by Levenberg-Marquardt with the analytic Jacobian of linear blend skinning, pose correctives
included; local rotations step on the manifold, R_k <- exp(omega) R_k. Frames meet only in b, so
each is eliminated by itself (Schur complement) and a step costs what its hands cost.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import ArrayLike

from twohand500k.conventions import LEFT, MANO_PARENTS, N_BETAS, N_MANO_JOINTS, RIGHT
from twohand500k.hand.model import HandModel, HandPair
from twohand500k.hand.rotations import (
    Array,
    axis_angle_from_matrix,
    matrix_from_axis_angle,
    mirror_axis_angle,
    mirror_points,
    skew,
)

# Unknowns of one hand: 16 local rotations, the translation; then the betas it may share.
_N_POSE = 3 * N_MANO_JOINTS
_N_OWN = _N_POSE + 3
# Weight of the pull of betas to zero, metres per unit beta. Against 778 vertices it decides only
# directions of the shape space that move the skin by micrometres.
_BETA_WEIGHT_M = 1e-4
# A step that moves the skin by less than this (root mean square) ends the iteration.
_TOLERANCE_M = 1e-7
_MAX_STEPS = 60
# The same for skins that are given. One that is no hand's creeps along for ever and is known by its
# residual long before: a step that takes away less than this part of the sum of squares ends it.
_SKIN_TOLERANCE_M, _SKIN_STEPS, _SKIN_GAIN = 1e-5, 25, 1e-3
# Hands of one shape that are fitted together to find it; the rest are fitted with it known.
_CALIBRATION_HANDS = 24
_CHUNK = 192

# _BELOW[k, j]: joint j moves with joint k.
_BELOW = np.eye(N_MANO_JOINTS, dtype=np.bool_)
for _joint in range(1, N_MANO_JOINTS):
    _BELOW[:, _joint] |= _BELOW[:, MANO_PARENTS[_joint]]


@dataclass(frozen=True, eq=False)
class Refit:
    """Hands on the new model. pose (N, 16, 3) rad, betas (N, 10), transl (N, 3) m.

    residual_mean, residual_max (N,) m: distance of the new skin to the old one over the vertices.
    converged (N,): False where the iteration ran out of steps; the residual is true all the same.
    """

    pose: Array
    betas: Array
    transl: Array
    residual_mean: Array
    residual_max: Array
    converged: np.ndarray


def refit(
    source: HandModel,
    target: HandModel,
    pose: ArrayLike,
    betas: ArrayLike,
    transl: ArrayLike,
    *,
    known_betas: ArrayLike | None = None,
) -> Refit:
    """Parameters on `target` with the skin that these parameters have on `source`.

    pose (N, 16, 3) rad relative to the flat hand, betas (N, 10), transl (N, 3) m, all finite.
    Hands with equal betas on `source` are one subject's and get equal betas on `target`.
    known_betas (N, 10): the betas on `target` where they are known already, NaN elsewhere.
    Raises ValueError for another topology or another side.
    """
    if source.side != target.side:
        raise ValueError(f"a {source.side} hand cannot be refitted to a {target.side} model")
    if len(source.v_template) != len(target.v_template):
        raise ValueError(
            f"{source.name} has {len(source.v_template)} vertices, {target.name} "
            f"{len(target.v_template)}: only models of one topology can be refitted"
        )
    pose = np.asarray(pose, dtype=np.float64).reshape(-1, N_MANO_JOINTS, 3)
    n = len(pose)
    betas = np.asarray(betas, dtype=np.float64).reshape(n, N_BETAS)
    transl = np.asarray(transl, dtype=np.float64).reshape(n, 3)
    if not (np.isfinite(pose).all() and np.isfinite(betas).all() and np.isfinite(transl).all()):
        raise ValueError("pose, betas and transl must be finite; leave absent hands out")
    found = np.full((n, N_BETAS), np.nan)
    if known_betas is not None:
        found[:] = known_betas
    unknown = np.flatnonzero(np.isnan(found).any(axis=1))

    group = shape_groups(betas)
    parts: list[tuple[np.ndarray, Refit]] = []
    calibrated = unknown[spread(group[unknown])]
    for rows in _whole_groups(calibrated, group):
        part = _solve(source, target, pose[rows], betas[rows], transl[rows], group[rows], None)
        parts.append((rows, part))
        shape_of_group = np.full((n, N_BETAS), np.nan)
        shape_of_group[group[rows]] = part.betas
        mine = unknown[np.isin(group[unknown], group[rows])]
        found[mine] = shape_of_group[group[mine]]
    rest = np.setdiff1d(np.arange(n), calibrated)
    for rows in (rest[i : i + _CHUNK] for i in range(0, len(rest), _CHUNK)):
        each = np.arange(len(rows))
        part = _solve(source, target, pose[rows], betas[rows], transl[rows], each, found[rows])
        parts.append((rows, part))
    if not parts:
        return _nothing(n)
    order = np.argsort(np.concatenate([rows for rows, _ in parts]), kind="stable")
    return Refit(
        **{
            f.name: np.concatenate([getattr(part, f.name) for _, part in parts])[order]
            for f in fields(Refit)
        }
    )


def fit_skins(
    model: HandModel,
    vertices: ArrayLike,
    pose: ArrayLike,
    betas: ArrayLike,
    transl: ArrayLike,
    *,
    beta_weight_m: ArrayLike = _BETA_WEIGHT_M,
) -> Refit:
    """Parameters on `model` whose skin lies nearest to given skins, each hand its own shape.

    vertices (N, V, 3) m, in the model's order; pose (N, 16, 3) rad, betas (N, 10), transl (N, 3) m:
    where to begin, right to some tens of degrees (a fit to the skin's joints); all finite.
    beta_weight_m (N,) or one for all: the pull of betas to zero, m per unit beta; a skin that is no
    hand's asks for more than the default. Raises ValueError for another topology.
    """
    goal = np.ascontiguousarray(vertices, dtype=np.float64)
    if goal.shape[1:] != model.v_template.shape:
        raise ValueError(f"vertices must be (N, {len(model.v_template)}, 3), got {goal.shape}")
    R = matrix_from_axis_angle(pose)
    b, t = np.array(betas, dtype=np.float64), np.array(transl, dtype=np.float64)
    if not all(np.isfinite(a).all() for a in (goal, R, b, t)):
        raise ValueError("skins and where to begin must be finite; leave absent hands out")
    if not len(goal):
        return _nothing(0)
    pull = np.broadcast_to(np.asarray(beta_weight_m, dtype=np.float64), len(goal))
    parts = []
    for first in range(0, len(goal), _CHUNK):
        rows = slice(first, first + _CHUNK)
        parts.append(
            _descend(
                model, goal[rows], R[rows], b[rows], t[rows], np.arange(len(goal[rows])), N_BETAS,
                tolerance=_SKIN_TOLERANCE_M, steps=_SKIN_STEPS, gain=_SKIN_GAIN, pull=pull[rows],
            )
        )  # fmt: skip
    return Refit(
        **{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Refit)}
    )


def refit_pair(
    source: HandPair,
    target: HandPair,
    pose: ArrayLike,
    betas: ArrayLike,
    transl: ArrayLike,
    *,
    known_betas: ArrayLike | None = None,
) -> Refit:
    """`refit` for both sides: pose (N, 2, 16, 3), betas (N, 2, 10), transl (N, 2, 3).

    A hand with NaN in its pose is absent and stays NaN. Where in both models the left hand is the
    right one's mirror image, left hands are fitted as right ones, so that a subject's two hands
    keep one shape. Arrays of the result have the leading axes (N, 2).
    """
    pose = np.asarray(pose, dtype=np.float64)
    betas, transl = np.asarray(betas, dtype=np.float64), np.asarray(transl, dtype=np.float64)
    n = len(pose)
    known = np.full((n, 2, N_BETAS), np.nan)
    if known_betas is not None:
        known[:] = known_betas
    present = np.isfinite(pose).all(axis=(2, 3))
    out = _nothing(2 * n)
    pose, betas, transl, known = (
        a.reshape(2 * n, *a.shape[2:]) for a in (pose, betas, transl, known)
    )
    is_left = np.tile([False, True], n)
    if is_mirrored(source) and is_mirrored(target):
        flipped = is_left[:, None]
        part = np.flatnonzero(present.ravel())
        pose = np.where(flipped[..., None], mirror_axis_angle(pose), pose)
        transl = np.where(flipped, mirror_points(transl), transl)
        _put(out, part, refit(
            source.right, target.right, pose[part], betas[part], transl[part],
            known_betas=known[part],
        ))  # fmt: skip
        out.pose[is_left] = mirror_axis_angle(out.pose[is_left])
        out.transl[is_left] = mirror_points(out.transl[is_left])
    else:
        for side in (RIGHT, LEFT):
            part = np.flatnonzero(present.ravel() & (is_left == (side == LEFT)))
            _put(out, part, refit(
                source[side], target[side], pose[part], betas[part], transl[part],
                known_betas=known[part],
            ))  # fmt: skip
    return Refit(**{f.name: _by_side(getattr(out, f.name)) for f in fields(Refit)})


def is_mirrored(pair: HandPair) -> bool:
    """Whether the left model is the right one's mirror image, to a micrometre (files round)."""
    image = pair.right.mirrored()
    return all(
        np.allclose(getattr(image, f), getattr(pair.left, f), rtol=0, atol=1e-6)
        for f in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights")
    )


def shape_groups(betas: ArrayLike) -> np.ndarray:
    """Number (N,) of the shape that each of betas (N, 10) has: equal betas, equal number."""
    _, group = np.unique(np.asarray(betas), axis=0, return_inverse=True)
    return group.reshape(-1)


def _nothing(n: int) -> Refit:
    nan = np.nan
    return Refit(
        np.full((n, N_MANO_JOINTS, 3), nan), np.full((n, N_BETAS), nan), np.full((n, 3), nan),
        np.full(n, nan), np.full(n, nan), np.zeros(n, dtype=np.bool_),
    )  # fmt: skip


def _put(out: Refit, rows: np.ndarray, part: Refit) -> None:
    for f in fields(Refit):
        getattr(out, f.name)[rows] = getattr(part, f.name)


def _by_side(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1, 2, *array.shape[1:])


def spread(group: np.ndarray, most: int = _CALIBRATION_HANDS) -> np.ndarray:
    """Mask (N,) of at most `most` hands of every group, evenly spaced in the order given.

    These are the hands that a group's shape is found from; the rest are fitted with it known.
    """
    order = np.argsort(group, kind="stable")
    _, start, size = np.unique(group[order], return_index=True, return_counts=True)
    place = np.arange(len(group)) - np.repeat(start, size)
    size = np.repeat(size, size)
    step = np.minimum(size, most)
    mask = np.empty(len(group), dtype=np.bool_)
    # Taken where place * step / size passes a whole number.
    mask[order] = (place == 0) | (place * step // size != (place - 1) * step // size)
    return mask


def _whole_groups(rows: np.ndarray, group: np.ndarray) -> Iterator[np.ndarray]:
    """The rows in batches of about `_CHUNK`, no group torn apart."""
    rows = rows[np.argsort(group[rows], kind="stable")]
    ends = np.append(np.flatnonzero(np.diff(group[rows])) + 1, len(rows))
    begin = 0
    while begin < len(rows):
        # The last end of a group within the chunk, or else the first one after it.
        fitting = ends[(ends > begin) & (ends <= begin + _CHUNK)]
        end = int(fitting[-1] if len(fitting) else ends[ends > begin][0])
        yield rows[begin:end]
        begin = end


def _solve(
    source: HandModel,
    target: HandModel,
    pose: Array,
    betas: Array,
    transl: Array,
    group: np.ndarray,
    known_betas: Array | None,
) -> Refit:
    """Levenberg-Marquardt on n hands; betas one per group, or known and left alone."""
    shaped = source.with_shape(betas)
    goal = shaped.with_pose(pose, transl).vertices
    _, group = np.unique(group, return_inverse=True)
    # Start from the same local rotations with the wrist in its old place.
    R = matrix_from_axis_angle(pose)
    b = np.zeros((len(pose), N_BETAS)) if known_betas is None else known_betas.copy()
    t = transl + shaped.rest_joints[:, 0] - target.with_shape(b).rest_joints[:, 0]
    free = N_BETAS if known_betas is None else 0
    return _descend(target, goal, R, b, t, group.reshape(-1), free)


def _descend(
    target: HandModel,
    goal: Array,
    R: Array,
    b: Array,
    t: Array,
    group: np.ndarray,
    free: int,
    tolerance: float = _TOLERANCE_M,
    steps: int = _MAX_STEPS,
    gain: float = 0.0,
    pull: float | Array = _BETA_WEIGHT_M,
) -> Refit:
    """From n hands R (n, 16, 3, 3), b (n, 10), t (n, 3) down to the skins goal (n, V, 3).

    group (n,) numbers the shapes 0, 1, ...; free: betas that may change, all or none; tolerance m
    and gain of a step that ends it, steps: the most; pull m per unit beta,
    of every shape. R, b, t are written over.
    """
    n_groups, n_vertices = int(group.max(initial=-1)) + 1, goal.shape[1]
    hands_in_group = np.bincount(group, minlength=n_groups)
    pull_sq = np.broadcast_to(np.square(pull), n_groups)
    H, g, cost = _normal_equations(target, R, b, t, goal, free)

    damping = np.full(n_groups, 1e-4)
    done = np.zeros(n_groups, dtype=np.bool_)
    for _ in range(steps):
        rows = np.flatnonzero(~done[group])
        if not len(rows):
            break
        step, motion_sq = _step(H[rows], g[rows], b[rows], group[rows], damping, free, pull_sq)
        R_new = matrix_from_axis_angle(step[:, :_N_POSE].reshape(-1, N_MANO_JOINTS, 3)) @ R[rows]
        t_new = t[rows] + step[:, _N_POSE:_N_OWN]
        b_new = b[rows] + (step[:, _N_OWN:] if free else 0.0)
        H_new, g_new, cost_new = _normal_equations(target, R_new, b_new, t_new, goal[rows], free)
        old = _group_cost(cost[rows], b[rows], group[rows], pull_sq, free)
        new = _group_cost(cost_new, b_new, group[rows], pull_sq, free)
        better = new < old
        take = better[group[rows]]
        into = rows[take]
        R[into], t[into], b[into] = R_new[take], t_new[take], b_new[take]
        H[into], g[into], cost[into] = H_new[take], g_new[take], cost_new[take]
        damping = np.where(better, np.maximum(damping * 0.1, 1e-12), damping * 10.0)
        # A step too small to see ends it, downhill or not: at a minimum rounding decides which.
        moved = np.sqrt(motion_sq / (hands_in_group * n_vertices))
        done |= (moved < tolerance) | (better & (old - new < gain * old))

    new_pose = axis_angle_from_matrix(R)
    skin = target.with_shape(b).with_pose(new_pose, t).vertices
    distance = np.linalg.norm(skin - goal, axis=-1)
    return Refit(new_pose, b, t, distance.mean(axis=1), distance.max(axis=1), done[group])


def _step(
    H: Array, g: Array, b: Array, group: np.ndarray, damping: Array, free: int, pull_sq: Array
) -> tuple[Array, Array]:
    """One damped step (n, 51 + free) of every hand, and the squared skin motion of every group."""
    step = np.empty_like(g)
    n_groups = len(damping)
    diagonal = np.arange(_N_OWN)
    own = H[:, :_N_OWN, :_N_OWN].copy()
    own[:, diagonal, diagonal] *= 1 + damping[group][:, None]
    # A joint that carries no skin has a zero row: it stays where it is.
    own[:, diagonal, diagonal] += 1e-15
    if not free:
        step[:] = np.linalg.solve(own, -g[..., None])[..., 0]
    else:
        cross = H[:, :_N_OWN, _N_OWN:]
        solved = np.linalg.solve(own, np.concatenate([g[:, :_N_OWN, None], cross], axis=2))
        # Schur complement: what is left for the betas when every hand follows them at its best.
        left = H[:, _N_OWN:, _N_OWN:].copy()
        betas_diagonal = np.arange(free)
        left[:, betas_diagonal, betas_diagonal] *= 1 + damping[group][:, None]
        left -= np.swapaxes(cross, 1, 2) @ solved[:, :, 1:]
        right = g[:, _N_OWN:] - np.einsum("npb,np->nb", cross, solved[:, :, 0])
        shared = np.zeros((n_groups, free, free))
        slope = np.zeros((n_groups, free))
        np.add.at(shared, group, left)
        np.add.at(slope, group, right)
        shared += pull_sq[:, None, None] * np.eye(free)
        some = np.zeros((n_groups, free))
        some[group] = pull_sq[group, None] * b
        shared_step = np.linalg.solve(shared, -(slope + some)[..., None])[..., 0]
        follow = np.einsum("npb,nb->np", solved[:, :, 1:], shared_step[group])
        step[:, :_N_OWN] = -solved[:, :, 0] - follow
        step[:, _N_OWN:] = shared_step[group]
    motion_sq = np.zeros(n_groups)
    np.add.at(motion_sq, group, np.einsum("ni,nij,nj->n", step, H, step, optimize=True))
    return step, motion_sq


def _group_cost(cost: Array, b: Array, group: np.ndarray, pull_sq: Array, free: int) -> Array:
    pull = np.zeros(len(pull_sq))
    if free:
        pull[group] = pull_sq[group] * np.sum(b * b, axis=1)
    return pull + np.bincount(group, cost, minlength=len(pull_sq))


class _Model(NamedTuple):
    """A model's arrays as the compiled code takes them, C-contiguous."""

    v_template: Array
    shapedirs: Array
    posedirs: Array
    weights: Array

    @staticmethod
    def of(model: HandModel) -> "_Model":
        return _Model(*(np.ascontiguousarray(getattr(model, name)) for name in _Model._fields))


class _Chain(NamedTuple):
    """What the skin needs to know of n posed chains, and of their changes.

    G (n, 16, 3, 3) world rotations; origin (n, 16, 3) joints in the world; axes (n, 16, 3, 3) the
    world axes that omega_k turns about (the parent's rotation); offset (n, 16, 3), so that joint j
    carries a rest point q to G_j q + offset_j, and its change with betas offset_b (n, 16, 3, 10);
    feature (n, 135) of the pose correctives and its change with omega_k (n, 15, 3, 9).
    """

    G: Array
    origin: Array
    axes: Array
    offset: Array
    offset_b: Array
    feature: Array
    change: Array

    @staticmethod
    def of(model: HandModel, R: Array, b: Array, t: Array) -> "_Chain":
        n = len(R)
        rest = model.with_shape(b).rest_joints
        rest_b = np.broadcast_to(model.J_shapedirs, (n, N_MANO_JOINTS, 3, N_BETAS))
        G, axes = np.empty_like(R), np.empty_like(R)
        origin, origin_b = np.empty((n, N_MANO_JOINTS, 3)), np.empty_like(rest_b)
        G[:, 0], axes[:, 0] = R[:, 0], np.eye(3)
        origin[:, 0], origin_b[:, 0] = rest[:, 0] + t, rest_b[:, 0]
        for j in range(1, N_MANO_JOINTS):
            p = MANO_PARENTS[j]
            axes[:, j] = G[:, p]
            G[:, j] = G[:, p] @ R[:, j]
            bone, bone_b = rest[:, j] - rest[:, p], rest_b[:, j] - rest_b[:, p]
            origin[:, j] = origin[:, p] + (G[:, p] @ bone[..., None])[..., 0]
            origin_b[:, j] = origin_b[:, p] + G[:, p] @ bone_b
        # d vec(R) / d omega_c = vec(skew(e_c) R)
        change = (skew(np.eye(3)) @ R[:, 1:, None]).reshape(n, N_MANO_JOINTS - 1, 3, 9)
        return _Chain(
            G,
            origin,
            axes,
            origin - (G @ rest[..., None])[..., 0],
            origin_b - G @ rest_b,
            (R[:, 1:] - np.eye(3)).reshape(n, -1),
            change,
        )


def _normal_equations(
    model: HandModel, R: Array, b: Array, t: Array, goal: Array, free: int
) -> tuple[Array, Array, Array]:
    """Sums of squares of the skin's distance: H (n, P, P), g (n, P), cost (n,), P = 51 + free."""
    arrays, chain = _Model.of(model), _Chain.of(model, R, b, t)
    size = _N_OWN + free
    H, g, cost = np.empty((len(R), size, size)), np.empty((len(R), size)), np.empty(len(R))
    jacobian = np.empty((goal.shape[1], 3, size))
    residual = np.empty(goal.shape[1:])
    flat = jacobian.reshape(-1, size)
    for hand in range(len(R)):
        one = _Chain(*(array[hand] for array in chain))
        _skin_and_change(arrays, one, b[hand], jacobian, residual)
        residual -= goal[hand]
        H[hand] = flat.T @ flat
        g[hand] = flat.T @ residual.ravel()
        cost[hand] = np.sum(residual * residual)
    return H, g, cost


@numba.njit(cache=True, nogil=True)
def _skin_and_change(model, chain, betas, jacobian, skin):
    """Skin (V, 3) of one hand and its derivatives (V, 3, 51 or 61), written into the last two.

    Columns: omega of R_k <- exp(omega) R_k for k = 0..15, transl, betas if there is room for them.
    """
    n_joints, free = 16, jacobian.shape[2] - 51
    G, offset, weights = chain.G, chain.offset, model.weights
    q, lever = np.empty(3), np.empty(3)
    A, B = np.empty((3, 3)), np.empty((3, 3))
    placed = np.empty((n_joints, 3))
    for v in range(len(skin)):
        for r in range(3):
            q[r] = model.v_template[v, r]
            for m in range(10):
                q[r] += model.shapedirs[v, r, m] * betas[m]
            for m in range(135):
                q[r] += model.posedirs[v, r, m] * chain.feature[m]
        for r in range(3):
            skin[v, r] = 0.0
            for c in range(3):
                A[r, c] = 0.0
        total = 0.0
        for j in range(n_joints):
            w = weights[v, j]
            total += w
            for r in range(3):
                placed[j, r] = (
                    G[j, r, 0] * q[0] + G[j, r, 1] * q[1] + G[j, r, 2] * q[2] + offset[j, r]
                )
                skin[v, r] += w * placed[j, r]
                for c in range(3):
                    A[r, c] += w * G[j, r, c]
        for k in range(n_joints):
            # Everything below joint k turns about its origin: axis x lever.
            lever[0] = lever[1] = lever[2] = 0.0
            for j in range(k, n_joints):
                w = weights[v, j]
                if w != 0.0 and _BELOW[k, j]:
                    for r in range(3):
                        lever[r] += w * (placed[j, r] - chain.origin[k, r])
            for c in range(3):
                e0, e1, e2 = chain.axes[k, 0, c], chain.axes[k, 1, c], chain.axes[k, 2, c]
                jacobian[v, 0, 3 * k + c] = e1 * lever[2] - e2 * lever[1]
                jacobian[v, 1, 3 * k + c] = e2 * lever[0] - e0 * lever[2]
                jacobian[v, 2, 3 * k + c] = e0 * lever[1] - e1 * lever[0]
            if k == 0:
                continue
            # Pose correctives: A posedirs_k change_k.
            for r in range(3):
                for c in range(3):
                    B[r, c] = 0.0
                    for m in range(9):
                        B[r, c] += model.posedirs[v, r, 9 * k - 9 + m] * chain.change[k - 1, c, m]
            for r in range(3):
                for c in range(3):
                    jacobian[v, r, 3 * k + c] += (
                        A[r, 0] * B[0, c] + A[r, 1] * B[1, c] + A[r, 2] * B[2, c]
                    )
        for r in range(3):
            for c in range(3):
                jacobian[v, r, 48 + c] = total if r == c else 0.0
            for m in range(free):
                value = 0.0
                for c in range(3):
                    value += A[r, c] * model.shapedirs[v, c, m]
                for j in range(n_joints):
                    if weights[v, j] != 0.0:
                        value += weights[v, j] * chain.offset_b[j, r, m]
                jacobian[v, r, 51 + m] = value
