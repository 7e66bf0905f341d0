"""Is it a hand at all, in this unit and this joint order? Asked of distances that no pose changes.

In: points (N, K, 3) of hands, the joints they are said to be, and the hand model. Out: per hand its
size relative to the model and how badly its bone lengths disagree, for the labels as given and for
other orders of the same joints; and the shape that the distances of a whole take speak for.

Why distances. Two landmarks that sit on one rigid body (the palm, or one phalanx with both its
joints) keep their distance in every pose, in every orientation, and in the mirror. So a wrong unit
or a wrong joint order shows here before any fit, whatever else is wrong with the hand, and a shape
that was calibrated on faulty input cannot hide it, because the comparison is with the template hand
at the best uniform scale. Wrong handedness does not show here at all: that needs the solver.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, permutations

import numpy as np

from twohand500k.conventions import (
    FINGERS,
    MANO_CARRIER,
    MANO_PARENTS,
    N_BETAS,
    N_JOINTS,
    OPENPOSE_FROM_MANO21,
    TIP_JOINTS,
)
from twohand500k.hand.model import HandModel

Array = np.ndarray

# What one might have forgotten to convert, as (number read / metres).
UNIT_FACTORS: dict[str, float] = {
    "mm read as m": 1000.0,
    "cm read as m": 100.0,
    "inches read as m": 39.37,
    "mm read as inches": 25.4,
    "dm or a unit of 10 cm read as m": 10.0,
    "feet read as m": 3.281,
    "inches read as cm": 1 / 2.54,
    "cm read as inches": 2.54,
    "mm read as cm": 10.0,
    "cm read as mm": 0.1,
    "m read as cm": 0.01,
    "m read as mm": 0.001,
}

# Joint orders of well-known data sets, as "the k-th point of that order is this OpenPose joint".
_KNOWN_ORDERS: dict[str, tuple[int, ...]] = {
    "InterHand2.6M (each finger tip to base, wrist last)": (
        4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17, 0,
    ),
    "MANO (wrist, index, middle, little, ring, thumb, then the tips)": tuple(
        OPENPOSE_FROM_MANO21.index(k) for k in range(N_JOINTS)
    ),
    "STB (wrist, then little to thumb)": (
        0, 17, 18, 19, 20, 13, 14, 15, 16, 9, 10, 11, 12, 5, 6, 7, 8, 1, 2, 3, 4,
    ),
    "base joints first, then the next row (wrist, 5 bases, 5 second joints, ...)": (
        0, 1, 5, 9, 13, 17, 2, 6, 10, 14, 18, 3, 7, 11, 15, 19, 4, 8, 12, 16, 20,
    ),
}  # fmt: skip


def nearest_unit(factor: float) -> str:
    """The unit mix-up that explains a hand `factor` times too large, in words."""
    return min(UNIT_FACTORS, key=lambda name: abs(np.log(factor / UNIT_FACTORS[name])))


@dataclass(frozen=True)
class JointOrder:
    """One reading of the labels: landmark k is really joint `joints[k]` (0..20).

    reverses_fingers: the only thing it changes is the order within fingers, tip for base.
    """

    name: str
    joints: tuple[int, ...]
    reverses_fingers: bool = False


@dataclass(frozen=True, eq=False)
class DistanceCheck:
    """Distances between landmarks of one rigid body, against the template hand.

    `joints` are the OpenPose joints (0..20) of the K landmarks. A marker on the skin is taken for
    the joint it sits at: that is 5 to 10 mm wrong, which a unit or a joint order is not.
    """

    rest_joints: Array  # (21, 3) of the template hand, metres
    joints: tuple[int, ...]

    @classmethod
    def of(cls, model: HandModel, joints: Sequence[int] | Array) -> "DistanceCheck":
        """For landmarks at these joints and a hand model (either side: distances do not tell)."""
        return cls(model.with_shape().with_pose().joints, tuple(int(j) for j in joints))

    @property
    def declared(self) -> JointOrder:
        """The labels as given."""
        return JointOrder("as given", self.joints)

    @property
    def alternatives(self) -> tuple[JointOrder, ...]:
        """Other readings worth trying on a hand whose distances disagree with its labels."""
        return _alternatives(self.joints)

    def scale(self, points: Array) -> Array:
        """Size of each hand relative to the template (N,): the median ratio of distances.

        NaN where fewer than three such distances are seen. A median, so that one stray point
        among the K does not look like another unit.
        """
        pairs, rest = self._table((self.declared,))
        return _median(_distances(points, pairs) / rest, 3)[:, 0]

    def misfit(self, points: Array, orders: Sequence[JointOrder] | None = None) -> Array:
        """Root mean square disagreement of distances, metres at the template's size.

        (N,) for the labels as given, (N, O) for O orders. The hand is first brought to the
        template's size by its median ratio (held to 0.5..2, so that an order cannot win by
        shrinking the hand). NaN where fewer than six distances are seen: too few to tell.
        """
        if orders is None:
            return self.misfit(points, (self.declared,))[:, 0]
        pairs, rest = self._table(tuple(orders))
        out = np.empty((len(points), len(orders)))
        for start in range(0, len(points), 256):
            measured = _distances(points[start : start + 256], pairs)
            scale = np.clip(_median(measured / rest, 6), 0.5, 2.0)[..., None]
            square = (measured / scale - rest) ** 2
            seen = np.isfinite(square)
            with np.errstate(invalid="ignore", divide="ignore"):
                mean = np.where(seen, square, 0.0).sum(axis=-1) / seen.sum(axis=-1)
            out[start : start + 256] = np.sqrt(np.where(np.isnan(scale[..., 0]), np.nan, mean))
        return out

    def _table(self, orders: tuple[JointOrder, ...]) -> tuple[Array, Array]:
        """Landmark pairs (O, P, 2) of each order and their rest lengths (O, P), NaN as padding."""
        pairs = [_pairs(order.joints) for order in orders]
        most = max((len(p) for p in pairs), default=0)
        table = np.zeros((len(orders), most, 2), dtype=np.int64)
        rest = np.full((len(orders), most), np.nan)
        for row, (order, some) in enumerate(zip(orders, pairs, strict=True)):
            table[row, : len(some)] = some
            at = self.rest_joints[list(order.joints)]
            rest[row, : len(some)] = np.linalg.norm(at[some[:, 0]] - at[some[:, 1]], axis=-1)
        return table, rest


@cache
def _alternatives(given: tuple[int, ...]) -> tuple[JointOrder, ...]:
    orders: dict[tuple[int, ...], JointOrder] = {}

    def add(name: str, joints: tuple[int, ...], reverses_fingers: bool = False) -> None:
        if joints != given:
            orders.setdefault(joints, JointOrder(name, joints, reverses_fingers))

    add("each finger tip to base", _reversed(given, range(5)), True)
    for count in (1, 2, 3, 4):
        for fingers in combinations(range(5), count):
            names = ", ".join(FINGERS[f] for f in fingers)
            add(f"tip to base in {names}", _reversed(given, fingers), True)
    if sorted(given) == list(range(N_JOINTS)):
        for name, known in _KNOWN_ORDERS.items():
            add(name, tuple(known[j] for j in given))
    places = [{(j - 1) % 4 for j in given if j and (j - 1) // 4 == f} for f in range(5)]
    for order in permutations(range(5)):
        if any(places[f] != places[order[f]] for f in range(5)):
            continue  # the two fingers do not carry the same landmarks
        joints = tuple(j and 1 + 4 * order[(j - 1) // 4] + (j - 1) % 4 for j in given)
        said = "fingers in the order " + ", ".join(FINGERS[f] for f in order)
        add(said, joints)
        add(f"{said}, each tip to base", _reversed(joints, range(5)))
    return tuple(orders.values())


def _reversed(joints: tuple[int, ...], fingers: Iterable[int]) -> tuple[int, ...]:
    """The labels with the landmarks of some fingers read in the opposite order."""
    out = list(joints)
    for finger in fingers:
        where = [k for k, j in enumerate(out) if j and (j - 1) // 4 == finger]
        held = sorted({out[k] for k in where})
        for k in where:
            out[k] = held[-1 - held.index(out[k])]
    return tuple(out)


@cache
def _pairs(joints: tuple[int, ...]) -> Array:
    """Landmarks (P, 2) that share a rigid body."""
    bodies = [_bodies(joint) for joint in joints]
    pairs = [
        (a, b)
        for a, b in combinations(range(len(joints)), 2)
        if bodies[a] & bodies[b] and joints[a] != joints[b]
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def shape_from_distances(
    points: Array,
    joints: Sequence[int] | Array,
    model: HandModel,
    sigma: float = 2e-3,
    sigma_betas: float = 2.0,
) -> Array:
    """Betas (10,) whose rest hand has the median distances of a take (N, K, 3).

    The one estimate of shape that is the same for a hand and its mirror image, so it can be used to
    judge which of the two a take holds: a calibration that fits poses has already decided.
    Landmarks are taken for joints. Otherwise as `shapes_from_distances`.
    """
    pairs = _pairs(tuple(int(j) for j in joints))
    measured = _distances(points, pairs)
    lengths = np.full(len(pairs), np.nan)
    use = np.isfinite(measured).any(axis=0)
    lengths[use] = np.nanmedian(measured[:, use], axis=0)
    sigmas = np.full(len(pairs), sigma)
    return _shapes(lengths[None], pairs, joints, model, sigmas, sigma_betas)[0]


def shapes_from_distances(
    points: Array,
    joints: Sequence[int] | Array,
    model: HandModel,
    weights: Array | None = None,
    sigma: float = 2e-3,
    sigma_betas: float = 1.0,
) -> Array:
    """Betas (N, 10), hand by hand, whose rest hand has each hand's own distances (N, K, 3).

    Gauss-Newton on the distances within rigid bodies (`sigma` m each, the model's own misfit
    included; more for landmarks of `weights` (K,) below 1) with betas drawn to the template
    (`sigma_betas`). The template (zeros) where fewer than six distances are seen.
    """
    pairs = _pairs(tuple(int(j) for j in joints))
    weights = np.ones(len(joints)) if weights is None else np.asarray(weights)
    sigmas = sigma * np.sqrt((1 / weights[pairs] ** 2).mean(axis=1))
    lengths = _distances(np.asarray(points, dtype=np.float64), pairs)
    parts = [
        _shapes(lengths[i : i + 4096], pairs, joints, model, sigmas, sigma_betas)
        for i in range(0, len(lengths), 4096)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, N_BETAS))


def _shapes(
    lengths: Array,
    pairs: Array,
    joints: Sequence[int] | Array,
    model: HandModel,
    sigmas: Array,
    sigma_betas: float,
) -> Array:
    """Betas (N, 10) of measured lengths (N, P), NaN where not seen."""
    at = np.asarray(joints)
    first, second = at[pairs[:, 0]], at[pairs[:, 1]]
    rest = model.with_shape(np.vstack([np.zeros(N_BETAS), np.eye(N_BETAS)])).with_pose().joints
    vector = rest[:, first] - rest[:, second]  # the rest joints are affine in betas
    slope = vector[1:] - vector[0]
    seen = np.isfinite(lengths)
    weight = np.where(seen & (seen.sum(axis=1, keepdims=True) >= 6), 1 / sigmas, 0.0)
    lengths = np.where(seen, lengths, 0.0)
    betas = np.zeros((len(lengths), N_BETAS))
    for _ in range(20):
        bone = vector[0] + np.einsum("bpc,nb->npc", slope, betas)
        now = np.linalg.norm(bone, axis=-1)
        J = np.einsum("bpc,npc->npb", slope, bone / now[..., None]) * weight[..., None]
        H = np.einsum("npa,npb->nab", J, J) + np.eye(N_BETAS) / sigma_betas**2
        g = np.einsum("npb,np->nb", J, (lengths - now) * weight) - betas / sigma_betas**2
        step = np.linalg.solve(H, g[..., None])[..., 0]
        betas = betas + step
        if np.abs(step).max(initial=0.0) < 1e-9:
            break
    return betas


def _bodies(joint: int) -> frozenset[int]:
    """MANO bodies in which a joint (0..20) does not move: its own and the one it hangs on; the
    wrist and the tips have one."""
    body = MANO_CARRIER[joint]
    if joint == 0 or joint in TIP_JOINTS:
        return frozenset({body})
    return frozenset({body, MANO_PARENTS[body]})


def _distances(points: Array, pairs: Array) -> Array:
    """Distances (N, ...) of landmark pairs (..., 2) in points (N, K, 3)."""
    return np.linalg.norm(points[:, pairs[..., 0]] - points[:, pairs[..., 1]], axis=-1)


def _median(values: Array, few: int) -> Array:
    """Median of the finite numbers of the last axis, NaN where there are fewer than `few`."""
    ordered = np.sort(np.where(np.isfinite(values), values, np.inf), axis=-1)
    count = np.isfinite(ordered).sum(axis=-1)
    if ordered.shape[-1] == 0:
        return np.full(count.shape, np.nan)
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, ordered.shape[-1] - 1)
    pick = [np.take_along_axis(ordered, k[..., None], axis=-1)[..., 0] for k in (low, high)]
    return np.where(count >= few, 0.5 * (pick[0] + pick[1]), np.nan)
