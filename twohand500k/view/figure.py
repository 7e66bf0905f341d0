"""One sample as things to draw: skins, bones, collision bodies, overlap, joints past their limits.

In: a sample and the hands it was made for. Out: meshes and points in the viewer's own space, in
`UNIT`s: the hands in the middle, wrists below, the palms' widest side towards the viewer. Nothing
here knows a browser.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.spatial import KDTree

from twohand500k.conventions import (
    JOINT_NAMES,
    LEFT,
    MANO_CARRIER,
    MANO_JOINT_NAMES,
    N_MANO_JOINTS,
    RIGHT,
    SIDES,
)
from twohand500k.hand import HandPair
from twohand500k.hand.anatomy import ANGLE_NAMES, Anatomy
from twohand500k.hand.measure import common_motion
from twohand500k.hand.mesh import vertex_normals
from twohand500k.hand.model import HandModel
from twohand500k.hand.rotations import Array
from twohand500k.physics.links import Links, hull_mesh
from twohand500k.pictures.pair import overlap_of
from twohand500k.pictures.surface import boundary_loops, refine
from twohand500k.shards import Samples

# Metres a unit of the viewer's space: its lights, shadows and grid suit things of size one.
UNIT = 0.1
# A joint this far over its limit is marked; less is what float32 and a solver leave.
MARKED_DEG = 1.0
_HULL_POINTS = 48
# Less overlap than this, 0.01 cm3, is not worth a hole in the skin.
_SEEN_M3 = 1e-8
# Skin nearer than this to an overlap is drawn as glass: about a finger's thickness, metres.
_WINDOW = 0.016
# Every face is drawn as so many pieces a side.
_LEVEL = 2


@dataclass(frozen=True, eq=False)
class Mesh:
    """vertices (n, 3) in units of the viewer, faces (m, 3) counter-clockwise from outside."""

    vertices: Array
    faces: np.ndarray


@dataclass(frozen=True, eq=False)
class Skinner:
    """A hand model's skin made smooth and closed: the same pieces for every pose.

    first: of the refined points those that are kept, one a place; faces (m, 3) into them; loop:
    the wrist's edge among them, capped by a fan.
    """

    model: HandModel
    first: np.ndarray
    faces: np.ndarray
    loop: np.ndarray

    @staticmethod
    def of(model: HandModel) -> "Skinner":
        """The pieces of a model."""
        skin = model.v_template
        points, _, faces, _, _ = refine(skin, vertex_normals(skin, model.faces), model.faces, 2)
        # Points on an edge that two faces share coincide: one of them is kept.
        first, same = _welded(points)
        faces = same[faces]
        (loop,) = boundary_loops(faces)
        return Skinner(model, first, faces, loop)

    def mesh(self, skin: Array) -> Mesh:
        """The closed smooth skin of posed vertices (V, 3)."""
        normals = vertex_normals(skin, self.model.faces)
        points = refine(skin, normals, self.model.faces, _LEVEL)[0][self.first]
        # The cap has corners of its own: its edge stays sharp under smooth shading.
        rim = points[self.loop]
        n, k = len(points), len(rim)
        around = np.arange(k)
        cap = np.stack([np.full(k, n + k), n + (around + 1) % k, n + around], axis=1)
        return Mesh(
            np.concatenate([points, rim, rim.mean(axis=0, keepdims=True)]),
            np.concatenate([self.faces, cap]),
        )


def _welded(points: Array) -> tuple[np.ndarray, np.ndarray]:
    """Which points (k,) stand for all (n,), and which of those each is, at 1 micrometre."""
    tree = KDTree(points)
    nearest = np.array([min(near) for near in tree.query_ball_point(points, 1e-6)])
    first, same = np.unique(nearest, return_inverse=True)
    return first, same


@dataclass(frozen=True, eq=False)
class State:
    """Both hands at one moment of a repair, metres; NaN where a hand is absent.

    skins: two of (V, 3); joints (2, 21, 3); links: two tuples of sixteen hulls' points (h, 3);
    excess_deg (2, 15, 3) over the limits of flexion, abduction, twist.
    """

    skins: tuple[Array, Array]
    joints: Array
    links: tuple[tuple[Array, ...], tuple[Array, ...]]
    excess_deg: Array

    def moved(self, R: Array, t: Array) -> "State":
        """x -> R x + t."""
        return State(
            (self.skins[RIGHT] @ R.T + t, self.skins[LEFT] @ R.T + t),
            self.joints @ R.T + t,
            (
                tuple(h @ R.T + t for h in self.links[RIGHT]),
                tuple(h @ R.T + t for h in self.links[LEFT]),
            ),
            self.excess_deg,
        )

    def towards(self, other: "State", share: float) -> "State":
        """On the straight way to another state of the same hands, point by point. Limits are the
        nearer state's: between the two there is no pose."""
        if share in (0.0, 1.0):
            return self if share == 0.0 else other

        def mix(a: Array, b: Array) -> Array:
            return (1 - share) * a + share * b

        def mixed(side: int) -> tuple[Array, ...]:
            return tuple(map(mix, self.links[side], other.links[side]))

        return State(
            (mix(self.skins[0], other.skins[0]), mix(self.skins[1], other.skins[1])),
            mix(self.joints, other.joints),
            (mixed(RIGHT), mixed(LEFT)),
            (self if share < 0.5 else other).excess_deg,
        )


@dataclass(frozen=True)
class Mark:
    """A joint past its limits: where (3,), and what to say."""

    side: int
    joint: int
    text: str


@dataclass(frozen=True, eq=False)
class Figure:
    """One sample ready to be drawn: as it is, and as it was before its repair, if it had one."""

    present: tuple[bool, bool]
    after: State
    before: State | None

    def at(self, share: float) -> State:
        """The state at 0 (before) to 1 (after); without a repair always the one there is."""
        return self.after if self.before is None else self.before.towards(self.after, share)

    @cached_property
    def reach(self) -> float:
        """How far the skins reach from the middle, metres."""
        return float(np.nanmax(np.linalg.norm(np.concatenate(self.after.skins), axis=-1)))

    @cached_property
    def floor(self) -> float:
        """The lowest point, metres."""
        return float(np.nanmin(np.concatenate(self.after.skins)[:, 2]))


@dataclass(frozen=True, eq=False)
class View:
    """From a dataset's frame to the viewer's: x -> R (x - middle). R (3, 3), middle (3,) m."""

    R: Array
    middle: Array


class Studio:
    """Makes figures of samples, for one pair of hand models."""

    def __init__(self, hands: HandPair) -> None:
        self.hands = hands
        self.skinners = (Skinner.of(hands.right), Skinner.of(hands.left))
        self._anatomies = (Anatomy.of(hands.right), Anatomy.of(hands.left))
        self._links = (Links.of(hands.right), Links.of(hands.left))
        # A take's frames share one shape; cutting it into links takes longer than all the rest.
        self._hulls = lru_cache(maxsize=16)(self._hulls_of)

    def view_of(self, samples: Samples) -> View:
        """Where to look at a sample (N = 1) from."""
        state = self._state(samples, samples.pose[0], samples.transl[0])
        skin = np.concatenate(state.skins)
        skin = skin[np.isfinite(skin).all(axis=1)]
        return View(_facing(skin, state.joints[:, 0]), (skin.min(axis=0) + skin.max(axis=0)) / 2)

    def figure(self, samples: Samples, view: View | None = None) -> Figure:
        """A sample (N = 1) as a figure, from its own view or a given one."""
        view = view or self.view_of(samples)
        after = self._state(samples, samples.pose[0], samples.transl[0])
        before = None
        if samples.pose_before is not None and samples.present[0].all():
            assert samples.transl_before is not None
            before = self._state(samples, samples.pose_before[0], samples.transl_before[0])
            # A repair may move the pair as one; what is to be seen is what changed within it.
            before = before.moved(*common_motion(before.joints, after.joints))
            before = before.moved(view.R, -view.R @ view.middle)
        right, left = samples.present[0].tolist()
        return Figure((right, left), after.moved(view.R, -view.R @ view.middle), before)

    def skin(self, state: State, side: int) -> Mesh:
        """One hand's closed smooth skin."""
        mesh = self.skinners[side].mesh(state.skins[side])
        return Mesh(mesh.vertices / UNIT, mesh.faces)

    def bodies(self, state: State, side: int) -> Mesh:
        """One hand's sixteen convex collision bodies."""
        vertices, faces, at = [], [], 0
        for points in state.links[side]:
            vertices.append(points / UNIT)
            faces.append(hull_mesh(points) + at)
            at += len(points)
        return Mesh(np.concatenate(vertices), np.concatenate(faces))

    def overlap(self, state: State) -> Mesh | None:
        """What is inside both hands; None if nothing is, or a hand is absent."""
        if not all(np.isfinite(skin).all() for skin in state.skins):
            return None
        shared = overlap_of(self.hands, state.skins)
        if shared is None or shared.volume() < _SEEN_M3:
            return None
        mesh = shared.to_mesh()
        points = np.asarray(mesh.vert_properties, dtype=np.float64)[:, :3]
        return Mesh(points / UNIT, np.asarray(mesh.tri_verts, dtype=np.int64))

    def marks(self, state: State) -> list[Mark]:
        """Joints more than `MARKED_DEG` past a limit, with the angle that is furthest out."""
        found = []
        for side in (RIGHT, LEFT):
            for joint in range(1, N_MANO_JOINTS):
                excess = state.excess_deg[side, joint - 1]
                worst = int(np.argmax(np.nan_to_num(excess)))
                if excess[worst] > MARKED_DEG:
                    name = MANO_JOINT_NAMES[joint]
                    text = f"{SIDES[side]} {name}: {ANGLE_NAMES[worst]} {excess[worst]:+.0f}°"
                    found.append(Mark(side, MANO_CARRIER.index(joint), text))
        return found

    def _state(self, samples: Samples, pose: Array, transl: Array) -> State:
        skins: list[Array] = []
        links: list[tuple[Array, ...]] = []
        joints, excess = np.full((2, 21, 3), np.nan), np.full((2, 15, 3), np.nan)
        for side in (RIGHT, LEFT):
            if not samples.present[0, side]:
                skins.append(np.full_like(self.hands[side].v_template, np.nan))
                links.append(())
                continue
            betas = samples.betas[0, side].astype(np.float64)
            posed = self.hands[side].with_shape(betas).with_pose(pose[side], transl[side])
            skins.append(posed.vertices)
            joints[side] = posed.joints
            angles = self._anatomies[side].angles_from_pose(pose[side].astype(np.float64))
            excess[side] = np.degrees(self._anatomies[side].limit_excess(angles))
            hulls = self._hulls(side, tuple(betas.tolist()))
            T = posed.T_world_joint
            links.append(tuple(h @ T[j, :3, :3].T + T[j, :3, 3] for j, h in enumerate(hulls)))
        return State((skins[0], skins[1]), joints, (links[0], links[1]), excess)

    def _hulls_of(self, side: int, betas: tuple[float, ...]) -> Sequence[Array]:
        return self._links[side].hulls(np.array(betas), _HULL_POINTS)


def window(skin: Mesh, overlap: Mesh | None) -> tuple[Mesh, Mesh | None]:
    """A skin as what stays solid, and what lies about the overlap and would hide it."""
    if overlap is None:
        return skin, None
    middle = skin.vertices[skin.faces].mean(axis=1)
    near = KDTree(overlap.vertices).query(middle, distance_upper_bound=_WINDOW / UNIT)[0]
    about = np.isfinite(near)
    if not about.any():
        return skin, None
    return _part(skin, ~about), _part(skin, about)


def _part(mesh: Mesh, chosen: np.ndarray) -> Mesh:
    """The chosen faces (m,) of a mesh and their vertices."""
    used, faces = np.unique(mesh.faces[chosen], return_inverse=True)
    return Mesh(mesh.vertices[used], faces.reshape(-1, 3))


def joint_label(joint: int) -> str:
    """What a joint of the 21 is called beside its ball: the tips are called tips."""
    name = JOINT_NAMES[joint]
    return f"{name[:-1]} tip" if name.endswith("4") else name


def _facing(skin: Array, wrists: Array) -> Array:
    """Rotation (3, 3), rows right, away from the viewer, up: wrists below, hands spread wide."""
    middle = skin.mean(axis=0)
    axes = np.linalg.svd(skin - middle, full_matrices=False)[2]
    up = middle - np.nanmean(wrists, axis=0)
    up /= max(float(np.linalg.norm(up)), 1e-9)
    # Of the directions square to `up`, that along which the skin spreads least.
    flat = (skin - middle) - ((skin - middle) @ up)[:, None] * up
    spread = np.linalg.svd(flat, full_matrices=False)[2]
    away = spread[1] - (spread[1] @ up) * up
    if np.linalg.norm(away) < 1e-6:
        away = axes[2]
    away /= np.linalg.norm(away)
    right = np.cross(away, up)
    right /= np.linalg.norm(right)
    # The right hand stands to the right, as one sees one's own; a single hand shows as it falls.
    across = wrists[RIGHT] - wrists[LEFT]
    if np.isfinite(across).all() and across @ right < 0:
        right, away = -right, -away
    return np.stack([right, away, np.cross(right, away)])
