"""Which skin meets which: contact regions of the right hand against those of the left.

Comes in: the two regions of every pair, as indices into `hand.contact_regions.REGIONS`, and how far
apart the skins are. Goes out: a 30 x 30 count and its entropy. A realised contact is the pair of
regions the judge found nearest; it counts as contact only where the skins lie within `NEAR_MM`,
for two hands a metre apart have a nearest region too.

The entropy is Shannon's, in bits: 0 where every pair touches the same way, log2(900) = 9.81 where
all region pairs are equally frequent (many of them no pair of hands can reach). Few pairs cannot
fill 900 cells, which makes the plain estimate too low; the corrected one adds (cells seen - 1) /
(2 n ln 2) bits (Miller, 1955). Compare datasets of like size.
"""

from typing import Any, Final

import numpy as np

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.hand.contact_regions import REGIONS

NEAR_MM: Final = 5.0


def region_indices(names: np.ndarray) -> np.ndarray:
    """Indices (..., ) int16 into REGIONS of region names, -1 for an empty or unknown name."""
    order = np.argsort(REGIONS)
    known = np.array(REGIONS)[order]
    place = np.minimum(np.searchsorted(known, names), len(known) - 1)
    return np.where(known[place] == names, order[place], -1).astype(np.int16)


def region_map(regions: np.ndarray) -> dict[str, Any] | None:
    """Counts [right][left] and entropy of pairs' regions (n, 2), -1 unknown; None if none is known.

    Entropies in bits.
    """
    seen = regions[(regions >= 0).all(axis=1)].astype(np.int64)
    if not len(seen):
        return None
    size = len(REGIONS)
    flat = np.bincount(seen[:, RIGHT] * size + seen[:, LEFT], minlength=size * size)
    share = flat[flat > 0] / len(seen)
    entropy = float(-(share * np.log2(share)).sum()) + 0.0
    return {
        "counts": flat.reshape(size, size).tolist(),
        "entropy_bits": entropy,
        "entropy_bits_corrected": entropy + (len(share) - 1) / (2 * len(seen) * np.log(2)),
        "entropy_of_possible": float(np.log2(size * size)),
        "region_pairs_seen": len(share),
        "pairs_seen": len(seen),
    }
