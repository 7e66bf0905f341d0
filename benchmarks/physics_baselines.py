"""What the repair is measured against: rigid separation, and descent on a penetration loss.

In: a pair of hands (`PairInput`), or several. Out: pose and translation after the alternative.
`physics_fix.py` runs and judges them; nothing here is part of the product.

Rigid separation is the least translation that parts the skins, half of it to each hand. For a
direction the way to go is found exactly but for what lies between sample points: every vertex and
every middle of an edge of one closed skin is a ray through the other, and gives the intervals of
the way on which it lies inside; the first place that no interval covers is free. (Bisection would
jump over a place between two fingers.) 400 directions over the sphere, the first look with vertices
only, the best four refined, and the judge asked at the end. What is least is what the table
counts: the mean movement of the 42 joints, the pair's common motion removed.

Descent is what published pipelines do (a penetration loss on signed distances, a pull towards the
input, Adam, through the differentiable hand `HandModel.to_smplx`): the loss is the sum, over the
vertices of one hand inside the other, of the distance to the other's skin, linear or squared, both
ways round, exact and not from a grid; the pull is on joints and angles.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import njit

from twohand500k.conventions import LEFT, OPENPOSE_FROM_MANO21, RIGHT
from twohand500k.hand import HandPair
from twohand500k.hand.measure import pair_displacement
from twohand500k.physics.judge import Judge
from twohand500k.physics.repair import PairInput

Array = np.ndarray

DIRECTIONS, REFINED, REFINEMENTS = 400, 4, 30
# A free place shorter than this (m) may be one between sample points.
_FREE = 0.0002
# What is left where the judge says the skins are parted: m3.
_PARTED = 1e-10


@dataclass(frozen=True, eq=False)
class Skins:
    """Both closed skins of a pair as `separation` needs them.

    points: their vertices and the middles of their edges.
    """

    vertices: tuple[Array, Array]
    faces: tuple[Array, Array]
    points: tuple[Array, Array]

    @staticmethod
    def of(hands: HandPair, pair: PairInput) -> "Skins":
        skins, faces, points = [], [], []
        for s in (RIGHT, LEFT):
            posed = hands[s].with_shape(pair.betas[s]).with_pose(pair.pose[s], pair.transl[s])
            closed = np.ascontiguousarray(hands[s].closed_faces, dtype=np.int64)
            edges = np.unique(np.sort(closed[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
            skins.append(np.ascontiguousarray(posed.vertices))
            faces.append(closed)
            points.append(np.concatenate([skins[s], skins[s][edges].mean(axis=1)]))
        return Skins((skins[0], skins[1]), (faces[0], faces[1]), (points[0], points[1]))


@dataclass(frozen=True, eq=False)
class Separation:
    """way (3,): how far the left hand goes against the right (m). parted: the judge agrees."""

    way: Array
    parted: bool


def separation(
    hands: HandPair, judge: Judge, pair: PairInput, rng: np.random.Generator, plain: bool = False
) -> Separation:
    """The least translation of the left hand against the right that parts the skins.

    plain: only along the line between the middles of the two skins, what one would write first.
    """
    skins = Skins.of(hands, pair)
    joints = np.stack(
        [
            hands[s].with_shape(pair.betas[s]).with_pose(pair.pose[s], pair.transl[s]).joints
            for s in (RIGHT, LEFT)
        ]
    )

    def parted(way: Array) -> bool:
        judged = judge.pair(skins.vertices[RIGHT], skins.vertices[LEFT] + way)
        return bool(judged.volume <= _PARTED)

    if parted(np.zeros(3)):
        return Separation(np.zeros(3), True)

    def tried(direction: Array, points: tuple[Array, Array]) -> tuple[float, Array]:
        way = direction * _way_out(skins, points, direction)
        after = joints.copy()
        after[LEFT] += way
        return pair_displacement(joints, after), way

    best = []
    if plain:
        between = skins.vertices[LEFT].mean(axis=0) - skins.vertices[RIGHT].mean(axis=0)
        best.append(tried(between / np.linalg.norm(between), skins.points))
        found = []
    else:
        found = [tried(direction, skins.vertices) for direction in sphere(DIRECTIONS)]
    found.sort(key=lambda one: one[0])
    for _, way in found[:REFINED]:
        direction, sigma = way / max(np.linalg.norm(way), 1e-12), 0.08
        cost, way = tried(direction, skins.points)
        for _ in range(REFINEMENTS):
            other = direction + sigma * rng.standard_normal(3)
            other /= np.linalg.norm(other)
            other_cost, other_way = tried(other, skins.points)
            if other_cost < cost:
                cost, way, direction = other_cost, other_way, other
            else:
                sigma *= 0.9
        best.append((cost, way))
    _, way = min(best, key=lambda one: one[0])
    length = float(np.linalg.norm(way))
    direction = way / max(length, 1e-12)
    # Edges may still cross where no vertex and no middle of an edge lies inside.
    for _ in range(40):
        if parted(length * direction):
            return Separation(length * direction, True)
        length += 1e-4
    return Separation(length * direction, False)


def _way_out(skins: Skins, points: tuple[Array, Array], direction: Array) -> float:
    """First t >= 0 at which the left skin, moved by t along direction, is outside the right."""
    a = np.array([1.0, 0.0, 0.0]) if abs(direction[0]) < 0.7 else np.array([0.0, 1.0, 0.0])
    u = np.cross(direction, a)
    u /= np.linalg.norm(u)
    Q = np.stack([u, np.cross(direction, u), direction])
    return float(
        _first_free(
            points[RIGHT] @ Q.T, points[LEFT] @ Q.T, skins.vertices[RIGHT] @ Q.T,
            skins.vertices[LEFT] @ Q.T, skins.faces[RIGHT], skins.faces[LEFT], _FREE,
        )
    )  # fmt: skip


@cache
def sphere(count: int) -> Array:
    """Directions (count, 3) evenly over the sphere (Fibonacci lattice)."""
    k = np.arange(count) + 0.5
    z, angle = 1 - 2 * k / count, np.pi * (1 + np.sqrt(5)) * k
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=1)


@njit(cache=True)
def _first_free(points_r, points_l, right, left, faces_r, faces_l, free):
    begin, end = np.empty(40000), np.empty(40000)
    n = _intervals(points_l, right, faces_r, 1.0, begin, end, 0)
    n = _intervals(points_r, left, faces_l, -1.0, begin, end, n)
    order = np.argsort(begin[:n])
    t = 0.0
    for i in order:
        if end[i] <= t:
            continue
        if begin[i] > t + free:
            break
        t = end[i]
    return t


@njit(cache=True)
def _intervals(points, vertices, faces, way, begin, end, n):
    """Ways on which each point lies inside the mesh, going along way * z; behind 0 left out."""
    start, members, low, size, bins = _grid(vertices, faces)
    ts, turns = np.empty(64), np.empty(64, dtype=np.int64)
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        bx, by = int((x - low[0]) // size), int((y - low[1]) // size)
        if bx < 0 or by < 0 or bx >= bins[0] or by >= bins[1]:
            continue
        count = 0
        for m in range(start[bx * bins[1] + by], start[bx * bins[1] + by + 1]):
            hit, height, turn = _crossing(vertices, faces, members[m], x, y)
            if hit and count < 64:
                t = way * (height - z)
                k = count
                while k > 0 and ts[k - 1] > t:
                    ts[k], turns[k] = ts[k - 1], turns[k - 1]
                    k -= 1
                # A face that looks back at the point lets it in.
                ts[k], turns[k] = t, -turn if way > 0 else turn
                count += 1
        inside, since = 0, 0.0
        for k in range(count):
            before = inside
            inside += turns[k]
            if before <= 0 and inside > 0:
                since = ts[k]
            elif before > 0 and inside <= 0 and ts[k] > 0.0 and n < len(begin):
                begin[n], end[n] = since, ts[k]
                n += 1
    return n


@njit(cache=True)
def _grid(vertices, faces):
    """Faces by the cells of a grid over x, y that their boxes meet."""
    low, high = np.empty(2), np.empty(2)
    for c in range(2):
        low[c], high[c] = vertices[:, c].min(), vertices[:, c].max()
    size = max(high[0] - low[0], high[1] - low[1]) / 48.0
    bins = np.array([int((high[0] - low[0]) // size) + 1, int((high[1] - low[1]) // size) + 1])
    start = np.zeros(bins[0] * bins[1] + 1, dtype=np.int64)
    box = np.empty((len(faces), 4), dtype=np.int64)
    for f in range(len(faces)):
        for c in range(2):
            a, b, d = vertices[faces[f, 0], c], vertices[faces[f, 1], c], vertices[faces[f, 2], c]
            box[f, 2 * c] = int((min(a, b, d) - low[c]) // size)
            box[f, 2 * c + 1] = int((max(a, b, d) - low[c]) // size)
        for p in range(box[f, 0], box[f, 1] + 1):
            for q in range(box[f, 2], box[f, 3] + 1):
                start[p * bins[1] + q + 1] += 1
    for k in range(len(start) - 1):
        start[k + 1] += start[k]
    members = np.empty(start[-1], dtype=np.int64)
    at = start[:-1].copy()
    for f in range(len(faces)):
        for p in range(box[f, 0], box[f, 1] + 1):
            for q in range(box[f, 2], box[f, 3] + 1):
                members[at[p * bins[1] + q]] = f
                at[p * bins[1] + q] += 1
    return start, members, low, size, bins


@njit(cache=True)
def _crossing(vertices, faces, f, x, y):
    """Whether the line along z through x, y meets a face, where, and +1 if it faces upwards."""
    ax, ay = vertices[faces[f, 0], 0] - x, vertices[faces[f, 0], 1] - y
    bx, by = vertices[faces[f, 1], 0] - x, vertices[faces[f, 1], 1] - y
    cx, cy = vertices[faces[f, 2], 0] - x, vertices[faces[f, 2], 1] - y
    wa, wb, wc = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
    up = wa >= 0 and wb >= 0 and wc >= 0
    down = wa <= 0 and wb <= 0 and wc <= 0
    total = wa + wb + wc
    if not (up or down) or total == 0.0:
        return False, 0.0, 0
    height = (
        wa * vertices[faces[f, 0], 2]
        + wb * vertices[faces[f, 1], 2]
        + wc * vertices[faces[f, 2], 2]
    ) / total
    return True, height, 1 if up else -1


@njit(cache=True)
def near_skin(points, vertices, closed, faces, reach, gap, face, weights):
    """Signed distance of points to a skin, negative inside: the nearest face, its weights there.

    Inside by the closed faces; distance to the skin's own faces, the wrist's cap left out. Points
    outside and further than reach get gap = inf, face = -1.
    """
    start, members, low, size, bins = _grid(vertices, closed)
    bottom, top = vertices[:, 2].min(), vertices[:, 2].max()
    centre, radius = np.empty((len(faces), 3)), np.empty(len(faces))
    for f in range(len(faces)):
        radius[f] = 0.0
        for c in range(3):
            centre[f, c] = (
                vertices[faces[f, 0], c] + vertices[faces[f, 1], c] + vertices[faces[f, 2], c]
            ) / 3
        for k in range(3):
            d = 0.0
            for c in range(3):
                d += (vertices[faces[f, k], c] - centre[f, c]) ** 2
            radius[f] = max(radius[f], np.sqrt(d))
    w = np.empty(3)
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        gap[i], face[i] = np.inf, -1
        if z < bottom - reach or z > top + reach:
            continue
        if x < low[0] - reach or y < low[1] - reach:
            continue
        if x > low[0] + bins[0] * size + reach or y > low[1] + bins[1] * size + reach:
            continue
        number = 0
        bx, by = int((x - low[0]) // size), int((y - low[1]) // size)
        if 0 <= bx < bins[0] and 0 <= by < bins[1]:
            for m in range(start[bx * bins[1] + by], start[bx * bins[1] + by + 1]):
                hit, height, turn = _crossing(vertices, closed, members[m], x, y)
                if hit and height > z:
                    number += turn
        inside = number > 0
        best = np.inf if inside else reach
        for f in range(len(faces)):
            far = best + radius[f]
            dx, dy, dz = x - centre[f, 0], y - centre[f, 1], z - centre[f, 2]
            if dx * dx + dy * dy + dz * dz > far * far:
                continue
            d = _to_triangle(points[i], vertices, faces, f, w)
            if d < best:
                best, face[i] = d, f
                weights[i] = w
        if face[i] >= 0:
            gap[i] = -best if inside else best


@njit(cache=True)
def _to_triangle(p, vertices, faces, f, w):
    """Distance of a point to a face, barycentric weights of the nearest point into w.

    Ericson, Real-Time Collision Detection, 2005, section 5.1.5.
    """
    a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
    d1 = d2 = d3 = d4 = d5 = d6 = 0.0
    for k in range(3):
        ab, ac = b[k] - a[k], c[k] - a[k]
        d1 += ab * (p[k] - a[k])
        d2 += ac * (p[k] - a[k])
        d3 += ab * (p[k] - b[k])
        d4 += ac * (p[k] - b[k])
        d5 += ab * (p[k] - c[k])
        d6 += ac * (p[k] - c[k])
    vc, vb, va = d1 * d4 - d3 * d2, d5 * d2 - d1 * d6, d3 * d6 - d5 * d4
    if d1 <= 0 and d2 <= 0:
        v, u = 0.0, 0.0
    elif d3 >= 0 and d4 <= d3:
        v, u = 1.0, 0.0
    elif vc <= 0 and d1 >= 0 and d3 <= 0:
        v, u = d1 / (d1 - d3), 0.0
    elif d6 >= 0 and d5 <= d6:
        v, u = 0.0, 1.0
    elif vb <= 0 and d2 >= 0 and d6 <= 0:
        v, u = 0.0, d2 / (d2 - d6)
    elif va <= 0 and d4 - d3 >= 0 and d5 - d6 >= 0:
        u = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        v = 1.0 - u
    else:
        v, u = vb / (va + vb + vc), vc / (va + vb + vc)
    w[0], w[1], w[2] = 1.0 - v - u, v, u
    d = 0.0
    for k in range(3):
        d += (p[k] - w[0] * a[k] - w[1] * b[k] - w[2] * c[k]) ** 2
    return np.sqrt(d)


@dataclass(frozen=True)
class Descent:
    """Settings of the descent. Lengths in the loss are centimetres, angles radians.

    overlap: weight of the sum of depths; power 1 or 2 of each. joints, angles: weights of the mean
    squared movement of 42 joints and of the summed squared change of the angles. rate: Adam's for
    angles, a tenth of it per metre for translations; it falls to nothing along a cosine.

    The values are the best of 27 tried on 32 deep pairs of their own: overlap 0.1 to 100,
    power 1 and 2, angles 0.01 to 1, rate 0.005 to 0.2, 100 to 400 steps.
    """

    overlap: float = 0.3
    power: int = 1
    joints: float = 1.0
    angles: float = 0.01
    rate: float = 0.05
    steps: int = 200


def descend(hands: HandPair, pairs: list[PairInput], settings: Descent) -> tuple[Array, Array]:
    """Pose (n, 2, 16, 3) and transl (n, 2, 3) of pairs after the descent, each on its own.

    Of the states on the way the one returned is the least moved among those whose vertices lie at
    most 0.5 mm deep, else that with the least loss of overlap. Needs torch and smplx.
    """
    import torch

    layers = _layers(hands)
    n = len(pairs)
    closed = [np.ascontiguousarray(hands[s].closed_faces, dtype=np.int64) for s in (0, 1)]
    faces = [np.ascontiguousarray(hands[s].faces, dtype=np.int64) for s in (0, 1)]
    pose_0 = torch.tensor(np.stack([p.pose for p in pairs]), dtype=torch.float32)
    transl_0 = torch.tensor(np.stack([p.transl for p in pairs]), dtype=torch.float32)
    # Near the origin: float32 in a world frame metres away would lose a tenth of a micrometre.
    origin = transl_0.mean(dim=1, keepdim=True)
    transl_0 = transl_0 - origin
    betas = torch.tensor(np.stack([p.betas for p in pairs]), dtype=torch.float32)
    pose, transl = pose_0.clone().requires_grad_(), transl_0.clone().requires_grad_()

    def posed() -> tuple[list[torch.Tensor], torch.Tensor]:
        skins, joints = [], []
        for s in (RIGHT, LEFT):
            out = layers[s](
                betas=betas[:, s], global_orient=pose[:, s, 0],
                hand_pose=pose[:, s, 1:].reshape(n, 45), transl=transl[:, s],
            )  # fmt: skip
            tips = out.vertices[:, list(hands[s].tip_vertex_ids)]
            both = torch.cat([out.joints[:, :16], tips], dim=1)
            joints.append(both[:, list(OPENPOSE_FROM_MANO21)])
            skins.append(out.vertices)
        return skins, torch.stack(joints, dim=1)

    adam = torch.optim.Adam(
        [
            {"params": [pose], "lr": settings.rate},
            {"params": [transl], "lr": 0.1 * settings.rate},
        ]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, settings.steps)
    with torch.no_grad():
        _, joints_0 = posed()
    best_rank = np.full((n, 2), np.inf)
    best_pose, best_transl = pose_0.clone(), transl_0.clone()
    for step in range(settings.steps + 1):
        skins, joints = posed()
        overlap, deepest = torch.zeros(n), np.zeros(n)
        for a, b in ((RIGHT, LEFT), (LEFT, RIGHT)):
            found = _inside(skins[a], skins[b], closed[b], faces[b])
            if len(found.pair):
                depth = 100.0 * _depths(skins[a], skins[b], faces[b], found)
                np.maximum.at(deepest, found.pair, depth.detach().numpy())
                overlap = overlap.index_add(0, torch.tensor(found.pair), depth**settings.power)
        moved = torch.linalg.norm(joints.detach() - joints_0, dim=-1)
        for k in range(n):
            good = deepest[k] <= 0.05
            rank = (0.0, float(moved[k].mean())) if good else (1.0, float(overlap[k].detach()))
            if rank < tuple(best_rank[k]):
                best_rank[k] = rank
                best_pose[k], best_transl[k] = pose[k].detach(), transl[k].detach()
        if step == settings.steps:
            break
        pull = settings.joints * (100.0 * (joints - joints_0)).square().sum(-1).mean(dim=(1, 2))
        pull = pull + settings.angles * (pose[:, :, 1:] - pose_0[:, :, 1:]).square().sum(
            dim=(1, 2, 3)
        )
        adam.zero_grad()
        (settings.overlap * overlap + pull).sum().backward()
        adam.step()
        schedule.step()
    return (
        best_pose.numpy().astype(np.float64),
        (best_transl + origin).numpy().astype(np.float64),
    )


@dataclass(frozen=True, eq=False)
class _Found:
    """Vertices inside the other hand: of which pair, which vertex, nearest face, weights there."""

    pair: Array
    vertex: Array
    face: Array
    weights: Array


def _inside(points, vertices, closed, faces) -> _Found:  # type: ignore[no-untyped-def]
    points, vertices = (
        np.ascontiguousarray(a.detach().numpy(), dtype=np.float64) for a in (points, vertices)
    )
    n, V = points.shape[:2]
    pair, vertex, face, weights = [], [], [], []
    gap, near, w = np.empty(V), np.empty(V, dtype=np.int64), np.empty((V, 3))
    for k in range(n):
        near_skin(points[k], vertices[k], closed, faces, 0.0, gap, near, w)
        ids = np.flatnonzero(near >= 0)
        pair.append(np.full(len(ids), k))
        vertex.append(ids)
        face.append(near[ids])
        weights.append(w[ids])
    return _Found(*(np.concatenate(part) for part in (pair, vertex, face, weights)))


def _depths(points, vertices, faces, found):  # type: ignore[no-untyped-def]
    """Distances between vertices and the nearest points found for them, both of which may move."""
    import torch

    pair = torch.tensor(found.pair)
    corners = vertices[pair[:, None], torch.tensor(faces[found.face])]
    there = (torch.tensor(found.weights, dtype=torch.float32)[..., None] * corners).sum(dim=1)
    return torch.linalg.norm(points[pair, torch.tensor(found.vertex)] - there + 1e-9, dim=-1)


@cache
def _layers(hands: HandPair):  # type: ignore[no-untyped-def]
    import torch

    torch.set_num_threads(1)
    return hands[RIGHT].to_smplx(), hands[LEFT].to_smplx()
