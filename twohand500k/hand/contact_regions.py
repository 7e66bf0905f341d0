"""Where on the skin a touch can be: the house's one list of contact regions.

Comes in: a `HandModel`. Goes out: a `ContactRegions`, which region every vertex lies in. Thirty
regions cover the skin and none overlaps another: five on each finger (tip, pad, two sides, back),
the palm with thenar and hypothenar, the hand's back, the wrist. Splice draws contacts from them,
the judge and the report name contacts by them.

Nothing is written down per vertex. A vertex belongs to a finger by its skin weights, and within the
finger to a region by which way its skin faces in the finger's anatomical frame (`hand.anatomy`),
so "radial" is towards the thumb's side, and the thumb's pad is where its own pad is. The palm is
divided by its nearest metacarpal. All is taken at rest and zero betas: a region is the same skin on
every person, in every pose. A left model is looked at in the mirror.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from twohand500k.conventions import FINGERS, MANO_CHAINS
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.capsules import segment_distance
from twohand500k.hand.mesh import vertex_normals
from twohand500k.hand.model import HandModel
from twohand500k.hand.rotations import Array

_ON_A_FINGER = ("tip", "pad", "radial side", "ulnar side", "back")
_TIP, _PAD, _RADIAL, _ULNAR, _BACK = range(5)
_ON_THE_HAND = ("palm", "thenar", "hypothenar", "hand back", "wrist")
_PALM, _THENAR, _HYPOTHENAR, _HAND_BACK, _WRIST = range(25, 30)

REGIONS: tuple[str, ...] = (
    *(f"{finger} {place}" for finger in FINGERS for place in _ON_A_FINGER),
    *_ON_THE_HAND,
)

# Skin that faces within this angle of the finger's dorsal direction is back, within that of its
# palmar direction pad; what lies between is a side. A fingertip's cap faces within `_TIP_ANGLE` of
# the finger's end, leaned towards the pad by `_TIP_LEAN`: one touches with the end of the pad, and
# the nail is the finger's back. Degrees; the choice is ours.
_BACK_ANGLE = 50.0
_PAD_ANGLE = 50.0
_TIP_ANGLE = 60.0
_TIP_LEAN = 20.0
# Rounds of averaging that even out the skin's normals over a vertex's neighbours.
_EVENING = 2
# The wrist's skin reaches this far beyond the wrist joint, in lengths of the middle metacarpal.
_WRIST_REACH = 0.05
# Where palm ends and finger begins on the palmar side: the webs, part of the way along the proximal
# phalanx. On the back the knuckle is the border.
_WEB = 0.40
# The hypothenar eminence ends here along the little finger's metacarpal; then the distal palm.
_EMINENCE = 0.72

_FIRST_JOINTS = tuple(chain[0] for chain in MANO_CHAINS[1:])


@dataclass(frozen=True, eq=False)
class ContactRegions:
    """Which region of `REGIONS` every vertex of one hand model lies in.

    of_vertex (V,) int64, index into REGIONS: every vertex in exactly one region.
    """

    of_vertex: np.ndarray

    def vertices(self, region: int) -> np.ndarray:
        """Vertex ids (n,) of one region, ascending."""
        return np.flatnonzero(self.of_vertex == region)

    @staticmethod
    def of(model: HandModel) -> "ContactRegions":
        """The regions of a model, from its skin weights, rest skin and anatomical frames.

        Mirrored models have the same regions vertex by vertex. Every region is one connected patch
        of the mesh. Raises ValueError for a model on which a region would be empty.
        """
        right = model if model.side == "right" else model.mirrored()
        of_vertex = _assign(right)
        _join_patches(of_vertex, right)
        return ContactRegions(of_vertex)


def _assign(right: HandModel) -> np.ndarray:
    """The region (V,) of every vertex by weight, direction and place; patches not yet joined."""
    skin, joints = right.v_template, right.J_template
    normal = _facing(right)
    owner = np.argmax(right.weights, axis=1)
    frames = Anatomy.of(right).A  # on the right hand the columns are radial, dorsal, distal
    of_vertex = _on_the_hand(skin, normal, joints, frames)
    for finger, chain in enumerate(MANO_CHAINS):
        first = 5 * finger
        for joint in chain[1:] if finger == 0 else chain:
            facing = normal @ frames[joint - 1]
            region = np.array([_RADIAL, _ULNAR])[(facing[:, 0] < 0).astype(int)]
            around = np.degrees(np.arctan2(np.abs(facing[:, 0]), facing[:, 1]))
            region[around < _BACK_ANGLE] = _BACK
            region[around > 180.0 - _PAD_ANGLE] = _PAD
            mine = owner == joint
            if joint in _FIRST_JOINTS:
                along = (skin - joints[joint]) @ frames[joint - 1][:, 2]
                web = _WEB * np.linalg.norm(joints[joint + 1] - joints[joint])
                mine &= (region == _BACK) | (along > web)
            if joint == chain[-1]:
                lean = np.radians(_TIP_LEAN)
                end = facing @ np.array([0.0, -np.sin(lean), np.cos(lean)])
                region[end > np.cos(np.radians(_TIP_ANGLE))] = _TIP
                region[right.tip_vertex_ids[finger]] = _TIP
            of_vertex[mine] = first + region[mine]
    return of_vertex


def _facing(right: HandModel) -> Array:
    """Which way the skin about every vertex (V, 3) faces: normals, evened out over neighbours.

    A dent of one vertex, as the thumb's web has, would else tear the border of two regions.
    """
    edges = right.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    normal = vertex_normals(right.v_template, right.faces)
    for _ in range(_EVENING):
        total = normal.copy()
        np.add.at(total, edges[:, 0], normal[edges[:, 1]])
        np.add.at(total, edges[:, 1], normal[edges[:, 0]])
        normal = total / np.linalg.norm(total, axis=1, keepdims=True)
    return normal


def _on_the_hand(skin: Array, normal: Array, joints: Array, frames: Array) -> np.ndarray:
    """Palm, eminences, back or wrist (V,), as if no vertex belonged to a finger."""
    middle, little, thumb = MANO_CHAINS[2][0], MANO_CHAINS[4][0], MANO_CHAINS[0][0]
    _, dorsal, distal = frames[middle - 1].T
    metacarpals = [(joints[0], joints[chain[0]]) for chain in MANO_CHAINS[1:]]
    metacarpals.append((joints[thumb], joints[thumb + 1]))
    distances = [segment_distance(a, b, skin, skin) for a, b in metacarpals]
    nearest = np.argmin(distances, axis=0)
    region = np.full(len(skin), _PALM)
    # How far along the little finger's metacarpal, 0 at the wrist, 1 at the knuckle.
    bone = joints[little] - joints[0]
    region[(nearest == 3) & ((skin - joints[0]) @ bone / (bone @ bone) < _EMINENCE)] = _HYPOTHENAR
    region[nearest == 4] = _THENAR
    region[normal @ dorsal > 0.1] = _HAND_BACK
    reach = _WRIST_REACH * np.linalg.norm(joints[middle] - joints[0])
    region[(skin - joints[0]) @ distal < reach] = _WRIST
    return region


def _join_patches(of_vertex: np.ndarray, right: HandModel) -> None:
    """Give stray patches to the region that surrounds them most, in place.

    Only the patch with the most skin of every region stays as it is.
    """
    edges = np.unique(np.sort(right.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    for _ in range(10):
        a, b = edges[of_vertex[edges[:, 0]] == of_vertex[edges[:, 1]]].T
        graph = csr_array((np.ones(len(a)), (a, b)), shape=(len(of_vertex), len(of_vertex)))
        patch = connected_components(graph, directed=False)[1]
        size = np.bincount(patch)
        stray = np.ones(len(size), dtype=bool)
        for region in range(len(REGIONS)):
            mine = np.unique(patch[of_vertex == region])
            if len(mine) == 0:
                raise ValueError(f"no skin of {right.name} lies in the region {REGIONS[region]!r}")
            stray[mine[np.argmax(size[mine])]] = False
        if not stray.any():
            return
        before = of_vertex.copy()
        for k in np.flatnonzero(stray):
            inside = patch[edges] == k
            border = edges[inside[:, 0] != inside[:, 1]]
            outer = border[patch[border] != k]
            of_vertex[patch == k] = np.argmax(np.bincount(before[outer]))
    raise ValueError(f"the regions of {right.name} do not settle into one patch each")
