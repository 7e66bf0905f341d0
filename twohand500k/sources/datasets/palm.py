"""A wrist for hands that were recorded with the centre of the palm in its place.

In: the palm's centre and the finger joints, metres. Out: where the wrist may be. Both rules lie on
lines through what was recorded, so they turn and move with the hand and are the same for both
sides. They are estimates: the wrist that comes out carries little weight in the fit.
`benchmarks/palm_wrist.py` prints how far they are off.
"""

import numpy as np

from twohand500k.sources.take import Array

# OpenPose joints: the bases of index, middle, ring and little finger.
_BASES = (5, 9, 13, 17)
_MIDDLE = 9
# From wrist to middle finger's base, in lengths of that finger's first two phalanges: the open
# hand's mean over shapes.
_METACARPUS = 1.33


def wrist_beyond_palm(joints: Array, palm: Array) -> Array:
    """The wrist (..., 3) on the line from the middle of the finger bases through the palm's centre.

    joints (..., 21, 3), of which the four finger bases are used; palm (..., 3): the middle of the
    palm. The palm's centre is taken to lie 1/2.25 of the way to the wrist: of the three rules that
    are in use for STB the one that suits a palm's centre in the middle of the hand best.
    """
    bases = joints[..., _BASES, :].mean(axis=-2)
    return bases + 2.25 * (palm - bases)


def wrist_towards_palm(joints: Array, palm: Array) -> Array:
    """The wrist (..., 3) in the direction of the palm, seen from the middle finger's base.

    For a palm of which nobody knows how far down the hand it lies: a Leap Motion's is less than a
    fifth of the way from the knuckles to the wrist. The distance is that of a hand's proportions:
    `_METACARPUS` times the middle finger's first two phalanges.
    """
    base = joints[..., _MIDDLE, :]
    phalanges = np.linalg.norm(np.diff(joints[..., _MIDDLE : _MIDDLE + 3, :], axis=-2), axis=-1)
    way = palm - base
    with np.errstate(invalid="ignore"):  # a palm on the knuckle points nowhere: no wrist
        way = way / np.linalg.norm(way, axis=-1, keepdims=True)
    return np.asarray(base + _METACARPUS * phalanges.sum(axis=-1)[..., None] * way)
