"""The judge: how far two hands, or a hand and itself, share space that only one can have.

In: the posed skins of a pair. Out: a `Judgement`. It has its own geometry, knows nothing of Bullet
and nothing of the repair, and looks at the closed skin (the wrist capped).

volume    Points inside both hands, a point that one hand covers twice counted once (`_solids`).
depth     The largest distance of a skin point of one hand, inside the other, to the other's skin,
          over all points of the faces, not just vertices. The cap at the wrist is no skin: the
          forearm goes on there, so it is no way out and nothing that could be pushed in.
distance  The smallest distance between the closed skins; 0 when they cut, or one holds the other.
self      Points of a hand inside two of its `Parts` that are no neighbours.
nearest   Overlapping: the regions where the depth is found, the skin point inside and the point of
          the other's skin nearest to it. Else: those of the two nearest points. A skin point is of
          the region of the corner that weighs most in its face.

Undefined is NaN, with the reason in `fault`; never 0. Lengths are metres, volumes cubic metres.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from twohand500k.conventions import N_MANO_JOINTS
from twohand500k.hand import HandModel, HandPair
from twohand500k.hand.contact_regions import REGIONS, ContactRegions
from twohand500k.hand.rotations import Array
from twohand500k.physics import proximity
from twohand500k.physics._solids import (
    Rays,
    extents,
    inside,
    rays_through,
    shared_volume,
    signed_volume,
)
from twohand500k.physics.parts import Parts
from twohand500k.physics.proximity import DEPTH_TOLERANCE, Deepest, Posed, Tree, build_tree
from twohand500k.shards import Samples

# Rays: how many look for the overlap, how many must meet it, how many may be spent on that.
_FIRST_RAYS, _ENOUGH_RAYS, _MOST_RAYS = 500, 500, 3000
# So large a share of rays that do not come out of a mesh makes a volume unknown.
_MOST_LOST = 0.01
_BINS = 20
_NOWHERE = np.array([[np.inf, np.inf, np.inf, -np.inf, -np.inf, -np.inf]])


@dataclass(frozen=True, eq=False)
class Judgement:
    """One pair of hands, judged.

    volume: m3 inside both hands. depth: m. distance: m. self_volume (2,): m3 of each hand inside
    its own parts. nearest: region (index into `contact_regions.REGIONS`) of the realised contact on
    the right and on the left hand, -1 unknown. fault: "" or why something is NaN.
    """

    volume: float
    depth: float
    distance: float
    self_volume: Array
    nearest: tuple[int, int]
    fault: str


@dataclass(frozen=True, eq=False)
class Surface:
    """A closed mesh ready to be asked. faces (F, 3); skin (F,): faces that are skin; tree."""

    faces: np.ndarray
    skin: np.ndarray
    cap: np.ndarray
    tree: Tree

    @staticmethod
    def of(faces: np.ndarray, vertices: Array, skin: np.ndarray | None = None) -> "Surface":
        """A closed mesh. vertices (V, 3): any pose, for the tree. Raises ValueError for a mesh that
        is open, or whose faces do not all run one way round."""
        faces = np.ascontiguousarray(faces, dtype=np.int64)
        check_closed(faces)
        skin = np.ones(len(faces), dtype=np.bool_) if skin is None else skin
        return Surface(faces, skin, ~skin, build_tree(vertices[faces]))


class _Meeting(NamedTuple):
    """What `_meet` finds of two surfaces; faces and points (2, 3) of the contact."""

    volume: float
    depth: float
    distance: float
    faces: tuple[int, int]
    points: Array
    fault: str


class Judge:
    """Judges pairs of hands of one pair of models, posed any way. Make it with `Judge.of`."""

    def __init__(self, hands: HandPair, sides: "tuple[_Side, _Side]") -> None:
        self.hands = hands
        self._sides = sides

    @staticmethod
    def of(hands: HandPair) -> "Judge":
        """A judge for hands of these models. Raises ValueError for a model that does not close."""
        return Judge(hands, (_Side.of(hands.right), _Side.of(hands.left)))

    def pair(self, right: Array, left: Array) -> Judgement:
        """Judge two skins (V, 3), vertices of `hands.right` and `hands.left` in one frame."""
        skins = [np.ascontiguousarray(skin, dtype=np.float64) for skin in (right, left)]
        faults = [self._fault(side, skins[side]) for side in (0, 1)]
        self_volume = np.full(2, np.nan)
        for side in (0, 1):
            if not faults[side]:
                self_volume[side], faults[side] = self._sides[side].self_volume(skins[side])
        if not all(np.isfinite(skin).all() for skin in skins) or any(
            fault.endswith(_INSIDE_OUT) for fault in faults
        ):
            return Judgement(np.nan, np.nan, np.nan, self_volume, (-1, -1), _join(faults))
        met = _meet(self._sides[0].surface, skins[0], self._sides[1].surface, skins[1])
        nearest = (-1, -1)
        if met.faces[0] >= 0:
            nearest = (
                self._sides[0].region_at(skins[0], met.faces[0], met.points[0]),
                self._sides[1].region_at(skins[1], met.faces[1], met.points[1]),
            )
        return Judgement(
            met.volume, met.depth, met.distance, self_volume, nearest, _join([*faults, met.fault])
        )

    def self_volume(self, side: int, skin: Array) -> float:
        """Volume (m3) that one hand, 0 right or 1 left, shares with itself; NaN if unknown."""
        skin = np.ascontiguousarray(skin, dtype=np.float64)
        return np.nan if self._fault(side, skin) else self._sides[side].self_volume(skin)[0]

    def region_distance(self, right: Array, left: Array, regions: tuple[int, int]) -> float:
        """Smallest distance between the skins of two regions, right's and left's, m.

        0 when they cut, or a corner of one lies inside the other hand and nearest to the other
        region's skin. NaN if a skin is not finite. A region's skin is cut out of its faces as
        `nearest` has it.
        """
        skins = [np.ascontiguousarray(skin, dtype=np.float64) for skin in (right, left)]
        if not all(np.isfinite(skin).all() for skin in skins):
            return np.nan
        patches = [self._sides[s].patch(regions[s]) for s in (0, 1)]
        corners = [self._sides[s].corners(skins[s], patches[s]) for s in (0, 1)]
        a, b = patches
        posed = [proximity.refit(p.tree, v, p.faces) for p, v in zip(patches, corners, strict=True)]
        cut_a, cut_b = np.zeros(len(a.faces), bool), np.zeros(len(b.faces), bool)
        n, _, _ = proximity.cuts(
            a.tree, posed[0], 0, b.tree, posed[1], 0, cut_a, cut_b, np.empty((0, 3))
        )
        if n or self._sunk(0, corners, skins, regions) or self._sunk(1, corners, skins, regions):
            return 0.0
        distance, _, _ = proximity.closest(
            a.tree, posed[0], b.tree, posed[1], np.empty(3), np.empty(3)
        )
        return float(distance)

    def samples(self, samples: Samples) -> Samples:
        """The same samples with what only the judge can know filled in.

        penetration_volume, penetration_depth, contact_distance, contact_realised of pairs;
        self_penetration_volume of every hand there is. What is undefined stays NaN or "".
        """
        n = len(samples)
        volume, depth, distance = (np.full(n, np.nan) for _ in range(3))
        own = np.full((n, 2), np.nan)
        realised = np.full((n, 2), "", dtype=object)
        for row in range(n):
            # One hand at a time: a product over several rows may differ in its last bit.
            skins = {
                side: self.hands[side]
                .with_shape(samples.betas[row, side])
                .with_pose(samples.pose[row, side], samples.transl[row, side])
                .vertices
                for side in np.flatnonzero(samples.present[row]).tolist()
            }
            if len(skins) < 2:
                for side, skin in skins.items():
                    own[row, side] = self.self_volume(side, skin)
                continue
            judged = self.pair(skins[0], skins[1])
            volume[row], depth[row], distance[row] = judged.volume, judged.depth, judged.distance
            own[row] = judged.self_volume
            if judged.nearest[0] >= 0:
                realised[row] = [REGIONS[region] for region in judged.nearest]
        return replace(
            samples,
            penetration_volume=volume,
            penetration_depth=depth,
            contact_distance=distance,
            self_penetration_volume=own,
            contact_realised=realised.astype(np.str_),
        )

    def _fault(self, side: int, skin: Array) -> str:
        hand = ("right", "left")[side]
        if skin.shape != (len(self.hands[side].v_template), 3):
            raise ValueError(f"the {hand} skin must be (V, 3), got shape {skin.shape}")
        if not np.isfinite(skin).all():
            return f"{hand} skin not finite"
        if signed_volume(skin, self._sides[side].surface.faces) <= 0.0:
            return f"{hand} skin {_INSIDE_OUT}"
        return ""

    def _sunk(
        self, side: int, corners: list[Array], skins: list[Array], regions: tuple[int, int]
    ) -> bool:
        """Whether a corner of one region lies inside the other hand under the other region."""
        surface, skin = self._sides[1 - side].surface, skins[1 - side]
        points = corners[side]
        low = np.maximum(points.min(axis=0), skin.min(axis=0))
        high = np.minimum(points.max(axis=0), skin.max(axis=0))
        if (low > high).any():
            return False
        rays = _rays(skin, surface.faces, np.zeros(len(surface.faces), dtype=np.int64), low, high)
        within = np.empty(len(points), dtype=np.bool_)
        inside(rays, 0, points, low, high, within)
        if not within.any():
            return False
        posed = proximity.refit(surface.tree, skin, surface.faces)
        for point in points[within]:
            _, face, *on = proximity.nearest(surface.tree, posed, surface.skin, point, 0.0)
            if self._sides[1 - side].region_at(skin, face, np.array(on)) == regions[1 - side]:
                return True
        return False


@dataclass(frozen=True, eq=False)
class _Patch:
    """A region's skin: faces (n, 3) into its own corners; ids (m,) of these among all corners."""

    faces: np.ndarray
    ids: np.ndarray
    tree: Tree


@dataclass(frozen=True, eq=False)
class _Side:
    """What one hand's model is to the judge."""

    surface: Surface
    region: np.ndarray
    parts: Parts
    parts_tree: Tree
    members: np.ndarray
    members_start: np.ndarray
    apart: np.ndarray
    patches: "dict[int, _Patch]"
    rest: Array

    @staticmethod
    def of(model: HandModel) -> "_Side":
        rest = np.ascontiguousarray(model.v_template, dtype=np.float64)
        skin = np.arange(len(model.closed_faces)) < len(model.faces)
        parts = Parts.of(model)
        members = [np.unique(parts.faces[parts.face_part == p]) for p in range(N_MANO_JOINTS)]
        return _Side(
            surface=Surface.of(model.closed_faces, rest, skin),
            region=ContactRegions.of(model).of_vertex,
            parts=parts,
            parts_tree=build_tree(parts.closed_skin(rest)[parts.faces], parts.face_part),
            members=np.concatenate(members),
            members_start=np.concatenate([[0], np.cumsum([len(m) for m in members])]),
            apart=(~parts.adjacent).astype(np.int64) @ (1 << np.arange(N_MANO_JOINTS)),
            patches={},
            rest=rest,
        )

    def self_volume(self, skin: Array) -> tuple[float, str]:
        """Volume (m3) inside two parts that are no neighbours, and why it is NaN."""
        parts, tree = self.parts, self.parts_tree
        vertices = parts.closed_skin(skin)
        posed = proximity.refit(tree, vertices, parts.faces)
        room = 1024
        while True:
            points, owner = np.empty((room, 3)), np.empty(room, dtype=np.int64)
            meeting, n, cut = proximity.groups_that_meet(tree, posed, self.apart, points, owner)
            if n <= room:
                break
            room = n
        if len(meeting) == 0:
            return 0.0, ""
        points, owner = points[:n], owner[:n]
        roots = posed.box[tree.roots]
        low = np.maximum(roots[meeting[:, 0], :3], roots[meeting[:, 1], :3])
        high = np.minimum(roots[meeting[:, 0], 3:], roots[meeting[:, 1], 3:])
        rays = _rays(vertices, parts.faces, parts.face_part, low.min(axis=0), high.max(axis=0))
        seeds = np.empty((n + 2 * len(meeting) * len(vertices), 3))
        boxes, found, unknown = extents(
            rays, meeting, low, high, vertices, self.members, self.members_start, points, owner,
            seeds,
        )  # fmt: skip
        if unknown:
            return np.nan, f"self-penetration: {unknown} vertices neither inside nor outside"
        boxes = boxes[np.isfinite(boxes[:, 0])]
        if len(boxes) == 0:
            return 0.0, ""
        volume, fault = _volume(
            vertices,
            parts.faces,
            parts.face_part,
            self.apart,
            boxes,
            seeds[:found],
            _facing(vertices, parts.faces[cut]),
        )
        return volume, f"self-penetration: {fault}" if fault else ""

    def region_at(self, skin: Array, face: int, point: Array) -> int:
        """Region of a point of the skin: that of the corner that weighs most in its face."""
        corners = self.surface.faces[face]
        return int(self.region[corners[np.argmax(_weights(skin[corners], point))]])

    def patch(self, region: int) -> _Patch:
        """A region's part of the skin: of every face the two sixths at each of its corners."""
        if region not in self.patches:
            faces = self.surface.faces[self.surface.skin]
            V, F = len(self.rest), len(faces)
            small = []
            for k in range(3):
                mine = np.flatnonzero(self.region[faces[:, k]] == region)
                corner, centre = faces[mine, k], V + 3 * F + mine
                after, before = V + 3 * mine + k, V + 3 * mine + (k + 2) % 3
                small += [
                    np.stack([corner, after, centre], 1),
                    np.stack([corner, centre, before], 1),
                ]
            ids, renamed = np.unique(np.concatenate(small), return_inverse=True)
            patch_faces = np.ascontiguousarray(renamed.reshape(-1, 3), dtype=np.int64)
            corners = self._all_corners(self.rest)[ids]
            self.patches[region] = _Patch(patch_faces, ids, build_tree(corners[patch_faces]))
        return self.patches[region]

    def corners(self, skin: Array, patch: _Patch) -> Array:
        """Where a patch's corners are on a skin (V, 3)."""
        return self._all_corners(skin)[patch.ids]

    def _all_corners(self, skin: Array) -> Array:
        """Vertices, the middles of every face's three edges, the faces' centres."""
        corner = skin[self.surface.faces[self.surface.skin]]
        middles = 0.5 * (corner + corner[:, [1, 2, 0]])
        return np.concatenate([skin, middles.reshape(-1, 3), corner.mean(axis=1)])


# --- any two closed meshes -----------------------------------------------------------------------


def intersection_volume(va: Array, fa: np.ndarray, vb: Array, fb: np.ndarray) -> float:
    """Volume (m3) inside both of two closed meshes, vertices (V, 3) m and faces (F, 3).

    A point counts once, however often a mesh covers it. NaN if too many rays do not come out of a
    mesh they went into. Raises ValueError for an open, inconsistently wound or inside-out mesh, or
    vertices that are not finite; so do the other functions of two meshes.
    """
    return _meet(*_checked(va, fa), *_checked(vb, fb)).volume


def penetration_depth(va: Array, fa: np.ndarray, vb: Array, fb: np.ndarray) -> float:
    """Largest distance (m) of a surface point of one closed mesh, inside the other, to the other's
    surface, to within `DEPTH_TOLERANCE`; 0 if none is inside."""
    return _meet(*_checked(va, fa), *_checked(vb, fb)).depth


def mesh_distance(va: Array, fa: np.ndarray, vb: Array, fb: np.ndarray) -> float:
    """Smallest distance (m) between two closed meshes, 0 when they cut or one holds the other."""
    return _meet(*_checked(va, fa), *_checked(vb, fb)).distance


def check_closed(faces: np.ndarray) -> None:
    """Raise ValueError unless every edge of faces (F, 3) runs once each way."""
    directed = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).astype(np.int64)
    if len(directed) == 0 or directed.min() < 0:
        raise ValueError("a mesh needs faces, of vertex numbers from 0 on")
    n = directed.max() + 1
    there = directed[:, 0] * n + directed[:, 1]
    if len(np.unique(there)) != len(there):
        raise ValueError("an edge runs twice in one direction: faces repeat or windings clash")
    lone = ~np.isin(directed[:, 1] * n + directed[:, 0], there)
    if lone.any():
        a, b = directed[lone][0]
        raise ValueError(f"the mesh is open at {lone.sum()} edges, the first from {a} to {b}")


_INSIDE_OUT = "inside out"


@lru_cache(maxsize=64)
def _surface(content: bytes, vertices: bytes) -> Surface:
    faces = np.frombuffer(content, dtype=np.int64).reshape(-1, 3)
    return Surface.of(faces, np.frombuffer(vertices).reshape(-1, 3))


def _checked(vertices: Array, faces: np.ndarray) -> tuple[Surface, Array]:
    vertices = np.ascontiguousarray(vertices, dtype=np.float64)
    faces = np.ascontiguousarray(faces, dtype=np.int64)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or not np.isfinite(vertices).all():
        raise ValueError("vertices must be finite and (V, 3): one mesh")
    check_closed(faces)
    if signed_volume(vertices, faces) <= 0.0:
        raise ValueError(
            "the mesh is inside out: its faces must run counter-clockwise from outside"
        )
    return _surface(faces.tobytes(), vertices.tobytes()), vertices


def _meet(a: Surface, va: Array, b: Surface, vb: Array) -> _Meeting:
    """Volume, depth and distance of two closed surfaces with vertices va, vb (V, 3)."""
    posed_a, posed_b = proximity.refit(a.tree, va, a.faces), proximity.refit(b.tree, vb, b.faces)
    low = np.maximum(posed_a.box[0, :3], posed_b.box[0, :3])
    high = np.minimum(posed_a.box[0, 3:], posed_b.box[0, 3:])
    if (low > high).any():
        return _apart(a, posed_a, b, posed_b)
    cut_a, cut_b = np.zeros(len(a.faces), np.bool_), np.zeros(len(b.faces), np.bool_)
    points = np.empty((2048, 3))
    while True:
        n, face_a, face_b = proximity.cuts(
            a.tree, posed_a, 0, b.tree, posed_b, 0, cut_a, cut_b, points
        )
        if n <= len(points):
            break
        points = np.empty((n, 3))
    vertices = np.concatenate([va, vb])
    faces = np.concatenate([a.faces, b.faces + len(va)])
    label = np.repeat([0, 1], [len(a.faces), len(b.faces)])
    rays = _rays(vertices, faces, label, low, high)
    in_b, in_a = np.empty(len(va), np.bool_), np.empty(len(vb), np.bool_)
    unknown = inside(rays, 1, va, low, high, in_b) + inside(rays, 0, vb, low, high, in_a)
    if unknown:
        fault = f"{unknown} vertices neither inside nor outside"
        return _Meeting(np.nan, np.nan, np.nan, (-1, -1), np.zeros((2, 3)), fault)
    if n == 0 and not in_b.any() and not in_a.any():
        return _apart(a, posed_a, b, posed_b)
    shared = np.concatenate([points[:n], va[in_b], vb[in_a]])
    extent = np.concatenate([shared.min(axis=0), shared.max(axis=0)])[None]
    near = np.concatenate([cut_a | in_b[a.faces].any(axis=1), cut_b | in_a[b.faces].any(axis=1)])
    volume, fault = _volume(
        vertices, faces, label, np.array([2, 1]), extent, shared, _facing(vertices, faces[near])
    )
    of_a = _deepest(a, posed_a, in_b, cut_a, b, posed_b, rays, 1)
    of_b = _deepest(b, posed_b, in_a, cut_b, a, posed_a, rays, 0)
    depth = max(of_a.depth, of_b.depth)
    if of_a.depth >= of_b.depth and of_a.face >= 0:
        at, where = (of_a.face, of_a.face_to), np.stack([of_a.point, of_a.point_to])
    elif of_b.face >= 0:
        at, where = (of_b.face_to, of_b.face), np.stack([of_b.point_to, of_b.point])
    else:  # they cut, and no skin point lies inside: a mere touch, or caps alone
        at, where = (int(face_a), int(face_b)), np.repeat(points[:1], 2, axis=0)
    if of_a.unknown or of_b.unknown:
        depth, fault = np.nan, fault or "points neither inside nor outside"
    return _Meeting(volume, depth, 0.0, at, where, fault)


def _apart(a: Surface, posed_a: Posed, b: Surface, posed_b: Posed) -> _Meeting:
    points = np.empty((2, 3))
    distance, f, g = proximity.closest(a.tree, posed_a, b.tree, posed_b, points[0], points[1])
    return _Meeting(0.0, 0.0, float(distance), (int(f), int(g)), points, "")


def _deepest(
    a: Surface, posed_a: Posed, in_b: np.ndarray, cut: np.ndarray, b: Surface, posed_b: Posed,
    rays: Rays, label: int,
) -> Deepest:  # fmt: skip
    """The deepest skin point of a inside b."""
    rest_box = _NOWHERE
    if b.cap.any():
        caps = posed_b.face_box[b.cap]
        rest_box = np.concatenate([caps[:, :3].min(axis=0), caps[:, 3:].max(axis=0)])[None]
    return proximity.deepest(
        a.faces, posed_a, a.skin, in_b, cut, b.tree, posed_b, b.skin, b.cap, rest_box, rays, label,
        DEPTH_TOLERANCE,
    )  # fmt: skip


def _rays(
    vertices: Array, faces: np.ndarray, label: np.ndarray, low: Array, high: Array,
    axis: int | None = None,
) -> Rays:  # fmt: skip
    """Rays along an axis; if none is given, along a box's longest, which meets fewest faces."""
    axis = int(np.argmax(high - low)) if axis is None else axis
    return rays_through(vertices, faces, label, low, high, axis, _BINS, _BINS)


def _volume(
    vertices: Array, faces: np.ndarray, label: np.ndarray, apart: np.ndarray, boxes: Array,
    seeds: Array, axis: int,
) -> tuple[float, str]:  # fmt: skip
    """Shared volume (m3) within boxes (n, 6), see `shared_volume`; and why it is NaN."""
    rays = _rays(vertices, faces, label, boxes[:, :3].min(axis=0), boxes[:, 3:].max(axis=0), axis)
    volume, met, lost, cast = shared_volume(
        rays, apart, boxes, seeds, _FIRST_RAYS, _ENOUGH_RAYS, _MOST_RAYS
    )
    if lost > _MOST_LOST * max(met, 100):
        return np.nan, f"{lost} of {cast} rays do not come out of a mesh they went into"
    return volume, ""


def _facing(vertices: Array, faces: np.ndarray) -> int:
    """The axis that faces (n, 3) face most.

    What two skins share is mostly flat: seen along the way it was pushed in it is wide and shallow,
    and few rays measure it well; seen from the side it is narrow, with a steep rim.
    """
    corner = vertices[faces]
    area = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    return int(np.argmax(np.abs(area).sum(axis=0)))


def _weights(corners: Array, point: Array) -> Array:
    """Barycentric weights (3,) of a point on a triangle (3, 3)."""
    u, v, w = corners[1] - corners[0], corners[2] - corners[0], point - corners[0]
    uu, uv, vv, wu, wv = u @ u, u @ v, v @ v, w @ u, w @ v
    below = max(uu * vv - uv * uv, 1e-300)
    b, c = (vv * wu - uv * wv) / below, (uu * wv - uv * wu) / below
    return np.array([1.0 - b - c, b, c])


def _join(faults: Iterable[str]) -> str:
    return "; ".join(fault for fault in faults if fault)
