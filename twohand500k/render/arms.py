"""The arms that hands hang on, and the sleeves they come out of.

In: both hands posed. Out: for each the rings of an arm, bent at the wrist as wrists bend, away from
the other hand where it can be; and for clothed arms a sleeve, which begins where it meets nothing.
No label depends on an arm: it is there because a photograph never shows a wrist cut off.
"""

from dataclasses import dataclass

import numpy as np

from twohand500k.hand.rotations import matrix_from_axis_angle
from twohand500k.render.surface import ARM_ALONG, HandSurface, arm_rings

Array = np.ndarray

# Degrees a wrist is bent, standard deviation: flexion, deviation. How many bends are tried.
_BEND_DEG = (24.0, 10.0)
_TRIED = 6
_CLEAR = 0.012
_SLEEVE_RINGS = 9
_ARM_RADIUS = 0.034


@dataclass(frozen=True, eq=False)
class Arm:
    """rings (10 L, 3) m; middle (10, 3) of each; away (3,) its direction at the elbow's end."""

    rings: Array
    middle: Array
    away: Array


def draw_arm(
    surface: HandSurface, skin: Array, R: Array, others: Array, rng: np.random.Generator
) -> Arm:
    """An arm for a posed skin (V, 3) m of global orientation R (3, 3), clear of `others` (n, 3)."""
    sign = 1.0 if surface.model.side == "right" else -1.0
    loop = skin[surface.loop]
    away = R @ np.array([sign, 0.0, 0.0])
    flexion_axis, deviation_axis = R @ np.array([0.0, 0, 1.0]), R @ np.array([0.0, 1.0, 0])
    bends = np.radians(np.array(_BEND_DEG)) * rng.standard_normal((_TRIED, 2))
    centre = loop.mean(axis=0)
    best, clearest = bends[0], -np.inf
    for bend in bends:
        turn = matrix_from_axis_angle(bend[0] * flexion_axis + bend[1] * deviation_axis)
        line = centre + np.linspace(0.04, 0.30, 10)[:, None] * (turn @ away)
        gap = np.linalg.norm(others[:, None] - line, axis=-1).min() if len(others) else np.inf
        gap -= _ARM_RADIUS
        if gap > clearest:
            best, clearest = bend, gap
        if gap > _CLEAR:
            break
    grows = np.clip((ARM_ALONG - 0.004) / 0.05, 0.0, 1.0)
    turns = matrix_from_axis_angle(
        grows[:, None] * (best[0] * flexion_axis + best[1] * deviation_axis)
    )
    rings = arm_rings(loop, away, turns)
    middle = rings.reshape(len(ARM_ALONG), -1, 3).mean(axis=1)
    return Arm(rings, middle, turns[-1] @ away)


@dataclass(frozen=True, eq=False)
class Sleeve:
    """A tube of cloth: points (n, 3) m, rest (n, 3) its own coordinates, faces (m, 3)."""

    points: Array
    rest: Array
    faces: Array


def draw_sleeve(arm: Arm, others: Array, start: float, rng: np.random.Generator) -> Sleeve | None:
    """A sleeve from `start` m up the arm, or from where it clears `others` (n, 3) m; None without
    room for one. Its folds are drawn."""
    n = len(arm.rings) // len(ARM_ALONG)
    rings = arm.rings.reshape(len(ARM_ALONG), n, 3)
    looseness = rng.uniform(0.004, 0.016)
    if len(others):
        gap = np.linalg.norm(others[:, None] - arm.middle, axis=-1).min(axis=0)
        near = np.flatnonzero(gap < _ARM_RADIUS * 1.25 + looseness)
        if len(near):
            start = max(start, float(ARM_ALONG[near[-1]]) + 0.05)
    if start > 0.22:
        return None
    along = np.linspace(start, ARM_ALONG[-1], 3 * _SLEEVE_RINGS)
    around = 2 * n
    shape = np.empty((len(along), n, 3))
    middle = np.empty((len(along), 3))
    for c in range(3):
        middle[:, c] = np.interp(along, ARM_ALONG, arm.middle[:, c])
        for k in range(n):
            shape[:, k, c] = np.interp(along, ARM_ALONG, rings[:, k, c])
    offset = shape - middle[:, None]
    offset = np.stack([offset, 0.5 * (offset + np.roll(offset, -1, axis=1))], axis=2)
    offset = offset.reshape(len(along), around, 3)
    radius = np.linalg.norm(offset, axis=2, keepdims=True)
    turn = np.linspace(0, 2 * np.pi, around, endpoint=False)
    folds = np.zeros((len(along), around))
    for _ in range(5):
        times, wave, phase = rng.integers(0, 4), rng.uniform(60.0, 260.0), rng.uniform(0, 2 * np.pi)
        folds += np.sin(times * turn[None] + wave * along[:, None] + phase)
    swell = looseness * (1.0 + 0.9 * np.clip((along - start) / 0.03, 0, 1))[:, None]
    swell = swell + 0.0013 * rng.uniform(0.3, 1.6) * folds
    # The cuff's rim.
    swell += 0.0012 * (along - start < 0.012)[:, None]
    points = middle[:, None] + offset * (1 + np.maximum(swell, 0.003)[..., None] / radius)
    rest = np.stack(
        [
            np.broadcast_to(along[:, None], folds.shape),
            0.04 * np.cos(turn) + 0 * folds,
            0.04 * turn[None] + 0 * folds,
        ],
        axis=-1,
    )
    return Sleeve(points.reshape(-1, 3), rest.reshape(-1, 3), _tube(len(along), around))


def _tube(rings: int, around: int) -> Array:
    at = np.arange(rings - 1)[:, None] * around
    k = np.arange(around)[None]
    after = (k + 1) % around
    a, b, c, d = at + k, at + after, at + around + k, at + around + after
    return np.concatenate(
        [np.stack([a, b, d], -1).reshape(-1, 3), np.stack([a, d, c], -1).reshape(-1, 3)]
    )
