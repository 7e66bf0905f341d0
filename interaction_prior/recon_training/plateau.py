"""`Plateau`: the learning rate lowered where held-out figures no longer fall.

As torch's `ReduceLROnPlateau`, as a record that a checkpoint keeps: a figure counts as better when
it is lower by a ten-thousandth of the best; after more than `patience` in a row that are not, the
rate is multiplied by `factor`.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

_BETTER = 1e-4


@dataclass(frozen=True)
class Plateau:
    """factor: what the rate has been multiplied by so far. best: the lowest figure, infinite before
    the first. waited: how many figures in a row were no better.
    """

    factor: float = 1.0
    best: float = math.inf
    waited: int = 0

    def after(self, figure: float, *, factor: float, patience: int) -> "Plateau":
        """After one more figure."""
        if figure < self.best * (1.0 - _BETTER):
            return replace(self, best=figure, waited=0)
        if self.waited < patience:
            return replace(self, waited=self.waited + 1)
        return replace(self, factor=self.factor * factor, waited=0)

    def to_json(self) -> dict[str, Any]:
        """For a file; what is infinite is left out."""
        return {k: v for k, v in asdict(self).items() if v != math.inf}
