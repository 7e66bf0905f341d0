"""How joints move together about a posture: the directions in which a natural hand varies.

In: nothing but published knowledge. Out: `synergies()`, rows of angle changes per unit normal draw.
No joint moves alone: a finger's end joint follows its middle one at two thirds (Lin, Wu, Huang,
HUMO 2000); a finger takes its neighbours along (enslaving: V. Zatsiorsky, Z. Li, M. Latash, Exp
Brain Res 131, 2000); the first two directions are those of M. Santello, M. Flanders, J. Soechting,
J Neurosci 18(23), 1998: all joints closing, and the knuckles bending against the outer joints. The
amounts, in degrees, are ours.
"""

from functools import cache

import numpy as np

from twohand500k.conventions import MANO_CHAINS, N_MANO_JOINTS
from twohand500k.hand.anatomy import ABDUCTION, FLEXION, TWIST
from twohand500k.hand.rotations import Array
from twohand500k.sources.synthetic.postures import DIP_PER_PIP

_FINGERS = MANO_CHAINS[1:]
_THUMB = MANO_CHAINS[0]
# How much of a finger's bending its first, second and third neighbours share.
_ENSLAVED = (1.0, 0.45, 0.2, 0.1)
_FAN = (1.0, 0.1, -0.8, -1.7)


def _bend(mcp: float, pip: float, per_finger: tuple[float, ...]) -> Array:
    """Degrees (15, 3) of bending: knuckle and middle joint, times each finger's share."""
    change = np.zeros((N_MANO_JOINTS - 1, 3))
    for chain, share in zip(_FINGERS, per_finger, strict=True):
        for joint, amount in zip(chain, (mcp, pip, DIP_PER_PIP * pip), strict=True):
            change[joint - 1, FLEXION] = share * amount
    return change


def _one(joint: int, flexion: float = 0.0, abduction: float = 0.0, twist: float = 0.0) -> Array:
    """Degrees (15, 3) of one joint, by its MANO number."""
    change = np.zeros((N_MANO_JOINTS - 1, 3))
    change[joint - 1] = flexion, abduction, twist
    return change


def _drift(degrees: float) -> Array:
    """Degrees (15, 3) of all four fingers going to one side."""
    change = np.zeros((N_MANO_JOINTS - 1, 3))
    change[[chain[0] - 1 for chain in _FINGERS], ABDUCTION] = degrees
    return change


@cache
def synergies() -> Array:
    """Angle changes (K, 15, 3) rad, each for one standard deviation of an independent draw."""
    base, middle, last = _THUMB
    fan = sum(
        (
            _one(chain[0], abduction=3.5 * share)
            for chain, share in zip(_FINGERS, _FAN, strict=True)
        ),
        np.zeros((N_MANO_JOINTS - 1, 3)),
    )
    rows = [
        _bend(9, 10, (1, 1, 1, 1)) + _one(base, 3, 2, -2) + _one(middle, 4) + _one(last, 4),
        _bend(8, -8, (1, 1, 1, 1)),
        _bend(4, 3.5, (-1.5, -0.5, 0.5, 1.5)),
        fan,
        # All fingers drift to the little finger's side or back, as about a tool's handle.
        _drift(3.5),
        # The thumb: opposing, away from the palm, across it, its outer joints together and apart.
        _one(base, 6, 6, -6),
        _one(base, 0, 6, -2),
        _one(base, 6, -1, 0),
        _one(middle, 8) + _one(last, 11),
        _one(middle, -7) + _one(last, 9),
        _one(base, twist=3),
        _one(middle, abduction=2, twist=1.5),
    ]
    for finger, chain in enumerate(_FINGERS):
        share = tuple(_ENSLAVED[abs(finger - other)] for other in range(4))
        rows += [
            _bend(6, 8, share),
            _bend(5, -6, share),
            _one(chain[2], 6),
            _one(chain[0], abduction=2.2),
            _one(chain[0], twist=2.0),
        ]
    return np.radians(np.stack(rows))


def ease_spread(change: Array, angles: Array) -> Array:
    """Sideways play of the knuckles (..., 15, 3) made smaller the more they are bent.

    The collateral ligaments of a bent knuckle are taut: at 90 degrees a quarter is left.
    """
    eased = np.array(change)
    knuckles = [chain[0] - 1 for chain in _FINGERS]
    bent = np.clip(angles[..., knuckles, FLEXION] / (np.pi / 2), 0, 1)
    eased[..., knuckles, ABDUCTION] *= 1 - 0.75 * bent
    eased[..., knuckles, TWIST] *= 1 - 0.75 * bent
    return eased
