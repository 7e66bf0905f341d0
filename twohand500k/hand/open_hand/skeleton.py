"""The rest skeleton: sixteen joints, five tips and a frame for every digit, in millimetres.

Comes in: `anthropometry`. Goes out: a `Skeleton` in MANO's rest frame (right hand, wrist towards
+x, fingers towards -x, palm facing -y, thumb towards +z).
"""

from dataclasses import dataclass

import numpy as np

from twohand500k.conventions import FINGERS, MANO_CHAINS
from twohand500k.hand.open_hand import anthropometry as a
from twohand500k.hand.rotations import Array

# Where the wrist joint lies. Off the origin, as MANO's is, so that code which forgets
# "wrist = J0 + transl" shows.
WRIST = np.array([95.0, 6.0, 6.0])
# The side of the thumb's nail, made orthogonal to the thumb, as physics_assets/anatomy.toml has it.
THUMB_DORSAL = np.array([1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Digit:
    """One straight ray: thumb or finger with its own frame.

    base (3,): its first joint. distal, dorsal, radial (3,): unit axes, radial = dorsal x distal;
    flexion is a positive turn about radial. knots (4,): arc length of joints and tip, mm.
    """

    name: str
    base: Array
    distal: Array
    dorsal: Array
    radial: Array
    knots: Array

    def at(self, s: float) -> Array:
        """Point (3,) at arc length s from the base joint."""
        return self.base + s * self.distal


@dataclass(frozen=True, eq=False)
class Skeleton:
    """joints (16, 3) in MANO order, tips (5, 3), digits in FINGERS order. Millimetres."""

    joints: Array
    tips: Array
    digits: tuple[Digit, ...]


def place(distal: float, dorsal: float, radial: float) -> Array:
    """A point given from the wrist joint as (distal, dorsal, radial), in MANO's rest frame."""
    return WRIST + np.array([-distal, dorsal, radial])


def rest_skeleton() -> Skeleton:
    """The skeleton at zero betas."""
    joints = np.empty((16, 3))
    joints[0] = WRIST
    tips = np.empty((5, 3))
    digits = []
    for finger, name in enumerate(FINGERS):
        spread, slope = np.radians(a.SPREAD_DEG[name]), np.radians(a.SLOPE_DEG[name])
        distal = np.array(
            [-np.cos(spread) * np.cos(slope), -np.sin(slope), np.sin(spread) * np.cos(slope)]
        )
        up = THUMB_DORSAL if name == "thumb" else np.array([0.0, 1.0, 0.0])
        dorsal = up - (up @ distal) * distal
        dorsal /= np.linalg.norm(dorsal)
        bones = a.BONES_MM[name]
        knots = np.array([0.0, bones[0], bones[0] + bones[1], sum(bones)])
        digit = Digit(
            name, place(*a.KNUCKLE_MM[name]), distal, dorsal, np.cross(dorsal, distal), knots
        )
        digits.append(digit)
        for joint, s in zip(MANO_CHAINS[finger], knots[:3], strict=True):
            joints[joint] = digit.at(s)
        tips[finger] = digit.at(knots[3])
    return Skeleton(joints, tips, tuple(digits))
