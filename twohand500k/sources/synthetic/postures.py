"""The postures between which hands are drawn, read from physics_assets/hand_postures.toml.

In: the table, in degrees, as a person wrote it. Out: `Postures`, anatomical angles in radians.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from twohand500k.conventions import MANO_CHAINS, N_MANO_JOINTS
from twohand500k.hand.anatomy import ABDUCTION, FLEXION
from twohand500k.hand.rotations import Array

# J. Lin, Y. Wu, T. Huang, Modeling the constraints of human hand motion, HUMO 2000.
DIP_PER_PIP = 2 / 3
_KEYS = {"mcp", "pip", "dip", "spread", "thumb", "touch", "weight"}


@dataclass(frozen=True, eq=False)
class Postures:
    """P postures. angles (P, 15, 3) rad; share (P,) of the draws, sums to 1.

    touch (P, 5) bool: fingers whose pad meets the thumb's; the thumb's own entry is False.
    """

    names: tuple[str, ...]
    angles: Array
    share: Array
    touch: np.ndarray


@cache
def load_postures() -> Postures:
    """The table, checked; ValueError names a posture that is not well formed."""
    text = resources.files("twohand500k.physics_assets").joinpath("hand_postures.toml")
    table = tomllib.loads(text.read_text("utf8"))
    weight = np.array([posture.get("weight", 1.0) for posture in table.values()], dtype=np.float64)
    return Postures(
        names=tuple(table),
        angles=np.stack([_angles(name, posture) for name, posture in table.items()]),
        share=weight / weight.sum(),
        touch=np.array(
            [
                [finger in posture.get("touch", ()) for finger in range(5)]
                for posture in table.values()
            ]
        ),
    )


def _angles(name: str, posture: dict[str, Any]) -> Array:
    """Angles (15, 3) rad of one posture of the table."""
    four: dict[str, Any] = {key: posture.get(key, ()) for key in ("mcp", "pip", "spread")}
    four["dip"] = posture.get("dip", [DIP_PER_PIP * pip for pip in posture.get("pip", ())])
    thumb = posture.get("thumb", ())
    if (
        any(len(values) != 4 for values in four.values())
        or len(thumb) != 5
        or set(posture) - _KEYS
        or not set(posture.get("touch", ())) <= {1, 2, 3, 4}
    ):
        raise ValueError(
            f"hand_postures.toml: {name} must give mcp, pip and spread for four fingers, five "
            f"angles of the thumb, and nothing but {', '.join(sorted(_KEYS))}"
        )
    degrees = np.zeros((N_MANO_JOINTS - 1, 3))
    for finger, chain in enumerate(MANO_CHAINS[1:]):
        for joint, key in zip(chain, ("mcp", "pip", "dip"), strict=True):
            degrees[joint - 1, FLEXION] = four[key][finger]
        degrees[chain[0] - 1, ABDUCTION] = four["spread"][finger]
    base, middle, last = (joint - 1 for joint in MANO_CHAINS[0])
    degrees[base] = thumb[:3]
    degrees[[middle, last], FLEXION] = thumb[3:]
    return np.radians(degrees)
