"""Companion of twohand500k: trains the interaction prior and the image network on the shards.

``InteractionPrior.load("open")`` is the prior that ships.
"""

from interaction_prior.prior import InteractionPrior

__all__ = ["InteractionPrior"]
