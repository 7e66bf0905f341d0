"""The splice stage: slots in, interactions out.

Comes in: a `SlotChunk`, some slots of the run's `Draw`. Goes out: their interactions in the frame
of the right wrist (wrist in the origin, global orientation zero), with both bank hands' ids,
whether they serve mirrored, the contact meant and the contact that came out. A slot for which
nothing was found within its tries is refused as `no_placement`. A slot's result is a function of
(seed, its id) and the run's draw, never of the other slots of its chunk.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from twohand500k.conventions import LEFT, N_BETAS, N_JOINTS, N_MANO_JOINTS, RIGHT
from twohand500k.hand import HandPair
from twohand500k.hand.contact_regions import REGIONS
from twohand500k.hand.rotations import axis_angle_from_matrix
from twohand500k.pipeline import Stats, Summary, UnitResult, rng_for
from twohand500k.shards import Reject, Samples
from twohand500k.splice import _search
from twohand500k.splice._search import COUNTERS, Blocks, Cache, Hands, Learned, Placed, Slots
from twohand500k.splice.arms import TwoArms
from twohand500k.splice.bank import Bank
from twohand500k.splice.draw import Draw
from twohand500k.splice.tables import HandTables

Array = np.ndarray

SOURCE = "splice"
NO_PLACEMENT = "no_placement"
# Skins kept for later slots, per side; 19 KB each.
_CACHED_SKINS = 3000
_REGION_NAMES = np.array([*REGIONS, ""])


@dataclass(frozen=True, eq=False)
class SlotChunk:
    """One work unit: slots first .. last - 1 of the run."""

    first: int
    last: int
    inputs: Mapping[str, str]

    @property
    def name(self) -> str:
        return f"slots {self.first}-{self.last - 1}"


@dataclass(frozen=True, eq=False)
class SpliceStage:
    """What a worker does with a `SlotChunk`.

    contact_share (900,): running sums of the weights of region pairs. learned: relative poses and
    learned_of_block (blocks, 2) which of them each block draws from; empty arrays where contacts
    are drawn. lifelike: contacts are placed as people hold their hands. stem: what every sample id
    begins with.
    """

    hands: HandPair
    bank: Bank
    draw: Draw
    open_hands: Array
    contact_share: Array
    learned: Learned
    learned_of_block: Array
    lifelike: bool
    stem: str
    seed: int

    def __call__(self, chunk: SlotChunk) -> UnitResult:
        slots = np.arange(chunk.first, chunk.last)
        ids = np.array([self.sample_id(slot) for slot in range(chunk.first, chunk.last)])
        placed, counters = self.place(slots)
        kept = np.flatnonzero(placed.ok)
        rejects = tuple(
            Reject(str(ids[k]), SOURCE, NO_PLACEMENT, "no pair of this slot touched as drawn")
            for k in np.flatnonzero(~placed.ok)
        )
        samples = self._samples(ids[kept], slots[kept], _rows(placed, kept)) if len(kept) else None
        counts = dict(zip(COUNTERS, counters.tolist(), strict=True))
        same = (placed.meant == placed.touched).all(axis=1)[kept]
        stats = Stats(
            counts={**counts, "touch most where meant": int(same.sum())},
            summaries={
                "estimated_depth_m": Summary.of(placed.depth[kept]),
                "estimated_volume_m3": Summary.of(placed.volume[kept]),
            },
        )
        return UnitResult(samples, rejects, n_in=len(slots), stats=stats)

    def sample_id(self, slot: int) -> str:
        """Id of a slot's sample."""
        return f"{self.stem}/{slot:09d}"

    def place(self, slots: Array) -> tuple[Placed, Array]:
        """What the search finds for these slots (n,), and its counters, one of each `COUNTERS`."""
        tools = _tools(self)
        keys = [
            rng_for(self.seed, self.sample_id(slot)).integers(0, 2**64, dtype=np.uint64)
            for slot in slots.tolist()
        ]
        draw = self.draw
        placed = Placed.empty(len(slots))
        counters = np.zeros(len(COUNTERS), dtype=np.int64)
        _search.search(
            Slots(np.array(keys, dtype=np.uint64), draw.block[slots], draw.rank[slots]),
            Blocks(
                draw.right, draw.left, draw.slots, draw.key, draw.interlocked, draw.hands,
                self.learned_of_block,
            ),
            Hands(self.bank.pose, self.bank.betas, self.open_hands, bool(draw.interlocked.any())),
            self.contact_share,
            self.learned,
            tools.arms.cells,
            tools.arms.comfort if self.lifelike else tools.arms.comfort[:0],
            tools.right,
            tools.left,
            tools.cache_right,
            tools.cache_left,
            tools.bench,
            placed,
            counters,
        )  # fmt: skip
        return placed, counters

    def _samples(self, ids: Array, slots: Array, placed: Placed) -> Samples:
        n, bank, draw = len(ids), self.bank, self.draw
        hand = placed.hand
        pose = np.zeros((n, 2, N_MANO_JOINTS, 3), dtype=np.float32)
        betas = np.empty((n, 2, N_BETAS), dtype=np.float32)
        for side in (RIGHT, LEFT):
            pose[:, side] = bank.pose[side, hand[:, side]]
            betas[:, side] = bank.betas[side, hand[:, side]]
        pose[:, LEFT, 0] = axis_angle_from_matrix(placed.R)
        transl, joints = self._put(pose, betas, placed.t)
        block = draw.block[slots]
        learned = self.learned_of_block[block, 1] > 0
        ways = np.where(learned, "learned", np.where(placed.interlocked, "interlocked", "contact"))
        one_by_one = np.arange(n)
        sources = bank.source[hand]
        split = draw.split[block]
        takes = [
            f"{a} + {b}" + (f", {s}" if s else "") for (a, b), s in zip(sources, split, strict=True)
        ]
        return Samples(
            sample_id=ids,
            pose=pose,
            betas=betas,
            transl=transl,
            joints=joints,
            present=np.ones((n, 2), dtype=np.bool_),
            source=np.full(n, SOURCE),
            take=np.array(takes),
            mirrored=np.stack([bank.mirrored(hand[:, s], s) for s in (RIGHT, LEFT)], axis=1),
            split=split,
            limit_violation=np.stack(
                [bank.limit_violation[s, hand[one_by_one, s]] for s in (RIGHT, LEFT)], axis=1
            ),
            contact_distance=placed.distance,
            contact_intended=_REGION_NAMES[placed.meant],
            contact_realised=_REGION_NAMES[placed.touched],
            bank_id=bank.sample_id[hand],
            placement=ways,
            placement_spin=placed.spin,
            placement_standoff=placed.standoff,
        )

    def _put(self, pose: Array, betas: Array, t: Array) -> tuple[Array, Array]:
        """transl (n, 2, 3) and joints (n, 2, 21, 3), as what is stored (float32) gives them."""
        tools = _tools(self)
        transl = np.empty((len(pose), 2, 3), dtype=np.float32)
        joints = np.empty((len(pose), 2, N_JOINTS, 3))
        for side, tables in ((RIGHT, tools.right), (LEFT, tools.left)):
            wrist = t if side == LEFT else np.zeros((len(pose), 3))
            _search.put(
                tables.skinning, pose[:, side], betas[:, side], wrist, transl[:, side],
                joints[:, side],
            )  # fmt: skip
        return transl, joints


@dataclass(frozen=True, eq=False)
class _Tools:
    """What a process makes once for a stage."""

    stage: SpliceStage
    right: HandTables
    left: HandTables
    cache_right: Cache
    cache_left: Cache
    bench: "_search.Bench"
    arms: TwoArms


_made: list[_Tools] = []


def _tools(stage: SpliceStage) -> _Tools:
    """Tables, caches and working arrays of this process, made anew for another bank.

    Some executors hand over a new copy of the stage with every unit: its stem names the bank too.
    """
    made = _made[0].stage if _made else None
    if made is None or (made.bank is not stage.bank and made.stem != stage.stem):
        right, left = HandTables.of(stage.hands.right), HandTables.of(stage.hands.left)
        V, H = len(right.region), len(stage.bank)
        _made[:] = [
            _Tools(
                stage,
                right,
                left,
                Cache.empty(H, V, _CACHED_SKINS),
                Cache.empty(H, V, _CACHED_SKINS),
                _search.bench(right, left),
                TwoArms.table(),
            )
        ]
    return _made[0]


def _rows(placed: Placed, rows: Array) -> Placed:
    return Placed(*(array[rows] for array in placed))
