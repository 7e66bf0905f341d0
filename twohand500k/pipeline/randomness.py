"""Randomness that belongs to a sample, not to a process: from (seed, sample id) alone."""

import hashlib

import numpy as np

from twohand500k.shards import SPLITS


def rng_for(seed: int, sample_id: str) -> np.random.Generator:
    """The generator of one sample: the same whatever the worker, the order or the restart."""
    digest = hashlib.sha256(f"{seed}:{sample_id}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def split_for(source: str, group: str, shares: tuple[float, float, float] = (0.8, 0.1, 0.1)) -> str:
    """train, val or test for a whole subject (else take) `group` of a source.

    From the names alone, so that a subject is in the same split of every dataset ever built from
    it. `shares` of train, val, test sum to 1.
    """
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"shares {shares} must be positive and sum to 1")
    draw = int.from_bytes(hashlib.sha256(f"split:{source}:{group}".encode()).digest()[:8], "big")
    position = draw / 2**64
    if position < shares[0]:
        return SPLITS[0]
    return SPLITS[1] if position < shares[0] + shares[1] else SPLITS[2]
