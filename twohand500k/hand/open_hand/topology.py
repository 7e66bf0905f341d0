"""778 vertices and 1538 triangles on the implicit skin, numbered as MANO numbers its tips.

Digits are tubes of ten-sided rings, cast onto the skin and closed by a dome (10, 5, 1). The palm is
a plane sheet twice over, back and front: its outline (wrist, borders, webs, root rings of the
digits) is filled with evenly spread points, triangulated in the plane, lifted to the skin and then
relaxed on it with edge flips. A disk with a loop of 16 has F = 2 V - 18 faces, so the point count
alone makes 1538.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.path import Path
from scipy.spatial import Delaunay, cKDTree

from twohand500k.conventions import FINGERS, N_FACES, N_VERTICES, TIP_SETS, WRIST_LOOP
from twohand500k.hand.open_hand import anthropometry as a
from twohand500k.hand.open_hand.skeleton import WRIST, Digit, Skeleton
from twohand500k.hand.open_hand.surface import Skin
from twohand500k.hand.rotations import Array

SIDES_OF_RING = 10
_STRADDLE = 1.02
_SPREAD = 6.4  # mm between a joint's own ring and its neighbours


@dataclass(frozen=True, eq=False)
class Mesh:
    """The finished mesh.

    vertices (778, 3) mm; faces (1538, 3) outward; wrist_loop (16,) ids; digit (778,) in FINGERS
    order, -1 on the palm; arc (778,) mm along that digit, NaN on the palm.
    """

    vertices: Array
    faces: np.ndarray
    wrist_loop: np.ndarray
    digit: np.ndarray
    arc: Array


def _ring_lengths(digit: Digit) -> list[float]:
    """Arc lengths of a digit's ten-sided rings, root first."""
    _, first, second, end = digit.knots
    if digit.name == "thumb":
        root = first + 6.5
        return [
            root, root + 5.8, root + 11.6, second - _SPREAD - 0.5, second, second + _SPREAD,
            second + 2.1 * _SPREAD, end - 10.6, end - 5.3,
        ]  # fmt: skip
    root = 0.47 * first
    rings = [root, 0.5 * (root + first - _SPREAD), first - _SPREAD, first, first + _SPREAD]
    rings += [second - 0.85 * _SPREAD, second, second + 0.85 * _SPREAD]
    last = end - 4.5
    rings += [0.5 * (rings[-1] + last), last]
    return rings


def _ring_angles(digit: Digit) -> Array:
    """Angles of a ring's points about the digit, point 2 the most dorsal.

    The outline seen from above runs between the points 9 and 0 and between 4 and 5.
    """
    turn = (np.arange(SIDES_OF_RING) + 0.5) / SIDES_OF_RING
    angles = np.asarray(2 * np.pi * turn, dtype=np.float64)
    if digit.name != "thumb":
        return angles
    # The thumb is rolled: turn its rings so that the outline from above still runs there.
    sideways = np.cross(np.array([0.0, 1.0, 0.0]), digit.distal)
    return angles + float(np.arctan2(sideways @ digit.dorsal, sideways @ digit.radial))


def _cast_ring(skin: Skin, digit: Digit, s: float, angles: Array) -> Array:
    direction = np.cos(angles)[:, None] * digit.radial + np.sin(angles)[:, None] * digit.dorsal
    axis = digit.at(s)
    on_skin = skin.cast(np.broadcast_to(axis, direction.shape), direction, 22.0)
    # A polygon inscribed in the skin is too thin; this one straddles it.
    return np.asarray(axis + _STRADDLE * (on_skin - axis))


def _dome(skin: Skin, digit: Digit, angles: Array) -> Array:
    """The tip's ring of five and its apex (6, 3)."""
    end = digit.knots[3]
    five = _cast_ring(skin, digit, end - (1.8 if digit.name == "thumb" else 1.35), angles[::2])
    start = digit.at(end - 8.0)[None]
    return np.concatenate([five, skin.cast(start, digit.distal[None], 16.0)])


def _tube_faces(rings: list[np.ndarray], five: np.ndarray, apex: int) -> list[tuple[int, int, int]]:
    faces = []
    n = SIDES_OF_RING
    for near, far in pairwise(rings):
        for k in range(n):
            a0, a1, b0, b1 = near[k], near[(k + 1) % n], far[k], far[(k + 1) % n]
            if k % 2 == 0:
                faces += [(a0, a1, b1), (a0, b1, b0)]
            else:
                faces += [(a0, a1, b0), (a1, b1, b0)]
    last = rings[-1]
    for k in range(5):
        c0, c1 = five[k], five[(k + 1) % 5]
        p0, p1, p2 = last[2 * k], last[2 * k + 1], last[(2 * k + 2) % n]
        faces += [(p0, p1, c0), (p1, c1, c0), (p1, p2, c1), (c0, c1, apex)]
    return [(int(i), int(j), int(k)) for i, j, k in faces]


def _outline(skin: Skin, start: Array, outward: Array) -> Array:
    """The hand's outline from above, met first going out from an inner start (x, z)."""
    ts = np.linspace(0.0, 40.0, 161)
    us = np.linspace(-40.0, 28.0, 69)
    xz = start + ts[:, None] * outward
    p = np.stack(np.broadcast_arrays(xz[:, None, 0], us[None], xz[:, None, 1]), axis=-1)
    before = None
    for block in np.array_split(p, 4):  # most outlines are met early
        value = skin(block)
        for points, values in zip(block, value, strict=True):
            deepest = int(np.argmin(values))
            if values[deepest] > 0:
                if before is None:
                    raise ValueError(f"the outline from {start} along {outward} starts outside")
                return np.asarray(before)
            before = points[deepest]
    raise ValueError(f"no outline from {start} along {outward}")


def _resample(points: Array, count: int) -> Array:
    """`count` interior points at equal arc lengths along a polyline."""
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = np.linspace(0.0, arc[-1], count + 2)[1:-1]
    return np.stack([np.interp(at, arc, points[:, k]) for k in range(3)], axis=-1)


def _border(skin: Skin, start: Array, stop: Array, count: int) -> Array:
    """`count` points of the outline from above between two of its points."""
    chord = (stop - start)[[0, 2]]
    normal = np.array([chord[1], -chord[0]]) / np.linalg.norm(chord)
    line = [start]
    for f in np.linspace(0.0, 1.0, 42)[1:-1]:
        base = start[[0, 2]] + f * chord
        line.append(_outline(skin, base - 14.0 * normal, normal))
    line.append(stop)
    return _resample(np.array(line), count)


def _inside(polygon: Array, points: Array) -> np.ndarray:
    return Path(polygon).contains_points(points)


def _edge_length(skeleton: Skeleton, points: Array) -> Array:
    """Wanted edge length (N,) mm: fine about the webs and knuckles, coarse in the flat."""
    nearest = np.full(len(points), np.inf)
    for finger in (1, 2, 3, 4):
        digit = skeleton.digits[finger]
        web = digit.at(0.33 * digit.knots[1])
        nearest = np.minimum(nearest, np.linalg.norm((points - web)[:, [0, 2]], axis=1))
    return 6.0 + 2.6 * np.clip((nearest - 14.0) / 26.0, 0.0, 1.0)


def _spread(skeleton: Skeleton, polygon: Array, count: int) -> Array:
    """`count` points over a polygon at the wanted spacing (Lloyd's relaxation on a fine grid)."""
    low, high = polygon.min(axis=0), polygon.max(axis=0)
    grid = np.stack(
        np.meshgrid(*(np.arange(lo, hi, 0.8) for lo, hi in zip(low, high, strict=True))), axis=-1
    ).reshape(-1, 2)
    boundary = np.concatenate(
        [
            np.linspace(p, q, 12, endpoint=False)
            for p, q in zip(polygon, np.roll(polygon, -1, 0), strict=True)
        ]
    )
    # A point close to the outline would take its edges out of the triangulation.
    grid = grid[_inside(polygon, grid) & (cKDTree(boundary).query(grid)[0] > 2.5)]
    chosen = [int(np.argmin(np.sum((grid - grid.mean(axis=0)) ** 2, axis=1)))]
    spacing = _edge_length(skeleton, grid[:, [0, 0, 1]])
    density = spacing**-4
    distance = cKDTree(boundary).query(grid)[0] / spacing
    for _ in range(count):
        new = int(np.argmax(distance))
        chosen.append(new)
        distance = np.minimum(distance, np.linalg.norm(grid - grid[new], axis=1) / spacing)
    points = grid[np.array(chosen[1:])]
    fixed = boundary
    for _ in range(60):
        owner = cKDTree(np.concatenate([points, fixed])).query(grid)[1]
        mine = owner < count
        total = np.bincount(owner[mine], weights=density[mine], minlength=count)
        for axis in (0, 1):
            mean = np.bincount(
                owner[mine], weights=density[mine] * grid[mine, axis], minlength=count
            )
            points[:, axis] = np.where(total > 0, mean / np.maximum(total, 1e-12), points[:, axis])
    return points


def _triangulate(polygon: Array, interior: Array) -> np.ndarray:
    """Delaunay triangles (T, 3) of boundary then interior points, clipped to the polygon."""
    points = np.concatenate([polygon, interior])
    simplices = Delaunay(points).simplices
    keep = _inside(polygon, points[simplices].mean(axis=1))
    simplices = simplices[keep]
    first, second, third = (points[simplices[:, k]] for k in range(3))
    u, v = second - first, third - first
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    simplices = simplices[np.abs(area) > 1e-6]
    area = area[np.abs(area) > 1e-6]
    flip = area < 0
    simplices[flip] = simplices[flip][:, ::-1]
    edges = {tuple(sorted((int(t[k]), int(t[(k + 1) % 3])))) for t in simplices for k in range(3)}
    n = len(polygon)
    missing = [(k, (k + 1) % n) for k in range(n) if tuple(sorted((k, (k + 1) % n))) not in edges]
    if missing:
        raise ValueError(f"outline edges {missing} are not in the triangulation")
    return simplices


def build_mesh(skin: Skin) -> Mesh:
    """The numbered mesh on the skin."""
    positions: list[Array] = []
    digit_of: list[int] = []
    arc_of: list[float] = []
    faces: list[tuple[int, int, int]] = []

    def add(points: Array, digit: int = -1, arc: float = np.nan) -> np.ndarray:
        first = len(positions)
        for p in np.atleast_2d(points):
            positions.append(p)
            digit_of.append(digit)
            arc_of.append(arc)
        return np.arange(first, len(positions))

    roots: list[np.ndarray] = []
    apexes: list[int] = []
    fives: list[np.ndarray] = []
    for finger, digit in enumerate(skin.skeleton.digits):
        angles = _ring_angles(digit)
        rings = [add(_cast_ring(skin, digit, s, angles), finger, s) for s in _ring_lengths(digit)]
        dome = _dome(skin, digit, angles)
        five = add(dome[:5], finger, digit.knots[3] - 1.0)
        apex = int(add(dome[5], finger, digit.knots[3])[0])
        faces += _tube_faces(rings, five, apex)
        roots.append(rings[0])
        fives.append(five)
        apexes.append(apex)

    # The wrist loop: equal arcs of the section at the stump's end, starting on the radial outline.
    centre = np.array([WRIST[0] + a.STUMP_MM, WRIST[1], WRIST[2]])
    fine = np.linspace(0.0, 2 * np.pi, 721)
    directions = np.stack([np.zeros_like(fine), np.sin(fine), np.cos(fine)], axis=-1)
    section = skin.cast(np.broadcast_to(centre, directions.shape), directions, 40.0)
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(section, axis=0), axis=1))])
    at = np.linspace(0.0, arc[-1], WRIST_LOOP + 1)[:-1]
    loop = add(np.stack([np.interp(at, arc, section[:, k]) for k in range(3)], axis=-1))

    # Once around the hand as seen from above: single points of the outline, and whole root rings.
    p = positions
    outline: list[int | np.ndarray] = [int(loop[0])]
    thumb, index, middle, ring, little = roots

    def middle_of(first: int, second: int) -> Array:
        return np.asarray(0.5 * (p[first] + p[second]))

    def border(start: Array, stop: Array, count: int) -> None:
        outline.extend(int(i) for i in add(_border(skin, start, stop, count)))

    border(p[loop[0]], middle_of(thumb[0], thumb[9]), 7)
    for here, after, count in (
        (thumb, index, 5), (index, middle, 1), (middle, ring, 1), (ring, little, 1),
    ):  # fmt: skip
        outline.append(here)
        border(middle_of(here[4], here[5]), middle_of(after[0], after[9]), count)
    outline.append(little)
    border(middle_of(little[4], little[5]), p[loop[8]], 10)
    outline.append(int(loop[8]))
    # A root ring has no point on the outline but two on either side of it, so that the web lies
    # against a flat flank: one triangle more on each side.
    for k, item in enumerate(outline):
        if isinstance(item, np.ndarray):
            before, behind = outline[k - 1], outline[k + 1]
            faces.append((int(before), int(item[0]), int(item[9])))
            faces.append((int(item[4]), int(behind), int(item[5])))

    count_palm = N_VERTICES - len(positions)
    palmar = round(0.52 * count_palm)
    for side, count in ((1, count_palm - palmar), (-1, palmar)):
        # The side's outline: the shared borders plus the root rings' and the wrist's own half.
        ids: list[int] = []
        flat: list[Array] = []
        for item in outline:
            if isinstance(item, np.ndarray):
                half = item[[0, 1, 2, 3, 4]] if side > 0 else item[[9, 8, 7, 6, 5]]
                chord = p[half[4]] - p[half[0]]
                for i in half:
                    f = float((p[i] - p[half[0]]) @ chord / (chord @ chord))
                    # A half ring lies nearly on one line: bow it, or Delaunay cannot hold it.
                    bow = 6.0 * f * (1.0 - f) * skin.skeleton.digits[digit_of[i]].distal
                    ids.append(int(i))
                    flat.append((p[half[0]] + f * chord + bow)[[0, 2]])
            else:
                ids.append(item)
                flat.append(p[item][[0, 2]])
        for i in loop[7:0:-1] if side > 0 else loop[9:]:
            f = (p[i][2] - p[loop[8]][2]) / (p[loop[0]][2] - p[loop[8]][2])
            ids.append(int(i))
            flat.append((p[i] + np.array([6.0 * f * (1.0 - f), 0.0, 0.0]))[[0, 2]])
        polygon = np.array(flat)
        interior = _spread(skin.skeleton, polygon, count)
        triangles = _triangulate(polygon, interior)
        above = np.stack([interior[:, 0], np.full(count, 60.0 * side), interior[:, 1]], axis=-1)
        new = add(_drop(skin, above, -side))
        table = np.concatenate([np.array(ids), new])
        faces += [(int(i), int(j), int(k)) for i, j, k in table[triangles]]
    vertices = np.array(positions)
    mesh_faces = np.array(faces)
    mesh_faces = _orient(mesh_faces)
    digit_index = np.array(digit_of)
    free = digit_index < 0
    free[loop] = False
    vertices, mesh_faces = _relax(skin, vertices, mesh_faces, free, digit_index)
    if len(vertices) != N_VERTICES or len(mesh_faces) != N_FACES:
        raise ValueError(f"{len(vertices)} vertices and {len(mesh_faces)} faces")
    return _number(skin, vertices, mesh_faces, loop, digit_index, np.array(arc_of), apexes, fives)


def _drop(skin: Skin, start: Array, sign: int) -> Array:
    """First hit (N, 3) of the skin from outside, straight along +-y."""
    ts = np.linspace(0.0, 120.0, 481)
    ray = np.array([0.0, float(sign), 0.0])
    values = skin(start[:, None] + ts[:, None] * ray)
    hit = values < 0
    # A point just beside the silhouette misses the skin: take the nearest approach.
    first = np.where(hit.any(axis=1), np.argmax(hit, axis=1), np.argmin(values, axis=1))
    return start + ts[first][:, None] * ray


def _orient(faces: np.ndarray) -> np.ndarray:
    """Faces with one consistent sense, spreading from the first."""
    by_edge: dict[tuple[int, int], list[int]] = {}
    for f, t in enumerate(faces):
        for k in range(3):
            e = (int(min(t[k], t[(k + 1) % 3])), int(max(t[k], t[(k + 1) % 3])))
            by_edge.setdefault(e, []).append(f)
    if any(len(v) > 2 for v in by_edge.values()):
        raise ValueError("an edge with more than two faces")
    out = faces.copy()
    seen = {0}
    stack = [0]
    while stack:
        f = stack.pop()
        for k in range(3):
            i, j = int(out[f][k]), int(out[f][(k + 1) % 3])
            for g in by_edge[(min(i, j), max(i, j))]:
                if g in seen:
                    continue
                t = [int(v) for v in out[g]]
                if any((t[m], t[(m + 1) % 3]) == (i, j) for m in range(3)):
                    out[g] = out[g][::-1]
                seen.add(g)
                stack.append(g)
    if len(seen) != len(faces):
        raise ValueError("the mesh is not in one piece")
    return out


def _relax(
    skin: Skin, vertices: Array, faces: np.ndarray, free: np.ndarray, digit: np.ndarray
) -> tuple[Array, np.ndarray]:
    """Even out the palm: Laplacian steps on the skin and edge flips, digits and wrist held."""
    v = vertices.copy()
    ids = np.nonzero(free)[0]
    v[ids] = skin.project(v[ids], 10)
    for round_ in range(70):
        faces = _flip(v, faces, free)
        corners = v[faces]
        area = 0.5 * np.linalg.norm(
            np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
        )
        middle = corners.mean(axis=1)
        # Each vertex goes to the centroid of its triangles, weighted by how fine they should be.
        mass = area * _edge_length(skin.skeleton, middle) ** -4
        total = np.zeros(len(v))
        mean = np.zeros_like(v)
        for k in range(3):
            np.add.at(total, faces[:, k], mass)
            np.add.at(mean, faces[:, k], mass[:, None] * middle)
        move = 0.8 * (mean / total[:, None] - v)[ids]
        v[ids] = skin.project(v[ids] + move, 3 if round_ < 69 else 12)
    return v, faces


def _flip(v: Array, faces: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Flip edges of the palm whose opposite angles sum beyond pi, where the sheet stays smooth."""
    faces = faces.copy()
    for _ in range(3):
        by_edge: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for f, t in enumerate(faces):
            for k in range(3):
                i, j = int(t[k]), int(t[(k + 1) % 3])
                by_edge.setdefault((min(i, j), max(i, j)), []).append((f, k))
        angles = _corner_angles(v, faces)
        touched: set[int] = set()
        edges = set(by_edge)
        changed = 0
        for (i, j), owners in by_edge.items():
            if len(owners) != 2:
                continue
            (f, kf), (g, kg) = owners
            if f in touched or g in touched:
                continue
            p, q = int(faces[f][(kf + 2) % 3]), int(faces[g][(kg + 2) % 3])
            if not (free[i] or free[j] or free[p] or free[q]):
                continue
            if (min(p, q), max(p, q)) in edges:
                continue
            if angles[f, (kf + 2) % 3] + angles[g, (kg + 2) % 3] <= np.pi + 0.02:
                continue
            a0, b0 = int(faces[f][kf]), int(faces[f][(kf + 1) % 3])
            one, two = (p, a0, q), (q, b0, p)
            n0 = _normal(v, faces[f]) + _normal(v, faces[g])
            if _normal(v, one) @ n0 <= 0 or _normal(v, two) @ n0 <= 0:
                continue
            faces[f], faces[g] = one, two
            edges.add((min(p, q), max(p, q)))
            touched |= {f, g}
            changed += 1
        if not changed:
            break
    return faces


def _corner_angles(v: Array, faces: np.ndarray) -> Array:
    """Angle (F, 3) at every corner, radians."""
    to_next = v[np.roll(faces, -1, axis=1)] - v[faces]
    to_last = v[np.roll(faces, 1, axis=1)] - v[faces]
    cross = np.linalg.norm(np.cross(to_next, to_last), axis=-1)
    return np.asarray(np.arctan2(cross, np.sum(to_next * to_last, axis=-1)))


def _normal(v: Array, t: "np.ndarray | tuple[int, int, int]") -> Array:
    n = np.cross(v[t[1]] - v[t[0]], v[t[2]] - v[t[0]])
    return np.asarray(n / max(float(np.linalg.norm(n)), 1e-12))


def _number(
    skin: Skin,
    v: Array,
    faces: np.ndarray,
    loop: np.ndarray,
    digit: np.ndarray,
    arc: Array,
    apexes: list[int],
    fives: list[np.ndarray],
) -> Mesh:
    """Renumber so that every package's tip ids lie on the fingertips they name."""
    if np.sum(v[faces[:, 0]] * np.cross(v[faces[:, 1]], v[faces[:, 2]])) < 0:
        faces = faces[:, ::-1]
    # new id -> old id for the ids somebody uses as a tip: the apex for smplx's, for the others the
    # point of the dome nearest the pad.
    old_of: dict[int, int] = {}
    for finger in range(len(FINGERS)):
        wanted = []
        for ids in TIP_SETS.values():
            if ids[finger] not in wanted:
                wanted.append(ids[finger])
        old_of[wanted[0]] = apexes[finger]
        dorsal = skin.skeleton.digits[finger].dorsal
        near = sorted([int(i) for i in fives[finger]], key=lambda i: float(v[i] @ dorsal))
        for new, old in zip(wanted[1:], near, strict=False):
            old_of[new] = old
    taken = set(old_of.values())
    rest = iter([i for i in range(len(v)) if i not in taken])
    order = np.array([old_of[new] if new in old_of else next(rest) for new in range(len(v))])
    new_of = np.empty(len(v), dtype=np.int64)
    new_of[order] = np.arange(len(v))
    return Mesh(v[order], new_of[faces], new_of[loop], digit[order], arc[order])
