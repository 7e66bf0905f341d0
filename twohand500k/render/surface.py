"""A hand's skin made fit for a photograph: finer, with an arm, with tendons and a place for nails.

In: a hand model, once (`HandSurface.of`). Out, for every skin posed on it: about 3,700 points with
the hand's faces first and its arm's after, and for each point what never changes: where it lies at
rest (a texture in those coordinates sticks to the skin) and which part of a hand it is (`marks`).

MANO's numbers alone are used, so any hand with its topology is dressed alike. Each edge is cut once
at the middle of its curved point-normal triangle (Vlachos et al., 2001), as `pictures.surface` does
for stills, which rounds the outline and leaves every given vertex in its place. The arm continues
the wrist's loop ring by ring, because a photograph never shows a wrist cut off.
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit

from twohand500k.conventions import MANO_CHAINS
from twohand500k.hand import HandModel
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.mesh import wrist_loop

Array = np.ndarray

# Metres along the arm from the wrist at which its rings lie, and how much wider than the wrist.
ARM_ALONG = np.array([0.01, 0.022, 0.04, 0.065, 0.10, 0.14, 0.19, 0.25, 0.32, 0.45])
ARM_WIDER = np.array([0.99, 0.985, 0.99, 1.03, 1.12, 1.24, 1.36, 1.45, 1.5, 1.55])

# Columns of `HandSurface.marks`.
PALMAR, RED, CREASE, ALONG, DORSAL, NAIL_ALONG, NAIL_ACROSS = range(7)
N_MARKS = 7
_NO_NAIL = -4.0

_TENDON_WIDTH = 0.0032
_TENDON_HEIGHT = 0.0011
_KNUCKLE_WIDTH = 0.009
_KNUCKLE_HEIGHT = 0.0012


@dataclass(frozen=True, eq=False)
class HandSurface:
    """What never changes of one model's skin and arm; V vertices of the model, C control points
    (V and the arm's), P points, F faces.

    loop (L,): the wrist's vertices. edges (P - C, 2): control points whose curved middle each
    further point is. control_faces (.., 3); faces (F, 3) int32, the hand's `n_hand` first, then the
    arm's. rest (P, 3) m, arm included. relief (P,) m: tendons and knuckles, along the normal, of a
    person who shows them plainly. marks (P, 7): how palmar 0..1, how red 0..1, how creased 0..1,
    joints along the digit (1 at the middle joint, 2 at the last), how dorsal -1..1, and the nail's
    coordinates: 0..1 along it, -1..1 across.
    """

    model: HandModel
    loop: Array
    edges: Array
    control_faces: Array
    faces: Array
    n_hand: int
    rest: Array
    relief: Array
    marks: Array

    @staticmethod
    def of(model: HandModel) -> "HandSurface":
        """The surface of a model, made once for each."""
        return _surface(_ByHash(model))

    def points(self, control: Array, relief: float) -> tuple[Array, Array]:
        """Points (P, 3) and unit normals (P, 3) of control points (C, 3) m; relief 0..1."""
        normals = point_normals(control, self.control_faces)
        points = np.concatenate([control, _middles(control, normals, self.edges)])
        if relief:
            rough = point_normals(points, self.faces)
            points += (relief * self.relief)[:, None] * rough
        return points, point_normals(points, self.faces)

    def spread(self, values: Array) -> Array:
        """Values of control points (C, ...) carried to all points (P, ...)."""
        a, b = self.edges.T
        return np.concatenate([values, 0.5 * (values[a] + values[b])])


class _ByHash:
    """A model as a key: two with the same arrays are one."""

    def __init__(self, model: HandModel) -> None:
        self.model = model

    def __hash__(self) -> int:
        return hash(self.model.sha256)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByHash) and other.model.sha256 == self.model.sha256


@lru_cache(maxsize=8)
def _surface(key: _ByHash) -> HandSurface:
    model = key.model
    loop = wrist_loop(model.faces)
    control_faces = np.concatenate([model.faces, _arm_faces(loop, len(model.v_template))])
    edges, faces = _halved(control_faces)
    n_hand = 4 * len(model.faces)
    rest = np.concatenate(
        [model.v_template, arm_rings(model.v_template[loop], _away(model), np.eye(3)[None])]
    )
    normals = point_normals(rest, control_faces)
    fine = np.concatenate([rest, _middles(rest, normals, edges)])
    marks = _marks(model, fine, point_normals(fine, faces), edges)
    return HandSurface(
        model=model,
        loop=loop,
        edges=edges,
        control_faces=control_faces.astype(np.int32),
        faces=faces.astype(np.int32),
        n_hand=n_hand,
        rest=fine,
        relief=_relief(model, fine, marks),
        marks=marks,
    )


def _away(model: HandModel) -> Array:
    """Unit vector (3,) at rest from the hand up the arm."""
    knuckles = model.J_template[[chain[0] for chain in MANO_CHAINS[1:]]].mean(axis=0)
    away = model.J_template[0] - knuckles
    away[1] = 0.0
    return np.asarray(away / np.linalg.norm(away))


def arm_rings(loop: Array, away: Array, turns: Array) -> Array:
    """The arm's rings (10 L, 3) m that continue a wrist's loop (L, 3) m towards `away` (3,).

    turns (1 or 10, 3, 3): how far each ring is turned about the wrist, with the bend of the wrist.
    Rings grow rounder and wider up the arm.
    """
    centre = loop.mean(axis=0)
    offset = loop - centre
    offset = offset - (offset @ away)[:, None] * away
    # Towards a rounder section: lengthen the short axis of the loop, keep the long one.
    radius = np.linalg.norm(offset, axis=1, keepdims=True)
    round_offset = offset / radius * radius.max()
    turns = np.broadcast_to(turns, (len(ARM_ALONG), 3, 3))
    steps = np.diff(ARM_ALONG, prepend=0.0)
    rings = []
    at = centre
    for k, (step, wider) in enumerate(zip(steps, ARM_WIDER, strict=True)):
        at = at + turns[k] @ away * step
        roundness = 0.45 * min(k / 8, 1.0)
        section = (1 - roundness) * offset + roundness * round_offset
        rings.append(at + wider * section @ turns[k].T)
    return np.concatenate(rings)


def _arm_faces(loop: Array, first: int) -> Array:
    """Faces that join the loop to the first ring, each ring to the next, and cap the last."""
    n = len(loop)
    rings = [loop, *(first + n * k + np.arange(n) for k in range(len(ARM_ALONG)))]
    faces = []
    for near, far in itertools.pairwise(rings):
        near_next, far_next = np.roll(near, -1), np.roll(far, -1)
        # The loop runs as the hand's own faces do along it; the arm runs against that.
        faces += [np.stack([near_next, near, far], 1), np.stack([near_next, far, far_next], 1)]
    last = rings[-1]
    fan = np.stack([np.full(n - 2, last[0]), last[2:], last[1:-1]], axis=1)
    return np.concatenate([*faces, fan])


def _halved(faces: Array) -> tuple[Array, Array]:
    """Edges (E, 2) of a mesh and its faces each cut in four, new points numbered after the old."""
    sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]], axis=-1)
    edges, of = np.unique(sides.reshape(-1, 2), axis=0, return_inverse=True)
    ab, bc, ca = (of.reshape(-1, 3) + faces.max() + 1).T
    a, b, c = faces.T
    four = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return edges, np.stack([np.stack(f, axis=-1) for f in four], axis=1).reshape(-1, 3)


@njit(cache=True)
def _middles(points: Array, normals: Array, edges: Array) -> Array:
    """The middle of each edge's cubic: half way, bulged by how its ends' normals lean."""
    out = np.empty((len(edges), 3))
    for e in range(len(edges)):
        a, b = edges[e, 0], edges[e, 1]
        lean_a, lean_b = 0.0, 0.0
        for k in range(3):
            along = points[b, k] - points[a, k]
            lean_a += along * normals[a, k]
            lean_b += along * normals[b, k]
        for k in range(3):
            bulge = lean_b * normals[b, k] - lean_a * normals[a, k]
            out[e, k] = 0.5 * (points[a, k] + points[b, k]) + 0.125 * bulge
    return out


@njit(cache=True)
def point_normals(points: Array, faces: Array) -> Array:
    """Unit normals (P, 3): of the faces about each point, weighted by their area."""
    out = np.zeros(points.shape)
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1]
        vx, vy = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1]
        uz, vz = points[b, 2] - points[a, 2], points[c, 2] - points[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for corner in range(3):
            i = faces[f, corner]
            out[i, 0] += nx
            out[i, 1] += ny
            out[i, 2] += nz
    for i in range(len(out)):
        length = np.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2)
        out[i] /= max(length, 1e-30)
    return out


# What each point is


def _marks(model: HandModel, points: Array, normals: Array, edges: Array) -> Array:
    """The columns PALMAR … NAIL_ACROSS of every point (P, 7), at rest."""
    # One side is dressed; the other is its mirror image.
    flip = np.array([1.0 if model.side == "right" else -1.0, 1.0, 1.0])
    right = model if model.side == "right" else model.mirrored()
    points, normals = points * flip, normals * flip
    frames = Anatomy.of(right).A
    joints = right.J_template
    n_control = len(points) - len(edges)
    weights = np.zeros((n_control, right.weights.shape[1]))
    weights[: len(right.weights)] = right.weights
    weights[len(right.weights) :, 0] = 1.0
    weights = np.concatenate([weights, 0.5 * (weights[edges[:, 0]] + weights[edges[:, 1]])])
    on_digit = np.zeros(len(points), dtype=np.int64)
    share = np.zeros(len(points))
    for digit, chain in enumerate(MANO_CHAINS):
        of = weights[:, list(chain)].sum(axis=1)
        on_digit[of > share] = digit
        share = np.maximum(share, of)
    marks = np.zeros((len(points), N_MARKS))
    marks[:, NAIL_ALONG] = _NO_NAIL
    dorsal_hand = normals @ frames[MANO_CHAINS[2][0] - 1][:, 1]
    marks[:, DORSAL] = dorsal_hand
    for digit, chain in enumerate(MANO_CHAINS):
        mine = (on_digit == digit) & (share > 0.5)
        tip = right.v_template[right.tip_vertex_ids[digit]]
        places = [joints[j] for j in chain] + [tip]
        marks[mine, ALONG] = _along(points[mine], places)
        dorsal = np.zeros(mine.sum())
        near = np.clip(np.round(marks[mine, ALONG] - 0.3), 0, 2).astype(int)
        for k, joint in enumerate(chain):
            dorsal[near == k] = normals[mine][near == k] @ frames[joint - 1][:, 1]
        blend = np.clip((share[mine] - 0.5) * 2, 0, 1)
        marks[mine, DORSAL] = blend * dorsal + (1 - blend) * dorsal_hand[mine]
        marks[mine, CREASE] = np.clip((marks[mine, ALONG] - 0.2) / 0.3, 0, 1)
        # The nail: about the outer half of the last phalanx, on its back.
        last, base = chain[-1], joints[chain[-1]]
        axes = frames[last - 1]
        length = np.linalg.norm(tip - base)
        local = (points[mine] - base) @ axes
        own = marks[mine, ALONG] > 1.9
        half = 0.5 * np.ptp(local[own & (local[:, 2] > 0.35 * length), 0])
        middle = np.median(local[own, 0])
        marks[mine, NAIL_ALONG] = np.where(own, (local[:, 2] / length - 0.46) / 0.52, _NO_NAIL)
        marks[mine, NAIL_ACROSS] = (local[:, 0] - middle) / (0.80 * half)
        # Fingertips and the skin over bent joints are redder.
        red = np.clip((marks[mine, ALONG] - 2.2) / 0.6, 0, 1) * 0.9
        for at, strength in ((0.0, 0.55), (1.0, 0.5), (2.0, 0.3)):
            bump = np.exp(-(((marks[mine, ALONG] - at) / 0.22) ** 2))
            red = np.maximum(red, strength * bump * np.clip(dorsal + 0.3, 0, 1))
        marks[mine, RED] = red
    for chain in MANO_CHAINS[1:]:
        away = np.linalg.norm(points - joints[chain[0]], axis=1) / 0.013
        bump = 0.6 * np.exp(-(away**2)) * np.clip(dorsal_hand, 0, 1)
        marks[:, RED] = np.maximum(marks[:, RED], bump)
    marks[:, PALMAR] = 1 / (1 + np.exp(np.clip(marks[:, DORSAL] * 9 + 0.8, -30, 30)))
    # Up the arm the inner side is as the back.
    reach = (points - joints[0]) @ np.array([1.0, 0, 0])
    marks[:, PALMAR] *= np.clip(1 - (reach + 0.005) / 0.02, 0, 1)
    palm_red = 0.45 * marks[:, PALMAR] * np.clip((np.abs(points[:, 2] - 0.006)) / 0.035, 0, 1)
    marks[:, RED] = np.maximum(marks[:, RED], palm_red)
    return marks


def _along(points: Array, places: list[Array]) -> Array:
    """How many joints along a digit each point (n, 3) lies: 0 at the first of the four places."""
    along = np.zeros(len(points))
    best = np.full(len(points), np.inf)
    for k, (a, b) in enumerate(itertools.pairwise(places)):
        d = b - a
        share = (points - a) @ d / (d @ d)
        held = np.clip(share, 0 if k else -0.5, 1 if k < len(places) - 2 else 1.3)
        off = np.linalg.norm(points - (a + held[:, None] * d), axis=1)
        along = np.where(off < best, k + held, along)
        best = np.minimum(best, off)
    return along


def _relief(model: HandModel, points: Array, marks: Array) -> Array:
    """Heights (P,) m of the extensor tendons on the back of the hand and of the knuckles."""
    flip = np.array([1.0 if model.side == "right" else -1.0, 1.0, 1.0])
    joints = model.J_template * flip
    points = points * flip
    back = np.clip(marks[:, DORSAL] * 1.5 - 0.3, 0, 1)
    relief = np.zeros(len(points))
    for chain in MANO_CHAINS[1:]:
        knuckle, wrist = joints[chain[0]], joints[0] * [1, 1, 0.4]
        d = (knuckle - wrist)[[0, 2]]
        share = (points - wrist)[:, [0, 2]] @ d / (d @ d)
        off = np.linalg.norm(
            (points - wrist)[:, [0, 2]] - np.clip(share, 0, 1)[:, None] * d, axis=1
        )
        fade = np.clip((share - 0.15) / 0.3, 0, 1) * np.clip((1.05 - share) / 0.1, 0, 1)
        ridge = _TENDON_HEIGHT * np.exp(-((off / _TENDON_WIDTH) ** 2)) * fade
        away = np.linalg.norm((points - knuckle)[:, [0, 2]], axis=1)
        bump = _KNUCKLE_HEIGHT * np.exp(-((away / _KNUCKLE_WIDTH) ** 2))
        relief = np.maximum(relief, ridge + bump)
    return relief * back
