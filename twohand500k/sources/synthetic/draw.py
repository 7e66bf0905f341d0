"""Natural hands drawn from nothing but anatomy: postures, what lies between them, how they vary.

In: a count, a seed, a hand model. Out: `SyntheticHands`, angles, betas and sides. A hand is

    angles = sum_k w_k posture_k  +  sum_s z_s synergy_s,      z_s ~ N(0, scale)

one to three written postures (physics_assets/hand_postures.toml) in random shares, which differ a
little from digit to digit, and play about them along synergies, the amount of it drawn per hand.
Angles near a limit are drawn in softly, so that none piles up there; digits that would run through
each other are parted (`flesh`), and a hand that cannot be parted is drawn again. Betas are N(0, 1),
kept where the hand's length and breadth are an adult's.

Hand i depends on (seed, i) and the hand model alone: any slice of a run gives the same hands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from twohand500k.conventions import LEFT, MANO_CHAINS, N_BETAS, N_MANO_JOINTS, RIGHT
from twohand500k.hand.anatomy import FLEXION
from twohand500k.hand.model import HandModel, HandPair
from twohand500k.hand.rotations import Array
from twohand500k.sources.synthetic.flesh import Flesh
from twohand500k.sources.synthetic.postures import Postures, load_postures
from twohand500k.sources.synthetic.synergies import ease_spread, synergies

_MOST_POSTURES = 3
# Share of hands made of one, two and three postures.
_POSTURE_COUNTS = (0.3, 0.5, 0.2)
# How far the shares differ from digit to digit: standard deviation of their logarithm.
_DIGIT_PLAY = 0.7
_SCALE = (0.3, 1.3)
# A pinch that is nearly whole closes, more often than not.
_TOUCH_FROM, _TOUCH_OFTEN = 0.7, 0.75
# Betas beyond this are redrawn, and so are hands that are no adult's: from a small woman's to a
# large man's, about 2.33 standard deviations out. Means of ANSUR2 as in open_hand/anthropometry.py
# (women 181.1 and 78.2, men 193.3 and 88.3); the deviations, 10 and 4 mm, are ours.
_MOST_BETA = 2.5
LENGTH_MM = (158.0, 216.0)
BREADTH_MM = (69.0, 98.0)
# Deepest overlap of the flesh spheres that passes, metres.
_OVERLAP = 5e-4
_MOST_ATTEMPTS = 100
_BATCH = 1024
# What a hand does by itself, degrees: narrower than the limits, which say what is impossible.
_ACTIVE_DEG = {0: (-30.0, 96.0), 1: (-5.0, 108.0), 2: (-8.0, 78.0)}
_SOFT_SHARE, _SOFT_MOST = 0.15, np.radians(8.0)


@dataclass(frozen=True, eq=False)
class SyntheticHands:
    """Drawn hands.

    angles (N, 15, 3) rad flexion, abduction, twist (hand/anatomy.py); betas (N, 10); side (N,) 0
    right, 1 left; posture (N,) str, the written postures a hand lies between, the nearest first.
    """

    angles: Array
    betas: Array
    side: np.ndarray
    posture: np.ndarray

    def rows(self, which: np.ndarray) -> "SyntheticHands":
        """Some of the hands."""
        return SyntheticHands(
            self.angles[which], self.betas[which], self.side[which], self.posture[which]
        )


def draw_hands(
    count: int,
    seed: int,
    hands: HandPair,
    *,
    side: Literal["right", "left"] | None = None,
    start: int = 0,
) -> SyntheticHands:
    """Hands start .. start + count - 1 of the endless row that `seed` names.

    hands: the models whose flesh keeps the digits apart and whose betas are drawn. side: None draws
    it, evenly. Raises ValueError for a negative count, seed or start, RuntimeError if a hand cannot
    be drawn (a model on which the written postures do not fit).
    """
    if min(count, seed, start) < 0:
        raise ValueError(f"count {count}, seed {seed} and start {start} must not be negative")
    bodies = (_Body.of(hands.right), _Body.of(hands.left))
    batches = [
        _draw(range(at, min(at + _BATCH, start + count)), seed, bodies, side)
        for at in range(start, start + count, _BATCH)
    ]
    if not batches:
        return SyntheticHands(
            np.empty((0, N_MANO_JOINTS - 1, 3)), np.empty((0, N_BETAS)),
            np.empty(0, dtype=np.int64), np.empty(0, dtype=np.str_),
        )  # fmt: skip
    return SyntheticHands(
        *(np.concatenate([getattr(batch, name) for batch in batches])
          for name in ("angles", "betas", "side", "posture"))
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Body:
    """A hand model seen as a right one: its flesh, and how long and broad it is."""

    flesh: Flesh
    across: Array
    edges: np.ndarray

    @staticmethod
    @lru_cache(maxsize=4)
    def of(model: HandModel) -> "_Body":
        right = model if model.side == "right" else model.mirrored()
        across, edges = _breadth_edges(right)
        return _Body(Flesh.of(right), across, edges)

    def is_adult(self, betas: Array) -> np.ndarray:
        """Whether hands (N,) of betas (N, 10) have an adult's length and breadth."""
        length, breadth = self.size_mm(betas)
        return (
            (length > LENGTH_MM[0]) & (length < LENGTH_MM[1])
            & (breadth > BREADTH_MM[0]) & (breadth < BREADTH_MM[1])
        )  # fmt: skip

    def size_mm(self, betas: Array) -> tuple[Array, Array]:
        """Length and breadth (N,) as `hand.measure` defines them, breadth to a millimetre or so."""
        model = self.flesh.model
        skin = [model.tip_vertex_ids[2], *self.edges]
        tip, *ends = np.moveaxis(
            model.v_template[skin] + np.einsum("vkb,nb->nvk", model.shapedirs[skin], betas), 1, 0
        )
        wrist = model.J_template[0] + np.einsum("kb,nb->nk", model.J_shapedirs[0], betas)
        breadth = np.einsum("nk,k->n", ends[0] - ends[1], self.across)
        return 1e3 * np.linalg.norm(tip - wrist, axis=-1), 1e3 * breadth


def _breadth_edges(model: HandModel) -> tuple[Array, np.ndarray]:
    """The direction across the knuckles (3,) and the two skin vertices farthest apart along it."""
    rest = model.J_template
    index, little = rest[MANO_CHAINS[1][0]], rest[MANO_CHAINS[4][0]]
    across = (index - little) / np.linalg.norm(index - little)
    along = np.cross(across, [0.0, 1.0, 0.0])
    not_thumb = model.weights[:, list(MANO_CHAINS[0])].sum(axis=1) < 0.5
    near = np.flatnonzero(not_thumb & (np.abs((model.v_template - little) @ along) < 0.008))
    reach = model.v_template[near] @ across
    return across, near[[np.argmax(reach), np.argmin(reach)]]


def _draw(
    numbers: Sequence[int],
    seed: int,
    bodies: tuple[_Body, _Body],
    wanted: Literal["right", "left"] | None,
) -> SyntheticHands:
    """One batch of hands, those that fail drawn again from their own generators."""
    postures = load_postures()
    streams = [
        np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number])))
        for number in numbers
    ]
    coin = np.array([stream.random() for stream in streams])
    side = np.where(coin < 0.5, RIGHT, LEFT)
    if wanted is not None:
        side[:] = RIGHT if wanted == "right" else LEFT
    angles = np.empty((len(streams), N_MANO_JOINTS - 1, 3))
    betas = np.empty((len(streams), N_BETAS))
    label = np.empty(len(streams), dtype=object)
    open_ = np.arange(len(streams))
    for _ in range(_MOST_ATTEMPTS):
        chance = _Chance.drawn([streams[n] for n in open_], len(synergies()))
        mixed, touch, names = _mix(chance, postures)
        done = np.zeros(len(open_), dtype=np.bool_)
        for which in (RIGHT, LEFT):
            body = bodies[which]
            mine = np.flatnonzero(side[open_] == which)
            mine = mine[(np.abs(chance.betas[mine]) <= _MOST_BETA).all(axis=1)]
            mine = mine[body.is_adult(chance.betas[mine])]
            start = _within(mixed[mine], body.flesh.anatomy.limits)
            settled, overlap = body.flesh.settle(start, chance.betas[mine], touch[mine])
            good = overlap <= _OVERLAP
            mine = mine[good]
            angles[open_[mine]], betas[open_[mine]] = settled[good], chance.betas[mine]
            label[open_[mine]] = names[mine]
            done[mine] = True
        open_ = open_[~done]
        if len(open_) == 0:
            return SyntheticHands(angles, betas, side, label.astype(np.str_))
    raise RuntimeError(
        f"hand {numbers[open_[0]]} of seed {seed} was refused {_MOST_ATTEMPTS} times: the written "
        f"postures do not fit the hand model {bodies[0].flesh.model.name}"
    )


@dataclass(frozen=True, eq=False)
class _Chance:
    """All that is random in N hands: uniform draws and standard normal ones."""

    uniform: Array
    digits: Array
    synergies: Array
    betas: Array

    @staticmethod
    def drawn(streams: Sequence[np.random.Generator], n_synergies: int) -> "_Chance":
        """A fixed number of draws from each hand's own generator."""
        sizes = (5 * _MOST_POSTURES, n_synergies, N_BETAS)
        uniform = np.empty((len(streams), 2 * _MOST_POSTURES + 3))
        normal = np.empty((len(streams), sum(sizes)))
        for n, stream in enumerate(streams):
            stream.random(out=uniform[n])
            stream.standard_normal(out=normal[n])
        digits, along, betas = np.split(normal, np.cumsum(sizes)[:-1], axis=1)
        return _Chance(uniform, digits.reshape(-1, 5, _MOST_POSTURES), along, betas)


def _mix(chance: _Chance, postures: Postures) -> tuple[Array, np.ndarray, np.ndarray]:
    """Angles (N, 15, 3) rad not yet within limits, touch (N, 5) bool, posture names (N,)."""
    which = np.searchsorted(np.cumsum(postures.share)[:-1], chance.uniform[:, :_MOST_POSTURES])
    how_many = 1 + np.searchsorted(np.cumsum(_POSTURE_COUNTS)[:-1], chance.uniform[:, -1])
    # Exponential draws in proportion: evenly over the simplex (Dirichlet, all ones).
    weight = -np.log1p(-chance.uniform[:, _MOST_POSTURES : 2 * _MOST_POSTURES]) + 1e-12
    weight *= np.arange(_MOST_POSTURES) < how_many[:, None]
    weight /= weight.sum(axis=1, keepdims=True)
    by_digit = weight[:, None] * np.exp(_DIGIT_PLAY * chance.digits)
    by_digit /= by_digit.sum(axis=2, keepdims=True)
    by_joint = np.empty((len(which), N_MANO_JOINTS - 1, _MOST_POSTURES))
    for digit, chain in enumerate(MANO_CHAINS):
        by_joint[:, np.array(chain) - 1] = by_digit[:, digit, None]
    between = np.einsum("njk,nkja->nja", by_joint, postures.angles[which])
    scale = _SCALE[0] + (_SCALE[1] - _SCALE[0]) * chance.uniform[:, -2]
    play = np.einsum("ns,sja->nja", scale[:, None] * chance.synergies, synergies())
    mixed = between + ease_spread(play, between)

    rank = np.argsort(-weight, axis=1, kind="stable")
    first = which[np.arange(len(which)), rank[:, 0]]
    whole = np.array([w[row == f].sum() for w, row, f in zip(weight, which, first, strict=True)])
    closes = (whole >= _TOUCH_FROM) & (chance.uniform[:, -3] < _TOUCH_OFTEN)
    return mixed, postures.touch[first] & closes[:, None], _labels(which, weight, rank, postures)


def _labels(which: np.ndarray, weight: Array, rank: np.ndarray, postures: Postures) -> np.ndarray:
    """Names (N,) of the postures with a tenth or more of a hand, the largest share first."""
    labels = np.empty(len(which), dtype=object)
    for n, order in enumerate(rank):
        names = [postures.names[which[n, k]] for k in order if weight[n, k] >= 0.1]
        labels[n] = ">".join(dict.fromkeys(names))
    return labels


def _within(angles: Array, limits: Array) -> Array:
    """Angles (N, 15, 3) drawn softly into what a hand does by itself, inside the limits.

    Within a margin of a bound the distance to it shrinks exponentially instead of ending there.
    """
    low, high = limits[..., 0].copy(), limits[..., 1].copy()
    for chain in MANO_CHAINS[1:]:
        for k, joint in enumerate(chain):
            least, most = np.radians(_ACTIVE_DEG[k])
            low[joint - 1, FLEXION] = max(low[joint - 1, FLEXION], least)
            high[joint - 1, FLEXION] = min(high[joint - 1, FLEXION], most)
    margin = np.minimum(_SOFT_SHARE * (high - low), _SOFT_MOST)
    over = np.maximum(angles - (high - margin), 0.0)
    under = np.maximum(low + margin - angles, 0.0)
    inside = np.clip(angles, low + margin, high - margin)
    return inside + margin * (-np.expm1(-over / margin) + np.expm1(-under / margin))
