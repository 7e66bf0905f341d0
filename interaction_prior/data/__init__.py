"""Interactions read from datasets, and the batches a training step sees."""

from interaction_prior.data.batches import Batches, Draw, ResidentRows, StreamedRows, augmented
from interaction_prior.data.pairs import Pairs, read_pairs

__all__ = ["Batches", "Draw", "Pairs", "ResidentRows", "StreamedRows", "augmented", "read_pairs"]
