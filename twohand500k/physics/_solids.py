"""Compiled: which points lie inside closed meshes, and how much space several of them share.

A ray along one axis crosses a closed mesh into it and out of it again; how often it has gone in
more than out is the winding number, so a point that a mesh covers twice (a finger in its own palm)
counts once. Shared space is the length shared along parallel rays times the distance between rays.

All meshes asked about lie in one array of faces, each face with a label saying whose it is, in the
two coordinates across the rays sorted into a grid of bins. A ray that meets an edge or a vertex
exactly meets one of the faces around it: every edge is evaluated from its lower vertex to its
higher one, so that both its faces see the same number with opposite signs, and an exact zero is
decided as if the ray stood a little further along both coordinates (Edelsbrunner, Muecke,
Simulation of simplicity, ACM TOG 9(1), 1990). A ray that does not come out of every mesh
it went into is not trusted.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from twohand500k.hand.rotations import Array

_MOST_CROSSINGS = 256
# A point whose ray is not trusted is asked again beside it, metres.
_ASIDE = 1e-8


class Rays(NamedTuple):
    """Faces sorted for rays along one axis, within a rectangle of the two others (u, v).

    axes (3,): which coordinates are u, v and the ray's own. corner (2,) and bin (2,): the grid's
    corner and bin size, m; bins (2,): how many. start (bins + 1,), members: faces of every bin.
    edge (n, 9): a u + b v + c of the edges opposite each corner, u and v from the grid's corner,
    positive to their left; height (n, 3): the corners along the ray; label (n,).
    """

    axes: np.ndarray
    corner: Array
    bin: Array
    bins: np.ndarray
    start: np.ndarray
    members: np.ndarray
    edge: Array
    height: Array
    label: np.ndarray


@njit(cache=True)
def rays_through(vertices, faces, label, low, high, axis, bins_u, bins_v):
    """`Rays` along an axis through the box low, high (3,), of all faces that lie over it."""
    u, v = (axis + 1) % 3, (axis + 2) % 3
    corner = np.array([low[u], low[v]])
    size = np.array([
        max((high[u] - low[u]) / bins_u, 1e-9), max((high[v] - low[v]) / bins_v, 1e-9)
    ])  # fmt: skip
    F = len(faces)
    kept = np.empty(F, dtype=np.int64)
    bound = np.empty((F, 4))
    n = 0
    for f in range(F):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        a, b, c = vertices[i, u], vertices[j, u], vertices[k, u]
        u0, u1 = min(a, b, c), max(a, b, c)
        if u0 > high[u] or u1 < low[u]:
            continue
        a, b, c = vertices[i, v], vertices[j, v], vertices[k, v]
        v0, v1 = min(a, b, c), max(a, b, c)
        if v0 > high[v] or v1 < low[v]:
            continue
        bound[n, 0], bound[n, 1], bound[n, 2], bound[n, 3] = u0, u1, v0, v1
        kept[n] = f
        n += 1
    edge, height = np.empty((n, 9)), np.empty((n, 3))
    owner = np.empty(n, dtype=np.int64)
    cells = np.empty((n, 4), dtype=np.int64)
    start = np.zeros(bins_u * bins_v + 1, dtype=np.int64)
    for m in range(n):
        f = kept[m]
        owner[m] = label[f]
        for k in range(3):
            # Edge k lies opposite corner k, so that its value weighs that corner.
            p, q = faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
            height[m, k] = vertices[faces[f, k], axis]
            sign = 1.0
            if p > q:
                p, q, sign = q, p, -1.0
            a = vertices[p, v] - vertices[q, v]
            b = vertices[q, u] - vertices[p, u]
            c = a * (vertices[p, u] - corner[0]) + b * (vertices[p, v] - corner[1])
            edge[m, 3 * k], edge[m, 3 * k + 1] = sign * a, sign * b
            edge[m, 3 * k + 2] = -sign * c
        for c in range(2):
            most = bins_u - 1 if c == 0 else bins_v - 1
            for s in range(2):
                cell = int(np.floor((bound[m, 2 * c + s] - corner[c]) / size[c]))
                cells[m, 2 * c + s] = min(max(cell, 0), most)
        for x in range(cells[m, 0], cells[m, 1] + 1):
            for y in range(cells[m, 2], cells[m, 3] + 1):
                start[x * bins_v + y + 1] += 1
    for i in range(bins_u * bins_v):
        start[i + 1] += start[i]
    members = np.empty(start[-1], dtype=np.int64)
    filled = start[:-1].copy()
    for m in range(n):
        for x in range(cells[m, 0], cells[m, 1] + 1):
            for y in range(cells[m, 2], cells[m, 3] + 1):
                members[filled[x * bins_v + y]] = m
                filled[x * bins_v + y] += 1
    return Rays(
        np.array([u, v, axis]), corner, size, np.array([bins_u, bins_v]), start, members, edge,
        height, owner,
    )  # fmt: skip


@njit(cache=True)
def _left(edge, m, k, u, v):
    """Whether u, v lies left of an edge; on it, whether it would a little further along both."""
    a, b = edge[m, 3 * k], edge[m, 3 * k + 1]
    e = a * u + b * v + edge[m, 3 * k + 2]
    return e > 0.0 or (e == 0.0 and (a > 0.0 or (a == 0.0 and b > 0.0)))


@njit(cache=True, error_model="numpy")
def _crossings(start, members, edge, height, label, bins, size, u, v, only, heights, codes):
    """Faces that the ray at u, v meets, by height: how many, or -1 if there are too many.

    only: one label, or -1 for all. codes: label + 1, positive where the ray goes in. Seen along the
    ray a face that runs counter-clockwise faces forward: there the ray comes out.
    """
    x = min(max(int(u / size[0]), 0), bins[0] - 1)
    y = min(max(int(v / size[1]), 0), bins[1] - 1)
    cell = x * bins[1] + y
    n = 0
    for i in range(start[cell], start[cell + 1]):
        m = members[i]
        e0 = edge[m, 0] * u + edge[m, 1] * v + edge[m, 2]
        e1 = edge[m, 3] * u + edge[m, 4] * v + edge[m, 5]
        e2 = edge[m, 6] * u + edge[m, 7] * v + edge[m, 8]
        # Whole conditions without branches: most faces are missed, and which cannot be foreseen.
        out = (e0 >= 0.0) & (e1 >= 0.0) & (e2 >= 0.0)
        if not (out | ((e0 <= 0.0) & (e1 <= 0.0) & (e2 <= 0.0))):
            continue
        if e0 == 0.0 or e1 == 0.0 or e2 == 0.0:
            out = _left(edge, m, 0, u, v)
            if _left(edge, m, 1, u, v) != out or _left(edge, m, 2, u, v) != out:
                continue
        if only >= 0 and label[m] != only:
            continue
        if n == len(heights):
            return -1
        total = e0 + e1 + e2
        if total != 0.0:
            h = (e0 * height[m, 0] + e1 * height[m, 1] + e2 * height[m, 2]) / total
        else:
            h = height[m, 0]
        code = -(label[m] + 1) if out else label[m] + 1
        j = n
        while j > 0 and heights[j - 1] > h:
            heights[j], codes[j] = heights[j - 1], codes[j - 1]
            j -= 1
        heights[j], codes[j] = h, code
        n += 1
    return n


@njit(cache=True)
def winding(rays, label, x, y, z, heights, codes):
    """Winding number of a mesh about a point within the rectangle, and whether to trust it.

    heights, codes (n,): working space.
    """
    point = (x, y, z)
    for attempt in range(4):
        u = point[rays.axes[0]] - rays.corner[0] + attempt * _ASIDE
        v = point[rays.axes[1]] - rays.corner[1] + attempt * 1.7 * _ASIDE
        w = point[rays.axes[2]]
        n = _crossings(
            rays.start, rays.members, rays.edge, rays.height, rays.label, rays.bins, rays.bin, u, v,
            label, heights, codes,
        )  # fmt: skip
        below, total = 0, 0
        for i in range(n):
            way = 1 if codes[i] > 0 else -1
            total += way
            if heights[i] < w:
                below += way
        if n >= 0 and total == 0:
            return below, True
    return 0, False


@njit(cache=True)
def inside(rays, label, points, low, high, out):
    """Which points (n, 3) within the box low, high lie inside a mesh, into out (n,).

    Returns how many could not be told.
    """
    heights, codes = np.empty(_MOST_CROSSINGS), np.empty(_MOST_CROSSINGS, dtype=np.int64)
    unknown = 0
    for i in range(len(points)):
        out[i] = False
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        if x < low[0] or y < low[1] or z < low[2] or x > high[0] or y > high[1] or z > high[2]:
            continue
        number, trusted = winding(rays, label, x, y, z, heights, codes)
        out[i] = number > 0
        if not trusted:
            unknown += 1
    return unknown


@njit(cache=True)
def _bits(mask):
    n = 0
    while mask:
        mask &= mask - 1
        n += 1
    return n


@njit(cache=True)
def _shared(heights, codes, n, apart, count):
    """Length that lies in two meshes of labels that are apart, of one ray; -1: not trusted.

    count (labels,): zeros, and left so.
    """
    if n < 0:
        return -1.0
    mask, conflicts = 0, 0
    length = 0.0
    for i in range(n):
        if conflicts > 0:
            length += heights[i] - heights[i - 1]
        label = abs(codes[i]) - 1
        before = count[label]
        count[label] += 1 if codes[i] > 0 else -1
        if before <= 0 and count[label] > 0:
            mask |= 1 << label
            conflicts += _bits(apart[label] & mask)
        elif before > 0 and count[label] <= 0:
            mask &= ~(1 << label)
            conflicts -= _bits(apart[label] & mask)
    closed = True
    for i in range(n):
        label = abs(codes[i]) - 1
        if count[label] != 0:
            closed = False
            count[label] = 0
    return length if closed else -1.0


@njit(cache=True, error_model="numpy")
def shared_volume(rays, apart, boxes, seeds, first_rays, enough, most_rays):
    """Space in two meshes whose labels are apart, each point once.

    apart (labels,): bit j of apart[i] says that i and j are to be told apart. boxes (n, 6): least
    and greatest corner of boxes that hold all of it, m; seeds (n, 3): points on it, at least one
    on each piece. A first pass of `first_rays` rays finds where it lies; if fewer than `enough` of
    them meet it, a second pass of at most `most_rays` looks there more closely;
    of what lies scattered three times as many have to meet it.

    Returns volume m3, rays that met it, rays not trusted, rays cast.
    """
    u, v = rays.axes[0], rays.axes[1]
    start, members, edge, height = rays.start, rays.members, rays.edge, rays.height
    label, bins, size = rays.label, rays.bins, rays.bin
    low_u, low_v, high_u, high_v = np.inf, np.inf, -np.inf, -np.inf
    for b in range(len(boxes)):
        low_u, high_u = min(low_u, boxes[b, u]), max(high_u, boxes[b, 3 + u])
        low_v, high_v = min(low_v, boxes[b, v]), max(high_v, boxes[b, 3 + v])
    size_u, size_v = max(high_u - low_u, 1e-9), max(high_v - low_v, 1e-9)
    step = np.sqrt(size_u * size_v / first_rays)
    nu = min(max(int(np.ceil(size_u / step)), 1), first_rays)
    nv = min(max(int(np.ceil(size_v / step)), 1), first_rays)
    du, dv = size_u / nu, size_v / nv
    heights = np.empty(_MOST_CROSSINGS)
    codes = np.empty(_MOST_CROSSINGS, dtype=np.int64)
    count = np.zeros(64, dtype=np.int64)
    offset_u, offset_v = low_u - rays.corner[0], low_v - rays.corner[1]

    asked = np.zeros((nu, nv), dtype=np.bool_)
    for b in range(len(boxes)):
        _mark(asked, boxes[b, u] - low_u, boxes[b, 3 + u] - low_u, du,
              boxes[b, v] - low_v, boxes[b, 3 + v] - low_v, dv)  # fmt: skip
    found = np.zeros((nu, nv), dtype=np.bool_)
    total, met, lost, cast = 0.0, 0, 0, 0
    for x in range(nu):
        for y in range(nv):
            if not asked[x, y]:
                continue
            cast += 1
            n = _crossings(
                start, members, edge, height, label, bins, size, offset_u + (x + 0.5) * du,
                offset_v + (y + 0.5) * dv, -1, heights, codes,
            )  # fmt: skip
            length = _shared(heights, codes, n, apart, count)
            if length < 0.0:
                lost += 1
                found[x, y] = True
            elif length > 0.0:
                met += 1
                total += length
                found[x, y] = True
    if met >= enough:
        return total * du * dv, met, lost, cast
    if 6 * met < cast:  # several pieces, each with a rim of its own
        enough, most_rays = 3 * enough, 2 * most_rays
    for i in range(len(seeds)):
        x, y = seeds[i, u] - low_u, seeds[i, v] - low_v
        _mark(found, x, x, du, y, y, dv)
    near = np.zeros((nu, nv), dtype=np.bool_)
    cells = 0
    for x in range(nu):
        for y in range(nv):
            if asked[x, y]:
                for dx in range(max(x - 1, 0), min(x + 2, nu)):
                    for dy in range(max(y - 1, 0), min(y + 2, nv)):
                        near[x, y] |= found[dx, dy]
                cells += near[x, y]
    if cells == 0:
        return 0.0, 0, lost, cast
    finer = int(np.ceil(np.sqrt(enough / max(met, 1))))
    finer = max(min(finer, int(np.sqrt(most_rays / cells))), 2)
    total, met, lost = 0.0, 0, 0
    su, sv = du / finer, dv / finer
    for x in range(nu):
        for y in range(nv):
            if not near[x, y]:
                continue
            for i in range(finer):
                for j in range(finer):
                    cast += 1
                    n = _crossings(
                        start, members, edge, height, label, bins, size,
                        offset_u + x * du + (i + 0.5) * su, offset_v + y * dv + (j + 0.5) * sv, -1,
                        heights, codes,
                    )  # fmt: skip
                    length = _shared(heights, codes, n, apart, count)
                    if length < 0.0:
                        lost += 1
                    elif length > 0.0:
                        met += 1
                        total += length
    return total * su * sv, met, lost, cast


@njit(cache=True)
def _mark(cells, u0, u1, du, v0, v1, dv):
    """Mark the cells that a rectangle lies over, those on its border included."""
    nu, nv = cells.shape
    x0, x1 = int(np.floor(u0 / du - 1e-9)), int(np.floor(u1 / du + 1e-9))
    y0, y1 = int(np.floor(v0 / dv - 1e-9)), int(np.floor(v1 / dv + 1e-9))
    for x in range(min(max(x0, 0), nu - 1), min(max(x1, 0), nu - 1) + 1):
        for y in range(min(max(y0, 0), nv - 1), min(max(y1, 0), nv - 1) + 1):
            cells[x, y] = True


@njit(cache=True)
def signed_volume(vertices, faces):
    """Volume of a closed mesh, positive when its faces point outward."""
    total = 0.0
    ox, oy, oz = vertices[faces[0, 0], 0], vertices[faces[0, 0], 1], vertices[faces[0, 0], 2]
    for f in range(len(faces)):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = vertices[i, 0] - ox, vertices[i, 1] - oy, vertices[i, 2] - oz
        bx, by, bz = vertices[j, 0] - ox, vertices[j, 1] - oy, vertices[j, 2] - oz
        cx, cy, cz = vertices[k, 0] - ox, vertices[k, 1] - oy, vertices[k, 2] - oz
        total += ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
    return total / 6.0


@njit(cache=True)
def extents(rays, meeting, low, high, vertices, members, start, points, owner, seeds):
    """Where pairs of meshes share space: their boxes, and points on them.

    meeting (m, 2): labels; low, high (m, 3): boxes that hold what they may share; members, start
    (labels + 1,): the vertices of every label. points (n, 3), owner (n,): where they cut, by row of
    meeting, sorted. Returns boxes (m, 6), inf where nothing is shared; seeds (., 3) is filled with
    the points and the vertices inside; how many of those, and how many could not be told.
    """
    heights, codes = np.empty(_MOST_CROSSINGS), np.empty(_MOST_CROSSINGS, dtype=np.int64)
    boxes = np.empty((len(meeting), 6))
    boxes[:, :3], boxes[:, 3:] = np.inf, -np.inf
    n, unknown = 0, 0
    for i in range(len(points)):
        for c in range(3):
            boxes[owner[i], c] = min(boxes[owner[i], c], points[i, c])
            boxes[owner[i], 3 + c] = max(boxes[owner[i], 3 + c], points[i, c])
            seeds[n, c] = points[i, c]
        n += 1
    for row in range(len(meeting)):
        for way in range(2):
            mine, other = meeting[row, way], meeting[row, 1 - way]
            for i in range(start[mine], start[mine + 1]):
                x, y, z = vertices[members[i], 0], vertices[members[i], 1], vertices[members[i], 2]
                if (
                    x < low[row, 0] or y < low[row, 1] or z < low[row, 2]
                    or x > high[row, 0] or y > high[row, 1] or z > high[row, 2]
                ):  # fmt: skip
                    continue
                number, trusted = winding(rays, other, x, y, z, heights, codes)
                if not trusted:
                    unknown += 1
                if number <= 0:
                    continue
                for c in range(3):
                    boxes[row, c] = min(boxes[row, c], vertices[members[i], c])
                    boxes[row, 3 + c] = max(boxes[row, 3 + c], vertices[members[i], c])
                    seeds[n, c] = vertices[members[i], c]
                n += 1
    return boxes, n, unknown
