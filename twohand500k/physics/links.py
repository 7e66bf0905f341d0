"""The convex links that stand for a hand in Bullet, cut from its own skin.

In: a hand model and betas. Out: sixteen sets of hull points, one a joint. A link is the skin that a
joint carries by skin weights and the ring of skin around it, so that neighbouring links meet at the
joint between them.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull

from twohand500k.conventions import N_MANO_JOINTS
from twohand500k.hand.model import HandModel
from twohand500k.hand.rotations import Array


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
        return [_spread(skin[ids] - rest[j], most) for j, ids in enumerate(self.vertices)]

    def meshes(self, betas: Array, most: int) -> list[tuple[Array, np.ndarray]]:
        """The same as closed meshes, for pictures: points (n, 3) and faces (m, 3) outward."""
        return [_closed(points) for points in self.hulls(betas, most)]


def _spread(points: Array, most: int) -> Array:
    """The corners of the points' hull, thinned to those furthest from each other."""
    corners = points[np.sort(ConvexHull(points).vertices)]
    if len(corners) <= most:
        return corners
    chosen = [int(np.argmax(np.linalg.norm(corners - corners.mean(axis=0), axis=1)))]
    distance = np.linalg.norm(corners - corners[chosen[0]], axis=1)
    while len(chosen) < most:
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(corners - corners[chosen[-1]], axis=1))
    return corners[np.sort(chosen)]


def _closed(points: Array) -> tuple[Array, np.ndarray]:
    hull = ConvexHull(points)
    faces = hull.simplices.copy()
    corner = points[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    inward = np.einsum("fc,fc->f", normal, hull.equations[:, :3]) < 0
    faces[inward] = faces[inward][:, ::-1]
    return points, faces
