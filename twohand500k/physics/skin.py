"""Skin against skin: where two posed hands come near or overlap, point by point.

In: the skins of a pair. Out: `Touches`, the vertices of one hand near the other's skin, each with
its signed distance, the nearest skin point and the direction in which it lies outside. The repair's
last steps work on these; Bullet's hulls are rounder than a hand. The judge has its own geometry.

Inside and outside are told by the angle-weighted pseudonormal of the nearest feature: Baerentzen,
Aanaes, Signed distance computation using the angle weighted pseudonormal, IEEE TVCG 11(3), 2005.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numba import njit

from twohand500k.conventions import MANO_PARENTS
from twohand500k.hand.contact_regions import ContactRegions
from twohand500k.hand.model import HandModel
from twohand500k.hand.rotations import Array
from twohand500k.physics._kernels import ANCESTORS
from twohand500k.physics.parts import Parts

_PARENTS = np.array(MANO_PARENTS)
# Skin lies at most this deep inside a hand, metres; a palm is 3 cm thick.
_DEEPEST = 0.015
_MOST_GROUPS = 16


class Touches(NamedTuple):
    """n points of hand a near hand b's skin.

    vertex (n,) of a, or V + number of a face; face (n,) of b's closed faces and weights (n, 3) of
    its corners: the nearest point; gap (n,) m, negative inside; normal (n, 3) unit, out of b;
    point_a, point_b (n, 3).
    """

    vertex: np.ndarray
    face: np.ndarray
    weights: Array
    gap: Array
    normal: Array
    point_a: Array
    point_b: Array


class Patch(NamedTuple):
    """Skin of one region in n triangles: face (n,) of each, weights (n, 3, 3) of its corners."""

    face: np.ndarray
    weights: Array


@dataclass(frozen=True, eq=False)
class Skin:
    """One hand model's skin, ready for `pose_skin` and `touches`.

    faces (F, 3) closed; across (F, 3): the face beyond each edge; share (V + F, 16): how much of a
    vertex or a face's middle moves with each joint; part (V + F,): the joint that carries most of
    it; adjacent (16, 16): parts that are neighbours; region (V,).
    """

    model: HandModel
    faces: np.ndarray
    across: np.ndarray
    share: Array
    part: np.ndarray
    adjacent: np.ndarray
    region: np.ndarray
    correctives: Array

    @staticmethod
    def of(model: HandModel) -> "Skin":
        """The skin of a model."""
        faces = np.ascontiguousarray(model.closed_faces, dtype=np.int64)
        share = model.weights @ ANCESTORS
        part = np.argmax(model.weights, axis=1)
        return Skin(
            model=model,
            faces=faces,
            across=_across(faces),
            share=np.concatenate([share, share[faces].mean(axis=1)]),
            part=np.concatenate([part, part[faces[:, 0]]]),
            adjacent=np.ascontiguousarray(Parts.of(model).adjacent),
            region=ContactRegions.of(model).of_vertex,
            correctives=np.ascontiguousarray(
                model.posedirs.reshape(-1, model.posedirs.shape[-1]).T
            ),
        )

    @cached_property
    def by_part(self) -> np.ndarray:
        """All faces (F,), those of one part in a row."""
        return np.argsort(self.part[self.faces[:, 0]], kind="stable")

    @cached_property
    def part_of_face(self) -> np.ndarray:
        """The part of each of `by_part`."""
        return self.part[self.faces[self.by_part, 0]]

    @cached_property
    def weights(self) -> Array:
        return np.ascontiguousarray(self.model.weights)

    def posed(self, rest_skin: Array, rest: Array, R: Array, p: Array) -> Array:
        """Skin (V, 3) of one hand: rest skin (V, 3), rest joints (16, 3), frames (16, 3, 3/-)."""
        out = np.empty_like(rest_skin)
        _pose_skin(rest_skin, rest, R, p, self.weights, self.correctives, out)
        return out

    @cached_property
    def patches(self) -> tuple[Patch, ...]:
        """The skin of every contact region."""
        return tuple(_patch(self.faces, self.region, r) for r in range(int(self.region.max()) + 1))


def _patch(faces: np.ndarray, region: np.ndarray, number: int) -> Patch:
    """A region's share of the faces: a point belongs to the region of its heaviest corner."""
    face, weights = [], []
    middle = np.full(3, 1 / 3)
    for f, corners in enumerate(region[faces] == number):
        for k in np.flatnonzero(corners):
            corner = np.eye(3)[k]
            for other in ((k + 1) % 3, (k + 2) % 3):
                half = 0.5 * (corner + np.eye(3)[other])
                face.append(f)
                weights.append([corner, half, middle])
    return Patch(np.array(face), np.array(weights))


def touches(
    a: Skin,
    skin_a: Array,
    b: Skin,
    skin_b: Array,
    reach: float,
    deepest: float = np.inf,
    dense: bool = False,
) -> Touches:
    """Points of hand a inside hand b's skin, no deeper than deepest, or within `reach` (m) of it.

    Its vertices; dense: the middles of its faces too, numbered on behind the vertices.
    """
    if dense:
        skin_a = np.concatenate([skin_a, skin_a[a.faces].mean(axis=1)])
    inside_box = (skin_a >= skin_b.min(axis=0) - reach) & (skin_a <= skin_b.max(axis=0) + reach)
    vertices = np.flatnonzero(inside_box.all(axis=1))
    passed = np.zeros((len(vertices), _MOST_GROUPS), dtype=np.bool_)
    deepest = min(deepest, _DEEPEST)
    return _touches(skin_a, vertices, b, skin_b, b.by_part, b.part_of_face, passed, reach, deepest)


def own_touches(a: Skin, skin: Array, reach: float) -> Touches:
    """Vertices of a hand's digits within `reach` (m) of skin of its own that is no neighbour.

    Inside or outside; deeper than that they are not seen.
    """
    vertices = np.flatnonzero(a.part[: len(skin)] > 0)
    passed = a.adjacent[a.part[vertices]]
    return _touches(skin, vertices, a, skin, a.by_part, a.part_of_face, passed, reach, reach)


def nearest_of_regions(
    a: Skin, skin_a: Array, region_a: int, b: Skin, skin_b: Array, region_b: int
) -> Touches:
    """The vertex of a's region that is nearest to b's region: one row.

    A region is an open patch and has no inside: gap is negative only where the vertex lies inside
    the other hand.
    """
    vertices = np.flatnonzero(a.region == region_a)
    patch = b.patches[region_b]
    weights, normal = np.empty((1, 3)), np.empty((1, 3))
    row, face, gap = _nearest_in_patch(
        skin_a[vertices], skin_b, b.faces, b.across, patch.face, patch.weights, weights, normal
    )
    vertex = vertices[[row]]
    passed = np.zeros((1, _MOST_GROUPS), dtype=np.bool_)
    whole = _touches(
        skin_a, vertex, b, skin_b, b.by_part, b.part_of_face, passed, _DEEPEST, _DEEPEST
    )
    if len(whole.gap) and whole.gap[0] < 0.0:
        gap, normal = -gap, -normal
    return Touches(
        vertex,
        np.array([face]),
        weights,
        np.array([gap]),
        normal,
        skin_a[vertex],
        np.einsum("nk,nkc->nc", weights, skin_b[b.faces[[face]]]),
    )


def _touches(
    skin_a: Array, vertices: np.ndarray, b: Skin, skin_b: Array, faces: np.ndarray,
    group: np.ndarray, passed: np.ndarray, reach: float, deepest: float,
) -> Touches:  # fmt: skip
    n = len(vertices)
    face = np.full(n, -1, dtype=np.int64)
    weights, normal, gap = np.empty((n, 3)), np.empty((n, 3)), np.full(n, np.inf)
    if n:
        _signed_gaps(
            skin_a, vertices, skin_b, b.faces, b.across, faces, group, passed, reach, deepest,
            face, weights, gap, normal,
        )  # fmt: skip
    near = np.flatnonzero(gap < reach)
    face, weights = face[near], weights[near]
    return Touches(
        vertices[near],
        face,
        weights,
        gap[near],
        normal[near],
        skin_a[vertices[near]],
        np.einsum("nk,nkc->nc", weights, skin_b[b.faces[face]]),
    )


def _across(faces: np.ndarray) -> np.ndarray:
    """The face (F, 3) on the other side of edges 0-1, 1-2, 2-0 of every closed face."""
    owner = {}
    for f, (i, j, k) in enumerate(faces.tolist()):
        owner[i, j], owner[j, k], owner[k, i] = f, f, f
    return np.array([[owner[j, i], owner[k, j], owner[i, k]] for i, j, k in faces.tolist()])


@njit(cache=True)
def _pose_skin(rest_skin, rest, R, p, weights, correctives, out):
    """Linear blend skinning with pose correctives, as `HandModel` computes it."""
    V = len(rest_skin)
    shaped = rest_skin.copy().reshape(-1)
    for j in range(1, 16):
        parent = _PARENTS[j]
        for a in range(3):
            for b in range(3):
                local = -1.0 if a == b else 0.0
                for c in range(3):
                    local += R[parent, c, a] * R[j, c, b]
                row = correctives[(j - 1) * 9 + 3 * a + b]
                for i in range(3 * V):
                    shaped[i] += local * row[i]
    offset = np.empty((16, 3))
    for j in range(16):
        for a in range(3):
            offset[j, a] = p[j, a]
            for b in range(3):
                offset[j, a] -= R[j, a, b] * rest[j, b]
    for v in range(V):
        x, y, z = shaped[3 * v], shaped[3 * v + 1], shaped[3 * v + 2]
        for a in range(3):
            out[v, a] = 0.0
        for j in range(16):
            w = weights[v, j]
            if w == 0.0:
                continue
            for a in range(3):
                out[v, a] += w * (R[j, a, 0] * x + R[j, a, 1] * y + R[j, a, 2] * z + offset[j, a])


@njit(cache=True)
def _normal(skin, faces, f, out):
    a, b, c = skin[faces[f, 0]], skin[faces[f, 1]], skin[faces[f, 2]]
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    length = max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-30)
    out[0], out[1], out[2] = nx / length, ny / length, nz / length


@njit(cache=True)
def _nearest_on_triangle(q, a, b, c, w):
    """Squared distance of q to triangle a b c; w (3,) gets the nearest point's weights.

    Ericson, Real-Time Collision Detection, 2005, 5.1.5.
    """
    abx, aby, abz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    acx, acy, acz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    apx, apy, apz = q[0] - a[0], q[1] - a[1], q[2] - a[2]
    d1 = abx * apx + aby * apy + abz * apz
    d2 = acx * apx + acy * apy + acz * apz
    bpx, bpy, bpz = q[0] - b[0], q[1] - b[1], q[2] - b[2]
    d3 = abx * bpx + aby * bpy + abz * bpz
    d4 = acx * bpx + acy * bpy + acz * bpz
    cpx, cpy, cpz = q[0] - c[0], q[1] - c[1], q[2] - c[2]
    d5 = abx * cpx + aby * cpy + abz * cpz
    d6 = acx * cpx + acy * cpy + acz * cpz
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    if d1 <= 0.0 and d2 <= 0.0:
        w[0], w[1], w[2] = 1.0, 0.0, 0.0
    elif d3 >= 0.0 and d4 <= d3:
        w[0], w[1], w[2] = 0.0, 1.0, 0.0
    elif d6 >= 0.0 and d5 <= d6:
        w[0], w[1], w[2] = 0.0, 0.0, 1.0
    elif vc <= 0.0 and d1 >= 0.0 and d3 <= 0.0:
        t = d1 / (d1 - d3)
        w[0], w[1], w[2] = 1.0 - t, t, 0.0
    elif vb <= 0.0 and d2 >= 0.0 and d6 <= 0.0:
        t = d2 / (d2 - d6)
        w[0], w[1], w[2] = 1.0 - t, 0.0, t
    elif va <= 0.0 and d4 - d3 >= 0.0 and d5 - d6 >= 0.0:
        t = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        w[0], w[1], w[2] = 0.0, 1.0 - t, t
    else:
        total = va + vb + vc
        w[0], w[1], w[2] = va / total, vb / total, vc / total
    x = w[0] * a[0] + w[1] * b[0] + w[2] * c[0] - q[0]
    y = w[0] * a[1] + w[1] * b[1] + w[2] * c[1] - q[1]
    z = w[0] * a[2] + w[1] * b[2] + w[2] * c[2] - q[2]
    return x * x + y * y + z * z


@njit(cache=True)
def _nearest_in_patch(
    points, skin, faces, across, patch_face, patch_weights, weights, normal
):  # fmt: skip
    """Which of points (n, 3) is nearest to a patch of skin.

    Returns its row, the face and the distance; fills weights (1, 3) of the face's corners and
    normal (1, 3), unit, from the patch to the point.
    """
    n = len(patch_face)
    corner, centre, radius = np.empty((n, 3, 3)), np.empty((n, 3)), np.empty(n)
    for i in range(n):
        for k in range(3):
            for c in range(3):
                corner[i, k, c] = 0.0
                for m in range(3):
                    corner[i, k, c] += patch_weights[i, k, m] * skin[faces[patch_face[i], m], c]
        radius[i] = 0.0
        for c in range(3):
            centre[i, c] = (corner[i, 0, c] + corner[i, 1, c] + corner[i, 2, c]) / 3.0
        for k in range(3):
            d = 0.0
            for c in range(3):
                d += (corner[i, k, c] - centre[i, c]) ** 2
            radius[i] = max(radius[i], np.sqrt(d))
    best, row, triangle = np.inf, 0, 0
    w = np.empty(3)
    inner = np.empty(3)
    for v in range(len(points)):
        for i in range(n):
            d = 0.0
            for c in range(3):
                d += (points[v, c] - centre[i, c]) ** 2
            if np.sqrt(d) - radius[i] > best:
                continue
            d = np.sqrt(
                _nearest_on_triangle(points[v], corner[i, 0], corner[i, 1], corner[i, 2], w)
            )
            if d < best:
                best, row, triangle = d, v, i
                inner[:] = w
    face = patch_face[triangle]
    for m in range(3):
        weights[0, m] = 0.0
        for k in range(3):
            weights[0, m] += inner[k] * patch_weights[triangle, k, m]
    if best > 2e-5:
        for c in range(3):
            normal[0, c] = points[row, c] / best
            for m in range(3):
                normal[0, c] -= weights[0, m] * skin[faces[face, m], c] / best
    else:
        _normal(skin, faces, face, normal[0])
    return row, face, best


@njit(cache=True)
def _pseudonormal(skin, faces, across, f, w, out):
    """Outward direction (3,) at the point of face f with corner weights w."""
    one = np.empty(3)
    zeros = 0
    for k in range(3):
        if w[k] < 1e-9:
            zeros += 1
    _normal(skin, faces, f, out)
    if zeros == 0:
        return
    if zeros == 1:
        k = 0
        while w[k] >= 1e-9:
            k += 1
        # The edge opposite corner k runs from k + 1 to k + 2: edge number k + 1.
        _normal(skin, faces, across[f, (k + 1) % 3], one)
        for a in range(3):
            out[a] += one[a]
        return
    corner = 0
    while w[corner] < 1e-9:
        corner += 1
    vertex = faces[f, corner]
    for a in range(3):
        out[a] = 0.0
    g = f
    for _ in range(64):
        k = 0
        while faces[g, k] != vertex:
            k += 1
        p, q, r = skin[vertex], skin[faces[g, (k + 1) % 3]], skin[faces[g, (k + 2) % 3]]
        ux, uy, uz = q[0] - p[0], q[1] - p[1], q[2] - p[2]
        vx, vy, vz = r[0] - p[0], r[1] - p[1], r[2] - p[2]
        cross = np.sqrt(
            (uy * vz - uz * vy) ** 2 + (uz * vx - ux * vz) ** 2 + (ux * vy - uy * vx) ** 2
        )
        angle = np.arctan2(cross, ux * vx + uy * vy + uz * vz)
        _normal(skin, faces, g, one)
        for a in range(3):
            out[a] += angle * one[a]
        g = across[g, k]
        if g == f:
            break


@njit(cache=True)
def _signed_gaps(
    skin_a, vertices, skin_b, faces, across, among, group, passed, reach, deepest,
    face, weights, gap, normal,
):  # fmt: skip
    """Signed distances of chosen vertices to chosen faces of a closed skin.

    among (n,): the faces, those of one group (n,) in a row; passed (vertices, groups) bool: groups
    that are not asked. A vertex that lies further out than reach, or deeper than deepest, keeps
    gap = inf.
    """
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for v in vertices:
        for c in range(3):
            low[c] = min(low[c], skin_a[v, c])
            high[c] = max(high[c], skin_a[v, c])
    margin = max(reach, deepest)
    centre, radius, kept, first, ball, name = _near_faces(
        skin_b, faces, among, group, low, high, margin
    )
    w, n = np.empty(3), np.empty(3)
    last, last_group, nearest_group = -1, 0, 0
    for i in range(len(vertices)):
        q = skin_a[vertices[i]]
        bound = margin
        if last >= 0 and not passed[i, last_group]:
            # Neighbours in number are neighbours in space: the last nearest face is a good guess.
            d = _nearest_on_triangle(
                q, skin_b[faces[last, 0]], skin_b[faces[last, 1]], skin_b[faces[last, 2]], w
            )
            bound = min(bound, np.sqrt(d) * (1.0 + 1e-12) + 1e-15)
        best = np.inf
        for group_number in range(len(ball)):
            if passed[i, name[group_number]]:
                continue
            d = 0.0
            for c in range(3):
                d += (ball[group_number, c] - q[c]) ** 2
            if d > (bound + ball[group_number, 3]) ** 2:
                continue
            for k in range(first[group_number], first[group_number + 1]):
                d = 0.0
                for c in range(3):
                    d += (centre[k, c] - q[c]) ** 2
                if d > (bound + radius[k]) ** 2:
                    continue
                f = kept[k]
                d = _nearest_on_triangle(
                    q, skin_b[faces[f, 0]], skin_b[faces[f, 1]], skin_b[faces[f, 2]], w
                )
                if d < best:
                    best = d
                    bound = min(bound, np.sqrt(d))
                    face[i] = f
                    nearest_group = name[group_number]
                    for c in range(3):
                        weights[i, c] = w[c]
        if face[i] < 0 or np.sqrt(best) > margin:
            continue
        last, last_group = face[i], nearest_group
        _pseudonormal(skin_b, faces, across, face[i], weights[i], n)
        f = face[i]
        side, length = 0.0, 0.0
        for c in range(3):
            normal[i, c] = q[c]
            for k in range(3):
                normal[i, c] -= weights[i, k] * skin_b[faces[f, k], c]
            side += normal[i, c] * n[c]
            length += n[c] * n[c]
        away = np.sqrt(best)
        signed = away if side >= 0.0 else -away
        if signed >= reach:
            continue
        gap[i] = signed
        length = max(np.sqrt(length), 1e-30)
        for c in range(3):
            # Very near the skin the difference has no direction left; its own normal has.
            normal[i, c] = normal[i, c] / signed if away > 2e-5 else n[c] / length


@njit(cache=True)
def _near_faces(skin, faces, among, group, low, high, margin):
    """Faces within margin of a box, with spheres about each and about each group of them.

    Returns centres (n, 3), radii (n,), face numbers (n,), where each group begins (g + 1,), the
    groups' spheres (g, 4) and names (g,).
    """
    F = len(among)
    centre, radius = np.empty((F, 3)), np.empty(F)
    kept = np.empty(F, dtype=np.int64)
    first = np.zeros(_MOST_GROUPS + 1, dtype=np.int64)
    ball = np.zeros((_MOST_GROUPS, 4))
    name = np.zeros(_MOST_GROUPS, dtype=np.int64)
    groups, count, last = 0, 0, -1
    for i in range(F):
        f = among[i]
        near = True
        for c in range(3):
            x, y, z = skin[faces[f, 0], c], skin[faces[f, 1], c], skin[faces[f, 2], c]
            if min(x, y, z) > high[c] + margin or max(x, y, z) < low[c] - margin:
                near = False
                break
            centre[count, c] = (x + y + z) / 3.0
        if not near:
            continue
        largest = 0.0
        for k in range(3):
            d = 0.0
            for c in range(3):
                d += (skin[faces[f, k], c] - centre[count, c]) ** 2
            largest = max(largest, d)
        radius[count] = np.sqrt(largest)
        kept[count] = f
        if group[i] != last:
            last = group[i]
            first[groups] = count
            name[groups] = last
            groups += 1
        count += 1
    first[groups] = count
    for g in range(groups):
        n = first[g + 1] - first[g]
        for c in range(3):
            for k in range(first[g], first[g + 1]):
                ball[g, c] += centre[k, c] / n
        for k in range(first[g], first[g + 1]):
            d = 0.0
            for c in range(3):
                d += (centre[k, c] - ball[g, c]) ** 2
            ball[g, 3] = max(ball[g, 3], np.sqrt(d) + radius[k])
    first = first[: groups + 1]
    return centre[:count], radius[:count], kept[:count], first, ball[:groups], name[:groups]
