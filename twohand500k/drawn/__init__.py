"""Pairs drawn elsewhere, by a prior, made hands, judged, and written as a dataset."""

from twohand500k.drawn.fit import FittedPairs, fit_drawn
from twohand500k.drawn.pairs import DrawnPairs
from twohand500k.drawn.plausibility import Plausibility, plausibility
from twohand500k.drawn.run import DrawOptions, draw_samples
from twohand500k.drawn.stage import to_samples

__all__ = [
    "DrawOptions",
    "DrawnPairs",
    "FittedPairs",
    "Plausibility",
    "draw_samples",
    "fit_drawn",
    "plausibility",
    "to_samples",
]
