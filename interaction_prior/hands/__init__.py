"""Hands in torch: rotations, and both hands of a pair posed."""

from interaction_prior.hands.layer import HandLayer

__all__ = ["HandLayer"]
