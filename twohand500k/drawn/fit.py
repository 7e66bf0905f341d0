"""MANO parameters for pairs drawn as parameters, joints or skins, and what they fall short.

Comes in: `DrawnPairs`. Goes out: `FittedPairs`, a hand for every hand drawn:

- ``mano`` passes through; rotation vectors are brought to angles in [0, pi].
- ``joints``: a shape for each hand from its bones' lengths, then the pose by the solver of `ik`, as
  `build` fits frames that each show another person's hand. The solver knows the limits of joints,
  so joints are fitted by the most lawful hand that explains them.
- ``vertices``: a first pose from the joints regressed on the skin, then Levenberg-Marquardt on all
  of the skin (`hand.refit`), which knows no limits.

What a decoder puts out need be no hand at all: its distance to the nearest one is `residual`. A
prior's pairs know nothing of a neighbour, so every hand is fitted by itself: the noise of a point
is a constant here, where `build` measures it over a take.
"""

from dataclasses import dataclass, fields
from functools import lru_cache

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

# What one coordinate of a drawn joint is taken to be off the nearest hand's, m: the solver's own
# default. True joints then come back to 0.3 mm and joints with 3 mm of noise bend fewest fingers
# against their limits; a tenth of it follows true joints to 0.05 mm and noise to 20 degrees.
_NOISE = Settings()


@dataclass(frozen=True, eq=False)
class FittedPairs:
    """A hand for every hand of `DrawnPairs`, same order.

    pose (N, 2, 16, 3) rad, angles in [0, pi]; betas (N, 2, 10). wrist (N, 2, 3) m: the fitted wrist
    in its drawn hand's own frame, whose origin is the drawn wrist: zero for ``mano``, at most
    millimetres for what was fitted. residual (N, 2) m: mean distance of the fitted joints or skin
    to the drawn, 0 for ``mano``. limit_violation (N, 2) rad: largest excess over the limits of
    joints. converged (N, 2) bool: False where the solver ran out of steps (the residual is true all
    the same) and for a hand that is not finite, or that no solver takes; that one is NaN.
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
    betas, solution = _solved(points, model)
    wrist = model.with_shape(betas).rest_joints[:, 0] + solution.transl
    return solution.pose, betas, wrist, solution.residual.mean(axis=1), solution.converged


def _from_skins(skins: Array, model: HandModel) -> _Part:
    """Hands for skins (n, V, 3)."""
    regressed = np.einsum("jv,nvc->njc", model.J_regressor, skins)
    tips = skins[:, list(model.tip_vertex_ids)]
    points = np.concatenate([regressed, tips], axis=1)[:, OPENPOSE_FROM_MANO21]
    betas, begun = _solved(points, model)
    pose, transl = begun.pose.copy(), begun.transl.copy()
    # A skin so far from a hand that the joints' solver overflows has nowhere to begin.
    rows = np.flatnonzero(begun.solved)
    pose[~begun.solved], betas[~begun.solved] = np.nan, np.nan
    residual, converged = np.full(len(skins), np.nan), np.zeros(len(skins), dtype=np.bool_)
    found = fit_skins(model, skins[rows], pose[rows], betas[rows], transl[rows])
    pose[rows], betas[rows], transl[rows] = found.pose, found.betas, found.transl
    residual[rows], converged[rows] = found.residual_mean, found.converged
    return pose, betas, model.with_shape(betas).rest_joints[:, 0] + transl, residual, converged


def _solved(points: Array, model: HandModel) -> tuple[Array, Solution]:
    """Shapes (n, 10) from bone lengths, and the poses (n) that put a hand of that shape there."""
    attachments = Attachments.of_joints()
    betas = shapes_of(points, attachments, model, _NOISE.sigma_point)
    shaped = model.with_shape(betas)
    return betas, solve(points, shaped, attachments, _NOISE)
