"""Slow, plain twins of what the judge computes, and solids whose answers are known."""

import numpy as np
import trimesh

Array = np.ndarray


def box(low: tuple, high: tuple) -> tuple[Array, Array]:
    """Vertices and outward faces of an axis-aligned box."""
    solid = trimesh.creation.box(bounds=np.array([low, high], dtype=float))
    return np.array(solid.vertices), np.array(solid.faces)


def sphere(radius: float, centre: tuple, subdivisions: int = 4) -> tuple[Array, Array]:
    """A triangulated sphere of the exact sphere's volume."""
    solid = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    scale = (4 / 3 * np.pi * radius**3 / solid.volume) ** (1 / 3)
    return np.array(solid.vertices) * scale + np.array(centre), np.array(solid.faces)


def joined(*meshes: tuple[Array, Array]) -> tuple[Array, Array]:
    """Several closed meshes as one that may cover space twice."""
    starts = np.cumsum([0, *(len(v) for v, _ in meshes)])
    return (
        np.concatenate([v for v, _ in meshes]),
        np.concatenate([f + s for (_, f), s in zip(meshes, starts, strict=False)]),
    )


def winding_numbers(points: Array, vertices: Array, faces: Array) -> Array:
    """Generalised winding number (n,) of a mesh about points, by solid angles.

    van Oosterom, Strackee, The solid angle of a plane triangle, 1983.
    """
    out = np.empty(len(points))
    for first in range(0, len(points), 2000):
        a, b, c = (vertices[faces[:, k]] - points[first : first + 2000, None] for k in range(3))
        la, lb, lc = (np.linalg.norm(x, axis=-1) for x in (a, b, c))
        volume = np.einsum("nfc,nfc->nf", a, np.cross(b, c))
        below = la * lb * lc + lc * (a * b).sum(-1) + la * (b * c).sum(-1) + lb * (c * a).sum(-1)
        out[first : first + 2000] = 2 * np.arctan2(volume, below).sum(axis=1) / (4 * np.pi)
    return out


def voxel_volume(meshes: list[tuple[Array, Array]], low: Array, high: Array, count: int) -> tuple:
    """Volume of points inside all meshes, from `count` voxels of a box; and its standard error."""
    size = ((high - low).prod() / count) ** (1 / 3)
    n = np.maximum(np.ceil((high - low) / size).astype(int), 1)
    step = (high - low) / n
    grid = np.stack(np.meshgrid(*(np.arange(k) for k in n), indexing="ij"), -1).reshape(-1, 3)
    points = low + (grid + np.random.default_rng(0).random(grid.shape)) * step
    for vertices, faces in meshes:
        points = points[winding_numbers(points, vertices, faces) > 0.5]
    # One point drawn in every voxel: only voxels on the border err, about as many as n^(2/3).
    return len(points) * step.prod(), step.prod() * 1.5 * max(len(points), 1) ** (1 / 3)


def surface_distance(points: Array, vertices: Array, faces: Array) -> Array:
    """Distance (n,) of points from a mesh, every face tried."""
    best = np.full(len(points), np.inf)
    corner = vertices[faces]
    for row, point in enumerate(points):
        on = trimesh.triangles.closest_point(corner, np.broadcast_to(point, (len(corner), 3)))
        best[row] = np.linalg.norm(on - point, axis=1).min()
    return best


def points_on(vertices: Array, faces: Array, spacing: float) -> Array:
    """Points on a mesh's faces no further apart than about `spacing`."""
    out = []
    for corner in vertices[faces]:
        longest = max(np.linalg.norm(corner - np.roll(corner, 1, axis=0), axis=1))
        n = max(int(np.ceil(longest / spacing)), 1)
        i, j = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
        i, j = i[i + j <= n], j[i + j <= n]
        out.append(np.stack([i, j, n - i - j], axis=1) / n @ corner)
    return np.concatenate(out)
