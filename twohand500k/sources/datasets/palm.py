"""A wrist for hands that were recorded with the centre of the palm in its place.

In: the palm's centre and the bases of the four fingers, metres. Out: where the wrist may be. Both
rules lie on lines through what was recorded, so they turn and move with the hand and are the same
for both sides. They are estimates: the wrist that comes out carries little weight in the fit.
`benchmarks/palm_wrist.py` prints how far they are off.
"""

from twohand500k.sources.take import Array

# OpenPose joints: the bases of index, middle, ring and little finger.
_INDEX, _LITTLE = 5, 17
_BASES = (5, 9, 13, 17)


def wrist_beyond_palm(joints: Array, palm: Array) -> Array:
    """The wrist (..., 3) on the line from the middle of the finger bases through the palm's centre.

    joints (..., 21, 3), of which the four finger bases are used; palm (..., 3): the middle of the
    palm. The palm's centre is taken to lie 1/2.25 of the way to the wrist: of the three rules that
    are in use for STB the one that suits a palm's centre in the middle of the hand best.
    """
    bases = joints[..., _BASES, :].mean(axis=-2)
    return bases + 2.25 * (palm - bases)


def wrist_beyond_leap_palm(joints: Array, palm: Array) -> Array:
    """The same for a Leap Motion's palm position, which lies near the knuckles: less than a fifth
    of the way to the wrist. Coefficients fitted to two recordings of the sensor."""
    bases = joints[..., _BASES, :].mean(axis=-2)
    across = joints[..., _INDEX, :] - joints[..., _LITTLE, :]
    return bases + 5.36 * (palm - bases) - 0.45 * across
