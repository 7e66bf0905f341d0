"""Contact-guided repair: the least change that lets two hands touch without overlapping.

In: a `Pair` and a state to begin from. Out: a state in which the hands overlap as little as the
steps could do, near the pair's own start. Each step is one small quadratic program:

    minimise    sum_i w_i |joint_i + J_i step - joint_i of the input|^2 + the angles' own share
    such that   n . (J_a step - J_b step) >= -gap       wherever the hands are near each other,
                the contact that was meant stays a contact, a hand comes no deeper into itself,
                every angle stays within its bounds

with w_i = 1 / distance moved, so that the sum becomes a sum of distances (iteratively reweighted
least squares) and few joints move. As the target is the input and not the last step, a pair that
was pushed apart too far is pulled back by the next step. The first steps take their contacts from
Bullet: two convex links tell the way out of a deep overlap, which skin cannot. The last take them
from the skin: links are rounder than hands, and a contact lives on the skin.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numba import njit

from twohand500k.conventions import LEFT, MANO_CHAINS, MANO_PARENTS, RIGHT
from twohand500k.hand import HandPair
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.rotations import Array
from twohand500k.physics._kernels import ANCESTORS, DOF, invert, metric, rows_of_contacts, solve
from twohand500k.physics.kept import contacts_to_keep
from twohand500k.physics.skin import Skin, Touches, nearest_of_regions, own_touches, touches
from twohand500k.physics.state import Frames, Pair, State
from twohand500k.physics.world import Contacts, World

# A contact that was meant is kept within this, and the skins are left this far apart, metres.
_KEPT_WITHIN = 0.001
_CLEARANCE = 0.0002
# Bullet's steps end when the skins overlap by no more than this: such a depth is one that the
# skin's steps can read, and links are rounder than hands. Steps end when all is this still.
_SHALLOW = 0.003
_AT_REST = 0.0003
# A step that changes the mean movement by a smaller share than this is at rest too.
_NO_CHANGE = 0.03
# Contacts within this count, in Bullet and on the skin, metres.
_REACH_LINKS = 0.008
_REACH_SKIN = 0.005
_REACH_OWN = 0.004
# A step takes nothing further into the other hand than this, metres.
_LOOK_DEEPER = 0.004
# No contact asks for more than this in one step, no joint moves further, metres.
_MOST_PUSH = 0.006
_MOST_STEP = 0.012
# Joints that moved less than this weigh as if they had moved so far, metres.
_LEAST_DISTANCE = 0.001
# What turning an angle costs by itself, metres per square radian: flexion, abduction, twist.
_COST_KNUCKLE = (0.001, 0.005, 0.05)
_COST_HINGE = (0.001, 0.1, 0.1)
_COST_THUMB = ((0.002, 0.002, 0.01), (0.001, 0.03, 0.05), (0.001, 0.1, 0.1))
# What turning an angle in one step costs, as a multiple of the above, and moving a joint in one
# step, 1 / metres: where many ways are as good, the steps do not wander between them.
_STEADY_ANGLE, _STEADY = 3.0, 30.0
# How strongly the frame before draws on a joint; one that is moved by d weighs 1 / d. 1 / metres.
_PULL = 300.0
# Of the skin's contacts between two parts only such as lie so far from each other, metres.
_SPACING = 0.004
_SWEEPS = 60
_SOFT, _SOFT_KEPT = 0.01, 0.01


@dataclass(frozen=True)
class Effort:
    """How many steps: at most so many on Bullet's contacts, then on the skin's."""

    link_steps: int
    skin_steps: int


FAST = Effort(link_steps=6, skin_steps=3)
BEST = Effort(link_steps=8, skin_steps=8)


@dataclass
class Trace:
    """What a repair went through: Bullet passes spent, and states on the way where asked for."""

    evaluations: int = 0
    states: list[State] | None = None

    def passed(self, state: State) -> None:
        if self.states is not None:
            self.states.append(state)


@dataclass(frozen=True, eq=False)
class Bodies:
    """Both hands as the repair needs them: anatomy, skins, links in Bullet."""

    hands: HandPair
    anatomies: tuple[Anatomy, Anatomy]
    skins: tuple[Skin, Skin]
    world: World
    angle_cost: Array = field(default_factory=lambda: _angle_cost())

    @staticmethod
    def of(hands: HandPair, world: World) -> "Bodies":
        return Bodies(
            hands,
            (Anatomy.of(hands[RIGHT]), Anatomy.of(hands[LEFT])),
            (Skin.of(hands[RIGHT]), Skin.of(hands[LEFT])),
            world,
        )


@dataclass(frozen=True, eq=False)
class Problem:
    """One pair with everything that holds for all its steps.

    rest_skin: per side (V, 3). tips (2, 5, 3): fingertips in their last joint's frame. target
    (2, 21, 3): joints of the input, MANO's 16 and the tips. kept: region pairs (right, left) whose
    contact is kept. own_gap (2, V): how far from the hand's own skin each vertex was, m.
    depth (m): how deep the input's skins lie in each other, inf for not known.
    pull (2, 21, 3): where the frame before would have the joints, for takes that are kept smooth.
    """

    bodies: Bodies
    pair: Pair
    rest_skin: tuple[Array, Array]
    tips: Array
    target: Array
    kept: tuple[tuple[int, int], ...]
    own_gap: Array
    depth: float
    pull: Array | None = None

    @staticmethod
    def of(
        bodies: Bodies, pair: Pair, intended: tuple[int, int], depth: float = np.inf
    ) -> "Problem":
        """The problem of a pair whose regions `intended` (right, left, or -1) were to touch.

        Bullet's bodies take its shapes.
        """
        hands, world = bodies.hands, bodies.world
        world.shape(pair.betas)
        rest_skin = (
            np.ascontiguousarray(hands.right.with_shape(pair.betas[RIGHT]).rest_vertices),
            np.ascontiguousarray(hands.left.with_shape(pair.betas[LEFT]).rest_vertices),
        )
        frames = pair.frames(pair.start)
        skins = _posed(bodies, rest_skin, pair, frames)
        tips = np.empty((2, 5, 3))
        for s in (0, 1):
            for k, joint in enumerate(_TIP_CARRIERS):
                offset = skins[s][hands[s].tip_vertex_ids[k]] - frames.p[s, joint]
                tips[s, k] = frames.R[s, joint].T @ offset
        own_gap = np.full((2, len(rest_skin[0])), np.inf)
        for s in (0, 1):
            own = own_touches(bodies.skins[s], skins[s], _REACH_OWN)
            own_gap[s, own.vertex] = own.gap
        kept = contacts_to_keep(bodies.skins, skins, intended)
        return Problem(bodies, pair, rest_skin, tips, _joints(frames, tips), kept, own_gap, depth)

    def skin(self, frames: Frames) -> tuple[Array, Array]:
        """Both skins (V, 3)."""
        return _posed(self.bodies, self.rest_skin, self.pair, frames)

    def with_pull(self, state: State) -> "Problem":
        """The same problem, drawn towards a state too: the frame before, carried on."""
        return replace(self, pull=_joints(self.pair.frames(state), self.tips))

    def moved(self, state: State) -> float:
        """Mean distance (m) of the joints from where they were meant to be."""
        joints = _joints(self.pair.frames(state), self.tips)
        return float(np.linalg.norm(joints - self.target, axis=-1).mean())


def guide(problem: Problem, state: State, effort: Effort, trace: Trace) -> State:
    """Repair from `state` on: steps on Bullet's contacts while deep, then on the skin's."""
    trace.passed(state)
    depth = problem.depth if state is problem.pair.start else np.inf
    for _ in range(effort.link_steps):
        if depth < _SHALLOW:
            break
        frames = problem.pair.frames(state)
        skins = problem.skin(frames)
        rows = _Rows(problem, frames)
        depth = rows.depth(skins)
        if depth < _SHALLOW:
            break
        rows.add_links(_contacts(problem.bodies.world, state, frames))
        trace.evaluations += 1
        rows.add_own(skins)
        rows.add_kept(skins)
        state, at_rest = _step(problem, state, frames, rows)
        trace.passed(state)
        depth = np.inf
        if at_rest:
            break
    return settle(problem, state, effort.skin_steps, _CLEARANCE, depth, trace)


def settle(
    problem: Problem,
    state: State,
    steps: int,
    clearance: float,
    depth: float,
    trace: Trace,
    dense: bool = False,
) -> State:
    """Steps on the skin's contacts alone, which are left `clearance` (m) apart.

    depth (m): how deep the skins lie in each other, inf for not known: no deeper is looked. dense:
    contacts are looked for between the skin's vertices too.
    """
    for _ in range(steps):
        frames = problem.pair.frames(state)
        skins = problem.skin(frames)
        rows = _Rows(problem, frames)
        depth = rows.add_skin(skins, clearance, depth + _LOOK_DEEPER, dense)
        rows.add_own(skins)
        rows.add_kept(skins)
        state, at_rest = _step(problem, state, frames, rows)
        trace.passed(state)
        if at_rest and depth < _AT_REST:
            break
    return state


class _Rows:
    """Rows of one step's program, gathered: direction @ step >= least."""

    def __init__(self, problem: Problem, frames: Frames) -> None:
        self.problem, self.frames = problem, frames
        self.rows: list[Array] = []
        self.least: list[Array] = []
        self.softness: list[Array] = []

    def add_links(self, contacts: Contacts) -> None:
        """Bullet's contacts: links of two hands come apart."""
        rows = rows_of_contacts(
            contacts.point_a, contacts.point_b, contacts.normal,
            ANCESTORS[contacts.link_a], ANCESTORS[contacts.link_b],
            contacts.side_a, contacts.side_b, self.frames.p, self.frames.axes,
        )  # fmt: skip
        self._add(rows, -contacts.gap, _SOFT)

    def depth(self, skins: tuple[Array, Array]) -> float:
        """How deep (m) a vertex of one hand lies inside the other."""
        return max(-found.gap.min(initial=0.0) for _, _, found in self._touching(skins))

    def add_skin(
        self, skins: tuple[Array, Array], clearance: float, deepest: float, dense: bool
    ) -> float:
        """Skin near the other hand's skin may come as near as touching. Returns the depth (m)."""
        depth = 0.0
        for a, b, found in self._touching(skins, deepest, dense):
            chosen = self._thinned(found, a, b)
            depth = max(depth, -found.gap.min(initial=0.0))
            self._add(self._between(found, chosen, a, b), clearance - found.gap[chosen], _SOFT)
        return depth

    def add_own(self, skins: tuple[Array, Array]) -> None:
        """A hand's digits come no deeper into the hand's own skin than they were, or touch it."""
        for s in (RIGHT, LEFT):
            found = own_touches(self.problem.bodies.skins[s], skins[s], _REACH_OWN)
            chosen = self._thinned(found, s, s)
            allowed = np.minimum(self.problem.own_gap[s][found.vertex[chosen]], 0.0)
            self._add(self._between(found, chosen, s, s), allowed - found.gap[chosen], _SOFT)

    def _touching(
        self, skins: tuple[Array, Array], deepest: float = np.inf, dense: bool = False
    ) -> list[tuple[int, int, Touches]]:
        models = self.problem.bodies.skins
        return [
            (a, b, touches(models[a], skins[a], models[b], skins[b], _REACH_SKIN, deepest, dense))
            for a, b in ((RIGHT, LEFT), (LEFT, RIGHT))
        ]

    def add_kept(self, skins: tuple[Array, Array]) -> None:
        """The nearest points of regions meant to touch may not part further than allowed."""
        models = self.problem.bodies.skins
        for regions in self.problem.kept:
            found = {
                (a, b): nearest_of_regions(
                    models[a], skins[a], regions[a], models[b], skins[b], regions[b]
                )
                for a, b in ((RIGHT, LEFT), (LEFT, RIGHT))
            }
            a, b = min(found, key=lambda ab: abs(found[ab].gap[0]))
            nearest = found[a, b]
            row = self._between(nearest, np.array([0]), a, b)
            self._add(-row, nearest.gap - _KEPT_WITHIN, _SOFT_KEPT)

    def add_bounds(self, state: State) -> None:
        """Angles near a bound stay within it."""
        pair = self.problem.pair
        for bound, sign in ((pair.low, 1.0), (pair.high, -1.0)):
            room = sign * (state.angles - bound)
            s, j, k = np.nonzero(room < _BOUND_REACH)
            rows = np.zeros((len(s), 2 * DOF))
            rows[np.arange(len(s)), s * DOF + 6 + 3 * j + k] = sign
            self._add(rows, -room[s, j, k], 0.0)

    def _add(self, rows: Array, least: Array, softness: float) -> None:
        self.rows.append(rows)
        self.least.append(np.minimum(least, _MOST_PUSH))
        self.softness.append(np.full(len(rows), softness))

    def _thinned(self, found: Touches, a: int, b: int) -> np.ndarray:
        skins = self.problem.bodies.skins
        parts = skins[a].part[found.vertex] * 16 + skins[b].part[skins[b].faces[found.face, 0]]
        order = np.argsort(found.gap, kind="stable")
        return _thin(order, found.point_a, parts, _SPACING)

    def _between(self, found: Touches, chosen: np.ndarray, a: int, b: int) -> Array:
        skin_a, skin_b = self.problem.bodies.skins[a], self.problem.bodies.skins[b]
        corners = skin_b.faces[found.face[chosen]]
        share_b = np.einsum("nk,nkj->nj", found.weights[chosen], skin_b.share[corners])
        n = len(chosen)
        return rows_of_contacts(
            found.point_a[chosen], found.point_b[chosen], found.normal[chosen],
            skin_a.share[found.vertex[chosen]], share_b, np.full(n, a), np.full(n, b),
            self.frames.p, self.frames.axes,
        )  # fmt: skip


def _step(problem: Problem, state: State, frames: Frames, rows: _Rows) -> tuple[State, bool]:
    """One quadratic program; the state after it and whether it is at rest.

    At rest: no joint moved any distance to speak of, or all together came no nearer to the input
    and went no further from it.
    """
    pair = problem.pair
    joints = _joints(frames, problem.tips)
    rows.add_bounds(state)
    H, g = np.empty((2, DOF, DOF)), np.empty((2, DOF))
    distance = np.linalg.norm(joints - problem.target, axis=-1)
    weight = 1.0 / np.maximum(distance, _LEAST_DISTANCE)
    pulled = weight[..., None] * problem.target + _STEADY * joints
    weight = weight + _STEADY
    if problem.pull is not None:
        pulled += _PULL * problem.pull
        weight = weight + _PULL
    target = pulled / weight[..., None]
    cost = (1.0 + _STEADY_ANGLE) * problem.bodies.angle_cost
    angles = (pair.start.angles + _STEADY_ANGLE * state.angles) / (1.0 + _STEADY_ANGLE)
    for s in (0, 1):
        metric(
            joints[s], _CARRIERS, target[s], weight[s], frames.p[s], frames.axes[s],
            cost, state.angles[s], angles[s], H[s], g[s],
        )  # fmt: skip
        invert(H[s])
    step = np.empty(2 * DOF)
    C, least = np.concatenate(rows.rows), np.concatenate(rows.least)
    solve(H, g, C, least, np.concatenate(rows.softness), _SWEEPS, step)
    after = state.moved(step, pair.low, pair.high)
    there = _joints(pair.frames(after), problem.tips)
    furthest = float(np.linalg.norm(there - joints, axis=-1).max())
    if furthest > _MOST_STEP:
        return state.moved(step * (_MOST_STEP / furthest), pair.low, pair.high), False
    before = distance.mean()
    change = abs(np.linalg.norm(there - problem.target, axis=-1).mean() - before)
    return after, furthest < _AT_REST or bool(change < _NO_CHANGE * before)


def _posed(
    bodies: Bodies, rest_skin: tuple[Array, Array], pair: Pair, frames: Frames
) -> tuple[Array, Array]:
    right, left = (
        bodies.skins[s].posed(rest_skin[s], pair.rest[s], frames.R[s], frames.p[s])
        for s in (RIGHT, LEFT)
    )
    return right, left


def link_contacts(problem: Problem, state: State, reach: float, own: bool) -> Contacts:
    """Bullet's contacts of a state: links of two hands, and of one, nearer than reach (m)."""
    return _contacts(problem.bodies.world, state, problem.pair.frames(state), reach, own)


def _contacts(
    world: World, state: State, frames: Frames, reach: float = _REACH_LINKS, own: bool = False
) -> Contacts:
    local = np.swapaxes(frames.R[:, _PARENTS], -1, -2) @ frames.R[:, 1:]
    return world.contacts(state.R_world_wrist, state.wrist, local, reach, own)


_PARENTS = np.array(MANO_PARENTS)[1:]
_TIP_CARRIERS = tuple(chain[-1] for chain in MANO_CHAINS)
_CARRIERS = np.array([*range(16), *_TIP_CARRIERS])
_BOUND_REACH = 0.08


def _joints(frames: Frames, tips: Array) -> Array:
    """Joints (2, 21, 3): MANO's 16, then the five tips."""
    carrier = list(_TIP_CARRIERS)
    ends = frames.p[:, carrier] + np.einsum("skab,skb->ska", frames.R[:, carrier], tips)
    return np.concatenate([frames.p, ends], axis=1)


def _angle_cost() -> Array:
    cost = np.empty((15, 3))
    cost[:12] = np.tile(np.array([_COST_KNUCKLE, _COST_HINGE, _COST_HINGE]), (4, 1))
    cost[12:] = np.array(_COST_THUMB)
    return cost


@njit(cache=True)
def _thin(order, points, parts, spacing):
    """Of points in the given order those further than spacing from all chosen of their parts."""
    chosen = np.empty(len(order), dtype=np.int64)
    count = 0
    for i in order:
        alone = True
        for k in range(count):
            j = chosen[k]
            if parts[j] != parts[i]:
                continue
            d = 0.0
            for c in range(3):
                d += (points[i, c] - points[j, c]) ** 2
            if d < spacing * spacing:
                alone = False
                break
        if alone:
            chosen[count] = i
            count += 1
    return chosen[:count].copy()
