"""The compiled search: for every slot, pairs of hands are tried until one touches as meant.

Comes in: slots with their random keys and blocks, the bank, the models' tables, the weights. Goes
out: one placement a slot. A slot's loop, cheapest test first:

    contact drawn by weight (region pair, interlocked, or a learned relative pose)
      pair of hands: the next one this slot owns
        proposal: a point on each region, normals opposed with a tilt, spin and standoff drawn
          two arms can hold it · bone capsules · no forearm through the other hand
          lifelike: with ease, by chance · of two that got so far the closest
            a few Gauss-Newton steps of the whole left hand out of the overlap
              exact skin distances: accepted or not

All randomness of a slot comes from its one key through a counter, so a slot's result is a function
of the slot. Skins are kept in a cache that only saves time: it holds the very bits that computing
them again would give. Metres, radians.
"""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.hand import capsules
from twohand500k.hand.capsules import one_segment_distance
from twohand500k.hand.contact_regions import REGIONS
from twohand500k.splice import _kernels, arms, draw
from twohand500k.splice._kernels import (
    apply_step,
    bone_capsules,
    capsule_closeness,
    capsule_overlap,
    copy_rows,
    exposed,
    hopeless,
    inner,
    nearest_vertices,
    patch_boxes,
    placed,
    pose_hand,
    region_distance,
    separate_step,
    signed_distances,
    skin_distance,
    vertex_normals,
)
from twohand500k.splice.arms import one_comfort, one_reachable
from twohand500k.splice.draw import is_reserved, mix, nth_pair
from twohand500k.splice.tables import HandTables

Array = np.ndarray

_N_REGIONS = len(REGIONS)

# What is accepted. Smallest distance between the two skins, and between the regions meant to touch.
TOUCH_M = 0.005
DEEPEST_M = 0.010
MOST_VOLUME_M3, MOST_VOLUME_LOCKED_M3 = 4e-6, 6e-6
# Skin nearer to the other skin than this plus the smallest distance counts as in contact.
CONTACT_BAND_M = 0.002

# A vertex so deep in the other skin settles that the two cut each other.
_SURELY_INSIDE_M = 0.0003

# What is drawn.
_STANDOFF_M = (-0.001, 0.002)
_TILT_SIGMA, _TILT_MOST = np.radians(12.0), np.radians(30.0)
_LEARNED_TURN, _LEARNED_MOVE_M = np.radians(5.0), 0.004

# How long a slot tries: contacts, pairs a contact, proposals a pair, of those taken to the skin.
CONTACTS, PAIRS, PROPOSALS, SKINS = 40, 10, 96, 3
# Lifelike placement: proposals a pair, as many refused for ease; of so many that the capsules allow
# the closest is taken to the skin; what no arm at ease does is kept this often.
_EASY_PROPOSALS, _CLOSEST_OF, _LEAST_EASE = 384, 2, 0.02
# Interlocked fingers: so many proposals, so many moves of the best, the first of them this large.
_LOCKED_PROPOSALS, _LOCKED_MOVES = 24, 60
_LOCKED_TURN, _LOCKED_MOVE_M, _MIDDLE_KNUCKLE = np.radians(8.0), 0.006, 9
# A slot whose fingers are to interlock draws another contact after so many rounds without success.
_LOCKED_ROUNDS = 2
# Rigid steps: at most one fewer than this; a step is cut to the second, not taken below the third.
_STEPS = 4
_MOST_RAD, _MOST_M = 0.35, 0.012
_SETTLED_RAD, _SETTLED_M = 0.01, 0.0003

# Capsules may overlap by so much before the steps; bones may come so near, in sums of radii.
_TOO_DEEP_M, _CORE = 0.010, 0.5
# Interlocked fingers are tight everywhere at once.
_TOO_DEEP_LOCKED_M, _CORE_LOCKED = 0.013, 0.35
# The forearm as a capsule along the wrist's rest direction. Wrists bend, so it is thin and begins
# a little way off.
_FOREARM_M, _FOREARM_RADIUS_M = (0.04, 0.20), 0.018

# Counters of a unit, in this order.
COUNTERS = (
    "proposals",
    "refused: arms cannot reach",
    "refused: arms not at ease",
    "refused: bones overlap too deep",
    "refused: forearm through the other hand",
    "skins compared",
    "refused: regions meant do not touch",
    "refused: too much overlap",
    "refused: arms cannot reach after the steps",
    "refused: fingers do not alternate",
    "refused: own fingers in front of the region",
    "pairs tried",
    "contacts drawn",
    "interlocked given up",
)
(_PROPOSED, _ARMS, _UNEASY, _CAPSULES, _FOREARM, _SKINS, _NO_TOUCH, _OVERLAP, _ARMS_AFTER,
 _NOT_ALTERNATE, _COVERED, _PAIRS_TRIED, _CONTACTS_DRAWN,
 _GIVEN_UP) = range(len(COUNTERS))  # fmt: skip


class Slots(NamedTuple):
    """key (n,) uint64 of each slot's randomness; its block and its rank there (n,)."""

    key: Array
    block: Array
    rank: Array


class Blocks(NamedTuple):
    """`draw.Draw`'s arrays. learned (blocks, 2): (start, count) of relative poses of its split."""

    right: Array
    left: Array
    slots: Array
    key: Array
    interlocked: Array
    hands: Array
    learned: Array


class Hands(NamedTuple):
    """The bank: pose (2, H, 16, 3), betas (2, H, 10) float32; open_hands (2, H); reserve: whether
    pairs of open hands are shared out between interlocked and other slots."""

    pose: Array
    betas: Array
    open_hands: Array
    reserve: bool


class Learned(NamedTuple):
    """Relative poses of two-hand data: R (M, 3, 3), t (M, 3) m, the two regions that touch (M,)."""

    R: Array
    t: Array
    a: Array
    b: Array


class Cache(NamedTuple):
    """Skins of one side: place (H,) of a hand or -1, hand (n,) in a place, next (1,) to go."""

    place: Array
    hand: Array
    next: Array
    skin: Array
    normals: Array
    joints: Array
    radius: Array
    ends: Array

    @staticmethod
    def empty(hands: int, vertices: int, room: int) -> "Cache":
        """A cache for a bank of `hands` that holds up to `room` of them."""
        room = max(1, min(hands, room))
        return Cache(
            np.full(hands, -1, dtype=np.int64),
            np.full(room, -1, dtype=np.int64),
            np.zeros(1, dtype=np.int64),
            np.empty((room, vertices, 3), dtype=np.float32),
            np.empty((room, vertices, 3), dtype=np.float32),
            np.empty((room, 21, 3)),
            np.empty((room, 20)),
            np.empty((room, 20, 2, 3)),
        )


class Placed(NamedTuple):
    """What the search found for n slots: hands, regions meant and touched, R, t of the left hand.

    spin, standoff: as drawn, NaN where the mode draws none. distance m of the two skins, exact, 0
    where they cut each other. depth m, volume m3 of the overlap: the search's estimates.
    """

    ok: Array
    interlocked: Array
    hand: Array
    meant: Array
    touched: Array
    R: Array
    t: Array
    spin: Array
    standoff: Array
    distance: Array
    depth: Array
    volume: Array

    @staticmethod
    def empty(n: int) -> "Placed":
        return Placed(
            np.zeros(n, dtype=np.bool_),
            np.zeros(n, dtype=np.bool_),
            np.full((n, 2), -1, dtype=np.int64),
            np.full((n, 2), -1, dtype=np.int64),
            np.full((n, 2), -1, dtype=np.int64),
            np.full((n, 3, 3), np.nan),
            np.full((n, 3), np.nan),
            np.full(n, np.nan),
            np.full(n, np.nan),
            np.full(n, np.nan),
            np.full(n, np.nan),
            np.full(n, np.nan),
        )


class Bench(NamedTuple):
    """Room to work in: both skins as float64, normals, patch boxes, neighbours, distances."""

    skin_a: Array
    normals_a: Array
    boxes_a: Array
    near_a: Array
    far_a: Array
    local_b: Array
    local_normals_b: Array
    skin_b: Array
    normals_b: Array
    boxes_b: Array
    near_b: Array
    far_b: Array
    ends_b: Array
    shared: Array


def bench(right: HandTables, left: HandTables) -> Bench:
    """Arrays that `search` works in."""

    def side(tables: HandTables) -> tuple[Array, ...]:
        V, patches = len(tables.region), len(tables.patches.start) - 1
        near, far = np.empty(V, dtype=np.int64), np.empty(V)
        return np.empty((V, 3)), np.empty((V, 3)), np.empty((patches, 2, 3)), near, far

    V = len(left.region)
    return Bench(  # type: ignore[call-arg]
        *side(right), np.empty((V, 3)), np.empty((V, 3)), *side(left),
        np.empty((20, 2, 3)), np.empty((_N_REGIONS, _N_REGIONS)),
    )  # fmt: skip


@inner
def _draw(key, counter):
    """The next number in [0, 1) of a slot."""
    counter[0] += np.uint64(1)
    value = mix(key + counter[0] * np.uint64(0x9E3779B97F4A7C15))
    return np.float64(value >> np.uint64(11)) * 2.0**-53


@inner
def _draw_normal(key, counter):
    """A standard normal number (Box and Muller 1958)."""
    u = 1.0 - _draw(key, counter)
    return np.sqrt(-2.0 * np.log(u)) * np.cos(2.0 * np.pi * _draw(key, counter))


@inner
def _fetch(cache, tables, pose, betas, hand):
    """The place in the cache of a hand, posed if it is not there yet."""
    if cache.place[hand] >= 0:
        return cache.place[hand]
    at = cache.next[0]
    cache.next[0] = (at + 1) % len(cache.hand)
    if cache.hand[at] >= 0:
        cache.place[cache.hand[at]] = -1
    cache.hand[at], cache.place[hand] = hand, at
    V = cache.skin.shape[1]
    skin, normals = np.empty((V, 3)), np.empty((V, 3))
    full, shape, transl = np.empty((16, 3)), np.empty(10), np.zeros(3)
    for j in range(16):
        for r in range(3):
            full[j, r] = pose[hand, j, r]
    for m in range(10):
        shape[m] = betas[hand, m]
    pose_hand(tables.skinning, full, shape, transl, skin, cache.joints[at])
    wrist = cache.joints[at, 0].copy()
    for k in range(21):
        for r in range(3):
            cache.joints[at, k, r] -= wrist[r]
    for v in range(V):
        for r in range(3):
            skin[v, r] -= wrist[r]
    vertex_normals(tables.faces, skin, normals)
    bone_capsules(tables.bones, skin, cache.joints[at], cache.radius[at], cache.ends[at])
    copy_rows(skin, cache.skin[at])
    copy_rows(normals, cache.normals[at])
    return at


@inner
def _point_on(tables, skin, normals, region, key, counter, point, normal):
    """A point of a region's skin, as likely everywhere by area at rest, and its normal."""
    first, last = tables.region_faces.start[region], tables.region_faces.start[region + 1]
    goal = _draw(key, counter) * tables.region_face_area[last - 1]
    at, end = first, last - 1
    while at < end:  # the first face at which the running sum of areas reaches the goal
        middle = (at + end) // 2
        if tables.region_face_area[middle] < goal:
            at = middle + 1
        else:
            end = middle
    u, v = _draw(key, counter), _draw(key, counter)
    if u + v > 1.0:
        u, v = 1.0 - u, 1.0 - v
    face = tables.faces[tables.region_faces.item[at]]
    length = 0.0
    for r in range(3):
        point[r] = (1 - u - v) * skin[face[0], r] + u * skin[face[1], r] + v * skin[face[2], r]
        normal[r] = (
            (1 - u - v) * normals[face[0], r] + u * normals[face[1], r] + v * normals[face[2], r]
        )
        length += normal[r] * normal[r]
    for r in range(3):
        normal[r] /= max(np.sqrt(length), 1e-12)


@inner
def _frame(normal, along_x, F):
    """Columns: the direction along_x * x laid into the plane of `normal`, the third, the normal."""
    x = along_x - along_x * normal[0] * normal[0]
    y, z = -along_x * normal[0] * normal[1], -along_x * normal[0] * normal[2]
    length = np.sqrt(x * x + y * y + z * z)
    if length < 1e-3:  # the fingers' direction is the normal: any other will do
        x, y, z = -normal[1] * normal[0], 1 - normal[1] * normal[1], -normal[1] * normal[2]
        length = np.sqrt(x * x + y * y + z * z)
    F[0, 0], F[1, 0], F[2, 0] = x / length, y / length, z / length
    for r in range(3):
        F[r, 2] = normal[r]
    F[0, 1] = F[1, 2] * F[2, 0] - F[2, 2] * F[1, 0]
    F[1, 1] = F[2, 2] * F[0, 0] - F[0, 2] * F[2, 0]
    F[2, 1] = F[0, 2] * F[1, 0] - F[1, 2] * F[0, 0]


@inner
def _propose_contact(tables_a, tables_b, skins, at_a, at_b, meant, key, counter, R, t):
    """A placement with a point of each region opposed; returns (spin, standoff)."""
    cache_a, cache_b = skins
    p, n, q, m = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    _point_on(tables_a, cache_a.skin[at_a], cache_a.normals[at_a], meant[0], key, counter, p, n)
    _point_on(tables_b, cache_b.skin[at_b], cache_b.normals[at_b], meant[1], key, counter, q, m)
    spin = (2.0 * _draw(key, counter) - 1.0) * np.pi
    tilt = min(abs(_draw_normal(key, counter)) * _TILT_SIGMA, _TILT_MOST)
    towards = 2.0 * np.pi * _draw(key, counter)
    standoff = _STANDOFF_M[0] + (_STANDOFF_M[1] - _STANDOFF_M[0]) * _draw(key, counter)
    A, B = np.empty((3, 3)), np.empty((3, 3))
    _frame(n, -1.0, A)
    tilted = np.empty(3)
    for r in range(3):
        tilted[r] = np.cos(tilt) * n[r] + np.sin(tilt) * (
            np.cos(towards) * A[r, 0] + np.sin(towards) * A[r, 1]
        )
        m[r] = -m[r]
    _frame(tilted, -1.0, A)
    _frame(m, 1.0, B)
    c, s = np.cos(spin), np.sin(spin)
    for r in range(3):
        a0, a1 = c * A[r, 0] + s * A[r, 1], c * A[r, 1] - s * A[r, 0]
        for k in range(3):
            R[r, k] = a0 * B[k, 0] + a1 * B[k, 1] + A[r, 2] * B[k, 2]
    for r in range(3):
        t[r] = p[r] + standoff * n[r] - R[r, 0] * q[0] - R[r, 1] * q[1] - R[r, 2] * q[2]
    return spin, standoff


@inner
def _propose_learned(learned, number, key, counter, R, t):
    """A relative pose of real hands with a little of its own turn and move."""
    step, pivot = np.empty(6), learned.t[number].copy()
    for k in range(3):
        step[k] = _draw_normal(key, counter) * _LEARNED_TURN
        step[3 + k] = _draw_normal(key, counter) * _LEARNED_MOVE_M
    copy_rows(learned.R[number], R)
    for r in range(3):
        t[r] = pivot[r]
    apply_step(step, pivot, R, t)


# Fingers that interlock cross between these shares of the way from knuckle to tip, at these angles.
_CROSS_AT, _CROSS_ANGLE = (0.25, 0.65), (np.radians(45.0), np.radians(125.0))


@inner
def _finger_row(joints, share, side, frame, centre):
    """The four fingers as a row at `share` of the way from knuckle to tip.

    frame: columns u along the fingers, w from index to little, p to the palm's side. centre (3,).
    Returns the row's spacing, m.
    """
    first, last = np.zeros(3), np.zeros(3)
    u = np.zeros(3)
    centre[0] = centre[1] = centre[2] = 0.0
    for f in range(4):
        knuckle, tip = 5 + 4 * f, 8 + 4 * f
        for r in range(3):
            x = (1 - share) * joints[knuckle, r] + share * joints[tip, r]
            centre[r] += x / 4
            u[r] += joints[tip, r] - joints[knuckle, r]
            if f == 0:
                first[r] = x
            if f == 3:
                last[r] = x
    length = np.sqrt(u[0] ** 2 + u[1] ** 2 + u[2] ** 2)
    along = 0.0
    for r in range(3):
        u[r] /= length
        along += u[r] * (last[r] - first[r])
    w, wide = np.empty(3), 0.0
    for r in range(3):
        w[r] = last[r] - first[r] - along * u[r]
        wide += w[r] * w[r]
    wide = np.sqrt(wide)
    for r in range(3):
        frame[r, 0], frame[r, 1] = u[r], w[r] / wide
    sign = 1.0 if side == 0 else -1.0
    frame[0, 2] = sign * (frame[1, 0] * frame[2, 1] - frame[2, 0] * frame[1, 1])
    frame[1, 2] = sign * (frame[2, 0] * frame[0, 1] - frame[0, 0] * frame[2, 1])
    frame[2, 2] = sign * (frame[0, 0] * frame[1, 1] - frame[1, 0] * frame[0, 1])
    return wide / 3


@inner
def _propose_interlocked(joints_a, joints_b, key, counter, R, t, meant):
    """Palms towards each other, the rows of fingers crossing half a spacing apart.

    With u along the fingers, w from index to little and p out of the palm of the right hand, the
    left hand has w' = w, u' = cos(phi) u - sin(phi) p, p' = -sin(phi) u - cos(phi) p: each hand's
    fingers come from the other's palm side and go through to its back.
    """
    A, B = np.empty((3, 3)), np.empty((3, 3))
    a, b = np.empty(3), np.empty(3)
    share_a = _CROSS_AT[0] + (_CROSS_AT[1] - _CROSS_AT[0]) * _draw(key, counter)
    share_b = _CROSS_AT[0] + (_CROSS_AT[1] - _CROSS_AT[0]) * _draw(key, counter)
    space_a = _finger_row(joints_a, share_a, 0, A, a)
    space_b = _finger_row(joints_b, share_b, 1, B, b)
    phi = _CROSS_ANGLE[0] + (_CROSS_ANGLE[1] - _CROSS_ANGLE[0]) * _draw(key, counter)
    c, s = np.cos(phi), np.sin(phi)
    finger = 1 + min(int(3 * _draw(key, counter)), 2)
    if _draw(key, counter) < 0.5:  # the left fingers lie on the little finger's side of their twins
        shift, meant[0], meant[1] = 0.5, 5 * finger + 3, 5 * finger + 2
    else:
        shift, meant[0], meant[1] = -0.5, 5 * (finger + 1) + 2, 5 * (finger + 1) + 3
    for r in range(3):
        u, p = c * A[r, 0] - s * A[r, 2], -s * A[r, 0] - c * A[r, 2]
        for k in range(3):
            R[r, k] = u * B[k, 0] + A[r, 1] * B[k, 1] + p * B[k, 2]
    for r in range(3):
        t[r] = a[r] + shift * (space_a + space_b) / 2 * A[r, 1]
        t[r] -= R[r, 0] * b[0] + R[r, 1] * b[1] + R[r, 2] * b[2]


@inner
def _best_interlocked(arms, cache_a, at_a, cache_b, at_b, ends_b, key, counter, R, t, meant):
    """The best of several proposals, then the best of smaller and smaller moves of it; False if
    arms can hold none. Best: least sum of squares of the capsules' overlaps."""
    R_try, t_try, m_try = np.empty((3, 3)), np.empty(3), np.empty(2, dtype=np.int64)
    step = np.empty(6)
    least = np.inf
    for n in range(_LOCKED_PROPOSALS + _LOCKED_MOVES):
        if n < _LOCKED_PROPOSALS:
            _propose_interlocked(
                cache_a.joints[at_a], cache_b.joints[at_b], key, counter, R_try, t_try, m_try
            )
        elif least == np.inf:
            return False
        else:
            size = 1.0 - (n - _LOCKED_PROPOSALS) / _LOCKED_MOVES
            for k in range(3):
                step[k] = _draw_normal(key, counter) * _LOCKED_TURN * size
                step[3 + k] = _draw_normal(key, counter) * _LOCKED_MOVE_M * size
            copy_rows(R, R_try)
            for r in range(3):
                t_try[r] = t[r]
            pivot = cache_a.joints[at_a, _MIDDLE_KNUCKLE]
            apply_step(step, pivot, R_try, t_try)
        if not one_reachable(arms, R_try, t_try):
            continue
        _place_ends(cache_b.ends[at_b], R_try, t_try, ends_b)
        total = capsule_overlap(
            cache_a.ends[at_a], cache_a.radius[at_a], ends_b, cache_b.radius[at_b], least
        )
        if total < least:
            least = total
            copy_rows(R_try, R)
            for r in range(3):
                t[r] = t_try[r]
            if n < _LOCKED_PROPOSALS:
                meant[0], meant[1] = m_try[0], m_try[1]
    return least < np.inf


@inner
def gaps_filled(joints_a, joints_b):
    """How many of the three gaps between four fingers of a hold exactly one finger of b.

    joints (21, 3) of both hands in one frame. A finger of b fills the gap between fingers j and
    j+1 of a if, where it crosses them, it lies beyond j and before j+1 in the direction from index
    to little, and its knuckle and its tip lie on different sides of the row of a's fingers. The
    fingers that fill gaps must do so in order.
    """
    frame, centre = np.empty((3, 3)), np.empty(3)
    _finger_row(joints_a, 0.45, 0, frame, centre)
    filled, last = 0, -1
    side = np.empty(4)
    for g in range(4):
        for f in range(4):
            best = np.inf
            for i in range(3):
                for j in range(3):
                    d = one_segment_distance(
                        joints_a[5 + 4 * f + i], joints_a[6 + 4 * f + i],
                        joints_b[5 + 4 * g + j], joints_b[6 + 4 * g + j],
                    )  # fmt: skip
                    if d < best:
                        best = d
                        total = 0.0
                        for r in range(3):
                            x = joints_b[5 + 4 * g + j, r] + joints_b[6 + 4 * g + j, r]
                            y = joints_a[5 + 4 * f + i, r] + joints_a[6 + 4 * f + i, r]
                            total += frame[r, 1] * (x - y)
                        side[f] = total
        knuckle = tip = 0.0
        for r in range(3):
            knuckle += frame[r, 2] * (joints_b[5 + 4 * g, r] - centre[r])
            tip += frame[r, 2] * (joints_b[8 + 4 * g, r] - centre[r])
        beyond = 0
        while beyond < 4 and side[beyond] > 0.0:
            beyond += 1
        in_order = True
        for f in range(beyond, 4):
            in_order = in_order and side[f] <= 0.0
        if in_order and 1 <= beyond <= 3 and knuckle * tip < 0.0 and beyond > last:
            filled += 1
            last = beyond
    return filled


@inner
def _forearms_clear(R, t, cache_a, at_a, cache_b, at_b):
    """Whether neither forearm runs through the other hand or forearm.

    The right forearm goes off towards +x of its wrist's frame, the left one towards -x of its own.
    """
    a0, a1, b0, b1 = np.zeros(3), np.zeros(3), np.empty(3), np.empty(3)
    a0[0], a1[0] = _FOREARM_M[0], _FOREARM_M[1]
    for r in range(3):
        b0[r], b1[r] = t[r] - _FOREARM_M[0] * R[r, 0], t[r] - _FOREARM_M[1] * R[r, 0]
    if one_segment_distance(a0, a1, b0, b1) < 1.5 * _FOREARM_RADIUS_M:
        return False
    p, q = np.empty(3), np.empty(3)
    for bone in range(20):
        ends = cache_b.ends[at_b, bone]
        for r in range(3):
            p[r] = R[r, 0] * ends[0, 0] + R[r, 1] * ends[0, 1] + R[r, 2] * ends[0, 2] + t[r]
            q[r] = R[r, 0] * ends[1, 0] + R[r, 1] * ends[1, 1] + R[r, 2] * ends[1, 2] + t[r]
        if one_segment_distance(a0, a1, p, q) < _FOREARM_RADIUS_M:
            return False
        ends = cache_a.ends[at_a, bone]
        if one_segment_distance(b0, b1, ends[0], ends[1]) < _FOREARM_RADIUS_M:
            return False
    return True


@inner
def _place_ends(ends, R, t, out):
    for bone in range(20):
        placed(ends[bone], R, t, out[bone])


@inner
def _settle(tables_a, tables_b, bench, at, standoff, meant, R, t):
    """The rigid steps out of the overlap; R and t are changed, the bench holds what came of it."""
    step, nowhere = np.empty(6), np.zeros(3)
    for turn in range(_STEPS):
        placed(bench.local_b, R, t, bench.skin_b)
        placed(bench.local_normals_b, R, nowhere, bench.normals_b)
        patch_boxes(tables_b.patches, bench.skin_b, bench.boxes_b)
        nearest_vertices(
            tables_a.patches, bench.skin_a, bench.boxes_a, tables_b.patches, bench.skin_b,
            bench.boxes_b, bench.near_a, bench.near_b,
        )  # fmt: skip
        if turn == _STEPS - 1:
            return
        _, at_a, at_b = region_distance(
            tables_a, bench.skin_a, meant[0], tables_b, bench.skin_b, meant[1]
        )
        pivot = bench.skin_b[at_b].copy()
        separate_step(
            bench.skin_a, bench.normals_a, bench.near_a, bench.skin_b, bench.normals_b,
            bench.near_b, at_a, at_b, standoff, step,
        )  # fmt: skip
        turned = np.sqrt(step[0] ** 2 + step[1] ** 2 + step[2] ** 2)
        moved = np.sqrt(step[3] ** 2 + step[4] ** 2 + step[5] ** 2)
        if turned < _SETTLED_RAD and moved < _SETTLED_M:
            return
        most = max(turned / _MOST_RAD, moved / _MOST_M)
        if most > 1.0:
            for k in range(6):
                step[k] /= most
        apply_step(step, pivot, R, t)


@inner
def _measure(tables_a, tables_b, bench, touched):
    """(smallest distance, deepest overlap, volume) of the two skins; the regions that touch most.

    Regions: over all vertices of both skins no further from the other skin than the smallest
    distance (0 where they overlap) plus CONTACT_BAND_M, the area about the vertex goes to the pair
    (its region, region of the nearest vertex opposite); the pair with most area.
    """
    signed_distances(
        bench.skin_a,
        bench.near_a,
        tables_b.faces,
        tables_b.rings,
        bench.skin_b,
        bench.normals_b,
        bench.far_a,
    )
    signed_distances(
        bench.skin_b,
        bench.near_b,
        tables_a.faces,
        tables_a.rings,
        bench.skin_a,
        bench.normals_a,
        bench.far_b,
    )
    least, volume = np.inf, 0.0
    for v in range(len(bench.far_a)):
        least = min(least, bench.far_a[v])
        volume += max(-bench.far_a[v], 0.0) * tables_a.area[v] / 2
    for v in range(len(bench.far_b)):
        least = min(least, bench.far_b[v])
        volume += max(-bench.far_b[v], 0.0) * tables_b.area[v] / 2
    band = max(least, 0.0) + CONTACT_BAND_M
    for a in range(len(bench.shared)):
        for b in range(len(bench.shared)):
            bench.shared[a, b] = 0.0
    for v in range(len(bench.far_a)):
        if bench.far_a[v] <= band:
            bench.shared[tables_a.region[v], tables_b.region[bench.near_a[v]]] += tables_a.area[v]
    for v in range(len(bench.far_b)):
        if bench.far_b[v] <= band:
            bench.shared[tables_a.region[bench.near_b[v]], tables_b.region[v]] += tables_b.area[v]
    most = 0.0
    for a in range(len(bench.shared)):
        for b in range(len(bench.shared)):
            if bench.shared[a, b] > most:
                most = bench.shared[a, b]
                touched[0], touched[1] = a, b
    return max(least, 0.0), max(-least, 0.0), volume


@inner
def _at_share(running, share):
    """The first place at which a running sum exceeds `share` (bisection)."""
    low, high = 0, len(running) - 1
    while low < high:
        middle = (low + high) // 2
        if running[middle] > share:
            high = middle
        else:
            low = middle + 1
    return low


@inner
def _search(
    slots, blocks, hands, weights, learned, arms, comfort, tables_a, tables_b, cache_a, cache_b,
    bench, out, counters,
):  # fmt: skip
    """Place every slot's pair; `out` is a `Placed`, counters (len(COUNTERS),) are added to.

    arms: `TwoArms.cells`. weights (900,): running sums of the weights of region pairs, right region
    first, up to 1; empty if fingers are only ever to interlock. comfort: `TwoArms.comfort` where
    placements by contact are to be lifelike, else empty.
    """
    R, t, counter = np.empty((3, 3)), np.empty(3), np.zeros(1, dtype=np.uint64)
    meant, touched = np.empty(2, dtype=np.int64), np.empty(2, dtype=np.int64)
    placed_joints = np.empty((21, 3))
    R_best, t_best, drawn_best = np.empty((3, 3)), np.empty(3), np.empty(2)
    for n in range(len(slots.key)):
        key, block = slots.key[n], slots.block[n]
        counter[0] = 0
        locked_slot = blocks.interlocked[block]
        right_at, n_right = blocks.right[block, 0], blocks.right[block, 1]
        left_at, n_left = blocks.left[block, 0], blocks.left[block, 1]
        pairs = n_right * n_left
        owned = (pairs - slots.rank[n] - 1) // blocks.slots[block] + 1
        tried = 0
        for contact in range(CONTACTS):
            if out.ok[n]:
                break
            counters[_CONTACTS_DRAWN] += 1
            interlocked = locked_slot and (contact < _LOCKED_ROUNDS or len(weights) == 0)
            if locked_slot and not interlocked and contact == _LOCKED_ROUNDS:
                counters[_GIVEN_UP] += 1
            too_deep, core, most = _TOO_DEEP_M, _CORE, MOST_VOLUME_M3
            if interlocked:
                too_deep, core, most = _TOO_DEEP_LOCKED_M, _CORE_LOCKED, MOST_VOLUME_LOCKED_M3
            number = -1
            if blocks.learned[block, 1] > 0:
                number = blocks.learned[block, 0] + min(
                    int(_draw(key, counter) * blocks.learned[block, 1]),
                    blocks.learned[block, 1] - 1,
                )
                meant[0], meant[1] = learned.a[number], learned.b[number]
            elif not interlocked:
                pick = _at_share(weights, _draw(key, counter))
                meant[0], meant[1] = pick // _N_REGIONS, pick % _N_REGIONS
            lifelike = len(comfort) > 0 and number < 0 and not interlocked
            for _ in range(PAIRS):
                if out.ok[n]:
                    break
                place = nth_pair(
                    slots.rank[n] + (tried % owned) * blocks.slots[block], pairs, blocks.key[block]
                )
                tried += 1
                right = blocks.hands[right_at + place // n_left]
                left = blocks.hands[left_at + place % n_left]
                open_pair = hands.open_hands[RIGHT, right] and hands.open_hands[LEFT, left]
                if hands.reserve and open_pair and not locked_slot and is_reserved(right, left):
                    continue
                counters[_PAIRS_TRIED] += 1
                at_a = _fetch(cache_a, tables_a, hands.pose[RIGHT], hands.betas[RIGHT], right)
                at_b = _fetch(cache_b, tables_b, hands.pose[LEFT], hands.betas[LEFT], left)
                if lifelike and not (
                    exposed(tables_a, cache_a.skin[at_a], cache_a.normals[at_a],
                            cache_a.ends[at_a], cache_a.radius[at_a], meant[0])
                    and exposed(tables_b, cache_b.skin[at_b], cache_b.normals[at_b],
                                cache_b.ends[at_b], cache_b.radius[at_b], meant[1])
                ):  # fmt: skip
                    counters[_COVERED] += 1
                    continue
                loaded, skins = False, 0
                candidates, closest = 0, -1.0
                for _ in range(_EASY_PROPOSALS if lifelike else PROPOSALS):
                    if out.ok[n] or skins == SKINS:
                        break
                    counters[_PROPOSED] += 1
                    spin = standoff = np.nan
                    if number >= 0:
                        _propose_learned(learned, number, key, counter, R, t)
                    elif interlocked:
                        skins = SKINS - 1  # the best is tried, and no other
                        if not _best_interlocked(
                            arms, cache_a, at_a, cache_b, at_b, bench.ends_b, key, counter, R, t,
                            meant,
                        ):  # fmt: skip
                            counters[_ARMS] += 1
                            break
                    else:
                        spin, standoff = _propose_contact(
                            tables_a, tables_b, (cache_a, cache_b), at_a, at_b, meant, key,
                            counter, R, t,
                        )  # fmt: skip
                    if not one_reachable(arms, R, t):
                        counters[_ARMS] += 1
                        continue
                    if lifelike and _draw(key, counter) > max(
                        one_comfort(comfort, R, t), _LEAST_EASE
                    ):
                        counters[_UNEASY] += 1
                        continue
                    _place_ends(cache_b.ends[at_b], R, t, bench.ends_b)
                    if hopeless(
                        cache_a.ends[at_a],
                        cache_a.radius[at_a],
                        bench.ends_b,
                        cache_b.radius[at_b],
                        too_deep,
                        core,
                    ):
                        counters[_CAPSULES] += 1
                        if interlocked:
                            break
                        continue
                    if not _forearms_clear(R, t, cache_a, at_a, cache_b, at_b):
                        counters[_FOREARM] += 1
                        if interlocked:
                            break
                        continue
                    if lifelike:
                        close = capsule_closeness(
                            cache_a.ends[at_a], cache_a.radius[at_a], bench.ends_b,
                            cache_b.radius[at_b],
                        )  # fmt: skip
                        if close > closest:
                            closest = close
                            copy_rows(R, R_best)
                            t_best[:] = t
                            drawn_best[0], drawn_best[1] = spin, standoff
                        candidates += 1
                        if candidates < _CLOSEST_OF:
                            continue
                        copy_rows(R_best, R)
                        t[:] = t_best
                        spin, standoff = drawn_best[0], drawn_best[1]
                        candidates, closest = 0, -1.0
                    if not loaded:
                        copy_rows(cache_a.skin[at_a], bench.skin_a)
                        copy_rows(cache_a.normals[at_a], bench.normals_a)
                        copy_rows(cache_b.skin[at_b], bench.local_b)
                        copy_rows(cache_b.normals[at_b], bench.local_normals_b)
                        patch_boxes(tables_a.patches, bench.skin_a, bench.boxes_a)
                        loaded = True
                    skins += 1
                    counters[_SKINS] += 1
                    gap = 0.0 if np.isnan(standoff) else standoff
                    _settle(tables_a, tables_b, bench, at_a, gap, meant, R, t)
                    apart, _, _ = region_distance(
                        tables_a, bench.skin_a, meant[0], tables_b, bench.skin_b, meant[1]
                    )
                    if apart > TOUCH_M:
                        counters[_NO_TOUCH] += 1
                        continue
                    least, depth, volume = _measure(tables_a, tables_b, bench, touched)
                    if least > TOUCH_M:
                        counters[_NO_TOUCH] += 1
                        continue
                    _place_ends(cache_b.ends[at_b], R, t, bench.ends_b)
                    crossed = hopeless(
                        cache_a.ends[at_a],
                        cache_a.radius[at_a],
                        bench.ends_b,
                        cache_b.radius[at_b],
                        np.inf,
                        core,
                    )
                    if depth > DEEPEST_M or volume > most or crossed:
                        counters[_OVERLAP] += 1
                        continue
                    if not one_reachable(arms, R, t):
                        counters[_ARMS_AFTER] += 1
                        continue
                    if interlocked:
                        placed(cache_b.joints[at_b], R, t, placed_joints)
                        if gaps_filled(cache_a.joints[at_a], placed_joints) < 3:
                            counters[_NOT_ALTERNATE] += 1
                            continue
                    out.ok[n], out.interlocked[n] = True, interlocked
                    out.hand[n, 0], out.hand[n, 1] = right, left
                    for side in range(2):
                        out.meant[n, side], out.touched[n, side] = meant[side], touched[side]
                    for r in range(3):
                        out.t[n, r] = t[r]
                        for c in range(3):
                            out.R[n, r, c] = R[r, c]
                    out.spin[n], out.standoff[n] = spin, standoff
                    out.depth[n], out.volume[n] = depth, volume
                    out.distance[n] = 0.0
                    if depth < _SURELY_INSIDE_M:
                        out.distance[n] = skin_distance(
                            tables_a.faces, bench.skin_a, tables_b.faces, bench.skin_b, least + 1e-4
                        )


@inner
def _put(skinning, pose, betas, wrist, transl, joints):
    """transl (n, 3) float32 that puts each wrist in its place, and the joints (n, 21, 3) there.

    Written into the last two. From pose (n, 16, 3), betas (n, 10) float32 and transl as stored.
    """
    no_skin = np.empty((0, 3))
    full, shape, move = np.empty((16, 3)), np.empty(10), np.empty(3)
    for n in range(len(pose)):
        for j in range(16):
            for r in range(3):
                full[j, r] = pose[n, j, r]
        for m in range(10):
            shape[m] = betas[n, m]
        for r in range(3):
            root = skinning.J_template[0, r]
            for m in range(10):
                root += skinning.J_shapedirs[0, r, m] * shape[m]
            transl[n, r] = wrist[n, r] - root
            move[r] = transl[n, r]
        pose_hand(skinning, full, shape, move, no_skin, joints[n])


def _entries(sources: str) -> tuple[Any, Any]:
    """`search` and `put`, compiled once per machine and version of what is compiled into them.

    numba looks whether the file of a cached function has changed, not those of the functions it
    calls: with another `arms.py` the old one would go on working inside. Of a closure it compares
    what is enclosed, so the calling functions enclose a hash of those files.
    """

    @njit(cache=True, error_model="numpy")
    def search(*arguments):
        if len(sources) > 0:
            _search(*arguments)

    @njit(cache=True, error_model="numpy")
    def put(*arguments):
        if len(sources) > 0:
            _put(*arguments)

    return search, put


COMPILED_FROM = (_kernels, arms, capsules, draw)


def _sources() -> str:
    """Hash of the files whose functions `search` and `put` are compiled from, this one left out."""
    digest = hashlib.sha256()
    for module in COMPILED_FROM:
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()


search, put = _entries(_sources())
