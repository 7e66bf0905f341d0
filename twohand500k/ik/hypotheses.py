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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
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

    @cached_property
    def declared(self) -> JointOrder:
        """The labels as given."""
        return JointOrder("as given", self.joints)

    @cached_property
    def reversed_fingers(self) -> JointOrder:
        """Every finger's joints in the opposite order: tip to base."""
        return JointOrder("each finger tip to base", self._reversed(range(5)), True)

    @cached_property
    def alternatives(self) -> tuple[JointOrder, ...]:
        """Other readings worth trying on a hand whose distances disagree with its labels."""
        orders: dict[tuple[int, ...], JointOrder] = {}

        def add(order: JointOrder) -> None:
            if order.joints != self.joints:
                orders.setdefault(order.joints, order)

        add(self.reversed_fingers)
        for count in (1, 2, 3, 4):
            for fingers in combinations(range(5), count):
                names = ", ".join(FINGERS[f] for f in fingers)
                add(JointOrder(f"tip to base in {names}", self._reversed(fingers), True))
        if len(self.joints) == N_JOINTS and sorted(self.joints) == list(range(N_JOINTS)):
            for name, order in _KNOWN_ORDERS.items():
                add(JointOrder(name, tuple(order[j] for j in self.joints)))
        slots = [tuple(j for j in self.joints if j and (j - 1) // 4 == f) for f in range(5)]
        offsets = [tuple((j - 1) % 4 for j in finger) for finger in slots]
        for order in permutations(range(5)):
            if all(offsets[f] == offsets[order[f]] for f in range(5)):
                joints = tuple(j and 1 + 4 * order[(j - 1) // 4] + (j - 1) % 4 for j in self.joints)
                said = ", ".join(FINGERS[f] for f in order)
                add(JointOrder(f"fingers in the order {said}", joints))
                add(
                    JointOrder(
                        f"fingers in the order {said}, each tip to base",
                        self._reversed(range(5), joints),
                    )
                )
        return tuple(orders.values())

    def scale(self, points: Array) -> Array:
        """Size of each hand relative to the template (N,): the median ratio of distances.

        NaN where fewer than three such distances are seen. A median, so that one stray point
        among the K does not look like another unit.
        """
        ratio = self._measured(points, self.declared) / self._rest(self.declared)
        return _nan_where_few(np.nanmedian, ratio)

    def misfit(self, points: Array, order: JointOrder | None = None) -> Array:
        """Root mean square disagreement of distances (N,), metres at the template's size.

        The hand is first brought to the template's size by its median ratio (held to 0.5..2, so
        that an order cannot win by shrinking the hand). NaN where fewer than six distances are
        seen: too few to tell one order from another.
        """
        order = self.declared if order is None else order
        rest = self._rest(order)
        measured = self._measured(points, order)
        scale = np.clip(_nan_where_few(np.nanmedian, measured / rest), 0.5, 2.0)
        square = (measured / scale[:, None] - rest) ** 2
        return np.sqrt(_nan_where_few(np.nanmean, square, few=6))

    def _reversed(
        self, fingers: Sequence[int] | range, joints: tuple[int, ...] | None = None
    ) -> tuple[int, ...]:
        """The labels with the landmarks of some fingers read in the opposite order."""
        out = list(self.joints if joints is None else joints)
        for finger in fingers:
            where = [k for k, j in enumerate(out) if j and (j - 1) // 4 == finger]
            held = sorted({out[k] for k in where})
            for k in where:
                out[k] = held[-1 - held.index(out[k])]
        return tuple(out)

    def _pairs(self, order: JointOrder) -> Array:
        """Landmarks (P, 2) that share a rigid body when the labels are read in this order."""
        bodies = [_bodies(joint) for joint in order.joints]
        pairs = [
            (a, b)
            for a, b in combinations(range(len(bodies)), 2)
            if bodies[a] & bodies[b] and order.joints[a] != order.joints[b]
        ]
        return np.array(pairs, dtype=np.int64).reshape(-1, 2)

    def _rest(self, order: JointOrder) -> Array:
        at = self.rest_joints[list(order.joints)]
        pairs = self._pairs(order)
        return np.linalg.norm(at[pairs[:, 0]] - at[pairs[:, 1]], axis=-1)

    def _measured(self, points: Array, order: JointOrder) -> Array:
        pairs = self._pairs(order)
        return np.linalg.norm(points[:, pairs[:, 0]] - points[:, pairs[:, 1]], axis=-1)


def shape_from_distances(
    points: Array,
    joints: Sequence[int] | Array,
    model: HandModel,
    sigma: float = 2e-3,
    sigma_betas: float = 2.0,
) -> Array:
    """Betas (10,) whose rest hand has the median distances of a take (N, K, 3).

    The one estimate of shape that is the same for a hand and its mirror image, so it can be used to
    judge which of the two a take holds: a calibration that fits poses has already decided. Gauss-
    Newton on the distances within rigid bodies (`sigma` m each, the model's own misfit included)
    with betas drawn to the template (`sigma_betas`). Landmarks are taken for joints. The template
    (zeros) where fewer than six distances are seen.
    """
    check = DistanceCheck.of(model, joints)
    pairs = check._pairs(check.declared)
    measured = check._measured(points, check.declared)
    use = np.isfinite(measured).any(axis=0)
    betas = np.zeros(N_BETAS)
    if use.sum() < 6:
        return betas
    length = np.nanmedian(measured[:, use], axis=0)
    at = np.asarray(joints)
    first, second = at[pairs[use, 0]], at[pairs[use, 1]]
    rest = model.with_shape(np.vstack([betas, np.eye(N_BETAS)])).with_pose().joints
    vector = rest[:, first] - rest[:, second]  # the rest joints are affine in betas
    slope = vector[1:] - vector[0]
    for _ in range(20):
        bone = vector[0] + np.einsum("bpc,b->pc", slope, betas)
        now = np.linalg.norm(bone, axis=-1)
        J = np.einsum("bpc,pc->pb", slope, bone) / now[:, None] / sigma
        H = J.T @ J + np.eye(N_BETAS) / sigma_betas**2
        step = np.linalg.solve(H, J.T @ ((length - now) / sigma) - betas / sigma_betas**2)
        betas = betas + step
        if np.abs(step).max() < 1e-9:
            break
    return betas


def _bodies(joint: int) -> frozenset[int]:
    """MANO bodies in which a joint (0..20) does not move: its own and the one it hangs on; the
    wrist and the tips have one."""
    body = MANO_CARRIER[joint]
    if joint == 0 or joint in TIP_JOINTS:
        return frozenset({body})
    return frozenset({body, MANO_PARENTS[body]})


def _nan_where_few(reduce: Callable[..., Array], values: Array, few: int = 3) -> Array:
    """reduce over the last axis, NaN for the rows with fewer than `few` numbers."""
    enough = np.isfinite(values).sum(axis=-1) >= few
    out = np.full(len(values), np.nan)
    if enough.any():
        out[enough] = reduce(values[enough], axis=-1)
    return out
