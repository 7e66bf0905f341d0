"""Who meets whom: every slot of a run owns pairs of bank hands that no other slot can draw.

Comes in: the bank, the shares of its (source, recorded side) cells, the number of slots. Goes out:
a `Draw`, in which each slot has a block of pairs and a rank there. A *block* is one split, one cell
of right hands, one cell of left hands; its pairs are numbered by a keyed permutation (a Feistel
network with cycle walking, `nth_pair`), and attempt a of the slot of rank k takes number
k + a * (slots of the block). So no pair is drawn twice, whatever is accepted, in whatever order and
by however many workers, and nobody keeps a list.

A pair never joins two splits. Fingers interlock only on spread, nearly straight hands; where the
recipe has them, half of the pairs of such hands (those whose rows in the bank add up to an even
number) belong to interlocked slots and to no other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from twohand500k.conventions import LEFT, RIGHT, SIDES
from twohand500k.errors import DataError
from twohand500k.pipeline import rng_for
from twohand500k.splice.bank import Bank

Array = np.ndarray

# A slot can try at least so many pairs of its own before it starts again with its first (but for
# the only slot of a block that has fewer).
PAIRS_PER_SLOT = 8


@dataclass(frozen=True, eq=False)
class Draw:
    """Slots and their blocks. Hands are rows of the bank.

    block, rank (N,) int64 of each slot. Per block: split str; interlocked bool; right and left
    (start, count) into `hands`; slots int64; key uint64 of its permutation.
    """

    block: Array
    rank: Array
    split: Array
    interlocked: Array
    right: Array
    left: Array
    slots: Array
    key: Array
    hands: Array
    notes: tuple[str, ...]


def default_shares(bank: Bank) -> dict[tuple[str, int], float]:
    """Weight of each (source, recorded side): the square root of its number of hands.

    Between equal parts per source, which would repeat a small source's few poses thousands of
    times, and equal parts per hand, in which the largest source hides the others.
    """
    return {cell: float(np.sqrt(n)) for cell, n in _cells(bank).items()}


def parse_shares(given: Sequence[str], bank: Bank) -> dict[tuple[str, int], float]:
    """Weights from ``SOURCE=WEIGHT`` and ``SOURCE:right|left=WEIGHT``; the rest is left out.

    A weight for a whole source is divided among its sides by their numbers of hands. Raises
    DataError for a source or side that the bank does not have, or a weight that is none.
    """
    cells = _cells(bank)
    if not given:
        return default_shares(bank)
    known = ", ".join(
        f"{source}:{SIDES[side]} ({n:,} hands)" for (source, side), n in cells.items()
    )
    shares: dict[tuple[str, int], float] = {}
    for text in given:
        name, _, number = text.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = np.nan
        if not name or not np.isfinite(weight) or weight < 0:
            raise DataError(f"--share {text!r} is not SOURCE[:right|left]=WEIGHT, WEIGHT 0 or more")
        source, _, side = name.rpartition(":")
        if side in SIDES and source:
            chosen = [(source, SIDES.index(side))]
        else:
            chosen = [cell for cell in cells if cell[0] == name]
        chosen = [cell for cell in chosen if cell in cells]
        if not chosen:
            raise DataError(f"--share {text!r}: the bank has no {name!r}; it has {known}")
        total = sum(cells[cell] for cell in chosen)
        for cell in chosen:
            if cell in shares:
                raise DataError(f"--share gives {cell[0]}:{SIDES[cell[1]]} twice")
            shares[cell] = weight * cells[cell] / total
    if sum(shares.values()) <= 0:
        raise DataError("--share: every weight is 0")
    return shares


def plan_draw(
    bank: Bank,
    count: int,
    shares: Mapping[tuple[str, int], float],
    *,
    open_hands: Array,
    interlocked: float = 0.0,
    splits: Sequence[str] | None = None,
    seed: int = 0,
) -> Draw:
    """Blocks for `count` slots.

    Splits share the slots by their numbers of hands, the cells within a split by `shares`, right
    and left drawn apart. open_hands (2, H): may interlock, as right and as left. interlocked: the
    share of slots that do. splits: the only ones to draw from.

    Raises DataError if no split has a right and a left hand to join, or the bank has too few pairs.
    """
    weight, blocks, lost = _blocks(bank, shares, open_hands, interlocked, splits)
    if not blocks:
        raise DataError(
            "no split of the bank has both a hand to be the right one and a hand to be the left "
            f"one ({_split_table(bank)}), and a pair never joins two splits; let hands be mirrored "
            "(no --no-mirror), give another --bank, or other --share"
        )
    capacity = np.array([max(b.pairs // PAIRS_PER_SLOT, 1) for b in blocks])
    wanted = np.array(weight) / np.sum(weight) * count
    filled = _fill(wanted, capacity)
    if filled is None:
        raise DataError(
            f"--count {count:,} needs {PAIRS_PER_SLOT} distinct pairs for each, and the bank has "
            f"{sum(b.pairs for b in blocks):,} pairs within its splits ({_split_table(bank)}): "
            f"lower --count to {capacity.sum():,}, thin less (--thin 0), or give more --bank"
        )
    edges = np.floor(np.concatenate([[0.0], np.cumsum(filled)]) + 1e-6).astype(np.int64)
    edges[-1] = count
    slots = np.diff(edges)
    notes = list(lost)
    moved = float(np.abs(filled - wanted).sum() / 2 / count)
    if moved > 1e-3:
        notes.append(
            f"{moved:.1%} of the pairs come from other cells than asked for: too few pairs"
        )
    rng = rng_for(seed, "splice: which slot belongs to which block")
    block = rng.permutation(np.repeat(np.arange(len(blocks)), slots))
    hands, right, left = _flat(blocks)
    return Draw(
        block=block,
        rank=_rank(block, len(blocks)),
        split=np.array([b.split for b in blocks]),
        interlocked=np.array([b.interlocked for b in blocks]),
        right=right,
        left=left,
        slots=slots,
        key=rng.integers(0, 2**64, size=len(blocks), dtype=np.uint64),
        hands=hands,
        notes=tuple(notes),
    )


@dataclass(frozen=True, eq=False)
class _Block:
    split: str
    interlocked: bool
    right: Array
    left: Array

    @property
    def pairs(self) -> int:
        return len(self.right) * len(self.left)


def _blocks(
    bank: Bank,
    shares: Mapping[tuple[str, int], float],
    open_hands: Array,
    interlocked: float,
    splits: Sequence[str] | None,
) -> tuple[list[float], list[_Block], list[str]]:
    """Weights and blocks, those without a pair left out; what was left out in words."""
    weight: list[float] = []
    blocks: list[_Block] = []
    lost: list[str] = []
    for split in np.unique(bank.split).tolist():
        if splits is not None and split not in splits:
            lost.append(f"split {split or '(none)'!r}: no relative pose to learn from, left out")
            continue
        here = bank.split == split
        for mode, share in ((False, 1.0 - interlocked), (True, interlocked)):
            if share <= 0:
                continue
            can = bank.serves & here & (open_hands if mode else True)
            row = np.arange(len(bank))
            parts = [can & (row % 2 == odd) for odd in (0, 1)] if mode else [can]
            found = [b for part in parts for b in _split_blocks(bank, shares, part, split, mode)]
            total = sum(w for w, _ in found)
            if total <= 0 and mode:
                lost.append(f"split {split or '(none)'!r}: no hands spread enough to interlock")
            for w, block in found:
                weight.append(share * here.sum() * w / total)
                blocks.append(block)
    return weight, blocks, lost


def _split_blocks(
    bank: Bank, shares: Mapping[tuple[str, int], float], can: Array, split: str, mode: bool
) -> "list[tuple[float, _Block]]":
    members = {
        (as_side, cell): np.flatnonzero(
            can[as_side] & (bank.source == cell[0]) & (bank.side == cell[1])
        )
        for as_side in (RIGHT, LEFT)
        for cell in shares
    }
    return [
        (shares[a] * shares[b], _Block(split, mode, members[RIGHT, a], members[LEFT, b]))
        for a in shares
        for b in shares
        if shares[a] * shares[b] > 0 and len(members[RIGHT, a]) and len(members[LEFT, b])
    ]


def _fill(wanted: Array, capacity: Array) -> Array | None:
    """`wanted` slots per block, cut to the capacities, the rest shared among those with room."""
    filled = np.minimum(wanted, capacity)
    for _ in range(len(wanted) + 1):
        missing = wanted.sum() - filled.sum()
        if missing <= 1e-9 * wanted.sum():
            return filled
        room = (capacity - filled) * (filled > 0)
        free = room > 0
        # All of the room may be needed, and its sum is only as exact as a float.
        if room.sum() < missing - 1e-9 * wanted.sum():
            return None
        filled = filled + np.where(free, np.minimum(room, wanted * missing / wanted[free].sum()), 0)
    return filled


def _flat(blocks: Sequence[_Block]) -> tuple[Array, Array, Array]:
    """All hand lists in one array, each list once; (start, count) of every block's two."""
    place: dict[bytes, tuple[int, int]] = {}
    parts: list[Array] = []

    def at(hands: Array) -> tuple[int, int]:
        key = hands.tobytes()
        if key not in place:
            place[key] = (sum(len(p) for p in parts), len(hands))
            parts.append(hands)
        return place[key]

    right = np.array([at(b.right) for b in blocks], dtype=np.int64)
    left = np.array([at(b.left) for b in blocks], dtype=np.int64)
    return np.concatenate(parts).astype(np.int64), right, left


def _rank(block: Array, n: int) -> Array:
    """How many earlier slots are of the same block (N,)."""
    rank = np.empty(len(block), dtype=np.int64)
    order = np.argsort(block, kind="stable")
    sizes = np.bincount(block, minlength=n)
    rank[order] = np.concatenate([np.arange(size) for size in sizes])
    return rank


def _cells(bank: Bank) -> dict[tuple[str, int], int]:
    sources, codes = np.unique(bank.source, return_inverse=True)
    return {
        (str(source), side): n
        for k, source in enumerate(sources)
        for side in (RIGHT, LEFT)
        if (n := int(((codes == k) & (bank.side == side)).sum()))
    }


def _split_table(bank: Bank) -> str:
    return "; ".join(
        f"{split or 'no split'}: {int((bank.serves[RIGHT] & here).sum()):,} right, "
        f"{int((bank.serves[LEFT] & here).sum()):,} left"
        for split in np.unique(bank.split).tolist()
        for here in [bank.split == split]
    )


@njit(cache=True)
def mix(value: np.uint64) -> np.uint64:
    """A bijection of 64-bit numbers that looks random (SplitMix64's finaliser, Steele 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(cache=True)
def nth_pair(number: int, pairs: int, key: np.uint64) -> int:
    """Place (0 .. pairs-1) of `number` (0 .. pairs-1) in a permutation that `key` chooses.

    A Feistel network of four rounds on the next even number of bits, walked until the result lies
    inside (Black and Rogaway, Ciphers with arbitrary finite domains, 2002).
    """
    half = 1
    while (1 << (2 * half)) < pairs:
        half += 1
    mask = np.uint64((1 << half) - 1)
    value = np.uint64(number)
    while True:
        high, low = value >> np.uint64(half), value & mask
        for turn in range(4):
            keyed = mix(low + key + np.uint64(turn) * np.uint64(0x9E3779B97F4A7C15))
            high, low = low, high ^ (keyed & mask)
        value = (high << np.uint64(half)) | low
        if value < np.uint64(pairs):
            return np.int64(value)  # type: ignore[return-value]


@njit(cache=True)
def is_reserved(right: int, left: int) -> bool:
    """Whether two open hands (rows of the bank) belong to interlocked slots: every other pair."""
    return (right + left) % 2 == 0
