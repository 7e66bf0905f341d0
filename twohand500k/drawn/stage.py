"""The sampling stage: numbers of draws in, interactions out.

Comes in: a `DrawChunk`, some draws of a run, and a `Draw` that says what they are. Goes out: their
interactions in the frame of the right wrist. Refused are draws that are no hands: `not_finite`,
`fit_residual` (drawn joints or skin too far from any hand), `implausible_shape` (a hand of no
human's size). Limits of joints broken and hands inside each other are no reason: how many of them
there are is what a prior's draws are looked at for, and what `physics-fix` takes away.

A draw's sample is the same bits whatever the other draws, chunks or workers: fitting goes in blocks
of fixed rows, as a product over other rows may differ in its last bit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from twohand500k.conventions import LEFT, RIGHT, SIDES
from twohand500k.drawn.fit import FittedPairs, fit_drawn, limit_violation
from twohand500k.drawn.pairs import DrawnPairs
from twohand500k.hand import HandModel, HandPair
from twohand500k.hand.rigid import in_right_wrist
from twohand500k.pipeline import Stats, Summary, UnitResult
from twohand500k.shards import Reject, Samples
from twohand500k.shards.verify import HAND_LENGTH_M

Array = np.ndarray

NOT_FINITE = "not_finite"
FIT_RESIDUAL = "fit_residual"
IMPLAUSIBLE_SHAPE = "implausible_shape"

# Draws first .. last - 1 of a run, their place among them; the same for any first and last.
Draw = Callable[[int, int], DrawnPairs]
BLOCK = 64
# Betas are standard deviations of human hands; `verify` takes no more than 20 for a number.
_MOST_BETA = 10.0


@dataclass(frozen=True, eq=False)
class DrawChunk:
    """One work unit: draws first .. last - 1 of the run."""

    first: int
    last: int
    inputs: Mapping[str, str]

    @property
    def name(self) -> str:
        return f"draws {self.first}-{self.last - 1}"


@dataclass(frozen=True)
class SampleStage:
    """What a worker does with a `DrawChunk`.

    draw: what is drawn, picklable. source, take: provenance of every sample. max_residual_m: of the
    mean distance between the drawn and the nearest hand, of either side.
    """

    hands: HandPair
    draw: Draw
    source: str
    take: str
    max_residual_m: float

    def __call__(self, chunk: DrawChunk) -> UnitResult:
        parts = [
            self._block(first, max(chunk.first - first, 0), min(chunk.last - first, BLOCK))
            for first in range(chunk.first - chunk.first % BLOCK, chunk.last, BLOCK)
        ]
        kept = [samples for samples, _, _ in parts if samples is not None]
        rejects = tuple(reject for _, refused, _ in parts for reject in refused)
        stats = Stats()
        for _, _, told in parts:
            stats = stats + told
        samples = Samples.concat(kept) if kept else None
        return UnitResult(samples, rejects, n_in=chunk.last - chunk.first, stats=stats)

    def _block(
        self, first: int, begin: int, end: int
    ) -> tuple[Samples | None, list[Reject], Stats]:
        """Rows begin .. end - 1 of the block of draws that begins at `first`."""
        drawn = self.draw(first, first + BLOCK)
        fitted = fit_drawn(drawn, self.hands)
        lengths = np.stack(
            [_hand_length(self.hands[s], fitted.betas[:, s], fitted.pose[:, s]) for s in _SIDES],
            axis=1,
        )
        reasons = [self._reason(drawn, fitted, lengths, row) for row in range(len(drawn))]
        asked = np.zeros(len(drawn), dtype=np.bool_)
        asked[begin:end] = True
        good = np.array([not code for code, _ in reasons], dtype=np.bool_)
        rejects = [
            Reject(str(drawn.sample_id[row]), self.source, *reasons[row])
            for row in np.flatnonzero(asked & ~good)
        ]
        stats = Stats(
            counts={
                "hands": 2 * (end - begin),
                "hands not converged": int((~fitted.converged[asked]).sum()),
            },
            summaries={
                "fit_residual_m": Summary.of(fitted.residual[asked]),
                "limit_violation_rad": Summary.of(fitted.limit_violation[asked & good]),
            },
        )
        if not (asked & good).any():
            return None, rejects, stats
        samples = to_samples(
            drawn.rows(good), fitted.rows(good), self.hands, self.source, take=self.take
        )
        return samples.select(asked[good]), rejects, stats

    def _reason(
        self, drawn: DrawnPairs, fitted: FittedPairs, lengths: Array, row: int
    ) -> tuple[str, str]:
        """Why a draw is refused, and what was seen; empty where it is kept."""
        known, residual = fitted.known[row], fitted.residual[row]
        if not known.all():
            sides = " and ".join(SIDES[side] for side in np.flatnonzero(~known))
            return NOT_FINITE, f"{sides}: numbers that are not finite, or overflow in the fit"
        if residual.max() > self.max_residual_m:
            return FIT_RESIDUAL, (
                f"drawn {drawn.form} {1e3 * residual[RIGHT]:.2f} mm (right) and "
                f"{1e3 * residual[LEFT]:.2f} mm (left) from the nearest hand, at most "
                f"{1e3 * self.max_residual_m:g} mm allowed"
            )
        for side in _SIDES:
            beta, length = float(np.abs(fitted.betas[row, side]).max()), float(lengths[row, side])
            if beta > _MOST_BETA:
                return IMPLAUSIBLE_SHAPE, f"{SIDES[side]}: a beta of {beta:.1f}"
            if not HAND_LENGTH_M[0] <= length <= HAND_LENGTH_M[1]:
                return IMPLAUSIBLE_SHAPE, (
                    f"{SIDES[side]}: {length:.3f} m from wrist to middle fingertip"
                )
        return "", ""


_SIDES = (RIGHT, LEFT)
_MIDDLE = [0, 9, 10, 11, 12]


def _hand_length(model: HandModel, betas: Array, pose: Array) -> Array:
    """Wrist to middle fingertip along the bones (n,), m, as `verify` takes it."""
    joints = model.with_shape(betas).with_pose(pose).joints[:, _MIDDLE]
    return np.asarray(np.linalg.norm(np.diff(joints, axis=1), axis=-1).sum(axis=-1))


def to_samples(
    drawn: DrawnPairs,
    fitted: FittedPairs,
    hands: HandPair,
    source: str,
    *,
    take: str = "",
) -> Samples:
    """Drawn pairs as interactions in the frame of the right wrist; every hand must be known.

    take: provenance, the source where not given; draws are no frames of it, so they have no frame
    numbers. Joints and limits are of the parameters as they are stored. Raises ValueError for pairs
    without a place: without it there is no interaction.
    """
    if drawn.place is None:
        raise ValueError("pairs without the left hand's place are no interactions")
    n = len(drawn)
    wrist = fitted.wrist.copy()
    wrist[:, LEFT] += drawn.place
    J0 = np.stack(
        [hands[s].with_shape(fitted.betas[:, s]).rest_joints[:, 0] for s in _SIDES], axis=1
    )
    betas = _stored(fitted.betas)
    pose, transl = (
        _stored(a) for a in in_right_wrist(hands, fitted.pose, fitted.betas, wrist - J0)
    )
    joints = [
        hands[s].with_shape(betas[:, s]).with_pose(pose[:, s], transl[:, s]).joints for s in _SIDES
    ]
    fit_error = np.full((n, 2), np.nan) if drawn.form == "mano" else fitted.residual
    return Samples(
        sample_id=drawn.sample_id,
        pose=pose,
        betas=betas,
        transl=transl,
        joints=np.stack(joints, axis=1),
        present=np.ones((n, 2), dtype=np.bool_),
        source=np.full(n, source),
        take=np.full(n, take or source),
        mirrored=np.zeros((n, 2), dtype=np.bool_),
        fit_error=fit_error,
        limit_violation=np.stack([limit_violation(hands[s], pose[:, s]) for s in _SIDES], axis=1),
    )


def _stored(values: Array) -> Array:
    """As the numbers are on the disk, in float64."""
    stored: Array = values.astype(np.float32).astype(np.float64)
    return stored
