"""How plausible drawn pairs are, as numbers for each of them.

Comes in: `DrawnPairs`, the hands fitted to them. Goes out: `Plausibility`, by the same judge and
the same table of limits that every dataset is held to, so that a prior's draws, a baseline's and
the data can stand in one table. What cannot be known is NaN: overlap between hands whose place is
not told, anything of a hand that is not finite.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.drawn.fit import FittedPairs
from twohand500k.drawn.pairs import DrawnPairs
from twohand500k.hand import HandPair
from twohand500k.physics.judge import Judge

Array = np.ndarray

# Pairs a worker takes at a time.
_CHUNK = 128


@dataclass(frozen=True, eq=False)
class Plausibility:
    """Numbers of N pairs, NaN where not known.

    limit_violation (N, 2) rad: largest excess over the limits of joints. self_penetration_volume
    (N, 2) m3: a hand inside its own parts. penetration_volume (N,) m3, penetration_depth (N,) m,
    contact_distance (N,) m: of the pair, where its place is known. residual (N, 2) m: distance of
    what was drawn to the nearest hand, 0 for MANO parameters.
    """

    limit_violation: Array
    self_penetration_volume: Array
    penetration_volume: Array
    penetration_depth: Array
    contact_distance: Array
    residual: Array

    def __len__(self) -> int:
        return len(self.residual)


def plausibility(
    drawn: DrawnPairs, fitted: FittedPairs, hands: HandPair, *, workers: int = 1
) -> Plausibility:
    """Judge the fitted hands of drawn pairs. workers: processes; they change no number."""
    n = len(drawn)
    if len(fitted) != n:
        raise ValueError(f"{n} pairs were drawn, {len(fitted)} fitted")
    parts = [slice(first, first + _CHUNK) for first in range(0, n, _CHUNK)]
    jobs = [(fitted.rows(p), None if drawn.place is None else drawn.place[p]) for p in parts]
    judged: list[Array]
    if workers == 1 or len(parts) < 2:
        judge = Judge.of(hands)
        judged = [_judged(judge, *job) for job in jobs]
    else:
        with ProcessPoolExecutor(
            min(workers, len(parts)),
            multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(hands,),
        ) as pool:
            judged = list(pool.map(_judged_in_worker, jobs))
    found = np.concatenate(judged) if judged else np.empty((0, 5))
    return Plausibility(
        limit_violation=fitted.limit_violation,
        self_penetration_volume=found[:, :2],
        penetration_volume=found[:, 2],
        penetration_depth=found[:, 3],
        contact_distance=found[:, 4],
        residual=fitted.residual,
    )


def skins_of(fitted: FittedPairs, place: Array | None, hands: HandPair, row: int) -> list[Array]:
    """Right and left skin (V, 3) of one pair, from the drawn right wrist; without a place, each
    from its own wrist. NaN for a hand that is not known."""
    skins = []
    for side in (RIGHT, LEFT):
        shaped = hands[side].with_shape(fitted.betas[row, side])
        wrist = fitted.wrist[row, side]
        if side == LEFT and place is not None:
            wrist = wrist + place[row]
        skins.append(
            shaped.with_pose(fitted.pose[row, side], wrist - shaped.rest_joints[0]).vertices
        )
    return skins


def _judged(judge: Judge, fitted: FittedPairs, place: Array | None) -> Array:
    """(n, 5): own volume right, left, shared volume, depth, distance."""
    out = np.full((len(fitted), 5), np.nan)
    for row in range(len(fitted)):
        skins = skins_of(fitted, place, judge.hands, row)
        if place is None:
            out[row, :2] = [judge.self_volume(side, skins[side]) for side in (RIGHT, LEFT)]
        else:
            found = judge.pair(skins[RIGHT], skins[LEFT])
            out[row] = [*found.self_volume, found.volume, found.depth, found.distance]
    return out


_judge: Judge | None = None


def _start_worker(hands: HandPair) -> None:
    global _judge
    _judge = Judge.of(hands)


def _judged_in_worker(job: tuple[FittedPairs, Array | None]) -> Array:
    assert _judge is not None, "_start_worker has not run"
    return _judged(_judge, *job)
