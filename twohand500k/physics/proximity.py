"""Triangle meshes near each other: trees of boxes, where they cut, how near, how deep.

In: vertices (V, 3) in metres and faces (F, 3) of closed meshes. A `Tree` is made once for a list
of faces and serves every pose: only its boxes are refitted. What is asked of two trees is exact, but
for the depth, which is certified to `DEPTH_TOLERANCE`.
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
    """A binary tree over faces. child (N, 2), -1 at a leaf; first, count (N,): a leaf's faces in
    `order` (F,). Children come after their parents. roots: one tree for each group of faces."""

    child: np.ndarray
    first: np.ndarray
    count: np.ndarray
    order: np.ndarray
    roots: np.ndarray


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
    return Tree(
        np.array(child), np.array(first), np.array(count), np.array(order), np.array(roots)
    )


@njit(cache=True)
def refit(tree, vertices, faces):
    """Boxes of all nodes (N, 6) and of all faces (F, 6): least corner, greatest corner."""
    face_box = np.empty((len(faces), 6))
    for f in range(len(faces)):
        for c in range(3):
            x, y, z = vertices[faces[f, 0], c], vertices[faces[f, 1], c], vertices[faces[f, 2], c]
            face_box[f, c], face_box[f, 3 + c] = min(x, y, z), max(x, y, z)
    N = len(tree.first)
    box = np.empty((N, 6))
    for node in range(N - 1, -1, -1):
        left, right = tree.child[node, 0], tree.child[node, 1]
        if left >= 0:
            for c in range(3):
                box[node, c] = min(box[left, c], box[right, c])
                box[node, 3 + c] = max(box[left, 3 + c], box[right, 3 + c])
            continue
        for c in range(3):
            box[node, c], box[node, 3 + c] = np.inf, -np.inf
        for i in range(tree.first[node], tree.first[node] + tree.count[node]):
            f = tree.order[i]
            for c in range(3):
                box[node, c] = min(box[node, c], face_box[f, c])
                box[node, 3 + c] = max(box[node, 3 + c], face_box[f, 3 + c])
    return box, face_box


@njit(cache=True)
def _apart(a, b):
    for c in range(3):
        if a[c] > b[3 + c] or b[c] > a[3 + c]:
            return True
    return False


@njit(cache=True)
def _box_gap(a, b):
    """Squared distance of two boxes."""
    total = 0.0
    for c in range(3):
        d = max(a[c] - b[3 + c], b[c] - a[3 + c])
        if d > 0.0:
            total += d * d
    return total


@njit(cache=True)
def _point_gap(p, b):
    """Squared distance of a point from a box."""
    total = 0.0
    for c in range(3):
        d = max(b[c] - p[c], p[c] - b[3 + c])
        if d > 0.0:
            total += d * d
    return total


@njit(cache=True)
def _span(box):
    return (box[3] - box[0]) + (box[4] - box[1]) + (box[5] - box[2])


@njit(cache=True)
def _above(a, b, c, d):
    """Six times the signed volume of the tetrahedron a b c d: how far d lies above a b c."""
    bx, by, bz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    cx, cy, cz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    dx, dy, dz = d[0] - a[0], d[1] - a[1], d[2] - a[2]
    return bx * (cy * dz - cz * dy) - by * (cx * dz - cz * dx) + bz * (cx * dy - cy * dx)


@njit(cache=True)
def _pierces(p, q, a, b, c):
    """Whether the line through p, q passes through the inside of triangle a b c."""
    ab, bc = _above(p, q, a, b), _above(p, q, b, c)
    if ab * bc <= 0.0:
        return False
    return ab * _above(p, q, c, a) > 0.0


@njit(cache=True)
def _edges_through(va, f, vb, g, points, n):
    """Points where edges of triangle g (3,) pass through triangle f (3,), appended to points."""
    a, b, c = va[f[0]], va[f[1]], va[f[2]]
    d0, d1, d2 = _above(a, b, c, vb[g[0]]), _above(a, b, c, vb[g[1]]), _above(a, b, c, vb[g[2]])
    if (d0 >= 0.0 and d1 >= 0.0 and d2 >= 0.0) or (d0 <= 0.0 and d1 <= 0.0 and d2 <= 0.0):
        return n, False
    for k in range(3):
        if k == 0:
            p, q, s, t = vb[g[0]], vb[g[1]], d0, d1
        elif k == 1:
            p, q, s, t = vb[g[1]], vb[g[2]], d1, d2
        else:
            p, q, s, t = vb[g[2]], vb[g[0]], d2, d0
        if s * t < 0.0 and _pierces(p, q, a, b, c):
            if n < len(points):
                for x in range(3):
                    points[n, x] = p[x] + (q[x] - p[x]) * (s / (s - t))
            n += 1
    return n, True


@njit(cache=True)
def cuts(tree_a, box_a, face_box_a, va, fa, root_a, tree_b, box_b, face_box_b, vb, fb, root_b,
         cut_a, cut_b, points):  # fmt: skip
    """Where two meshes cut through each other.

    Marks the faces that are cut in cut_a (Fa,) and cut_b (Fb,). points (n, 3) gets the points where
    an edge of one passes through a face of the other. Returns how many there are (more than n: the
    rest was left out) and one pair of faces that cut (-1, -1 if none). Faces that merely touch, or
    overlap within one plane, do not cut.
    """
    stack = np.empty((_STACK, 2), dtype=np.int64)
    stack[0, 0], stack[0, 1] = root_a, root_b
    top = 1
    n = 0
    first_f, first_g = -1, -1
    while top > 0:
        top -= 1
        i, j = stack[top, 0], stack[top, 1]
        if _apart(box_a[i], box_b[j]):
            continue
        leaf_a, leaf_b = tree_a.child[i, 0] < 0, tree_b.child[j, 0] < 0
        if leaf_a and leaf_b:
            for x in range(tree_a.first[i], tree_a.first[i] + tree_a.count[i]):
                f = tree_a.order[x]
                if _apart(face_box_a[f], box_b[j]):
                    continue
                for y in range(tree_b.first[j], tree_b.first[j] + tree_b.count[j]):
                    g = tree_b.order[y]
                    if _apart(face_box_a[f], face_box_b[g]):
                        continue
                    before = n
                    n, across = _edges_through(va, fa[f], vb, fb[g], points, n)
                    if across:
                        n, across = _edges_through(vb, fb[g], va, fa[f], points, n)
                    if n > before:
                        cut_a[f] = True
                        cut_b[g] = True
                        if first_f < 0:
                            first_f, first_g = f, g
            continue
        if leaf_b or (not leaf_a and _span(box_a[i]) > _span(box_b[j])):
            stack[top, 0], stack[top, 1] = tree_a.child[i, 0], j
            stack[top + 1, 0], stack[top + 1, 1] = tree_a.child[i, 1], j
        else:
            stack[top, 0], stack[top, 1] = i, tree_b.child[j, 0]
            stack[top + 1, 0], stack[top + 1, 1] = i, tree_b.child[j, 1]
        top += 2
    return n, first_f, first_g


@njit(cache=True)
def on_triangle(q, a, b, c, out):
    """Squared distance of q from triangle a b c; out (3,) gets its nearest point.

    Ericson, Real-Time Collision Detection, 2005, 5.1.5.
    """
    abx, aby, abz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    acx, acy, acz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    x, y, z = q[0] - a[0], q[1] - a[1], q[2] - a[2]
    d1, d2 = abx * x + aby * y + abz * z, acx * x + acy * y + acz * z
    s, t = 0.0, 0.0
    if d1 > 0.0 or d2 > 0.0:
        x, y, z = q[0] - b[0], q[1] - b[1], q[2] - b[2]
        d3, d4 = abx * x + aby * y + abz * z, acx * x + acy * y + acz * z
        x, y, z = q[0] - c[0], q[1] - c[1], q[2] - c[2]
        d5, d6 = abx * x + aby * y + abz * z, acx * x + acy * y + acz * z
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
    out[0] = a[0] + s * abx + t * acx
    out[1] = a[1] + s * aby + t * acy
    out[2] = a[2] + s * abz + t * acz
    return (out[0] - q[0]) ** 2 + (out[1] - q[1]) ** 2 + (out[2] - q[2]) ** 2


@njit(cache=True)
def _between_segments(p, q, r, s, on_a, on_b):
    """Squared distance of segments p q and r s; the nearest points into on_a, on_b (3,).

    Ericson, Real-Time Collision Detection, 2005, 5.1.9.
    """
    ux, uy, uz = q[0] - p[0], q[1] - p[1], q[2] - p[2]
    vx, vy, vz = s[0] - r[0], s[1] - r[1], s[2] - r[2]
    wx, wy, wz = p[0] - r[0], p[1] - r[1], p[2] - r[2]
    a, e = ux * ux + uy * uy + uz * uz, vx * vx + vy * vy + vz * vz
    b = ux * vx + uy * vy + uz * vz
    c, f = ux * wx + uy * wy + uz * wz, vx * wx + vy * wy + vz * wz
    below = a * e - b * b
    x = 0.0
    if below > 0.0:
        x = min(max((b * f - c * e) / below, 0.0), 1.0)
    y = (b * x + f) / e if e > 0.0 else 0.0
    if y < 0.0:
        y = 0.0
        x = min(max(-c / a, 0.0), 1.0) if a > 0.0 else 0.0
    elif y > 1.0:
        y = 1.0
        x = min(max((b - c) / a, 0.0), 1.0) if a > 0.0 else 0.0
    on_a[0], on_a[1], on_a[2] = p[0] + x * ux, p[1] + x * uy, p[2] + x * uz
    on_b[0], on_b[1], on_b[2] = r[0] + y * vx, r[1] + y * vy, r[2] + y * vz
    return (on_a[0] - on_b[0]) ** 2 + (on_a[1] - on_b[1]) ** 2 + (on_a[2] - on_b[2]) ** 2


@njit(cache=True)
def _between_triangles(va, f, vb, g, most, on_a, on_b, p, q):
    """Squared distance of two triangles that do not cut, if less than most; else most.

    The nearest points go into on_a, on_b. p, q (3,): working space.
    """
    best = most
    for k in range(3):
        d = on_triangle(va[f[k]], vb[g[0]], vb[g[1]], vb[g[2]], q)
        if d < best:
            best = d
            for c in range(3):
                on_a[c], on_b[c] = va[f[k], c], q[c]
        d = on_triangle(vb[g[k]], va[f[0]], va[f[1]], va[f[2]], p)
        if d < best:
            best = d
            for c in range(3):
                on_a[c], on_b[c] = p[c], vb[g[k], c]
    for k in range(3):
        for m in range(3):
            d = _between_segments(
                va[f[k]], va[f[(k + 1) % 3]], vb[g[m]], vb[g[(m + 1) % 3]], p, q
            )
            if d < best:
                best = d
                for c in range(3):
                    on_a[c], on_b[c] = p[c], q[c]
    return best


@njit(cache=True)
def closest(tree_a, box_a, face_box_a, va, fa, root_a, tree_b, box_b, face_box_b, vb, fb, root_b,
            on_a, on_b):  # fmt: skip
    """Smallest distance of two meshes that do not cut, m; its faces; points into on_a, on_b (3,).

    Exact: vertices against faces and edges against edges, of all faces that boxes cannot exclude.
    """
    stack = np.empty((_STACK, 2), dtype=np.int64)
    gap = np.empty(_STACK)
    p, q = np.empty(3), np.empty(3)
    stack[0, 0], stack[0, 1], gap[0] = root_a, root_b, 0.0
    top = 1
    best, best_f, best_g = np.inf, -1, -1
    while top > 0:
        top -= 1
        if gap[top] >= best:
            continue
        i, j = stack[top, 0], stack[top, 1]
        leaf_a, leaf_b = tree_a.child[i, 0] < 0, tree_b.child[j, 0] < 0
        if leaf_a and leaf_b:
            for x in range(tree_a.first[i], tree_a.first[i] + tree_a.count[i]):
                f = tree_a.order[x]
                if _box_gap(face_box_a[f], box_b[j]) >= best:
                    continue
                for y in range(tree_b.first[j], tree_b.first[j] + tree_b.count[j]):
                    g = tree_b.order[y]
                    if _box_gap(face_box_a[f], face_box_b[g]) >= best:
                        continue
                    d = _between_triangles(va, fa[f], vb, fb[g], best, on_a, on_b, p, q)
                    if d < best:
                        best, best_f, best_g = d, f, g
            continue
        if leaf_b or (not leaf_a and _span(box_a[i]) > _span(box_b[j])):
            i0, i1, j0, j1 = tree_a.child[i, 0], tree_a.child[i, 1], j, j
        else:
            i0, i1, j0, j1 = i, i, tree_b.child[j, 0], tree_b.child[j, 1]
        g0, g1 = _box_gap(box_a[i0], box_b[j0]), _box_gap(box_a[i1], box_b[j1])
        if g0 < g1:  # the nearer one is looked at first: it lies on top
            i0, i1, j0, j1, g0, g1 = i1, i0, j1, j0, g1, g0
        stack[top, 0], stack[top, 1], gap[top] = i0, j0, g0
        stack[top + 1, 0], stack[top + 1, 1], gap[top + 1] = i1, j1, g1
        top += 2
    return np.sqrt(best), best_f, best_g


@njit(cache=True)
def nearest(tree, box, face_box, vertices, faces, counted, point, enough, out, stack, gap, on):
    """Distance of a point from a mesh's counted faces, m, and the face; its point into out (3,).

    Stops at the first distance of `enough` or less: then it is only an upper bound.
    stack (n,), gap (n,), on (3,): working space. inf, -1 if no face counts.
    """
    stack[0], gap[0] = tree.roots[0], 0.0
    top = 1
    best, face = np.inf, -1
    limit = enough * enough if enough > 0.0 else -1.0
    while top > 0:
        top -= 1
        if gap[top] >= best:
            continue
        node = stack[top]
        left, right = tree.child[node, 0], tree.child[node, 1]
        if left < 0:
            for i in range(tree.first[node], tree.first[node] + tree.count[node]):
                f = tree.order[i]
                if not counted[f] or _point_gap(point, face_box[f]) >= best:
                    continue
                d = on_triangle(
                    point, vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]], on
                )
                if d < best:
                    best, face = d, f
                    for c in range(3):
                        out[c] = on[c]
                    if best <= limit:
                        return np.sqrt(best), face
            continue
        g0, g1 = _point_gap(point, box[left]), _point_gap(point, box[right])
        if g0 < g1:
            left, right, g0, g1 = right, left, g1, g0
        stack[top], gap[top] = left, g0
        stack[top + 1], gap[top + 1] = right, g1
        top += 2
    return np.sqrt(best), face


@njit(cache=True)
def deepest(va, fa, counted_a, vertex_inside, cut, tree, box, face_box, vb, fb, counted_b, rest_b,
            rest_box, rays, label, tolerance):  # fmt: skip
    """The point of mesh a's counted faces inside mesh b that lies deepest under b's counted faces.

    vertex_inside (Va,): vertices of a inside b; cut (Fa,): faces of a that b cuts; rays, label: as
    `winding` takes them, to tell inside from outside. rest_box (6,): box of b's faces that do not
    count (rest_b, the opposite of counted_b). Vertices first; then every face is halved as long as a point of it may still be deeper by
    more than the tolerance: a distance changes no faster than its point.
    """
    stack, gap, on = np.empty(_STACK, dtype=np.int64), np.empty(_STACK), np.empty(3)
    out, point, point_to = np.empty(3), np.zeros(3), np.zeros(3)
    best, face, face_to, unknown = 0.0, -1, -1, 0
    for f in range(len(fa)):
        if not counted_a[f]:
            continue
        for k in range(3):
            v = fa[f, k]
            if not vertex_inside[v] or (k > 0 and face == f):
                continue
            d, g = nearest(tree, box, face_box, vb, fb, counted_b, va[v], best, out, stack, gap, on)
            if d > best and g >= 0:
                best, face, face_to = d, f, g
                for c in range(3):
                    point[c], point_to[c] = va[v, c], out[c]
    pending = np.empty((256, 3, 3))
    middle = np.empty(3)
    for f in range(len(fa)):
        if not counted_a[f]:
            continue
        if not (
            cut[f] or vertex_inside[fa[f, 0]] or vertex_inside[fa[f, 1]] or vertex_inside[fa[f, 2]]
        ):
            continue
        for k in range(3):
            for c in range(3):
                pending[0, k, c] = va[fa[f, k], c]
        top = 1
        while top > 0:
            top -= 1
            t = pending[top]
            radius = 0.0
            for c in range(3):
                middle[c] = (t[0, c] + t[1, c] + t[2, c]) / 3.0
            for k in range(3):
                d = 0.0
                for c in range(3):
                    d += (t[k, c] - middle[c]) ** 2
                radius = max(radius, d)
            radius = np.sqrt(radius)
            # Not deeper than this cannot matter: then the rest of the search may be left out.
            enough = best + tolerance - radius
            d, g = nearest(
                tree, box, face_box, vb, fb, counted_b, middle, enough, out, stack, gap, on
            )
            if d <= enough:
                continue
            number, trusted = 0, True
            in_box = _point_gap(middle, box[tree.roots[0]]) == 0.0
            if in_box:
                number, trusted = winding(rays, label, middle)
            if not trusted:
                unknown += 1
            if number > 0:
                most = d + radius
                if d > best:
                    best, face, face_to = d, f, g
                    for c in range(3):
                        point[c], point_to[c] = middle[c], out[c]
            else:
                # Outside; every way in leads through the skin that is d away, or through the rest.
                most = radius - d
                if _point_gap(middle, rest_box) < radius * radius:
                    through, g = nearest(
                        tree, box, face_box, vb, fb, rest_b, middle, radius, out, stack, gap, on
                    )
                    if through <= radius and radius > tolerance:
                        most = radius + d
            if most <= best + tolerance or top + 4 > len(pending):
                continue
            x = t.copy()
            for k in range(3):
                for c in range(3):
                    a, b = x[(k + 1) % 3, c], x[(k + 2) % 3, c]
                    pending[top + k, 0, c] = x[k, c]
                    pending[top + k, 1, c] = 0.5 * (x[k, c] + a)
                    pending[top + k, 2, c] = 0.5 * (x[k, c] + b)
                    pending[top + 3, k, c] = 0.5 * (a + b)
            top += 4
    return Deepest(best, face, point, face_to, point_to, unknown)


@njit(cache=True)
def groups_that_meet(tree, box, face_box, vertices, faces, apart, points, owner):
    """Groups of faces (a tree's roots) that are apart and cut each other, or may hold each other.

    apart (groups,): bit j of apart[i] says whether i and j are asked about. points (n, 3) gets the
    points where they cut, owner (n,) the row of `meeting` they belong to. Returns meeting (m, 2) and
    how many points there are (more than n: the rest was left out).
    """
    groups = len(tree.roots)
    meeting = np.empty((groups * groups, 2), dtype=np.int64)
    cut = np.zeros(len(faces), dtype=np.bool_)
    m, n = 0, 0
    for i in range(groups):
        for j in range(i + 1, groups):
            if apart[i] >> j & 1 == 0:
                continue
            a, b = tree.roots[i], tree.roots[j]
            if _apart(box[a], box[b]):
                continue
            free = points[min(n, len(points)) :]
            more, _, _ = cuts(
                tree, box, face_box, vertices, faces, a, tree, box, face_box, vertices, faces, b,
                cut, cut, free,
            )  # fmt: skip
            if more or _holds(box[a], box[b]) or _holds(box[b], box[a]):
                meeting[m, 0], meeting[m, 1] = i, j
                owner[min(n, len(points)) : min(n + more, len(points))] = m
                m += 1
                n += more
    return meeting[:m].copy(), n


@njit(cache=True)
def _holds(a, b):
    for c in range(3):
        if a[c] > b[c] or a[3 + c] < b[3 + c]:
            return False
    return True
