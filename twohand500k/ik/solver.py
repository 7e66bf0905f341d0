"""Poses from points: batched Levenberg-Marquardt on the hand's tree.

In: points (N, K, 3) of N hands of one side, where those points sit on the hand (`Attachments`),
and a shaped hand model. Out: a `Solution`: pose, translation, angles, residuals, what limits were
broken and by how much, and how well each angle is known.

The estimate is the most probable pose (MAP) under the sigmas of `Settings`: points are noisy by
`sigma_point`, an angle outside its limits costs its excess over `sigma_limit` (quadratic, then
linear from the knee on, so that a finger that truly is bent back shows nearly its whole excess),
and what the points leave open is drawn to a resting hand. Noise-free input asks for a small
`sigma_point`; then the prior moves nothing that is measured.

Only right hands are solved: left points are mirrored, solved on `model.mirrored()`, and the result
mirrored back, so that both sides are one code path and mirrored input gives the mirrored result to
the last bit. Threads work on chunks of hands; a hand's result depends on its own input alone.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twohand500k.conventions import MANO_CHAINS, N_MANO_JOINTS
from twohand500k.cores import available_cores
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.model import HandModel, ShapedHand
from twohand500k.hand.rotations import (
    Array,
    matrix_from_axis_angle,
    mirror_axis_angle,
    mirror_points,
)
from twohand500k.ik import _kernels
from twohand500k.ik.attachments import Attachments, Ints
from twohand500k.ik.residuals import AnglePrior

# Hands a thread takes at a time: small enough to share the work, large enough to hide the call.
_CHUNK = 256


@dataclass(frozen=True)
class Settings:
    """What is believed about points and hands; every weight is one over its sigma.

    sigma_point m: noise of one coordinate of a point of weight 1.
    sigma_limit rad: how much a limit gives way. limit_knee rad: from this excess on its pull is
    constant, so a real excess is measured (nearly) whole; see docs/ik.md for the bias that stays.
    prior_scale: widens (> 1) or narrows the resting-hand prior.
    max_iterations: Levenberg-Marquardt iterations per start; there are at most three starts.
    restart: another start is tried where the cost per coordinate exceeds this (squared sigmas).
    """

    sigma_point: float = 1e-3
    sigma_limit: float = np.radians(3.0)
    limit_knee: float = np.radians(3.0)
    prior_scale: float = 1.0
    max_iterations: int = 60
    restart: float = 4.0


@dataclass(frozen=True, eq=False)
class Target:
    """A pose to stay close to, hand by hand: the temporal term.

    pose (N, 16, 3) axis-angle, wrist (N, 3) m, and how far one may stray from each: sigma_angle
    (N, 15, 3) rad of the fingers' angles, sigma_orientation (N,) rad, sigma_wrist (N,) m.
    """

    pose: Array
    wrist: Array
    sigma_angle: Array
    sigma_orientation: Array
    sigma_wrist: Array


@dataclass(frozen=True, eq=False)
class Solution:
    """Fitted hands. NaN throughout where `status` is 2 or 3.

    pose (N, 16, 3) axis-angle rad, relative to the flat hand; transl (N, 3) m, MANO's.
    angles (N, 15, 3) rad flexion, abduction, twist; limit_excess (N, 15, 3) rad, >= 0.
    angle_sigma (N, 15, 3) rad: posterior standard deviation of each angle (Laplace): near the
    prior's own where the points say nothing. base_sigma (N, 6): of the orientation, rad, and of the
    wrist, m, in world axes.
    residual (N, K) m: distance of the fitted landmark to the point, NaN where the point is missing.
    cost (N,): half the sum of squares, in sigmas. iterations (N,). status (N,): 0 converged,
    1 not converged, 2 too few points (fewer than three, or all on a line), 3 failed (the numbers
    overflow: coordinates far beyond a hand's).
    """

    pose: Array
    transl: Array
    angles: Array
    limit_excess: Array
    angle_sigma: Array
    base_sigma: Array
    residual: Array
    cost: Array
    iterations: Ints
    status: Ints

    @property
    def converged(self) -> NDArray[np.bool_]:
        """(N,) bool."""
        return self.status == _kernels.CONVERGED

    @property
    def solved(self) -> NDArray[np.bool_]:
        """(N,) bool: there is a pose."""
        return self.status <= _kernels.NOT_CONVERGED

    @property
    def too_few_points(self) -> NDArray[np.bool_]:
        """(N,) bool: fewer than three points, or all on a line."""
        return self.status == _kernels.TOO_FEW_POINTS

    def rows(self, which: "slice | Ints") -> "Solution":
        """The same for some of the hands."""
        return Solution(**{f.name: getattr(self, f.name)[which] for f in fields(self)})


def solve(
    points: ArrayLike,
    shaped: ShapedHand,
    attachments: Attachments | None = None,
    settings: Settings | None = None,
    *,
    target: Target | None = None,
    threads: int | None = None,
) -> Solution:
    """Fit hands of one side to points.

    points (N, K, 3) m, NaN or infinite = missing; shaped: one shape for all (betas (10,)) or one
    per hand (betas (N, 10)); attachments: K of them (default: the 21 joints). threads: None takes
    NUMBA_NUM_THREADS, or else every core this process may use; the result does not depend on it.
    Raises ValueError for shapes that do not go together and for betas that are not finite.
    """
    settings = settings or Settings()
    attachments = attachments or Attachments.of_joints()
    points = np.ascontiguousarray(points, dtype=np.float64)
    n, k = len(points), len(attachments)
    if points.shape != (n, k, 3):
        raise ValueError(f"points must be (N, {k}, 3) for {k} attachments, got {points.shape}")
    if k > _kernels.MAX_POINTS:
        raise ValueError(f"at most {_kernels.MAX_POINTS} landmarks a hand, got {k}")
    if shaped.betas.shape[:-1] not in ((), (n,)):
        raise ValueError(f"betas must be (10,) or ({n}, 10), got {shaped.betas.shape}")
    if not np.isfinite(shaped.betas).all():
        raise ValueError("betas must be finite; NaN or infinity among them")
    left = shaped.model.side == "left"
    if left:
        shaped = ShapedHand(shaped.model.mirrored(), shaped.betas)
        points, attachments = mirror_points(points), attachments.mirrored()
        if target is not None:
            target = replace(
                target,
                pose=mirror_axis_angle(target.pose),
                wrist=mirror_points(target.wrist),
            )
    model = shaped.model
    anatomy = Anatomy.of(model)
    rest = np.ascontiguousarray(np.atleast_3d(shaped.rest_joints).reshape(-1, N_MANO_JOINTS, 3))
    tip_ids = list(model.tip_vertex_ids)
    tip_rest = np.ascontiguousarray(shaped.rest_vertices_at(tip_ids).reshape(-1, 5, 3))
    shape_of = np.arange(n) if shaped.betas.ndim == 2 else np.zeros(n, dtype=np.int64)
    targets = np.zeros(1 if target is None else n, _kernels.TARGET)
    if target is not None:
        known = np.isfinite(target.pose).all(axis=(1, 2)) & np.isfinite(target.wrist).all(axis=1)
        pose = target.pose[known]
        targets["angles"][known] = anatomy.angles_from_pose(pose)
        targets["R"][known] = matrix_from_axis_angle(pose[:, 0])
        targets["wrist"][known] = target.wrist[known]
        targets["angle_weight"][known] = 1.0 / target.sigma_angle[known]
        targets["orientation_weight"][known] = 1.0 / target.sigma_orientation[known]
        targets["wrist_weight"][known] = 1.0 / target.sigma_wrist[known]
    # Presence is decided here, not in the kernel, where fast arithmetic may reason NaN away.
    present = np.isfinite(points).all(axis=-1) & (attachments.weight > 0)
    points = np.where(present[..., None], points, 0.0)
    present = present.astype(np.int64)
    rig = make_rig(shaped.model, anatomy, attachments, settings)
    rig["has_target"] = target is not None
    fitted = np.zeros(n, _kernels.FITTED)
    for name in ("pose", "wrist", "angles", "sigma", "base_sigma", "residual", "cost"):
        fitted[name] = np.nan

    def solve_chunk(start: int) -> None:
        rows = slice(start, min(start + _CHUNK, n))
        own = targets if target is None else targets[rows]
        _kernels.solve_hands(
            rig, points[rows], present[rows], shape_of[rows], rest, tip_rest, own,
            np.zeros(1, _kernels.GOAL), np.zeros(3, _kernels.STATE), np.zeros(1, _kernels.SYSTEM),
            fitted[rows],
        )  # fmt: skip

    starts = range(0, n, _CHUNK)
    workers = min(threads or _default_threads(), len(starts))
    if workers > 1:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(solve_chunk, starts))
    else:
        for start in starts:
            solve_chunk(start)

    pose, transl = fitted["pose"].copy(), fitted["wrist"] - rest[shape_of, 0]
    if left:
        pose, transl = mirror_axis_angle(pose), mirror_points(transl)
    return Solution(
        pose=pose,
        transl=transl,
        angles=fitted["angles"].copy(),
        limit_excess=anatomy.limit_excess(fitted["angles"]),
        angle_sigma=fitted["sigma"].copy(),
        base_sigma=fitted["base_sigma"].copy(),
        residual=fitted["residual"][:, :k].copy(),
        cost=fitted["cost"].copy(),
        iterations=fitted["iterations"].copy(),
        status=fitted["status"].copy(),
    )


def make_rig(
    model: HandModel,
    anatomy: Anatomy,
    attachments: Attachments,
    settings: Settings,
) -> np.ndarray:
    """What the kernel needs to know of a right hand besides its points and shape: (1,) RIG."""
    k, offset = len(attachments), attachments.offset
    tip_ids = list(model.tip_vertex_ids)
    prior = AnglePrior.resting(anatomy, settings.prior_scale)
    rig = np.zeros(1, _kernels.RIG)
    rig["A"], rig["limits"] = anatomy.A, anatomy.limits
    rig["prior_mean"], rig["prior_weight"] = prior.mean, prior.weight
    rig["coupling"] = prior.coupling
    rig["tip_posedirs"] = np.swapaxes(model.posedirs[tip_ids], 1, 2)
    rig["tip_weights"] = model.weights[tip_ids]
    rig["n_points"] = k
    rig["carrier"][0, :k], rig["tip"][0, :k] = attachments.carrier, attachments.tip
    rig["offset"][0, :k] = offset
    rig["at_joint"][0, :k] = (attachments.tip < 0) & ~offset.any(axis=1)
    rig["weight"][0, :k] = attachments.weight / settings.sigma_point
    rig["finger_landmarks"] = _finger_landmarks(attachments)
    rig["limit_weight"], rig["limit_knee"] = 1.0 / settings.sigma_limit, settings.limit_knee
    rig["max_iterations"], rig["restart"] = settings.max_iterations, settings.restart
    return rig


def _default_threads() -> int:
    return int(os.environ.get("NUMBA_NUM_THREADS", 0)) or available_cores()


def _finger_landmarks(attachments: Attachments) -> Ints:
    """(5, 4): per kernel block the landmarks of its three joints and its tip, -1 for none."""
    table = np.full((5, 4), -1, dtype=np.int64)
    # backwards, so that of two landmarks at one joint the first stays
    for landmark in reversed(range(len(attachments))):
        joint = int(attachments.joint[landmark])
        if joint == 0 or attachments.carrier[landmark] not in MANO_CHAINS[(joint - 1) // 4]:
            continue
        table[_kernels.FINGER_OF_BLOCK.index((joint - 1) // 4), (joint - 1) % 4] = landmark
    return table
