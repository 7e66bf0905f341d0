"""Triangle meshes near each other: trees of boxes, where they cut, how near, how deep.

In: vertices (V, 3) in metres and faces (F, 3) of closed meshes. A `Tree` is made once for a list
of faces and serves every pose: only its boxes are refitted. Everything here is exact but for the
depth, which is certified to `DEPTH_TOLERANCE`.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from twohand500k.hand.rotations import Array
from twohand500k.physics._solids import winding

# The deepest point is found to within this, metres.
DEPTH_TOLERANCE = 0.05e-3
_LEAF = 4
_STACK = 512


class Tree(NamedTuple):
    """A binary tree over faces. child (N, 2), -1 at a leaf; first, size (N,): a leaf's faces in
    `order` (F,). Children come after their parents. roots: one tree for each group of faces."""

    child: np.ndarray
    first: np.ndarray
    size: np.ndarray
    order: np.ndarray
    roots: np.ndarray


class Posed(NamedTuple):
    """A tree's faces in one pose. corner (F, 9): the three corners of every face; face_box (F, 6),
    box (N, 6) of every node: least corner, greatest corner; metres."""

    corner: Array
    face_box: Array
    box: Array


class Deepest(NamedTuple):
    """A skin point inside the other mesh, and the nearest point on the other's skin.

    depth m, 0 if none lies inside; face, point (3,): of the mesh asked about; face_to, point_to:
    of the other. unknown: points of which inside or outside could not be told.
    """

    depth: float
    face: int
    point: Array
    face_to: int
    point_to: Array
    unknown: int


def build_tree(corners: Array, group: np.ndarray | None = None) -> Tree:
    """A tree over faces with corners (F, 3, 3), halved along the longest side of their middles.

    group (F,): faces of group 0, 1, ... get trees of their own, one root each.
    """
    middle = corners.mean(axis=1)
    group = np.zeros(len(corners), dtype=np.int64) if group is None else group
    child: list[list[int]] = []
    first: list[int] = []
    count: list[int] = []
    order: list[int] = []

    def grow(faces: np.ndarray) -> int:
        node = len(child)
        child.append([-1, -1])
        first.append(len(order))
        count.append(len(faces))
        if len(faces) <= _LEAF:
            order.extend(faces.tolist())
            return node
        at = middle[faces]
        along = int(np.argmax(np.ptp(at, axis=0)))
        sorted_faces = faces[np.argsort(at[:, along], kind="stable")]
        half = len(faces) // 2
        child[node] = [grow(sorted_faces[:half]), grow(sorted_faces[half:])]
        return node

    roots = [grow(np.flatnonzero(group == g)) for g in range(int(group.max()) + 1)]
    return Tree(np.array(child), np.array(first), np.array(count), np.array(order), np.array(roots))


@njit(cache=True)
def refit(tree, vertices, faces):
    """`Posed`: where the faces of a tree are, from vertices (V, 3) and faces (F, 3)."""
    F = len(faces)
    corner, face_box = np.empty((F, 9)), np.empty((F, 6))
    for f in range(F):
        for c in range(3):
            x, y, z = vertices[faces[f, 0], c], vertices[faces[f, 1], c], vertices[faces[f, 2], c]
            corner[f, c], corner[f, 3 + c], corner[f, 6 + c] = x, y, z
            face_box[f, c], face_box[f, 3 + c] = min(x, y, z), max(x, y, z)
    child, first, count, order = tree.child, tree.first, tree.size, tree.order
    N = len(first)
    box = np.empty((N, 6))
    for node in range(N - 1, -1, -1):
        left, right = child[node, 0], child[node, 1]
        if left >= 0:
            for c in range(3):
                box[node, c] = min(box[left, c], box[right, c])
                box[node, 3 + c] = max(box[left, 3 + c], box[right, 3 + c])
            continue
        for c in range(3):
            box[node, c], box[node, 3 + c] = np.inf, -np.inf
        for i in range(first[node], first[node] + count[node]):
            f = order[i]
            for c in range(3):
                box[node, c] = min(box[node, c], face_box[f, c])
                box[node, 3 + c] = max(box[node, 3 + c], face_box[f, 3 + c])
    return Posed(corner, face_box, box)


@njit(cache=True)
def _apart(A, i, B, j):
    """Whether boxes i and j lie apart."""
    return (
        A[i, 0] > B[j, 3] or B[j, 0] > A[i, 3] or A[i, 1] > B[j, 4] or B[j, 1] > A[i, 4]
        or A[i, 2] > B[j, 5] or B[j, 2] > A[i, 5]
    )  # fmt: skip


@njit(cache=True)
def _box_gap(A, i, B, j):
    """Squared distance of boxes i and j."""
    x = max(A[i, 0] - B[j, 3], B[j, 0] - A[i, 3], 0.0)
    y = max(A[i, 1] - B[j, 4], B[j, 1] - A[i, 4], 0.0)
    z = max(A[i, 2] - B[j, 5], B[j, 2] - A[i, 5], 0.0)
    return x * x + y * y + z * z


@njit(cache=True)
def _point_gap(px, py, pz, B, j):
    """Squared distance of a point from box j."""
    x = max(B[j, 0] - px, px - B[j, 3], 0.0)
    y = max(B[j, 1] - py, py - B[j, 4], 0.0)
    z = max(B[j, 2] - pz, pz - B[j, 5], 0.0)
    return x * x + y * y + z * z


@njit(cache=True)
def _size(A, i):
    return (A[i, 3] - A[i, 0]) + (A[i, 4] - A[i, 1]) + (A[i, 5] - A[i, 2])


@njit(cache=True)
def _above(A, f, x, y, z):
    """Six times the volume of the tetrahedron of face f and a point, positive above the face."""
    bx, by, bz = A[f, 3] - A[f, 0], A[f, 4] - A[f, 1], A[f, 5] - A[f, 2]
    cx, cy, cz = A[f, 6] - A[f, 0], A[f, 7] - A[f, 1], A[f, 8] - A[f, 2]
    dx, dy, dz = x - A[f, 0], y - A[f, 1], z - A[f, 2]
    return bx * (cy * dz - cz * dy) - by * (cx * dz - cz * dx) + bz * (cx * dy - cy * dx)


@njit(cache=True)
def _pierces(px, py, pz, dx, dy, dz, A, f):
    """Whether the line through p along d passes through the inside of face f."""
    ax, ay, az = A[f, 0] - px, A[f, 1] - py, A[f, 2] - pz
    bx, by, bz = A[f, 3] - px, A[f, 4] - py, A[f, 5] - pz
    cx, cy, cz = A[f, 6] - px, A[f, 7] - py, A[f, 8] - pz
    ab = dx * (ay * bz - az * by) + dy * (az * bx - ax * bz) + dz * (ax * by - ay * bx)
    bc = dx * (by * cz - bz * cy) + dy * (bz * cx - bx * cz) + dz * (bx * cy - by * cx)
    ca = dx * (cy * az - cz * ay) + dy * (cz * ax - cx * az) + dz * (cx * ay - cy * ax)
    return (ab > 0.0 and bc > 0.0 and ca > 0.0) or (ab < 0.0 and bc < 0.0 and ca < 0.0)


@njit(cache=True)
def _edges_through(A, f, B, g, points, n):
    """Points where edges of face g of B pass through face f of A, appended to points (n, 3).

    Returns how many there are by now, and whether g has corners on both sides of f at all.
    """
    d0 = _above(A, f, B[g, 0], B[g, 1], B[g, 2])
    d1 = _above(A, f, B[g, 3], B[g, 4], B[g, 5])
    d2 = _above(A, f, B[g, 6], B[g, 7], B[g, 8])
    if (d0 >= 0.0 and d1 >= 0.0 and d2 >= 0.0) or (d0 <= 0.0 and d1 <= 0.0 and d2 <= 0.0):
        return n, False
    for k in range(3):
        s = d0 if k == 0 else (d1 if k == 1 else d2)
        t = d1 if k == 0 else (d2 if k == 1 else d0)
        if s * t >= 0.0:
            continue
        i, j = 3 * k, 3 * ((k + 1) % 3)
        x, y, z = B[g, i], B[g, i + 1], B[g, i + 2]
        dx, dy, dz = B[g, j] - x, B[g, j + 1] - y, B[g, j + 2] - z
        if _pierces(x, y, z, dx, dy, dz, A, f):
            if n < len(points):
                along = s / (s - t)
                points[n, 0], points[n, 1] = x + dx * along, y + dy * along
                points[n, 2] = z + dz * along
            n += 1
    return n, True


@njit(cache=True)
def cuts(tree_a, posed_a, root_a, tree_b, posed_b, root_b, cut_a, cut_b, points):
    """Where two meshes cut through each other.

    Marks the faces that are cut in cut_a (Fa,) and cut_b (Fb,). points (n, 3) gets the points where
    an edge of one passes through a face of the other. Returns how many there are (more than n: the
    rest was left out) and one pair of faces that cut (-1, -1 if none). Faces that merely touch, or
    overlap within one plane, do not cut.
    """
    child_a, first_a, count_a, order_a = tree_a.child, tree_a.first, tree_a.size, tree_a.order
    child_b, first_b, count_b, order_b = tree_b.child, tree_b.first, tree_b.size, tree_b.order
    A, boxes_a, face_a = posed_a.corner, posed_a.box, posed_a.face_box
    B, boxes_b, face_b = posed_b.corner, posed_b.box, posed_b.face_box
    stack = np.empty((_STACK, 2), dtype=np.int64)
    stack[0, 0], stack[0, 1] = root_a, root_b
    top = 1
    n = 0
    f0, g0 = -1, -1
    while top > 0:
        top -= 1
        i, j = stack[top, 0], stack[top, 1]
        if _apart(boxes_a, i, boxes_b, j):
            continue
        leaf_a, leaf_b = child_a[i, 0] < 0, child_b[j, 0] < 0
        if leaf_a and leaf_b:
            for x in range(first_a[i], first_a[i] + count_a[i]):
                f = order_a[x]
                if _apart(face_a, f, boxes_b, j):
                    continue
                for y in range(first_b[j], first_b[j] + count_b[j]):
                    g = order_b[y]
                    if _apart(face_a, f, face_b, g):
                        continue
                    before = n
                    n, across = _edges_through(A, f, B, g, points, n)
                    if across:
                        n, across = _edges_through(B, g, A, f, points, n)
                    if n > before:
                        cut_a[f] = True
                        cut_b[g] = True
                        if f0 < 0:
                            f0, g0 = f, g
            continue
        if leaf_b or (not leaf_a and _size(boxes_a, i) > _size(boxes_b, j)):
            stack[top, 0], stack[top, 1] = child_a[i, 0], j
            stack[top + 1, 0], stack[top + 1, 1] = child_a[i, 1], j
        else:
            stack[top, 0], stack[top, 1] = i, child_b[j, 0]
            stack[top + 1, 0], stack[top + 1, 1] = i, child_b[j, 1]
        top += 2
    return n, f0, g0


@njit(cache=True)
def _on_face(px, py, pz, A, f):
    """Squared distance of a point from face f, and the nearest point on it.

    Ericson, Real-Time Collision Detection, 2005, 5.1.5.
    """
    ax, ay, az = A[f, 0], A[f, 1], A[f, 2]
    ux, uy, uz = A[f, 3] - ax, A[f, 4] - ay, A[f, 5] - az
    vx, vy, vz = A[f, 6] - ax, A[f, 7] - ay, A[f, 8] - az
    x, y, z = px - ax, py - ay, pz - az
    d1, d2 = ux * x + uy * y + uz * z, vx * x + vy * y + vz * z
    s, t = 0.0, 0.0
    if d1 > 0.0 or d2 > 0.0:
        x, y, z = px - A[f, 3], py - A[f, 4], pz - A[f, 5]
        d3, d4 = ux * x + uy * y + uz * z, vx * x + vy * y + vz * z
        x, y, z = px - A[f, 6], py - A[f, 7], pz - A[f, 8]
        d5, d6 = ux * x + uy * y + uz * z, vx * x + vy * y + vz * z
        va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
        if d3 >= 0.0 and d4 <= d3:
            s = 1.0
        elif d6 >= 0.0 and d5 <= d6:
            t = 1.0
        elif vc <= 0.0 and d1 >= 0.0 and d3 <= 0.0:
            s = d1 / (d1 - d3)
        elif vb <= 0.0 and d2 >= 0.0 and d6 <= 0.0:
            t = d2 / (d2 - d6)
        elif va <= 0.0 and d4 - d3 >= 0.0 and d5 - d6 >= 0.0:
            t = (d4 - d3) / ((d4 - d3) + (d5 - d6))
            s = 1.0 - t
        else:
            total = va + vb + vc
            s, t = vb / total, vc / total
    x, y, z = ax + s * ux + t * vx, ay + s * uy + t * vy, az + s * uz + t * vz
    return (x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2, x, y, z


@njit(cache=True)
def _between_edges(A, f, k, B, g, m):
    """Squared distance of edge k of face f and edge m of face g, and how far along each it is.

    Ericson, Real-Time Collision Detection, 2005, 5.1.9.
    """
    i, j = 3 * k, 3 * ((k + 1) % 3)
    px, py, pz = A[f, i], A[f, i + 1], A[f, i + 2]
    ux, uy, uz = A[f, j] - px, A[f, j + 1] - py, A[f, j + 2] - pz
    i, j = 3 * m, 3 * ((m + 1) % 3)
    rx, ry, rz = B[g, i], B[g, i + 1], B[g, i + 2]
    vx, vy, vz = B[g, j] - rx, B[g, j + 1] - ry, B[g, j + 2] - rz
    wx, wy, wz = px - rx, py - ry, pz - rz
    a, e = ux * ux + uy * uy + uz * uz, vx * vx + vy * vy + vz * vz
    b = ux * vx + uy * vy + uz * vz
    c, h = ux * wx + uy * wy + uz * wz, vx * wx + vy * wy + vz * wz
    below = a * e - b * b
    x = 0.0
    if below > 0.0:
        x = min(max((b * h - c * e) / below, 0.0), 1.0)
    y = (b * x + h) / e if e > 0.0 else 0.0
    if y < 0.0:
        y = 0.0
        x = min(max(-c / a, 0.0), 1.0) if a > 0.0 else 0.0
    elif y > 1.0:
        y = 1.0
        x = min(max((b - c) / a, 0.0), 1.0) if a > 0.0 else 0.0
    dx, dy, dz = wx + x * ux - y * vx, wy + x * uy - y * vy, wz + x * uz - y * vz
    return dx * dx + dy * dy + dz * dz, x, y


@njit(cache=True)
def _between_faces(A, f, B, g, most, on_a, on_b):
    """Squared distance of two faces that do not cut, if less than most; else most.

    The nearest points go into on_a, on_b (3,).
    """
    best = most
    for k in range(3):
        i = 3 * k
        d, x, y, z = _on_face(A[f, i], A[f, i + 1], A[f, i + 2], B, g)
        if d < best:
            best = d
            on_a[0], on_a[1], on_a[2] = A[f, i], A[f, i + 1], A[f, i + 2]
            on_b[0], on_b[1], on_b[2] = x, y, z
        d, x, y, z = _on_face(B[g, i], B[g, i + 1], B[g, i + 2], A, f)
        if d < best:
            best = d
            on_a[0], on_a[1], on_a[2] = x, y, z
            on_b[0], on_b[1], on_b[2] = B[g, i], B[g, i + 1], B[g, i + 2]
    for k in range(3):
        for m in range(3):
            d, x, y = _between_edges(A, f, k, B, g, m)
            if d < best:
                best = d
                for c in range(3):
                    p, q = A[f, 3 * k + c], B[g, 3 * m + c]
                    on_a[c] = p + x * (A[f, 3 * ((k + 1) % 3) + c] - p)
                    on_b[c] = q + y * (B[g, 3 * ((m + 1) % 3) + c] - q)
    return best


@njit(cache=True)
def closest(tree_a, posed_a, tree_b, posed_b, on_a, on_b):
    """Smallest distance of two meshes that do not cut, m; its faces; points into on_a, on_b (3,).

    Exact: vertices against faces and edges against edges, of all faces that boxes cannot exclude.
    """
    child_a, first_a, count_a, order_a = tree_a.child, tree_a.first, tree_a.size, tree_a.order
    child_b, first_b, count_b, order_b = tree_b.child, tree_b.first, tree_b.size, tree_b.order
    A, boxes_a, face_a = posed_a.corner, posed_a.box, posed_a.face_box
    B, boxes_b, face_b = posed_b.corner, posed_b.box, posed_b.face_box
    stack = np.empty((_STACK, 2), dtype=np.int64)
    gap = np.empty(_STACK)
    stack[0, 0], stack[0, 1], gap[0] = tree_a.roots[0], tree_b.roots[0], 0.0
    top = 1
    best, best_f, best_g = np.inf, -1, -1
    while top > 0:
        top -= 1
        if gap[top] >= best:
            continue
        i, j = stack[top, 0], stack[top, 1]
        leaf_a, leaf_b = child_a[i, 0] < 0, child_b[j, 0] < 0
        if leaf_a and leaf_b:
            for x in range(first_a[i], first_a[i] + count_a[i]):
                f = order_a[x]
                if _box_gap(face_a, f, boxes_b, j) >= best:
                    continue
                for y in range(first_b[j], first_b[j] + count_b[j]):
                    g = order_b[y]
                    if _box_gap(face_a, f, face_b, g) >= best:
                        continue
                    d = _between_faces(A, f, B, g, best, on_a, on_b)
                    if d < best:
                        best, best_f, best_g = d, f, g
            continue
        if leaf_b or (not leaf_a and _size(boxes_a, i) > _size(boxes_b, j)):
            i0, i1, j0, j1 = child_a[i, 0], child_a[i, 1], j, j
        else:
            i0, i1, j0, j1 = i, i, child_b[j, 0], child_b[j, 1]
        g0, g1 = _box_gap(boxes_a, i0, boxes_b, j0), _box_gap(boxes_a, i1, boxes_b, j1)
        if g0 < g1:  # the nearer one is looked at first: it lies on top
            i0, i1, j0, j1, g0, g1 = i1, i0, j1, j0, g1, g0
        stack[top, 0], stack[top, 1], gap[top] = i0, j0, g0
        stack[top + 1, 0], stack[top + 1, 1], gap[top + 1] = i1, j1, g1
        top += 2
    return np.sqrt(best), best_f, best_g


@njit(cache=True)
def _nearest(child, first, count, order, A, face_box, box, counted, px, py, pz, enough, guess,
             stack, gap):  # fmt: skip
    """As `nearest`; guess: a face that may be near, or -1; stack (n,), gap (n,): working space."""
    stack[0], gap[0] = 0, 0.0
    top = 1
    best, face, bx, by, bz = np.inf, -1, 0.0, 0.0, 0.0
    limit = enough * enough if enough > 0.0 else -1.0
    if guess >= 0:
        best, bx, by, bz = _on_face(px, py, pz, A, guess)
        face = guess
        if best <= limit:
            return np.sqrt(best), face, bx, by, bz
    while top > 0:
        top -= 1
        if gap[top] >= best:
            continue
        node = stack[top]
        left, right = child[node, 0], child[node, 1]
        if left < 0:
            for i in range(first[node], first[node] + count[node]):
                f = order[i]
                if not counted[f] or _point_gap(px, py, pz, face_box, f) >= best:
                    continue
                d, x, y, z = _on_face(px, py, pz, A, f)
                if d < best:
                    best, face, bx, by, bz = d, f, x, y, z
                    if best <= limit:
                        return np.sqrt(best), face, bx, by, bz
            continue
        g0, g1 = _point_gap(px, py, pz, box, left), _point_gap(px, py, pz, box, right)
        if g0 < g1:
            left, right, g0, g1 = right, left, g1, g0
        stack[top], gap[top] = left, g0
        stack[top + 1], gap[top + 1] = right, g1
        top += 2
    return np.sqrt(best), face, bx, by, bz


@njit(cache=True)
def nearest(tree, posed, counted, point, enough):
    """Distance (m) of a point (3,) from a mesh's counted faces (F,), the face, the point on it.

    Stops at the first distance of `enough` or less: then it is only an upper bound. inf and -1 if
    no face counts.
    """
    return _nearest(
        tree.child, tree.first, tree.size, tree.order, posed.corner, posed.face_box, posed.box,
        counted, point[0], point[1], point[2], enough, -1, np.empty(_STACK, dtype=np.int64),
        np.empty(_STACK),
    )  # fmt: skip


@njit(cache=True)
def deepest(faces_a, posed_a, counted_a, vertex_inside, cut, tree, posed, counted_b, rest_b,
            rest_box, rays, label, tolerance):  # fmt: skip
    """The point of mesh a's counted faces inside mesh b that lies deepest under b's counted faces.

    vertex_inside (Va,): vertices of a inside b; cut (Fa,): faces of a that b cuts; rays, label: as
    `winding` takes them, to tell inside from outside. rest_box (1, 6): box of b's faces that do not
    count (rest_b, the opposite of counted_b). Vertices first; then every face is quartered as long
    as a point of it may still be deeper by more than the tolerance. A distance changes no faster
    than its point; and the distance from one face of b, which is convex, is largest at a corner.
    """
    child, first, count, order = tree.child, tree.first, tree.size, tree.order
    A, B, face_box, box = posed_a.corner, posed.corner, posed.face_box, posed.box
    stack, gap = np.empty(_STACK, dtype=np.int64), np.empty(_STACK)
    heights, codes = np.empty(256), np.empty(256, dtype=np.int64)
    point, point_to = np.zeros(3), np.zeros(3)
    done = np.zeros(len(vertex_inside), dtype=np.bool_)
    best, face, face_to, unknown = 0.0, -1, -1, 0
    for f in range(len(A)):
        if not counted_a[f]:
            continue
        for k in range(3):
            vertex = faces_a[f, k]
            if not vertex_inside[vertex] or done[vertex]:
                continue
            done[vertex] = True
            px, py, pz = A[f, 3 * k], A[f, 3 * k + 1], A[f, 3 * k + 2]
            d, g, x, y, z = _nearest(
                child, first, count, order, B, face_box, box, counted_b, px, py, pz, best, -1,
                stack, gap,
            )  # fmt: skip
            if d > best and g >= 0:
                best, face, face_to = d, f, g
                point[0], point[1], point[2] = px, py, pz
                point_to[0], point_to[1], point_to[2] = x, y, z
    pending = np.empty((256, 9))
    under = np.empty(256, dtype=np.int64)
    for f in range(len(A)):
        if not counted_a[f]:
            continue
        if not (
            cut[f]
            or vertex_inside[faces_a[f, 0]]
            or vertex_inside[faces_a[f, 1]]
            or vertex_inside[faces_a[f, 2]]
        ):
            continue
        for c in range(9):
            pending[0, c] = A[f, c]
        under[0] = -1
        top = 1
        while top > 0:
            top -= 1
            ax, ay, az = pending[top, 0], pending[top, 1], pending[top, 2]
            bx, by, bz = pending[top, 3], pending[top, 4], pending[top, 5]
            cx, cy, cz = pending[top, 6], pending[top, 7], pending[top, 8]
            guess = under[top]
            if guess >= 0 and _most(pending, top, B, guess) <= best + tolerance:
                continue
            px, py, pz = (ax + bx + cx) / 3.0, (ay + by + cy) / 3.0, (az + bz + cz) / 3.0
            radius = np.sqrt(max(
                (ax - px) ** 2 + (ay - py) ** 2 + (az - pz) ** 2,
                (bx - px) ** 2 + (by - py) ** 2 + (bz - pz) ** 2,
                (cx - px) ** 2 + (cy - py) ** 2 + (cz - pz) ** 2,
            ))  # fmt: skip
            # Nothing here is deeper than d + radius: so near the skin it cannot matter.
            enough = best + tolerance - radius
            d, g, x, y, z = _nearest(
                child, first, count, order, B, face_box, box, counted_b, px, py, pz, enough, guess,
                stack, gap,
            )  # fmt: skip
            if d <= enough or g < 0:
                continue
            corners = _most(pending, top, B, g)
            if corners <= best + tolerance and d <= best:
                continue
            number, trusted = 0, True
            if _point_gap(px, py, pz, box, 0) == 0.0:
                number, trusted = winding(rays, label, px, py, pz, heights, codes)
            if not trusted:
                unknown += 1
            if number > 0:
                most = d + radius
                if d > best:
                    best, face, face_to = d, f, g
                    point[0], point[1], point[2] = px, py, pz
                    point_to[0], point_to[1], point_to[2] = x, y, z
            else:
                # Outside; every way in leads through the skin that is d away, or through the rest.
                most = radius - d
                if _point_gap(px, py, pz, rest_box, 0) < radius * radius and radius > tolerance:
                    through, _, x, y, z = _nearest(
                        child, first, count, order, B, face_box, box, rest_b, px, py, pz, radius,
                        -1, stack, gap,
                    )  # fmt: skip
                    if through <= radius:
                        most = radius + d
            if min(most, corners) <= best + tolerance or top + 4 > len(pending):
                continue
            for k in range(4):
                under[top + k] = g
            ux, uy, uz = 0.5 * (bx + cx), 0.5 * (by + cy), 0.5 * (bz + cz)
            vx, vy, vz = 0.5 * (cx + ax), 0.5 * (cy + ay), 0.5 * (cz + az)
            wx, wy, wz = 0.5 * (ax + bx), 0.5 * (ay + by), 0.5 * (az + bz)
            _put(pending, top, ax, ay, az, wx, wy, wz, vx, vy, vz)
            _put(pending, top + 1, wx, wy, wz, bx, by, bz, ux, uy, uz)
            _put(pending, top + 2, vx, vy, vz, ux, uy, uz, cx, cy, cz)
            _put(pending, top + 3, ux, uy, uz, vx, vy, vz, wx, wy, wz)
            top += 4
    return Deepest(best, face, point, face_to, point_to, unknown)


@njit(cache=True)
def _most(pending, i, B, g):
    """Largest distance of the corners of triangle i from face g."""
    d0, _, _, _ = _on_face(pending[i, 0], pending[i, 1], pending[i, 2], B, g)
    d1, _, _, _ = _on_face(pending[i, 3], pending[i, 4], pending[i, 5], B, g)
    d2, _, _, _ = _on_face(pending[i, 6], pending[i, 7], pending[i, 8], B, g)
    return np.sqrt(max(d0, d1, d2))


@njit(cache=True)
def _put(pending, i, ax, ay, az, bx, by, bz, cx, cy, cz):
    pending[i, 0], pending[i, 1], pending[i, 2] = ax, ay, az
    pending[i, 3], pending[i, 4], pending[i, 5] = bx, by, bz
    pending[i, 6], pending[i, 7], pending[i, 8] = cx, cy, cz


@njit(cache=True)
def groups_that_meet(tree, posed, apart, points, owner):
    """Groups of faces (a tree's roots) that are apart and cut each other, or may hold each other.

    apart (groups,): bit j of apart[i] says whether i and j are asked about. points (n, 3) gets the
    points where they cut, owner (n,) the row of `meeting` they belong to. Returns meeting (m, 2),
    how many points there are (more than n: the rest was left out), and which faces (F,) are cut.
    """
    groups = len(tree.roots)
    box = posed.box
    meeting = np.empty((groups * groups, 2), dtype=np.int64)
    cut = np.zeros(len(posed.corner), dtype=np.bool_)
    m, n = 0, 0
    for i in range(groups):
        for j in range(i + 1, groups):
            a, b = tree.roots[i], tree.roots[j]
            if apart[i] >> j & 1 == 0 or _apart(box, a, box, b):
                continue
            free = points[min(n, len(points)) :]
            more, _, _ = cuts(tree, posed, a, tree, posed, b, cut, cut, free)
            if more or _holds(box, a, b) or _holds(box, b, a):
                meeting[m, 0], meeting[m, 1] = i, j
                owner[min(n, len(points)) : min(n + more, len(points))] = m
                m += 1
                n += more
    return meeting[:m].copy(), n, cut


@njit(cache=True)
def _holds(box, a, b):
    """Whether box a holds box b."""
    return (
        box[a, 0] <= box[b, 0] and box[a, 1] <= box[b, 1] and box[a, 2] <= box[b, 2]
        and box[a, 3] >= box[b, 3] and box[a, 4] >= box[b, 4] and box[a, 5] >= box[b, 5]
    )  # fmt: skip
