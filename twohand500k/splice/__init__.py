"""Interactions out of separate hands: pose bank, draw, placement by contact, stage."""

from twohand500k.splice.bank import Bank, load_bank
from twohand500k.splice.contacts import ContactWeights, load_contacts
from twohand500k.splice.run import SpliceOptions, SplicePlan, plan_splice, splice_pairs

__all__ = [
    "Bank",
    "ContactWeights",
    "SpliceOptions",
    "SplicePlan",
    "load_bank",
    "load_contacts",
    "plan_splice",
    "splice_pairs",
]
