"""`Order`: which samples a step sees, as a function of its number alone.

Comes in: the size of a set, a seed. Goes out: positions in the set, epoch after epoch, each epoch
in a new order. Nothing is remembered that the numbers do not give back: a run that is resumed at
any step sees what it would have seen.
"""

import numpy as np
import torch
from torch import Tensor

# Kinds of random numbers: a seed and a number draw something else for each.
ORDER, BLOCK = 0, 1


class Order:
    """Positions in a set of n samples, in the order in which they are drawn.

    weights (n,): how often each is drawn relative to the others; without, every sample comes once
    an epoch.
    """

    def __init__(self, n: int, seed: int, weights: Tensor | None = None) -> None:
        self.n, self.seed, self.weights = n, seed, weights
        self._orders: dict[int, Tensor] = {}

    def positions(self, first: int, last: int) -> Tensor:
        """Positions (last - first,) of the samples drawn as number first .. last - 1 of a run."""
        parts = []
        for epoch in range(first // self.n, (last - 1) // self.n + 1):
            start, stop = max(first - epoch * self.n, 0), min(last - epoch * self.n, self.n)
            parts.append(self._order(epoch)[start:stop])
        return torch.cat(parts)

    def _order(self, epoch: int) -> Tensor:
        """Positions (n,) in the order of an epoch; only the latest few are remembered."""
        if epoch not in self._orders:
            generator = generator_for(self.seed, ORDER, epoch, torch.device("cpu"))
            if self.weights is None:
                order = torch.randperm(self.n, generator=generator)
            else:
                order = torch.multinomial(self.weights, self.n, True, generator=generator)
            self._orders = {k: v for k, v in self._orders.items() if k >= epoch - 1}
            self._orders[epoch] = order
        return self._orders[epoch]


def generator_for(seed: int, kind: int, number: int, device: torch.device) -> torch.Generator:
    """A generator of its own for each (seed, kind, number)."""
    words = np.random.SeedSequence([seed, kind, number & 0xFFFFFFFF]).generate_state(2, np.uint32)
    generator = torch.Generator(device)
    generator.manual_seed(int(words[0]) << 32 | int(words[1]) >> 1)
    return generator
