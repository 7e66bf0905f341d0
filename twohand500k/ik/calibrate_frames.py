"""The noise of a take whose frames show different people's hands.

In: a `Take` with shape="frame". Out: a `Calibration` whose sigma says how far points lie from the
best hand; its betas are zeros, for every hand gets its own from its bone lengths (`shapes_of`).
Lengths do not depend on the pose, so that needs no search, and one frame's 21 joints give 32 of
them for 10 betas.
"""

import numpy as np

from twohand500k.conventions import N_BETAS, TIP_SETS
from twohand500k.errors import DataError
from twohand500k.hand.model import HandModel, HandPair
from twohand500k.ik.attachments import Attachments
from twohand500k.ik.calibrate import Calibration, first_guess
from twohand500k.ik.hypotheses import shapes_from_distances
from twohand500k.ik.solver import Settings, solve
from twohand500k.sources import Take

Array = np.ndarray

_HANDS = 200
_ROUNDS = 4
_SIGMA_START, _SIGMA_LEAST = 2e-3, 2e-5
# A length is the difference of two noisy points; below that the model's own bones misfit.
_LENGTH_LEAST = 1e-4
# What a hand's points decide: 6 of the base, about 24 angles, about 6 of the shape.
_UNKNOWNS = 36


def shapes_of(points: Array, attachments: Attachments, model: HandModel, sigma: float) -> Array:
    """Betas (N, 10) of each hand by itself. points (N, K, 3) m; sigma m: noise of a coordinate."""
    length = max(np.sqrt(2) * sigma, _LENGTH_LEAST)
    return shapes_from_distances(points, attachments.joint, model, attachments.weight, length)


def calibrate_frames(
    take: Take, usable: Array, hands: HandPair, *, threads: int | None = None
) -> Calibration:
    """The noise of each side, from at most 200 of its hands.

    usable (T, 2) bool: hands that nothing speaks against so far. Raises DataError if there is none.
    """
    sigma = np.full(2, np.nan)
    frames = [np.empty(0, dtype=np.int64)] * 2
    for side in np.flatnonzero(take.sides & usable.any(axis=0)).tolist():
        rows = np.flatnonzero(usable[:, side])
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(_HANDS, len(rows))).astype(int))]
        frames[side] = rows
        model = hands[side].with_tips(TIP_SETS[take.tips])
        attachments = first_guess(take.landmarks, model)
        sigma[side] = _noise(take.points[rows, side], attachments, model, threads)
    if np.isnan(sigma).all():
        raise DataError(f"take {take.name}: no hand to measure its noise on")
    return Calibration(
        betas=np.zeros((2, N_BETAS)),
        attachments=(
            first_guess(take.landmarks, hands.right),
            first_guess(take.landmarks, hands.left),
        ),
        sigma=sigma,
        frames=(frames[0], frames[1]),
        iterations=_ROUNDS,
        converged=True,
    )


def _noise(points: Array, attachments: Attachments, model: HandModel, threads: int | None) -> float:
    """Standard deviation of one coordinate of a point of weight 1, m: the median over hands."""
    sigma = _SIGMA_START
    seen = np.isfinite(points).all(axis=-1).sum(axis=1)
    for _ in range(_ROUNDS):
        shaped = model.with_shape(shapes_of(points, attachments, model, sigma))
        fit = solve(points, shaped, attachments, Settings(sigma_point=sigma), threads=threads)
        square = np.nansum((fit.residual * attachments.weight) ** 2, axis=1)
        free = np.maximum(3 * seen - _UNKNOWNS, 6)
        solved = fit.solved
        if not solved.any():
            return _SIGMA_START
        sigma = max(float(np.sqrt(np.median((square / free)[solved]))), _SIGMA_LEAST)
    return sigma
