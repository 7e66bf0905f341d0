"""Things that get in the way: boxes, cylinders, balls and bars before the hands.

In: the hands' place in the camera's frame, a generator. Out: small closed meshes with coordinates
of their own. They hang nearer to the camera than the hands, so that nothing passes through a
finger, and cover a part of them.
"""

from dataclasses import dataclass

import numpy as np

from twohand500k.render.view import _turn

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Thing:
    """points (n, 3) m, rest (n, 3) its own coordinates m, normals (n, 3), faces (m, 3)."""

    points: Array
    rest: Array
    normals: Array
    faces: Array


def draw_thing(hands: Array, rng: np.random.Generator) -> Thing:
    """A thing before hands (n, 3) m in the camera's frame."""
    kind = rng.integers(4)
    make = (_box, _cylinder, _ball, _bar)[kind]
    points, normals, faces = make(rng)
    R = _turn(rng)
    rest = points
    reach = float(np.linalg.norm(points, axis=1).max())
    # On the ray to some point of the hands, a little aside, before all of them.
    aim = hands[rng.integers(len(hands))] + rng.normal(0, 0.02, 3)
    depth = max(float(hands[:, 2].min()) - reach - rng.uniform(0.005, 0.08), 0.12)
    place = aim * (depth / aim[2])
    # Smaller than the hands as one sees them, so that they are seen; a bar may be longer.
    seen = hands[:, :2] / hands[:, 2:]
    extent = 0.5 * float((seen.max(axis=0) - seen.min(axis=0)).max())
    most = 0.35 if make is _bar else min(0.35, 0.45 * extent)
    shrunk = min(1.0, most * depth / max(reach, 1e-6))
    return Thing(shrunk * points @ R.T + place, rest, normals @ R.T, faces)


def _box(rng: np.random.Generator) -> tuple[Array, Array, Array]:
    half = rng.uniform(0.006, 0.04, 3)
    points: list[Array] = []
    normals: list[Array] = []
    faces: list[tuple[int, int, int]] = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            u, v = (axis + 1) % 3, (axis + 2) % 3
            corners = np.zeros((4, 3))
            corners[:, axis] = sign
            corners[:, u] = [-1, 1, 1, -1]
            corners[:, v] = np.array([-1, -1, 1, 1]) * sign
            first = 4 * len(points)
            points.append(corners * half)
            normals.append(np.eye(3)[axis] * sign * np.ones((4, 1)))
            faces += [(first, first + 1, first + 2), (first, first + 2, first + 3)]
    return np.concatenate(points), np.concatenate(normals), np.array(faces)


def _cylinder(
    rng: np.random.Generator, radius: float = 0.0, half: float = 0.0
) -> tuple[Array, Array, Array]:
    radius = radius or rng.uniform(0.005, 0.03)
    half = half or rng.uniform(0.02, 0.06)
    n = 24
    turn = np.linspace(0, 2 * np.pi, n, endpoint=False)
    ring = np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1)
    up = np.array([0, 0, half])
    wall = np.concatenate([radius * ring - up, radius * ring + up])
    k, after = np.arange(n), (np.arange(n) + 1) % n
    faces = [np.stack([k, after, after + n], 1), np.stack([k, after + n, k + n], 1)]
    ends, normals = [wall], [ring, ring]
    for sign, first in ((-1.0, 2 * n), (1.0, 3 * n)):
        ends.append(radius * ring + sign * up)
        normals.append(np.tile([0, 0, sign], (n, 1)))
        fan = np.stack([np.full(n - 2, first), first + k[1:-1], first + after[1:-1]], 1)
        faces.append(fan if sign > 0 else fan[:, ::-1])
    return np.concatenate(ends), np.concatenate(normals), np.concatenate(faces)


def _bar(rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """A pen, a stick, a cable."""
    return _cylinder(rng, rng.uniform(0.0025, 0.008), rng.uniform(0.06, 0.14))


def _ball(rng: np.random.Generator) -> tuple[Array, Array, Array]:
    rings, around = 12, 20
    polar = np.pi * np.arange(rings + 1) / rings
    turn = np.linspace(0, 2 * np.pi, around, endpoint=False)
    unit = np.stack(
        [
            np.sin(polar)[:, None] * np.cos(turn),
            np.sin(polar)[:, None] * np.sin(turn),
            np.cos(polar)[:, None] + 0 * turn,
        ],
        axis=-1,
    ).reshape(-1, 3)
    at = np.arange(rings)[:, None] * around
    k = np.arange(around)[None]
    after = (k + 1) % around
    a, b, c, d = at + k, at + after, at + around + k, at + around + after
    faces = np.concatenate(
        [np.stack([a, c, d], -1).reshape(-1, 3), np.stack([a, d, b], -1).reshape(-1, 3)]
    )
    axes = rng.uniform(0.010, 0.035) * rng.uniform(0.7, 1.3, 3)
    normals = unit / axes
    return unit * axes, normals / np.linalg.norm(normals, axis=1, keepdims=True), faces
