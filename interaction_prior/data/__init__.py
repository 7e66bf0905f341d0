"""Interactions read from datasets, and the batches a training step sees."""

from interaction_prior.data.batches import Batches, Draw, ResidentRows, StreamedRows, augmented
from interaction_prior.data.order import Order, generator_for
from interaction_prior.data.pairs import Pairs, Split, read_pairs, rows_of

__all__ = [
    "Batches",
    "Draw",
    "Order",
    "Pairs",
    "ResidentRows",
    "Split",
    "StreamedRows",
    "augmented",
    "generator_for",
    "read_pairs",
    "rows_of",
]
