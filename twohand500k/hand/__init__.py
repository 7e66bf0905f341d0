"""The hand model: load it, shape it, pose it, close it, move its parameters to another one."""

from twohand500k.hand.load import load_hands, load_model
from twohand500k.hand.mesh import self_intersections, volume_cm3
from twohand500k.hand.model import HandModel, HandPair, PosedHand, ShapedHand

__all__ = [
    "HandModel",
    "HandPair",
    "PosedHand",
    "ShapedHand",
    "load_hands",
    "load_model",
    "self_intersections",
    "volume_cm3",
]
