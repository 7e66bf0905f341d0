"""Successive frames of a take that hardly differ are one pose, not many: they are thinned first.

Comes in: features of pairs and the take and frame each is of. Goes out: which stay. A frame goes
if its joints lie, on average, nearer than `thin_mm` to the last frame kept of its take. A minute
of a resting hand at 120 frames a second would else be 7,200 near-duplicates: every nearest
neighbour would be the next frame, and the map would draw threads of one recording. Frame number -1
(a spliced pair, a single picture) belongs to no take's course and always stays. The same idea, and
the same 2 mm, thin the pose bank of `splice`.
"""

from typing import Final

import numpy as np
from numba import njit

from twohand500k.conventions import N_JOINTS

THIN_MM: Final = 2.0


def thinned(
    features: np.ndarray, take: np.ndarray, frame: np.ndarray, thin_mm: float = THIN_MM
) -> np.ndarray:
    """Which pairs stay (N,) bool.

    features (N, 126), take (N,) any labels, frame (N,) int. thin_mm: mean distance of the 42
    joints, on a hand of standard size; 0 keeps all. Raises ValueError if it is negative.
    """
    if thin_mm < 0:
        raise ValueError(f"thin_mm must be 0 or more, not {thin_mm}")
    stay = np.ones(len(features), dtype=np.bool_)
    moving = np.flatnonzero(frame >= 0)
    if thin_mm == 0 or not len(moving):
        return stay
    _, course = np.unique(take[moving], return_inverse=True)
    order = moving[np.lexsort((frame[moving], course))]
    course = np.sort(course)
    joints = features.reshape(len(features), 2 * N_JOINTS, 3)
    stay[order] = _moved_enough(joints, order, course, thin_mm * 1e-3)
    return stay


@njit(cache=True)
def _moved_enough(
    joints: np.ndarray, order: np.ndarray, course: np.ndarray, thin: float
) -> np.ndarray:
    """Whether each of `order` lies further than `thin` from the last one kept of its course."""
    keep = np.zeros(len(order), dtype=np.bool_)
    last = -1
    for n in range(len(order)):
        if last >= 0 and course[last] == course[n]:
            moved = 0.0
            for k in range(joints.shape[1]):
                total = 0.0
                for c in range(3):
                    step = joints[order[n], k, c] - joints[order[last], k, c]
                    total += step * step
                moved += np.sqrt(total)
            if moved <= thin * joints.shape[1]:
                continue
        keep[n] = True
        last = n
    return keep
