"""Natural hands out of nothing but anatomy, written postures and how fingers move together."""

from twohand500k.sources.synthetic.draw import SyntheticHands, draw_hands
from twohand500k.sources.synthetic.takes import synthetic_takes

__all__ = ["SyntheticHands", "draw_hands", "synthetic_takes"]
