"""Fingers of one hand kept out of each other, thousands of hands a second.

In: anatomical angles and betas of one side's hand. Out: the nearest angles at which the hand's
digits run neither through each other nor through the palm, and how deep the deepest overlap is that
is left.

The skin is stood in for by some 150 spheres, each fitted to a patch of the model's own skin and
carried by that patch's bone, so that a fingertip is round, a phalanx broader than deep and thicker
at its base, and the palm as thick as it is. Centres and radii are linear in betas. Overlaps are
undone as in M. Mueller et al., Position based dynamics, J Vis Commun Image R 18, 2007: of each pair
of bones the deepest overlap is shared out over the joints between them, each by its leverage and by
how freely it moves, over and over until nothing overlaps.

Every hand is computed for itself, without BLAS, whose bits depend on how many rows it is given.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numba import njit

from twohand500k.conventions import MANO_CHAINS, MANO_PARENTS, N_BETAS, N_MANO_JOINTS
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.model import HandModel
from twohand500k.hand.rotations import Array

# Room kept between two digits' spheres, metres: what the spheres miss of a bent finger's skin.
CLEARANCE = 0.0010
_SLICES = 4
# The spheres of the last phalanx in whose middle the pad lies: the second slice from its tip.
_PAD = -4
# The palm's plugs stand so far apart and take in the skin within so much, metres.
_PALM_STEP, _PALM_REACH = 0.007, 0.009
# A plug may stand out so far past the nearest vertex, which lies beside the skin's nearest point.
_PALM_EXCESS = 0.003
_MAX_SWEEPS = 60
# How far (deg) each angle moves for the same effort: flexion, abduction, twist.
_MOBILITY_FINGER = ((10.0, 4.0, 0.0), (10.0, 0.0, 0.0), (6.0, 0.0, 0.0))
_MOBILITY_THUMB = ((8.0, 8.0, 4.0), (8.0, 1.5, 0.0), (8.0, 0.0, 0.0))
# A joint slows down within this of its limit, so that none is driven onto it.
_LIMIT_MARGIN = np.radians(6.0)


@dataclass(frozen=True, eq=False)
class Flesh:
    """The spheres of a RIGHT hand model (a left one is given as its mirror).

    carrier (S,): MANO joint that carries each sphere, ascending. centre (S, 3) and radius (S,) m
    of the template in the rest frame; d_centre (S, 3, 10), d_radius (S, 10) per unit beta.
    groups (G, 2): pairs of bones that may not overlap. slack (S, S) m: overlap that the flat
    hand has already, at the roots of the fingers, and that is let be; negative: room to keep.
    pads (5,): the sphere under each fingertip's pad.
    """

    model: HandModel
    anatomy: Anatomy
    carrier: np.ndarray
    centre: Array
    d_centre: Array
    radius: Array
    d_radius: Array
    groups: np.ndarray
    slack: Array
    pads: np.ndarray

    @staticmethod
    def of(model: HandModel) -> "Flesh":
        """The spheres of a right-hand model."""
        if model.side != "right":
            raise ValueError("spheres are made of a right hand; give a left one's mirrored()")
        anatomy = Anatomy.of(model)
        patches = _patches(model)
        carrier = np.array([patch.bone for patch in patches])
        flat = _spheres(model, patches, anatomy.A, np.zeros(N_BETAS))
        slopes = np.stack(
            [_spheres(model, patches, anatomy.A, unit) - flat for unit in np.eye(N_BETAS)], axis=-1
        )
        centre, radius = flat[:, :3], flat[:, 3]
        gap = np.linalg.norm(centre[:, None] - centre, axis=-1) - radius[:, None] - radius
        return Flesh(
            model, anatomy, carrier, centre, slopes[:, :3], radius, slopes[:, 3],
            _groups(), np.maximum(-gap, -CLEARANCE),
            np.array([np.flatnonzero(carrier == chain[2])[_PAD] for chain in MANO_CHAINS]),
        )  # fmt: skip

    def settle(
        self, angles: Array, betas: Array, touch: np.ndarray | None = None
    ) -> tuple[Array, Array]:
        """Angles (N, 15, 3) rad without overlap, and the deepest overlap left (N,), metres.

        angles (N, 15, 3) rad within the limits; betas (N, 10); touch (N, 5) bool: fingers (the
        thumb's own entry is not read) whose pad is to meet the thumb's. Hands that overlap
        nowhere and are to touch nowhere come back unchanged. Raises ValueError if an angle is
        outside its limits or not finite.
        """
        excess = self.anatomy.limit_excess(angles)
        if not (excess <= 1e-9).all():
            raise ValueError("angles must be finite and within the anatomical limits")
        angles = np.array(angles, dtype=np.float64, order="C")
        rest = self.model.J_template + np.einsum("jkb,nb->njk", self.model.J_shapedirs, betas)
        centre = self.centre + np.einsum("skb,nb->nsk", self.d_centre, betas)
        radius = self.radius + np.einsum("sb,nb->ns", self.d_radius, betas)
        first = np.searchsorted(self.carrier, np.arange(N_MANO_JOINTS + 1))
        if touch is None:
            touch = np.zeros((len(angles), 5), dtype=np.bool_)
        overlap = _settle(
            angles, np.ascontiguousarray(rest), centre, radius, first, self.groups, self.slack,
            np.ascontiguousarray(self.anatomy.A), self.anatomy.limits, _mobility(),
            np.array(MANO_PARENTS), touch, self.pads,
            np.array([chain[2] for chain in MANO_CHAINS]), _MAX_SWEEPS,
        )  # fmt: skip
        return angles, overlap


def _mobility() -> Array:
    """How far each angle (15, 3) rad moves for the same effort."""
    mobility = np.empty((N_MANO_JOINTS - 1, 3))
    for finger, chain in enumerate(MANO_CHAINS):
        mobility[np.array(chain) - 1] = _MOBILITY_FINGER if finger else _MOBILITY_THUMB
    return np.radians(mobility)


def _groups() -> np.ndarray:
    """Pairs of bones (G, 2), named by their MANO joints, that may meet and must not overlap."""
    digits = [tuple(chain) for chain in MANO_CHAINS]
    pairs = [
        (a, b)
        for f, one in enumerate(digits)
        for other in digits[f + 1 :]
        for a in one
        for b in other
        # The thumb's metacarpal and the index's first phalanx share the first web.
        if (a, b) != (digits[0][0], digits[1][0])
    ]
    pairs += [(chain[0], chain[2]) for chain in digits[1:]]
    pairs += [(0, bone) for chain in digits[1:] for bone in chain[1:]]
    pairs += [(0, bone) for bone in digits[0][1:]]
    return np.array(sorted((min(p), max(p)) for p in pairs))


@dataclass(frozen=True, eq=False)
class _Patch:
    """Skin that one sphere stands for.

    side: -1 or 1, the sphere at that flank of a phalanx's cross-section; 0, a plug of the palm.
    end: the patch closes the digit at its tip.
    """

    bone: int
    vertices: np.ndarray
    side: int
    end: bool


def _patches(model: HandModel) -> list[_Patch]:
    """The patches of every sphere, bones ascending."""
    skin, rest = model.v_template, model.J_template
    owner = np.argmax(model.weights, axis=1)
    patches: list[_Patch] = []
    palm = np.flatnonzero(owner == 0)
    flat = skin[palm][:, [0, 2]]
    for x in np.arange(flat[:, 0].min(), flat[:, 0].max(), _PALM_STEP):
        for z in np.arange(flat[:, 1].min(), flat[:, 1].max(), _PALM_STEP):
            near = palm[np.linalg.norm(flat - (x, z), axis=1) < _PALM_REACH]
            # Both the back's and the palm's skin must be there.
            if len(near) >= 6 and np.ptp(skin[near, 1]) > 0.012:
                patches.append(_Patch(0, near, 0, False))
    for finger, chain in enumerate(MANO_CHAINS):
        ends = np.concatenate([rest[list(chain)], skin[[model.tip_vertex_ids[finger]]]])
        for k, bone in enumerate(chain):
            ids = np.flatnonzero(owner == bone)
            axis = ends[k + 1] - ends[k]
            along = (skin[ids] - ends[k]) @ axis / (axis @ axis)
            # Equal lengths from the lower to the upper end of its skin.
            cuts = np.linspace(along.min(), along.max() + 1e-9, _SLICES + 1)
            for low, high in pairwise(cuts):
                ring = ids[(along >= low) & (along < high)]
                if len(ring) >= 4:
                    last = k == 2 and high == cuts[-1]
                    patches += [_Patch(bone, ring, side, last) for side in (-1, 1)]
    return sorted(patches, key=lambda patch: patch.bone)


def _spheres(model: HandModel, patches: list[_Patch], A: Array, betas: Array) -> Array:
    """Centre and radius (S, 4) of each patch's sphere at betas (10,), metres.

    A phalanx is broader than deep: two spheres as thick as it is deep stand side by side.
    """
    skin = model.with_shape(betas).rest_vertices
    out = np.empty((len(patches), 4))
    for k, patch in enumerate(patches):
        points = skin[patch.vertices]
        if patch.side == 0:
            upper = model.v_template[patch.vertices, 1]
            upper = upper > upper.mean()
            back, front = points[upper].mean(axis=0), points[~upper].mean(axis=0)
            out[k, :3] = (back + front) / 2
            # At the palm's edge the skin is nearer than its back and front are.
            nearest = np.linalg.norm(skin - out[k, :3], axis=1).min()
            out[k, 3] = min(np.linalg.norm(back - front) / 2, nearest + _PALM_EXCESS)
            continue
        local = points @ A[patch.bone - 1]  # along flexion axis, abduction axis, bone
        middle = (local.max(axis=0) + local.min(axis=0)) / 2
        breadth, depth, _ = np.ptp(local, axis=0) / 2
        radius = min(breadth, depth)
        if patch.end:
            middle[2] = local[:, 2].max() - radius
        else:
            middle[2] = local[:, 2].mean()
        middle[0] += patch.side * (breadth - radius)
        out[k, :3] = A[patch.bone - 1] @ middle
        out[k, 3] = radius
    return out


@njit(cache=True)
def _settle(
    angles,
    rest,
    centre,
    radius,
    first,
    groups,
    slack,
    A,
    limits,
    mobility,
    parents,
    touch,
    pads,
    tips,
    max_sweeps,
):
    n_hands = len(angles)
    worst = np.empty(n_hands)
    R = np.empty((16, 3, 3))
    p = np.empty((16, 3))
    axes = np.empty((15, 3, 3))
    world = np.empty_like(centre[0])
    middle = np.empty((16, 3))
    reach = np.empty(16)
    step = np.empty((15, 3))
    for n in range(n_hands):
        for sweep in range(max_sweeps + 1):
            _place(angles[n], rest[n], A, parents, R, p, axes)
            for j in range(16):
                _bound(centre[n], radius[n], rest[n, j], R[j], p[j], first[j], first[j + 1],
                       world, middle, reach, j)  # fmt: skip
            step[:] = 0.0
            worst[n] = 0.0
            for g in range(len(groups)):
                one, other = groups[g, 0], groups[g, 1]
                room = -(reach[one] + reach[other])
                distance = 0.0
                for k in range(3):
                    distance += (middle[one, k] - middle[other, k]) ** 2
                if distance >= room * room:
                    continue
                depth, a, b = _deepest(world, radius[n], slack, first, one, other)
                if depth > 0.0:
                    worst[n] = max(worst[n], depth)
                    _part(world, a, b, depth, one, other, p, axes, parents, angles[n], limits,
                          mobility, step)  # fmt: skip
            apart = 0.0
            for finger in range(1, 5):
                if touch[n, finger]:
                    # Pads are drawn together until the two phalanges touch anywhere.
                    gap = _gap(world, radius[n], slack, first, tips[0], tips[finger])
                    apart = max(apart, gap)
                    if gap > 0.0:
                        _part(world, pads[0], pads[finger], -gap, tips[0], tips[finger], p, axes,
                              parents, angles[n], limits, mobility, step)  # fmt: skip
            if (worst[n] < 2e-4 and apart < 5e-4) or sweep == max_sweeps:
                break
            for j in range(15):
                for k in range(3):
                    moved = angles[n, j, k] + min(max(step[j, k], -0.2), 0.2)
                    angles[n, j, k] = min(max(moved, limits[j, k, 0]), limits[j, k, 1])
    return worst


@njit(cache=True)
def _place(angles, rest, A, parents, R, p, axes):
    """Bones' rotations R (16, 3, 3), places p (16, 3) and the angles' axes in the wrist frame."""
    E = np.empty((3, 3))
    L = np.empty((3, 3))
    for r in range(3):
        p[0, r] = rest[0, r]
        for c in range(3):
            R[0, r, c] = 1.0 if r == c else 0.0
    for j in range(1, 16):
        up = parents[j]
        for r in range(3):
            p[j, r] = p[up, r]
            for c in range(3):
                p[j, r] += R[up, r, c] * (rest[j, c] - rest[up, c])
        c0, s0 = np.cos(angles[j - 1, 0]), np.sin(angles[j - 1, 0])
        c1, s1 = np.cos(angles[j - 1, 1]), np.sin(angles[j - 1, 1])
        c2, s2 = np.cos(angles[j - 1, 2]), np.sin(angles[j - 1, 2])
        E[0, 0], E[0, 1], E[0, 2] = c1 * c2, -c1 * s2, s1
        E[1, 0], E[1, 1], E[1, 2] = c0 * s2 + s0 * s1 * c2, c0 * c2 - s0 * s1 * s2, -s0 * c1
        E[2, 0], E[2, 1], E[2, 2] = s0 * s2 - c0 * s1 * c2, s0 * c2 + c0 * s1 * s2, c0 * c1
        frame = A[j - 1]
        for r in range(3):
            for c in range(3):
                L[r, c] = 0.0
                for k in range(3):
                    L[r, c] += R[up, r, k] * frame[k, c]  # R_world_parent A
        for r in range(3):
            # flexion about e0, abduction about Rot0 e1, twist about the third column of E
            axes[j - 1, 0, r] = L[r, 0]
            axes[j - 1, 1, r] = L[r, 1] * c0 + L[r, 2] * s0
            axes[j - 1, 2, r] = L[r, 0] * E[0, 2] + L[r, 1] * E[1, 2] + L[r, 2] * E[2, 2]
        for r in range(3):
            for c in range(3):
                R[j, r, c] = 0.0
                for k in range(3):
                    for m in range(3):
                        R[j, r, c] += L[r, k] * E[k, m] * frame[c, m]


@njit(cache=True)
def _bound(centre, radius, joint, R, p, low, high, world, middle, reach, j):
    """Spheres low..high into the wrist frame, and one sphere about them all."""
    for k in range(3):
        middle[j, k] = 0.0
    for s in range(low, high):
        for r in range(3):
            world[s, r] = p[r]
            for c in range(3):
                world[s, r] += R[r, c] * (centre[s, c] - joint[c])
            middle[j, r] += world[s, r] / (high - low)
    reach[j] = 0.0
    for s in range(low, high):
        d = 0.0
        for k in range(3):
            d += (world[s, k] - middle[j, k]) ** 2
        reach[j] = max(reach[j], np.sqrt(d) + radius[s])


@njit(cache=True)
def _deepest(world, radius, slack, first, one, other):
    """Deepest overlap between two bones' spheres, metres (negative: none), and which two."""
    depth, at, by = -1.0, 0, 0
    for a in range(first[one], first[one + 1]):
        for b in range(first[other], first[other + 1]):
            touching = radius[a] + radius[b] - slack[a, b]
            squared = 0.0
            for k in range(3):
                squared += (world[a, k] - world[b, k]) ** 2
            if touching > 0.0 and squared < touching * touching:
                overlap = touching - np.sqrt(squared)
                if overlap > depth:
                    depth, at, by = overlap, a, b
    return depth, at, by


@njit(cache=True)
def _gap(world, radius, slack, first, one, other):
    """Room between two bones' spheres, metres; negative where they overlap."""
    gap = np.inf
    for a in range(first[one], first[one + 1]):
        for b in range(first[other], first[other + 1]):
            squared = 0.0
            for k in range(3):
                squared += (world[a, k] - world[b, k]) ** 2
            gap = min(gap, np.sqrt(squared) - radius[a] - radius[b] + slack[a, b])
    return gap


@njit(cache=True)
def _part(world, a, b, depth, one, other, p, axes, parents, angles, limits, mobility, step):
    """Add to `step` what parts spheres a and b by `depth`, shared by leverage and mobility."""
    normal = np.empty(3)
    length = 1e-9
    for k in range(3):
        normal[k] = world[a, k] - world[b, k]
        length += normal[k] ** 2
    for k in range(3):
        normal[k] /= np.sqrt(length)
    lever = np.zeros((15, 3))
    for end in range(2):
        bone = one if end == 0 else other
        sphere = a if end == 0 else b
        sign = 1.0 if end == 0 else -1.0
        while bone > 0:
            x = world[sphere, 0] - p[bone, 0]
            y = world[sphere, 1] - p[bone, 1]
            z = world[sphere, 2] - p[bone, 2]
            for k in range(3):
                u = axes[bone - 1, k]
                lever[bone - 1, k] += sign * (
                    normal[0] * (u[1] * z - u[2] * y)
                    + normal[1] * (u[2] * x - u[0] * z)
                    + normal[2] * (u[0] * y - u[1] * x)
                )
            bone = parents[bone]
    weight = 1e-12
    for j in range(15):
        for k in range(3):
            lever[j, k] *= _freedom(angles[j, k], limits[j, k], mobility[j, k], lever[j, k])
            weight += lever[j, k] ** 2
    for j in range(15):
        for k in range(3):
            free = _freedom(angles[j, k], limits[j, k], mobility[j, k], lever[j, k])
            step[j, k] += 0.7 * depth * lever[j, k] * free / weight


@njit(cache=True)
def _freedom(angle, limit, mobility, direction):
    """How freely an angle moves in a direction: less within the margin of its limit."""
    room = limit[1] - angle if direction > 0.0 else angle - limit[0]
    return mobility * min(max(room / _LIMIT_MARGIN, 0.0), 1.0)
