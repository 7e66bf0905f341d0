"""Triangle meshes of a hand: the wrist capped, volume, self-intersections.

Comes in: vertices (..., V, 3) in metres and faces (F, 3), counter-clockwise seen from outside.
Goes out: closed faces, cubic centimetres, normals, pairs of faces that cut each other.
"""

import numba
import numpy as np
from numpy.typing import ArrayLike

from twohand500k.hand.rotations import Array


def wrist_loop(faces: np.ndarray) -> np.ndarray:
    """The one open boundary (L,) of a mesh, in the direction in which its faces run along it.

    Starts at the loop's smallest vertex id. Raises ValueError if the mesh is closed, has several
    open boundaries, or is not a surface with consistent winding.
    """
    directed = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges = set(map(tuple, directed.tolist()))
    if len(edges) != len(directed):
        raise ValueError("an edge runs twice in one direction: faces repeat or windings clash")
    following: dict[int, int] = {}
    for a, b in edges:
        if (b, a) in edges:
            continue
        if a in following:
            raise ValueError(f"two open boundaries meet at vertex {a}")
        following[a] = b
    if not following:
        raise ValueError("the mesh has no open boundary")
    loop = [min(following)]
    while (vertex := following[loop[-1]]) != loop[0]:
        loop.append(vertex)
    if len(loop) != len(following):
        raise ValueError("the mesh has more than one open boundary")
    return np.array(loop, dtype=np.int64)


def closed_faces(faces: np.ndarray) -> np.ndarray:
    """Faces (F + L - 2, 3) with the wrist capped by a fan over its loop, no vertex added.

    MANO's loop of 16 gets 14 triangles, as in manotorch. The fan starts at the smallest vertex id
    of the loop, so that a mirrored model's cap is the mirrored cap.
    """
    loop = wrist_loop(faces)
    # The cap runs along every boundary edge against the direction of the skin's own faces.
    cap = np.stack([np.full(len(loop) - 2, loop[0]), loop[2:], loop[1:-1]], axis=1)
    return np.concatenate([faces, cap.astype(faces.dtype)])


def volume_cm3(vertices: ArrayLike, closed: np.ndarray) -> Array:
    """Signed volume (...) of closed meshes in cm3, positive when the faces point outward.

    vertices (..., V, 3) m; closed (F, 3) a watertight face list such as `HandModel.closed_faces`.
    """
    vertices = np.asarray(vertices, dtype=np.float64)
    corners = (vertices - vertices.mean(axis=-2, keepdims=True))[..., closed, :]
    a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]
    return np.einsum("...fi,...fi->...", a, np.cross(b, c)) / 6 * 1e6


def vertex_normals(vertices: Array, faces: np.ndarray) -> Array:
    """Outward unit normals (V, 3) of one mesh, each face weighted by its angle at the vertex.

    Thuermer, Wuethrich, Computing vertex normals from polygonal facets, 1998. A vertex of no face
    gets zeros.
    """
    corner = vertices[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
    total = np.zeros_like(vertices)
    for k in range(3):
        a = corner[:, (k + 1) % 3] - corner[:, k]
        b = corner[:, (k + 2) % 3] - corner[:, k]
        angle = np.arctan2(np.linalg.norm(np.cross(a, b), axis=1), np.einsum("fc,fc->f", a, b))
        for c in range(3):
            total[:, c] += np.bincount(
                faces[:, k], weights=angle * normal[:, c], minlength=len(vertices)
            )
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-30)


def self_intersections(vertices: ArrayLike, faces: np.ndarray) -> np.ndarray:
    """Pairs of faces (n, 2) of one mesh (V, 3) that cut through each other, each pair once.

    Two triangles cut each other when an edge of one passes through the inside of the other. Pairs
    that share a vertex are neighbours and left out; triangles that merely touch, or overlap
    within one plane, do not count. Sorted, so that equal meshes give equal answers.
    """
    vertices = np.ascontiguousarray(vertices, dtype=np.float64)
    if vertices.ndim != 2 or not np.isfinite(vertices).all():
        raise ValueError("vertices must be finite and (V, 3): one mesh")
    faces = np.ascontiguousarray(faces, dtype=np.int64)
    corners = vertices[faces]
    low, high = corners.min(axis=1), corners.max(axis=1)
    # Sweep along the mesh's longest axis: most pairs differ there.
    axis = int(np.argmax(vertices.max(axis=0) - vertices.min(axis=0)))
    order = np.argsort(low[:, axis], kind="stable")
    pairs = _cutting_pairs(vertices, faces, low, high, order, axis)
    pairs.sort(axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


@numba.njit(cache=True)
def _orientation(a, b, c, d):
    """Six times the signed volume of the tetrahedron a b c d."""
    bx, by, bz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    cx, cy, cz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    dx, dy, dz = d[0] - a[0], d[1] - a[1], d[2] - a[2]
    return bx * (cy * dz - cz * dy) - by * (cx * dz - cz * dx) + bz * (cx * dy - cy * dx)


@numba.njit(cache=True)
def _edge_cuts(p, q, a, b, c):
    """Whether segment p q passes through the inside of triangle a b c."""
    if _orientation(a, b, c, p) * _orientation(a, b, c, q) >= 0.0:
        return False
    ab = _orientation(p, q, a, b)
    bc = _orientation(p, q, b, c)
    ca = _orientation(p, q, c, a)
    return (ab > 0.0 and bc > 0.0 and ca > 0.0) or (ab < 0.0 and bc < 0.0 and ca < 0.0)


@numba.njit(cache=True)
def _cutting_pairs(vertices, faces, low, high, order, axis):
    out = []
    for i in range(len(order)):
        f = order[i]
        for k in range(i + 1, len(order)):
            g = order[k]
            if low[g, axis] > high[f, axis]:
                break
            apart = False
            for x in range(3):
                if low[g, x] > high[f, x] or low[f, x] > high[g, x]:
                    apart = True
                for y in range(3):
                    if faces[f, x] == faces[g, y]:
                        apart = True
            if apart:
                continue
            for x in range(3):
                fp, fq = vertices[faces[f, x]], vertices[faces[f, (x + 1) % 3]]
                gp, gq = vertices[faces[g, x]], vertices[faces[g, (x + 1) % 3]]
                if _edge_cuts(
                    fp, fq, vertices[faces[g, 0]], vertices[faces[g, 1]], vertices[faces[g, 2]]
                ) or _edge_cuts(
                    gp, gq, vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
                ):
                    out.append((f, g))
                    break
    pairs = np.empty((len(out), 2), dtype=np.int64)
    for i in range(len(out)):
        pairs[i, 0], pairs[i, 1] = out[i]
    return pairs
