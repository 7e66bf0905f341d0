"""What the two hands do: the key poses of the take, written as anatomical angles and directions.

Out: `KEYS`, one `Key` per moment, in order. Directions live in each hand's own side's space: x = 0
is the mirror plane, the right hand stands at negative x, +y is up, +z away from the subject, to the
viewer. Angles are degrees here, where a person writes them; `pose_of` makes radians of them.
"""

from dataclasses import dataclass

import numpy as np

from twohand500k.conventions import MANO_CHAINS
from twohand500k.demo.posing import Touch, TwoHandPose
from twohand500k.hand.rotations import Array, axis_angle_from_matrix

Five = tuple[float, float, float, float]


@dataclass(frozen=True)
class HandKey:
    """One hand of a key pose.

    wrist (3,) m; distal, palm: where the fingers point and where the palm faces. mcp, pip, dip:
    flexion of index, middle, ring and little in degrees; spread: their abduction, positive towards
    the thumb. thumb: flexion, abduction and twist of its base, flexion of its two outer joints.
    """

    wrist: tuple[float, float, float]
    distal: tuple[float, float, float]
    palm: tuple[float, float, float]
    mcp: Five = (8, 8, 10, 12)
    pip: Five = (12, 14, 16, 18)
    dip: Five = (6, 7, 8, 9)
    spread: Five = (0, 0, 0, 0)
    thumb: tuple[float, float, float, float, float] = (0, 0, 0, 5, 5)


@dataclass(frozen=True)
class Key:
    """A moment of the take: when (s), what it is called, both hands, what touches."""

    time: float
    phase: str
    right: HandKey
    left: HandKey
    touches: tuple[Touch, ...] = ()
    clearance: float = 0.0


def pose_of(key: Key) -> TwoHandPose:
    """The key's pose as written, before it is made to touch."""
    hands = (key.right, key.left)
    return TwoHandPose(
        np.stack([_angles(hand) for hand in hands]),
        np.stack([_orientation(hand) for hand in hands]),
        np.array([hand.wrist for hand in hands], dtype=np.float64),
    )


def _angles(hand: HandKey) -> Array:
    degrees = np.zeros((15, 3))
    for finger, chain in enumerate(MANO_CHAINS[1:]):
        for joint, flexion in zip(chain, (hand.mcp, hand.pip, hand.dip), strict=True):
            degrees[joint - 1, 0] = flexion[finger]
        degrees[chain[0] - 1, 1] = hand.spread[finger]
    base, middle, last = (joint - 1 for joint in MANO_CHAINS[0])
    degrees[base] = hand.thumb[:3]
    degrees[middle, 0], degrees[last, 0] = hand.thumb[3:]
    return np.radians(degrees)


def _orientation(hand: HandKey) -> Array:
    """Axis-angle that turns MANO's rest frame (fingers -x, palm -y, thumb +z) as written."""
    distal = np.array(hand.distal, dtype=np.float64)
    distal /= np.linalg.norm(distal)
    palm = np.array(hand.palm, dtype=np.float64)
    palm -= (palm @ distal) * distal
    palm /= np.linalg.norm(palm)
    return axis_angle_from_matrix(np.stack([-distal, -palm, np.cross(distal, palm)], axis=-1))


def _both(time: float, phase: str, hand: HandKey, *touches: Touch, clearance: float = 0.0) -> Key:
    """A key whose left hand mirrors the right."""
    return Key(time, phase, hand, hand, touches, clearance)


# What meets in a flat clap. A palm is thicker on its inner side than about its bones, which is what
# the capsules are made of (`hand.capsules.bone_radii`): the gaps leave that flesh its room.
_PALM_FLESH = 0.009
_PALMS = tuple(Touch(bone, bone, _PALM_FLESH) for bone in (5, 9, 13, 17))
_FLAT = tuple(Touch(bone, bone) for bone in (7, 11, 15))
_TIPS = tuple(Touch(tip, tip) for tip in (4, 8, 12, 16, 20))

_RELAXED = HandKey(
    wrist=(-0.17, -0.07, -0.02), distal=(0.20, 0.05, 0.98), palm=(0.75, -0.66, 0.0),
    mcp=(18, 22, 26, 30), pip=(24, 28, 30, 32), dip=(12, 13, 14, 15), spread=(3, 0, -3, -8),
    thumb=(15, -8, -12, 14, 14),
)  # fmt: skip
_CLAP_OPEN = HandKey(
    wrist=(-0.085, -0.01, 0.0), distal=(-0.20, 0.62, 0.76), palm=(1, 0.1, 0.1),
    mcp=(2, 2, 3, 5), pip=(8, 8, 9, 10), dip=(4, 4, 4, 4), spread=(6, 1, -4, -10),
    thumb=(8, -14, -5, 4, 2),
)  # fmt: skip
_CLAP_SHUT = HandKey(
    wrist=(-0.022, 0.0, 0.02), distal=(0.02, 0.62, 0.78), palm=(1, 0, 0),
    mcp=(2, 2, 2, 3), pip=(5, 5, 5, 6), dip=(2, 2, 2, 3), spread=(4, 0, -3, -7),
    thumb=(10, -20, -5, 3, 2),
)  # fmt: skip
_STEEPLE_NEAR = HandKey(
    wrist=(-0.095, -0.06, 0.0), distal=(0.30, 0.78, 0.55), palm=(0.95, -0.3, 0.1),
    mcp=(8, 8, 8, 8), pip=(14, 16, 16, 14), dip=(4, 4, 4, 4), spread=(10, 2, -6, -16),
    thumb=(8, -4, -8, 6, 4),
)  # fmt: skip
_STEEPLE = HandKey(
    wrist=(-0.062, -0.06, 0.0), distal=(0.30, 0.78, 0.55), palm=(0.95, -0.3, 0.1),
    mcp=(4, 4, 4, 4), pip=(14, 16, 16, 14), dip=(2, 2, 2, 2), spread=(12, 2, -7, -18),
    thumb=(10, 6, -10, 6, 2),
)  # fmt: skip
# Fingers of the two hands cross between one another: the left hand stands half a finger further
# along the row of knuckles (their direction, below, is the same for both hands).
_KNUCKLES = np.array([0.0, 0.72, -0.69])
_FORWARD = np.array([0.0, 0.69, 0.72])


def _laced(
    across_mm: float,
    angle_deg: float,
    shift_mm: float,
    mcp: float,
    pip: float,
    dip: float,
    thumb: tuple[float, float, float, float, float],
) -> HandKey:
    """A hand whose fingers point `angle_deg` across the mirror plane, wrist `across_mm` from it."""
    a = np.radians(angle_deg)
    sideways = np.array([1.0, 0.0, 0.0])
    distal = np.cos(a) * _FORWARD + np.sin(a) * sideways
    palm = np.cos(a) * sideways - np.sin(a) * _FORWARD
    wrist = -across_mm / 1e3 * sideways + shift_mm / 1e3 * _KNUCKLES - 0.06 * _FORWARD
    return HandKey(
        (wrist[0], wrist[1], wrist[2]),
        (distal[0], distal[1], distal[2]),
        (palm[0], palm[1], palm[2]),
        (mcp,) * 4, (pip,) * 4, (dip,) * 4, (11, 3, -5, -13), thumb,
    )  # fmt: skip


_HALF_FINGER_MM = 5.2


Bend = tuple[float, float, float, float, float, tuple[float, float, float, float, float]]


def _lace(time: float, phase: str, bend: Bend, clearance: float = 0.0) -> Key:
    right, left = (
        _laced(bend[0], bend[1], shift, bend[2], bend[3], bend[4], bend[5])
        for shift in (_HALF_FINGER_MM, -_HALF_FINGER_MM)
    )
    return Key(time, phase, right, left, clearance=clearance)


# wrist from the mirror plane (mm), angle across it, flexion of the three joints, the thumb
_LACE_NEAR: Bend = (128, 35, 6, 8, 4, (0, 8, -10, 5, 5))
_LACE_CROSS: Bend = (92, 38, 8, 8, 4, (4, 8, -12, 5, 5))
_LACE_DEEP: Bend = (58, 28, 26, 20, 10, (8, 6, -14, 10, 8))
_LACE_FOLD: Bend = (34, 12, 48, 62, 28, (14, 0, -14, 15, 12))

_FIST = HandKey(
    wrist=(-0.112, 0.004, -0.055), distal=(0.85, 0.2, 0.5), palm=(0.2, -0.95, 0.0),
    mcp=(68, 70, 72, 74), pip=(86, 88, 88, 86), dip=(38, 40, 40, 40), spread=(0, 0, 0, -3),
    thumb=(30, -20, -25, 30, 35),
)  # fmt: skip
_COVER = HandKey(
    wrist=(-0.042, -0.05, -0.036), distal=(0.0, 0.85, 0.5), palm=(1.0, 0.0, -0.3),
    mcp=(48, 52, 54, 56), pip=(44, 46, 46, 46), dip=(18, 18, 18, 18), spread=(4, 0, -3, -6),
    thumb=(14, 12, -14, 16, 16),
)  # fmt: skip
_COVER_NEAR = HandKey(
    wrist=(-0.095, -0.055, -0.03), distal=(0.0, 0.85, 0.5), palm=(1.0, 0.0, -0.3),
    mcp=(16, 18, 20, 22), pip=(20, 22, 22, 24), dip=(8, 8, 8, 8), spread=(6, 1, -4, -9),
    thumb=(5, 0, -10, 8, 8),
)  # fmt: skip
_FIST_NEAR = HandKey(
    wrist=(-0.15, 0.0, -0.05), distal=(0.85, 0.2, 0.5), palm=(0.2, -0.95, 0.0),
    mcp=(40, 42, 44, 46), pip=(56, 58, 58, 58), dip=(24, 26, 26, 26), spread=(2, 0, -1, -5),
    thumb=(18, -8, -18, 18, 18),
)  # fmt: skip
# The right thumb and index take hold of the left index.
_PINCHER = HandKey(
    wrist=(-0.105, 0.035, -0.05), distal=(0.85, -0.1, 0.5), palm=(0.25, -0.95, 0.2),
    mcp=(48, 38, 36, 36), pip=(48, 44, 46, 48), dip=(22, 20, 20, 20), spread=(2, 0, -3, -8),
    thumb=(26, 14, -25, 22, 24),
)  # fmt: skip
_HELD = HandKey(
    wrist=(-0.115, -0.06, -0.02), distal=(0.75, 0.45, 0.45), palm=(0.4, -0.6, -0.6),
    mcp=(14, 52, 58, 62), pip=(12, 70, 74, 76), dip=(6, 34, 36, 36), spread=(4, 0, -2, -5),
    thumb=(18, -14, -16, 16, 20),
)  # fmt: skip

KEYS: tuple[Key, ...] = (
    _both(0.0, "rest", _RELAXED),
    _both(0.8, "clap", _CLAP_OPEN),
    _both(1.05, "clap", _CLAP_SHUT, *_PALMS, *_FLAT),
    _both(1.4, "clap", _CLAP_OPEN),
    _both(1.65, "clap", _CLAP_SHUT, *_PALMS, *_FLAT),
    _both(2.0, "clap", _CLAP_OPEN),
    _both(2.22, "clap", _CLAP_SHUT, *_PALMS, *_FLAT),
    _both(2.55, "clap", _CLAP_OPEN),
    _both(3.0, "steeple", _STEEPLE_NEAR),
    _both(3.4, "steeple", _STEEPLE, *_TIPS),
    _both(4.1, "steeple", _STEEPLE, *_TIPS),
    _lace(4.7, "interlock", _LACE_NEAR),
    _lace(5.3, "interlock", _LACE_CROSS),
    _lace(5.7, "interlock", _LACE_DEEP),
    _lace(6.3, "interlock", _LACE_FOLD, 0.003),
    _lace(7.1, "interlock", _LACE_FOLD, 0.003),
    _lace(7.6, "interlock", _LACE_DEEP),
    _lace(8.0, "interlock", _LACE_CROSS),
    _lace(8.5, "interlock", _LACE_NEAR),
    Key(9.2, "clasp", _FIST_NEAR, _COVER_NEAR),
    Key(9.8, "clasp", _FIST, _COVER, (Touch(10, 9, _PALM_FLESH), Touch(9, 11)), 0.004),
    Key(10.5, "clasp", _FIST, _COVER, (Touch(10, 9, _PALM_FLESH), Touch(9, 11)), 0.004),
    Key(11.0, "clasp", _FIST_NEAR, _COVER_NEAR),
    Key(12.2, "pinch", _PINCHER, _HELD, (Touch(4, 8), Touch(8, 8))),
    Key(12.9, "pinch", _PINCHER, _HELD, (Touch(4, 8), Touch(8, 8))),
    _both(14.0, "rest", _RELAXED),
)
