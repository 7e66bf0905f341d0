"""A trained image network in use: two hands out of a picture."""

from interaction_prior.reconstruction.crop import assumed_K
from interaction_prior.reconstruction.hands_in_image import HandsInImage
from interaction_prior.reconstruction.network import Answer, Network
from interaction_prior.reconstruction.reconstructor import Reconstructor

__all__ = ["Answer", "HandsInImage", "Network", "Reconstructor", "assumed_K"]
