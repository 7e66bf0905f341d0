"""The prior: its network, its loss, its file, and its use."""

from interaction_prior.prior.files import PriorRecord, read_prior, write_prior
from interaction_prior.prior.network import Architecture, PriorNetwork
from interaction_prior.prior.prior import InteractionPrior, PairTensors, Posterior

__all__ = [
    "Architecture",
    "InteractionPrior",
    "PairTensors",
    "Posterior",
    "PriorNetwork",
    "PriorRecord",
    "read_prior",
    "write_prior",
]
