"""What a pair of hands is to the network: joints, vertices, or MANO parameters."""

from interaction_prior.representations.normalisation import Normalisation, fit_normalisation
from interaction_prior.representations.representation import Representation

__all__ = ["Normalisation", "Representation", "fit_normalisation"]
