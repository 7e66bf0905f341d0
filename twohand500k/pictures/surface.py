"""Triangle meshes made fit for a picture: curved faces, closed wrists, bone rods.

In: vertices (V, 3) m and faces (F, 3). Out: more vertices and faces with a normal each. A hand of
778 vertices shows its polygons along every outline; curved point-normal triangles (Vlachos, Peters,
Boyd, Mitchell, "Curved PN Triangles", 2001) round them off and leave every given vertex in place.
"""

from functools import lru_cache

import numpy as np

from twohand500k.hand.rotations import Array


def boundary_loops(faces: np.ndarray) -> list[np.ndarray]:
    """Closed vertex loops along the edges that only one face has, in the faces' own sense."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    present = {(int(a), int(b)) for a, b in edges}
    following = {a: b for a, b in present if (b, a) not in present}
    loops = []
    while following:
        start, _ = next(iter(following.items()))
        loop, at = [], start
        while at in following:
            loop.append(at)
            at = following.pop(at)
        if at == start and len(loop) >= 3:
            loops.append(np.array(loop))
    return loops


@lru_cache(maxsize=8)
def _lattice(level: int) -> tuple[Array, np.ndarray]:
    """Barycentric points (P, 3) of a triangle cut `level` times a side, and its level^2 faces."""
    index = {}
    points: list[tuple[int, int, int]] = []
    for i in range(level + 1):
        for j in range(level + 1 - i):
            index[i, j] = len(points)
            points.append((level - i - j, i, j))
    faces = []
    for i in range(level):
        for j in range(level - i):
            faces.append((index[i, j], index[i + 1, j], index[i, j + 1]))
            if i + j < level - 1:
                faces.append((index[i + 1, j], index[i + 1, j + 1], index[i, j + 1]))
    return np.array(points, dtype=np.float64) / level, np.array(faces)


def refine(
    vertices: Array, normals: Array, faces: np.ndarray, level: int
) -> tuple[Array, Array, np.ndarray, np.ndarray, Array]:
    """Cut every face into level^2 pieces of its curved PN triangle.

    Returns points (F * P, 3), their unit normals, faces, and for carrying anything else over: the
    parent face of each point (F * P,) and its barycentric coordinates there (F * P, 3). Points on a
    shared edge coincide, since an edge's curve depends only on its two ends.
    """
    bary, cell = _lattice(level)
    p, n = vertices[faces], normals[faces]
    i, j, k = bary.T

    def edge_point(a: int, b: int) -> Array:
        """Cubic control point a third of the way from a to b, in a's tangent plane."""
        along = p[:, b] - p[:, a]
        return (
            p[:, a] * 2 + p[:, b] - np.einsum("fc,fc->f", along, n[:, a])[:, None] * n[:, a]
        ) / 3

    b210, b120 = edge_point(0, 1), edge_point(1, 0)
    b021, b012 = edge_point(1, 2), edge_point(2, 1)
    b102, b201 = edge_point(2, 0), edge_point(0, 2)
    mid = (b210 + b120 + b021 + b012 + b102 + b201) / 6
    b111 = mid + (mid - p.mean(axis=1)) / 2
    basis = np.stack(
        [i**3, j**3, k**3, 3 * i * i * j, 3 * i * j * j, 3 * j * j * k, 3 * j * k * k,
         3 * k * k * i, 3 * k * i * i, 6 * i * j * k], axis=1,
    )  # fmt: skip
    control = np.stack(
        [p[:, 0], p[:, 1], p[:, 2], b210, b120, b021, b012, b102, b201, b111], axis=1
    )
    points = np.einsum("pb,fbc->fpc", basis, control)
    smooth = np.einsum("pk,fkc->fpc", bary, n)
    smooth /= np.maximum(np.linalg.norm(smooth, axis=-1, keepdims=True), 1e-30)
    new_faces = (np.arange(len(faces))[:, None, None] * len(bary) + cell).reshape(-1, 3)
    parent = np.repeat(np.arange(len(faces)), len(bary))
    return (
        points.reshape(-1, 3),
        smooth.reshape(-1, 3),
        new_faces,
        parent,
        np.tile(bary, (len(faces), 1)),
    )


def rods(
    points: Array, edges: np.ndarray, radius: float, sides: int = 14
) -> tuple[Array, Array, np.ndarray]:
    """Bones as rods that thin towards the far end, joints as balls.

    points (K, 3) m, NaN where unknown; edges (E, 2). A missing point draws neither its ball nor
    its rods. Returns vertices, unit normals and faces.
    """
    known = np.asarray(np.isfinite(points).all(axis=1))
    parts: list[tuple[Array, Array, np.ndarray]] = []
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    around = np.arange(sides)
    after = (around + 1) % sides
    tube = np.concatenate(
        [
            np.stack([around, after, after + sides], axis=1),
            np.stack([around, after + sides, around + sides], axis=1),
        ]
    )
    for a, b in edges:
        if not (known[a] and known[b]):
            continue
        along = points[b] - points[a]
        length = float(np.linalg.norm(along))
        if length < 1e-9:
            continue
        along = along / length
        side = np.cross(along, np.eye(3)[np.argmin(np.abs(along))])
        side /= np.linalg.norm(side)
        outward = ring[:, :1] * side + ring[:, 1:] * np.cross(along, side)
        vertices = np.concatenate(
            [points[a] + outward * radius * 0.8, points[b] + outward * radius * 0.5]
        )
        parts.append((vertices, np.concatenate([outward, outward]), tube))
    ball_vertices, ball_faces = _ball(sides)
    for point in points[known]:
        parts.append((point + ball_vertices * radius * 1.45, ball_vertices, ball_faces))
    if not parts:
        return np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64)
    start = np.cumsum([0, *(len(vertices) for vertices, _, _ in parts[:-1])])
    return (
        np.concatenate([vertices for vertices, _, _ in parts]),
        np.concatenate([normals for _, normals, _ in parts]),
        np.concatenate([faces + at for (_, _, faces), at in zip(parts, start, strict=True)]),
    )


@lru_cache(maxsize=4)
def _ball(sides: int) -> tuple[Array, np.ndarray]:
    """A unit sphere of latitude rings with two poles."""
    rings = sides // 2
    polar = np.pi * np.arange(1, rings) / rings
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    body = np.stack(
        [
            np.sin(polar)[:, None] * np.cos(turn),
            np.sin(polar)[:, None] * np.sin(turn),
            np.broadcast_to(np.cos(polar)[:, None], (rings - 1, sides)),
        ],
        axis=-1,
    ).reshape(-1, 3)
    vertices = np.concatenate([body, [[0, 0, 1.0], [0, 0, -1.0]]])
    north, south = len(body), len(body) + 1
    faces = []
    for s in range(sides):
        t = (s + 1) % sides
        faces.append((north, s, t))
        last = (rings - 2) * sides
        faces.append((south, last + t, last + s))
        for r in range(rings - 2):
            a, b = r * sides, (r + 1) * sides
            faces += [(a + s, b + s, b + t), (a + s, b + t, a + t)]
    return vertices, np.array(faces)
