"""What the compiled search needs to know of a hand model, as plain arrays.

Comes in: a `HandModel` (and its contact regions). Goes out: a `HandTables`, made once a run: the
blend skinning arrays laid out for one hand at a time, the skin cut into small patches for pruning,
the faces about every vertex, the faces and vertices of every contact region.
"""

from typing import NamedTuple

import numpy as np

from twohand500k.conventions import MANO_CARRIER
from twohand500k.hand.capsules import BONES, PHALANGES
from twohand500k.hand.contact_regions import REGIONS, ContactRegions
from twohand500k.hand.model import HandModel

Array = np.ndarray

# Vertices in a patch at the most. Small patches prune better, many of them cost more to compare.
_PATCH = 14


class Lists(NamedTuple):
    """Lists of integers one after another: list k is item[start[k]:start[k + 1]]."""

    start: Array
    item: Array


class Skinning(NamedTuple):
    """Blend skinning. v_template (3V,), shapedirs (10, 3V), posedirs (135, 3V): a row moves the
    whole skin. joints, weight: what carries each vertex and how much."""

    v_template: Array
    shapedirs: Array
    posedirs: Array
    J_template: Array
    J_shapedirs: Array
    tips: Array
    joints: Lists
    weight: Array


class HandTables(NamedTuple):
    """Arrays of one side's model; V vertices, F closed faces.

    rings: closed faces about a vertex. patches: vertices of a patch. bones: vertices about a
    phalanx, for bones 1..20 (none for palm bones). region_faces: skin faces of a region, with the
    running sum of their rest areas. region_vertices. region (V,). area (V,) m2: a third of the
    faces about a vertex, at rest.
    """

    skinning: Skinning
    faces: Array
    rings: Lists
    patches: Lists
    bones: Lists
    region_faces: Lists
    region_face_area: Array
    region_vertices: Lists
    region: Array
    area: Array

    @staticmethod
    def of(model: HandModel) -> "HandTables":
        """The tables of a model."""
        V = len(model.v_template)
        owner = np.argmax(model.weights, axis=1)
        region = ContactRegions.of(model).of_vertex
        closed = model.closed_faces
        corner = model.v_template[closed]
        normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        face_area = np.linalg.norm(normal, axis=1) / 2
        skin = np.arange(len(closed)) < len(model.faces)
        area = np.zeros(V)
        np.add.at(area, closed[skin], (face_area[skin] / 3)[:, None])
        carried = [np.flatnonzero(row) for row in model.weights]
        rings = [[] for _ in range(V)]  # type: list[list[int]]
        for number, face in enumerate(closed.tolist()):
            for vertex in face:
                rings[vertex].append(number)
        about = [
            np.flatnonzero(owner == MANO_CARRIER[bone - 1]) if bone in PHALANGES else np.empty(0)
            for bone in BONES
        ]
        inside = _faces_of_regions(closed[skin], region)
        return HandTables(
            skinning=Skinning(
                v_template=np.ascontiguousarray(model.v_template.reshape(-1)),
                shapedirs=np.ascontiguousarray(model.shapedirs.reshape(3 * V, -1).T),
                posedirs=np.ascontiguousarray(model.posedirs.reshape(3 * V, -1).T),
                J_template=np.ascontiguousarray(model.J_template),
                J_shapedirs=np.ascontiguousarray(model.J_shapedirs),
                tips=np.array(model.tip_vertex_ids, dtype=np.int64),
                joints=_lists(carried),
                weight=np.concatenate([model.weights[v, js] for v, js in enumerate(carried)]),
            ),
            faces=closed.astype(np.int64),
            rings=_lists(rings),
            patches=_lists(_patches(model.v_template, owner)),
            bones=_lists(about),
            region_faces=_lists(inside),
            region_face_area=np.concatenate([np.cumsum(face_area[ids]) for ids in inside]),
            region_vertices=_lists([np.flatnonzero(region == r) for r in range(len(REGIONS))]),
            region=region.astype(np.int64),
            area=area,
        )


def _lists(items: "list[np.ndarray] | list[list[int]]") -> Lists:
    start = np.cumsum([0, *(len(item) for item in items)]).astype(np.int64)
    return Lists(start, np.concatenate([np.asarray(item, dtype=np.int64) for item in items]))


def _faces_of_regions(faces: Array, region: Array) -> list[Array]:
    """Faces with all corners in a region; where a region has none, those with most."""
    there = [(region[faces] == r).sum(axis=1) for r in range(len(REGIONS))]
    return [np.flatnonzero(n == n.max()) for n in there]


def _patches(points: Array, owner: Array) -> list[Array]:
    """Vertices in compact patches: each joint's skin halved along its longest side until small."""
    out: list[Array] = []
    todo = [np.flatnonzero(owner == joint) for joint in np.unique(owner)]
    while todo:
        ids = todo.pop()
        if len(ids) <= _PATCH:
            out.append(ids)
            continue
        axis = int(np.argmax(np.ptp(points[ids], axis=0)))
        ids = ids[np.argsort(points[ids, axis], kind="stable")]
        todo += [ids[: len(ids) // 2], ids[len(ids) // 2 :]]
    return out
