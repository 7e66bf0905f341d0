"""The convex links that stand for a hand in Bullet, cut from its own skin.

In: a hand model and betas. Out: sixteen sets of hull points, one a joint. A link is the skin that a
joint carries by skin weights and the ring of skin around it, so that neighbouring links meet at the
joint between them.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import njit
from scipy.spatial import ConvexHull

from twohand500k.conventions import MANO_PARENTS, N_MANO_JOINTS
from twohand500k.hand.capsules import one_segment_distance
from twohand500k.hand.model import HandModel
from twohand500k.hand.rotations import Array

_PARENTS = np.array(MANO_PARENTS)
# A bone is asked at so many points whether it lies near the palm's box.
_ALONG = 5


@dataclass(frozen=True, eq=False)
class Links:
    """Which skin makes which link of a model. vertices: per joint the ids (n,) of its skin."""

    model: HandModel
    vertices: tuple[np.ndarray, ...]

    @staticmethod
    def of(model: HandModel) -> "Links":
        """The links of a model. Raises ValueError if a joint carries no skin."""
        owner = np.argmax(model.weights, axis=1)[model.faces]
        vertices = []
        for joint in range(N_MANO_JOINTS):
            mine = np.unique(model.faces[(owner == joint).any(axis=1)])
            if len(mine) < 4:
                raise ValueError(f"joint {joint} of {model.name} carries no skin to make a link of")
            vertices.append(mine)
        return Links(model, tuple(vertices))

    def hulls(self, betas: Array, most: int) -> list[Array]:
        """Hull points (n <= most, 3) of every link, from its joint's own place at rest, metres."""
        shaped = self.model.with_shape(betas)
        skin, rest = shaped.rest_vertices, shaped.rest_joints
        return [_corners(skin[ids] - rest[j], most) for j, ids in enumerate(self.vertices)]


def _corners(points: Array, most: int) -> Array:
    """The corners of the points' hull; beyond `most`, those without which it would lose most.

    What a hull loses is how much less far it reaches in any of many directions. Corners far from
    each other would be another rule: at 48 it dropped a palm's corner and 6 mm with it.
    """
    corners = points[np.sort(ConvexHull(points).vertices)]
    if len(corners) <= most:
        return corners
    reach = corners @ _directions().T
    chosen: list[int] = []
    reached = reach.min(axis=0)
    while len(chosen) < most:
        furthest = int(np.argmax(reach[:, np.argmax(reach.max(axis=0) - reached)]))
        if furthest in chosen:
            break  # nothing is lost in any direction asked for
        chosen.append(furthest)
        reached = np.maximum(reached, reach[furthest])
    return corners[np.sort(chosen)]


@cache
def _directions() -> Array:
    """Unit vectors (512, 3) spread evenly over the sphere (a Fibonacci lattice)."""
    k = np.arange(512) + 0.5
    z, turn = 1.0 - 2.0 * k / 512, np.pi * (1.0 + np.sqrt(5.0)) * k
    r = np.sqrt(1.0 - z * z)
    return np.stack([r * np.cos(turn), r * np.sin(turn), z], axis=1)


def hull_mesh(points: Array) -> np.ndarray:
    """Faces (m, 3), outward, of the convex hull of points (n, 3)."""
    hull = ConvexHull(points)
    faces = hull.simplices.copy()
    corner = points[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    inward = np.einsum("fc,fc->f", normal, hull.equations[:, :3]) < 0
    faces[inward] = faces[inward][:, ::-1]
    return faces


def bounds_of(hulls: list[Array]) -> tuple[Array, Array]:
    """What surely holds each link, in its own frame, metres.

    Returns capsules (16, 7), both ends and a radius, and the palm's box (2, 3).
    """
    capsules = np.stack([_capsule(hull) for hull in hulls])
    return capsules, np.stack([hulls[0].min(axis=0), hulls[0].max(axis=0)])


@njit(cache=True)
def _capsule(hull):
    """Both ends and the radius (7,) of a capsule through the joint that holds the points (n, 3)."""
    direction = hull.sum(axis=0)
    direction /= np.sqrt((direction * direction).sum())
    along = np.empty(len(hull))
    for i in range(len(hull)):
        along[i] = (hull[i] * direction).sum()
    low, high = 0.8 * along.min(), 0.8 * along.max()
    square = 0.0
    for i in range(len(hull)):
        off = hull[i] - min(max(along[i], low), high) * direction
        square = max(square, (off * off).sum())
    out = np.empty(7)
    out[:3], out[3:6], out[6] = low * direction, high * direction, np.sqrt(square)
    return out


@njit(cache=True)
def near_links(rest, R_parent_joint, capsules, palm_box, neighbours, reach):
    """Pairs (n, 2) of one hand's links, no neighbours, whose bounds lie within reach.

    rest (16, 3), R_parent_joint (15, 3, 3), capsules (16, 7), palm_box (2, 3),
    neighbours (16, 16) bool. Computed in the wrist's frame.
    """
    R, p = np.zeros((16, 3, 3)), np.zeros((16, 3))
    ends = np.empty((16, 2, 3))
    for j in range(16):
        if j == 0:
            R[0] = np.eye(3)
        else:
            parent = _PARENTS[j]
            for a in range(3):
                p[j, a] = p[parent, a]
                for b in range(3):
                    p[j, a] += R[parent, a, b] * (rest[j, b] - rest[parent, b])
                    for c in range(3):
                        R[j, a, b] += R[parent, a, c] * R_parent_joint[j - 1, c, b]
        for e in range(2):
            for a in range(3):
                ends[j, e, a] = p[j, a]
                for b in range(3):
                    ends[j, e, a] += R[j, a, b] * capsules[j, 3 * e + b]
    pairs = np.empty((120, 2), dtype=np.int64)
    count = 0
    for i in range(16):
        for j in range(i + 1, 16):
            if neighbours[i, j]:
                continue
            radius = capsules[j, 6]
            if i == 0:
                apart = np.inf
                length = 0.0
                for a in range(3):
                    length += (ends[j, 1, a] - ends[j, 0, a]) ** 2
                for k in range(_ALONG):
                    t = k / (_ALONG - 1.0)
                    d = 0.0
                    for a in range(3):
                        x = (1.0 - t) * ends[j, 0, a] + t * ends[j, 1, a]
                        out = max(palm_box[0, a] - x, x - palm_box[1, a], 0.0)
                        d += out * out
                    apart = min(apart, np.sqrt(d))
                # Between two points asked the bone may come nearer by half their distance.
                apart -= 0.5 * np.sqrt(length) / (_ALONG - 1.0)
            else:
                apart = one_segment_distance(ends[i, 0], ends[i, 1], ends[j, 0], ends[j, 1])
                radius += capsules[i, 6]
            if apart < radius + reach:
                pairs[count, 0], pairs[count, 1] = i, j
                count += 1
    return pairs[:count].copy()


@njit(cache=True)
def quaternions(R, out):
    """Unit quaternions, xyzw, of rotation matrices (n, 3, 3), into out (n, 4)."""
    for i in range(len(R)):
        m = R[i]
        # 4 q_k^2 for k = x, y, z, w: begin with the largest, the best conditioned.
        size = (
            1.0 + m[0, 0] - m[1, 1] - m[2, 2], 1.0 - m[0, 0] + m[1, 1] - m[2, 2],
            1.0 - m[0, 0] - m[1, 1] + m[2, 2], 1.0 + m[0, 0] + m[1, 1] + m[2, 2],
        )  # fmt: skip
        if size[3] >= max(size[0], size[1], size[2]):
            q = (m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], size[3])
        elif size[0] >= max(size[1], size[2]):
            q = (size[0], m[1, 0] + m[0, 1], m[0, 2] + m[2, 0], m[2, 1] - m[1, 2])
        elif size[1] >= size[2]:
            q = (m[1, 0] + m[0, 1], size[1], m[2, 1] + m[1, 2], m[0, 2] - m[2, 0])
        else:
            q = (m[0, 2] + m[2, 0], m[2, 1] + m[1, 2], size[2], m[1, 0] - m[0, 1])
        length = np.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
        for k in range(4):
            out[i, k] = q[k] / length
