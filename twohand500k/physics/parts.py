"""A hand's skin cut into sixteen closed parts, one a joint, by its skin weights.

In: a `HandModel`. Out: `Parts`: which part every face of the closed skin belongs to, and each part
closed by a cone from every open border to the middle of that border. The judge asks whether a hand
runs into itself by asking which parts that are no neighbours share space; the Bullet links are the
hulls of the same parts. All of it is a matter of topology: a part is the same skin in every pose.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from twohand500k.conventions import MANO_PARENTS, N_MANO_JOINTS
from twohand500k.hand.model import HandModel
from twohand500k.hand.rotations import Array


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of one hand model's skin; part j moves with MANO joint j, part 0 is the palm.

    part_of_face (F,): part of every face of `HandModel.closed_faces`. vertices: 16 arrays of vertex
    ids, ascending, corners of a part's faces; a vertex on a border is in several. borders: vertex
    ids (n,) of each open border; its middle is vertex V + k of `closed_skin`. faces (G, 3): all
    parts closed, sorted by part; face_part (G,); face_is_skin (G,): False on a closing cone.
    adjacent (16, 16): parts that are the same, parent and child, or share a vertex of the mesh.
    """

    part_of_face: np.ndarray
    vertices: tuple[np.ndarray, ...]
    borders: tuple[np.ndarray, ...]
    faces: np.ndarray
    face_part: np.ndarray
    face_is_skin: np.ndarray
    adjacent: np.ndarray

    @staticmethod
    def of(model: HandModel) -> "Parts":
        """The parts of a model. Raises ValueError for a model on which a part would be empty."""
        skin = np.ascontiguousarray(model.closed_faces, dtype=np.int64)
        part_of_face = _part_of_face(skin, model.weights)
        V = len(model.v_template)
        borders: list[np.ndarray] = []
        faces, face_part, face_is_skin = [], [], []
        for part in range(N_MANO_JOINTS):
            mine = skin[part_of_face == part]
            if len(mine) == 0:
                raise ValueError(f"no skin of {model.name} moves with MANO joint {part}")
            cones = []
            for edges in _open_borders(mine):
                apex = V + len(borders)
                borders.append(np.unique(edges))
                # The cone runs along every border edge against the direction of the skin's faces.
                cones.append(np.stack([edges[:, 1], edges[:, 0], np.full(len(edges), apex)], 1))
            closed = np.concatenate([mine, *cones])
            faces.append(closed)
            face_part.append(np.full(len(closed), part))
            face_is_skin.append(np.arange(len(closed)) < len(mine))
        vertices = tuple(np.unique(skin[part_of_face == p]) for p in range(N_MANO_JOINTS))
        return Parts(
            part_of_face=part_of_face,
            vertices=vertices,
            borders=tuple(borders),
            faces=np.concatenate(faces),
            face_part=np.concatenate(face_part),
            face_is_skin=np.concatenate(face_is_skin),
            adjacent=_adjacent(vertices, V),
        )

    def closed_skin(self, skin: Array) -> Array:
        """Vertices (V + borders, 3) that `faces` refers to, from a skin (V, 3)."""
        ids, starts, sizes = self._laid_out
        sums = np.add.reduceat(skin[ids], starts, axis=0)
        return np.concatenate([skin, sums / sizes])

    @cached_property
    def _laid_out(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All borders' vertex ids in one array, where each begins, how many (n, 1) each has."""
        sizes = np.array([len(border) for border in self.borders])
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        return np.concatenate(self.borders), starts, sizes[:, None]


def _part_of_face(faces: np.ndarray, weights: Array) -> np.ndarray:
    """The part (F,) that most corners of a face move with; of three, the one that weighs most."""
    owner = np.argmax(weights, axis=1)[faces]
    part = np.where(owner[:, 0] == owner[:, 1], owner[:, 0], owner[:, 2])
    split = (owner[:, 0] != owner[:, 1]) & (owner[:, 1] != owner[:, 2])
    split &= owner[:, 0] != owner[:, 2]
    part[split] = np.argmax(weights[faces[split]].sum(axis=1), axis=1)
    return part


def _open_borders(faces: np.ndarray) -> list[np.ndarray]:
    """Directed edges (n, 2) of every open border of a patch of faces, each a simple loop.

    Where two loops touch at a vertex (between two fingers) they are taken apart.
    """
    directed = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    there = set(map(tuple, directed.tolist()))
    following: dict[int, list[int]] = {}
    for a, b in directed.tolist():
        if (b, a) not in there:
            following.setdefault(a, []).append(b)
    loops = []
    while following:
        path = [min(following)]
        while path:
            if path[-1] in path[:-1]:
                start = path.index(path[-1])
                loop = np.array(path[start:])
                loops.append(np.stack([loop[:-1], loop[1:]], axis=1))
                path = path[: start + 1]
            onward = following.get(path[-1])
            if onward is None:
                break
            path.append(onward.pop(0))
            if not onward:
                del following[path[-2]]
    return loops


def _adjacent(vertices: tuple[np.ndarray, ...], n_vertices: int) -> np.ndarray:
    member = np.zeros((N_MANO_JOINTS, n_vertices), dtype=np.int64)
    for part, ids in enumerate(vertices):
        member[part, ids] = 1
    adjacent: np.ndarray = member @ member.T > 0
    for joint, parent in enumerate(MANO_PARENTS):
        if parent >= 0:
            adjacent[joint, parent] = adjacent[parent, joint] = True
    return adjacent
