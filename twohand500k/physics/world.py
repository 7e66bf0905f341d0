"""The Bullet world: two articulated hands of convex links, and where they touch.

In: betas and a pair's joint frames. Out: `Contacts`, the nearest points of all links that lie
within reach of each other, of the two hands and of each hand with itself. A hand is one multibody:
the palm its base, fifteen links on spherical joints, three rotational degrees each; how far an
angle may go is for the repair to say. Nothing is simulated: poses are set, distances asked for.

Distances come from `getClosestPoints`, which makes its manifolds anew with every question, so that
an answer depends on nothing that was asked before; `performCollisionDetection` keeps them, and is
slower besides. Rows are sorted all the same. Bodies are kept by their betas; as Bullet frees little
when a body is removed, the client is closed and a fresh one opened after so many shapes.

Bullet grows every hull by a margin. It makes up for what a hull of few vertices cuts off the skin;
points lie on the grown hulls, and gaps are between them: two margins less than between the hulls.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import TracebackType
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from twohand500k.conventions import LEFT, MANO_PARENTS, N_BETAS, N_MANO_JOINTS, RIGHT
from twohand500k.hand import HandPair
from twohand500k.hand.rotations import Array
from twohand500k.physics._bullet import pybullet
from twohand500k.physics.links import Links, bounds_of, hull_mesh, near_links, quaternions

# Links of one hand are asked for within this, metres.
_OWN_REACH = 0.004
_ORIGIN, _IDENTITY = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]
# What holds for every link beyond the palm, in Bullet's numbering: MANO's joints less one.
_LINKS = list(range(N_MANO_JOINTS - 1))
_PARENTS = list(MANO_PARENTS[1:])
_STILL, _UNTURNED = [_ORIGIN for _ in _LINKS], [_IDENTITY for _ in _LINKS]
_MASSES, _NO_VISUALS = [1.0 for _ in _LINKS], [-1 for _ in _LINKS]
_SPHERICAL, _AXES = [pybullet.JOINT_SPHERICAL for _ in _LINKS], [[0.0, 0.0, 1.0] for _ in _LINKS]


@dataclass(frozen=True, eq=False)
class Contacts:
    """n pairs of links near each other, sorted by sides, links and place.

    side_a, link_a, side_b, link_b (n,): between hands a is the right one, within a hand
    side_a == side_b and link_a < link_b; a link is its MANO joint. At most one row a pair of links.
    point_a, point_b (n, 3) m on the links' hulls grown by the margin; normal (n, 3) unit, from b to
    a; gap (n,) m between the grown hulls, negative where they overlap: point_a - point_b =
    gap * normal.
    """

    side_a: np.ndarray
    link_a: np.ndarray
    side_b: np.ndarray
    link_b: np.ndarray
    point_a: Array
    point_b: Array
    normal: Array
    gap: Array


@dataclass(frozen=True, eq=False)
class _Body:
    """One side's hand in Bullet. rest (16, 3); capsules, palm_box: see `bounds_of`."""

    number: int
    rest: Array
    capsules: Array
    palm_box: Array


class World:
    """A Bullet client with one right and one left hand in use."""

    def __init__(self, hands: HandPair) -> None:
        self._hands = hands
        self._links = (Links.of(hands.right), Links.of(hands.left))
        self._table = _table()
        self._client = -1
        # pybullet never lets go of a list given to it nor of the rows in it, 7 kB a link: it is
        # always shown the same ones, filled anew. _points: per number of corners, all of one set.
        rows = [[0.0, 0.0, 0.0] for _ in range(self._table["links"]["hull_vertices"])]
        self._points = [rows[:count] for count in range(len(rows) + 1)]
        self._bones = [[0.0, 0.0, 0.0] for _ in _LINKS]
        self._shapes = [-1 for _ in _LINKS]
        self._bodies: dict[tuple[int, bytes], _Body] = {}
        self._used: list[_Body] = []
        self._open()
        self._neighbours = self._neighbour_links()

    def __enter__(self) -> "World":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the client; the world cannot be used any more."""
        if self._client >= 0:
            pybullet.disconnect(physicsClientId=self._client)
        self._client = -1
        self._bodies.clear()
        self._used = []

    def shape(self, betas: Array) -> None:
        """Use hands of these betas (2, 10)."""
        if self._client < 0:
            raise ValueError("this world is closed")
        keys = [(s, np.asarray(betas[s], dtype=np.float64).tobytes()) for s in (RIGHT, LEFT)]
        new = sum(key not in self._bodies for key in keys)
        if len(self._bodies) + new > self._table["client"]["most_shapes"]:
            self._reopen()
        for side, key in enumerate(keys):
            if key not in self._bodies:
                self._bodies[key] = self._body(side, np.asarray(betas[side], dtype=np.float64))
        self._used = [self._bodies[key] for key in keys]

    def contacts(
        self,
        R_world_wrist: Array,
        wrist: Array,
        R_parent_joint: Array,
        reach: float,
        own: bool = True,
    ) -> Contacts:
        """Links of two hands nearer than reach (m); own: those of one hand within own reach too.

        R_world_wrist (2, 3, 3), wrist (2, 3) m, R_parent_joint (2, 15, 3, 3).
        """
        self._pose(R_world_wrist, wrist, R_parent_joint)
        client = self._client
        right, left = (body.number for body in self._used)
        points = pybullet.getClosestPoints(right, left, reach, physicsClientId=client)
        found = [(RIGHT, LEFT, point) for point in points]
        if own:
            for side in (RIGHT, LEFT):
                number = self._used[side].number
                for a, b in self._near_pairs(side, R_parent_joint, _OWN_REACH):
                    found += [
                        (side, side, point)
                        for point in pybullet.getClosestPoints(
                            number, number, _OWN_REACH, a - 1, b - 1, physicsClientId=client
                        )
                    ]
        return _sorted(found, R_world_wrist[RIGHT], wrist[RIGHT])

    def link_poses(self, R_world_wrist: Array, wrist: Array, R_parent_joint: Array) -> Array:
        """Bullet's own forward kinematics: frames (2, 16, 4, 4) of all links in the world."""
        self._pose(R_world_wrist, wrist, R_parent_joint)
        T_right_link = np.zeros((2, N_MANO_JOINTS, 4, 4))
        T_right_link[..., 3, 3] = 1.0
        for side in (RIGHT, LEFT):
            body = self._used[side].number
            place = [pybullet.getBasePositionAndOrientation(body, physicsClientId=self._client)]
            place += [
                (state[4], state[5])
                for state in pybullet.getLinkStates(
                    body, _LINKS, computeForwardKinematics=1, physicsClientId=self._client
                )
            ]
            T_right_link[side, :, :3, 3] = [position for position, _ in place]
            quats_xyzw = [orientation for _, orientation in place]
            T_right_link[side, :, :3, :3] = Rotation.from_quat(quats_xyzw).as_matrix()
        T_world_right = np.eye(4)
        T_world_right[:3, :3], T_world_right[:3, 3] = R_world_wrist[RIGHT], wrist[RIGHT]
        return T_world_right @ T_right_link

    def _open(self) -> None:
        self._client = pybullet.connect(pybullet.DIRECT)
        if self._client < 0:
            raise RuntimeError("Bullet opens no client")

    def _reopen(self) -> None:
        pybullet.disconnect(physicsClientId=self._client)
        self._bodies.clear()
        self._open()

    def _body(self, side: int, betas: Array) -> _Body:
        rest = self._hands[side].with_shape(betas).rest_joints
        hulls = self._links[side].hulls(betas, self._table["links"]["hull_vertices"])
        client = self._client
        shapes = [self._collision_shape(hull) for hull in hulls]
        self._shapes[:] = shapes[1:]
        for row, j in zip(self._bones, range(1, N_MANO_JOINTS), strict=True):
            row[:] = (rest[j] - rest[MANO_PARENTS[j]]).tolist()
        number = pybullet.createMultiBody(
            1.0, shapes[0], -1, _ORIGIN, _IDENTITY,
            linkMasses=_MASSES,
            linkCollisionShapeIndices=self._shapes,
            linkVisualShapeIndices=_NO_VISUALS,
            linkPositions=self._bones,
            linkOrientations=_UNTURNED,
            linkInertialFramePositions=_STILL,
            linkInertialFrameOrientations=_UNTURNED,
            linkParentIndices=_PARENTS,
            linkJointTypes=_SPHERICAL,
            linkJointAxis=_AXES,
            flags=pybullet.URDF_USE_SELF_COLLISION,
            physicsClientId=client,
        )  # fmt: skip
        if number < 0 or min(shapes) < 0:
            raise RuntimeError("Bullet could not make a hand's body")
        margin = self._table["links"]["margin"]
        for link in (-1, *_LINKS):
            pybullet.changeDynamics(number, link, collisionMargin=margin, physicsClientId=client)
            # We ask for pairs by name. Bullet's own list of pairs that might meet would be kept up
            # to date with every pose of every body, and costs more than the questions.
            pybullet.setCollisionFilterGroupMask(number, link, 0, 0, physicsClientId=client)
        return _Body(number, rest, *bounds_of(hulls))

    def _collision_shape(self, hull: Array) -> int:
        points = self._points[len(hull)]
        for row, point in zip(points, hull.tolist(), strict=True):
            row[:] = point
        return pybullet.createCollisionShape(
            pybullet.GEOM_MESH, vertices=points, physicsClientId=self._client
        )

    def _pose(self, R_world_wrist: Array, wrist: Array, R_parent_joint: Array) -> None:
        """Set both hands, in the right wrist's frame: setting a base costs as much as asking.

        A base that stands where it stood is left alone; the right one always does.
        """
        if not self._used:
            raise ValueError("shape() says which hands are meant, and was not called")
        quats_xyzw = np.empty((2, N_MANO_JOINTS, 4))
        R_right_left = R_world_wrist[RIGHT].T @ R_world_wrist[LEFT]
        quaternions(R_right_left[None], quats_xyzw[LEFT, :1])
        for side in (RIGHT, LEFT):
            quaternions(R_parent_joint[side], quats_xyzw[side, 1:])
        place = (R_world_wrist[RIGHT].T @ (wrist[LEFT] - wrist[RIGHT])).tolist()
        joints = quats_xyzw[:, 1:].tolist()
        pybullet.resetBasePositionAndOrientation(
            self._used[LEFT].number, place, quats_xyzw[LEFT, 0].tolist(),
            physicsClientId=self._client,
        )  # fmt: skip
        for side, body in enumerate(self._used):
            pybullet.resetJointStatesMultiDof(
                body.number, _LINKS, joints[side], _STILL, physicsClientId=self._client
            )

    def _near_pairs(self, side: int, R_parent_joint: Array, reach: float) -> list[list[int]]:
        """Pairs of one hand's links that are no neighbours and may lie within reach."""
        body = self._used[side]
        margins = 2.0 * self._table["links"]["margin"]
        return near_links(
            body.rest, R_parent_joint[side], body.capsules, body.palm_box,
            self._neighbours, reach + margins,
        ).tolist()  # fmt: skip

    def _neighbour_links(self) -> Array:
        """(16, 16): links that do not meet, being parent and child or near in the flat hand."""
        near = np.eye(N_MANO_JOINTS, dtype=bool)
        for j in range(1, N_MANO_JOINTS):
            near[j, MANO_PARENTS[j]] = near[MANO_PARENTS[j], j] = True
        self.shape(np.zeros((2, N_BETAS)))
        flat = np.tile(np.eye(3), (2, N_MANO_JOINTS, 1, 1))
        self._pose(flat[:, 0], np.zeros((2, 3)), flat[:, 1:])
        number = self._used[RIGHT].number
        for point in pybullet.getClosestPoints(
            number, number, self._table["neighbours"]["rest_gap"], physicsClientId=self._client
        ):
            a, b = point[3] + 1, point[4] + 1
            near[a, b] = near[b, a] = True
        self._used = []
        return near


def _sorted(found: list[tuple[int, int, Any]], R_world_right: Array, right: Array) -> Contacts:
    """Bullet's points, given in the right wrist's frame, sorted and put into the world."""
    rows = sorted(
        (a, point[3], b, point[4], *point[5], *point[6], *point[7], point[8])
        for a, b, point in found
    )
    table = np.array(rows, dtype=np.float64).reshape(-1, 14)
    sides = table[:, :4].astype(np.int64)
    return Contacts(
        side_a=sides[:, 0],
        link_a=sides[:, 1] + 1,
        side_b=sides[:, 2],
        link_b=sides[:, 3] + 1,
        point_a=_turned(R_world_right, table[:, 4:7]) + right,
        point_b=_turned(R_world_right, table[:, 7:10]) + right,
        normal=_turned(R_world_right, table[:, 10:13]),
        gap=np.ascontiguousarray(table[:, 13]),
    )


def _turned(R: Array, points: Array) -> Array:
    # Written out: a product through BLAS may differ in its last bit with the number of rows.
    return points[:, :1] * R[:, 0] + points[:, 1:2] * R[:, 1] + points[:, 2:3] * R[:, 2]


def link_meshes(hands: HandPair, betas: Array) -> list[list[tuple[Array, np.ndarray]]]:
    """The links as they are put into Bullet, for pictures, without the margin.

    betas (2, 10). Per side and MANO joint: hull points (n, 3) m from the joint's place, in its
    frame (`T_world_joint`, which at rest is not turned), and faces (m, 3), outward.
    """
    most = _table()["links"]["hull_vertices"]
    return [
        [
            (points, hull_mesh(points))
            for points in Links.of(hands[side]).hulls(np.asarray(betas[side]), most)
        ]
        for side in (RIGHT, LEFT)
    ]


@cache
def _table() -> dict[str, Any]:
    text = resources.files("twohand500k.physics_assets").joinpath("bullet.toml").read_text("utf8")
    return tomllib.loads(text)
