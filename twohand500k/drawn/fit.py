"""MANO parameters for pairs drawn as parameters, joints or skins, and what they fall short.

Comes in: `DrawnPairs`. Goes out: `FittedPairs`, a hand for every hand drawn:

- ``mano`` passes through; rotation vectors are brought to angles in [0, pi].
- ``joints``: a shape for each hand from its bones' lengths, then the pose by the solver of `ik`, as
  `build` fits frames that each show another person's hand. The solver knows the limits of joints,
  so joints are fitted by the most lawful hand that explains them.
- ``vertices``: a first pose from the joints regressed on the skin, then Levenberg-Marquardt on all
  of the skin (`hand.refit`), which knows no limits.

What a decoder puts out need be no hand at all: its distance to the nearest one is `residual`. A
prior's pairs know nothing of a neighbour: where `build` measures the noise of points over a take,
here every hand has its own, one of a few steps.
"""

from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import pairwise

import numpy as np

from twohand500k.conventions import (
    LEFT,
    N_BETAS,
    N_MANO_JOINTS,
    OPENPOSE_FROM_MANO21,
    RIGHT,
)
from twohand500k.drawn.pairs import DrawnPairs
from twohand500k.hand import HandModel, HandPair
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.refit import fit_skins
from twohand500k.hand.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from twohand500k.ik import Attachments, Settings, Solution, solve
from twohand500k.ik.calibrate_frames import shapes_of

Array = np.ndarray

# What one coordinate of a drawn joint may be taken to be off the nearest hand's, m. The first is
# the solver's own default; a hand that lies further off its points than that is fitted again under
# the next: joints that are no hand's are then explained by noise, not by monstrous shapes.
_NOISES_M = (1e-3, 2e-3, 4e-3, 8e-3)
_NEXT = np.sqrt(2)
# A decoder's errors are alike over patches of some sixteen vertices: the square root of that many
# times the noise of a coordinate is what holds betas against a skin that is no hand's.
_SMOOTH = 4.0
_BETA_WEIGHT_M = 1e-4
# What the joints of a hand decide: 6 of the base, about 24 angles, about 6 of the shape.
_UNKNOWNS = 36


@dataclass(frozen=True, eq=False)
class FittedPairs:
    """A hand for every hand of `DrawnPairs`, same order.

    pose (N, 2, 16, 3) rad, angles in [0, pi]; betas (N, 2, 10). wrist (N, 2, 3) m: the fitted wrist
    in its drawn hand's own frame, whose origin is the drawn wrist: zero for ``mano``, at most
    millimetres for what was fitted. residual (N, 2) m: mean distance of the fitted joints or skin
    to the drawn, 0 for ``mano``. limit_violation (N, 2) rad: largest excess over the limits of
    joints, which means little where the residual is large. converged (N, 2) bool: False where the
    solver ran out of steps or the drawn hand is collapsed to a line (the residual is true all the
    same), and for a hand that is not finite, or overflows; that one is NaN.
    """

    pose: Array
    betas: Array
    wrist: Array
    residual: Array
    limit_violation: Array
    converged: Array

    def __len__(self) -> int:
        return len(self.pose)

    def rows(self, which: "slice | Array") -> "FittedPairs":
        """The same for some of the pairs."""
        return FittedPairs(*(getattr(self, f.name)[which] for f in fields(self)))

    @property
    def known(self) -> Array:
        """(N, 2) bool: hands that there are."""
        return np.asarray(np.isfinite(self.residual))


def fit_drawn(drawn: DrawnPairs, hands: HandPair) -> FittedPairs:
    """Hands for drawn pairs; a hand's result depends on itself alone, up to its last bits.

    Raises ValueError for skins of another topology than `hands`.
    """
    n = len(drawn)
    nan = np.nan
    out = FittedPairs(
        np.full((n, 2, N_MANO_JOINTS, 3), nan), np.full((n, 2, N_BETAS), nan),
        np.full((n, 2, 3), nan), np.full((n, 2), nan), np.full((n, 2), nan),
        np.zeros((n, 2), dtype=np.bool_),
    )  # fmt: skip
    finite = drawn.finite
    for side in (RIGHT, LEFT):
        rows = np.flatnonzero(finite[:, side])
        model = hands[side]
        if drawn.pose is not None and drawn.betas is not None:
            part = _as_drawn(drawn.pose[rows, side], drawn.betas[rows, side])
        elif drawn.joints is not None:
            part = _from_joints(drawn.joints[rows, side], model)
        else:
            assert drawn.vertices is not None
            part = _from_skins(drawn.vertices[rows, side], model)
        for f, array in zip(_FITTED, part, strict=True):
            getattr(out, f)[rows, side] = array
        out.limit_violation[rows, side] = limit_violation(model, part[0])
    return out


def limit_violation(model: HandModel, pose: Array) -> Array:
    """Largest excess (N,) over the limits of joints of poses (N, 16, 3), rad; NaN for NaN."""
    anatomy = _anatomy(model)
    excess: Array = anatomy.limit_excess(anatomy.angles_from_pose(pose))
    return excess.max(axis=(-2, -1))


@lru_cache(maxsize=4)
def _anatomy(model: HandModel) -> Anatomy:
    """The anatomy of a model, kept for the next block of its hands."""
    return Anatomy.of(model)


# pose, betas, wrist, residual, converged of n hands of one side.
_Part = tuple[Array, Array, Array, Array, Array]
_FITTED = ("pose", "betas", "wrist", "residual", "converged")


def _as_drawn(pose: Array, betas: Array) -> _Part:
    n = len(pose)
    wrapped = axis_angle_from_matrix(matrix_from_axis_angle(pose))
    return wrapped, betas, np.zeros((n, 3)), np.zeros(n), np.ones(n, dtype=np.bool_)


def _from_joints(points: Array, model: HandModel) -> _Part:
    """Hands for joints (n, 21, 3)."""
    betas, solution, _ = _solved(points, model)
    wrist = model.with_shape(betas).rest_joints[:, 0] + solution.transl
    return solution.pose, betas, wrist, solution.residual.mean(axis=1), solution.converged


def _from_skins(skins: Array, model: HandModel) -> _Part:
    """Hands for skins (n, V, 3)."""
    regressed = np.einsum("jv,nvc->njc", model.J_regressor, skins)
    tips = skins[:, list(model.tip_vertex_ids)]
    points = np.concatenate([regressed, tips], axis=1)[:, OPENPOSE_FROM_MANO21]
    betas, begun, noise = _solved(points, model)
    pose, transl = begun.pose, begun.transl
    residual, converged = np.full(len(skins), np.nan), np.zeros(len(skins), dtype=np.bool_)
    rows = np.flatnonzero(np.isfinite(pose).all(axis=(1, 2)))
    pull = np.where(noise > _NOISES_M[0], _SMOOTH * noise, _BETA_WEIGHT_M)[rows]
    found = fit_skins(model, skins[rows], pose[rows], betas[rows], transl[rows], beta_weight_m=pull)
    pose[rows], betas[rows], transl[rows] = found.pose, found.betas, found.transl
    residual[rows], converged[rows] = found.residual_mean, found.converged
    return pose, betas, model.with_shape(betas).rest_joints[:, 0] + transl, residual, converged


def _solved(points: Array, model: HandModel) -> tuple[Array, Solution, Array]:
    """Shapes (n, 10) from bone lengths, the poses (n) that put a hand of that shape there, and
    under which noise of the points (n,), m."""
    taken = np.full(len(points), _NOISES_M[0])
    betas, solution = _solved_under(_NOISES_M[0], points, model)
    free = points[0].size - _UNKNOWNS if len(points) else 1
    for before, noise in pairwise(_NOISES_M):
        spread = np.sqrt((solution.residual**2).sum(axis=1) / free)
        # Those too that the solver gave up, whose spread is not known.
        rows = np.flatnonzero(~(spread <= _NEXT * before))
        shapes, again = _solved_under(noise, points[rows], model)
        better, rows = again.solved, rows[again.solved]
        betas[rows], taken[rows] = shapes[better], noise
        for f in fields(Solution):
            getattr(solution, f.name)[rows] = getattr(again, f.name)[better]
    # A hand collapsed to a line has no nearest one; the flat hand in its place tells how far it is.
    rows = np.flatnonzero(solution.too_few_points)
    flat = model.with_shape().with_pose().joints
    betas[rows], solution.pose[rows], taken[rows] = 0.0, 0.0, _NOISES_M[-1]
    solution.transl[rows] = (points[rows] - flat).mean(axis=1)
    away = points[rows] - flat - solution.transl[rows, None]
    solution.residual[rows] = np.linalg.norm(away, axis=-1)
    return betas, solution, taken


def _solved_under(noise: float, points: Array, model: HandModel) -> tuple[Array, Solution]:
    attachments = Attachments.of_joints()
    betas = shapes_of(points, attachments, model, noise)
    shaped = model.with_shape(betas)
    return betas, solve(points, shaped, attachments, Settings(sigma_point=noise))
