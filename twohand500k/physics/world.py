"""The Bullet world: two articulated hands of convex links, and where they touch.

In: betas and a pair's joint frames. Out: `Contacts`, the nearest points of all links that lie within
reach of each other, of the two hands and of each hand with itself. A hand is one multibody: the palm
its base, fifteen links on spherical joints, three rotational degrees each; how far an angle may go
is for the repair to say. Nothing is simulated: poses are set and distances asked for.

Distances come from `getClosestPoints`, which makes its manifolds anew with every question, so that
an answer depends on nothing that was asked before; `performCollisionDetection` keeps them, and is
slower besides. Rows are sorted all the same. Bodies are kept by their betas; as Bullet frees little
when a body is removed, the client is closed and a fresh one opened after so many shapes.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import TracebackType
from typing import Any

import numpy as np
import pybullet
from scipy.spatial.transform import Rotation

from twohand500k.conventions import LEFT, MANO_PARENTS, N_MANO_JOINTS, RIGHT
from twohand500k.hand import HandPair
from twohand500k.hand.rotations import Array
from twohand500k.physics.links import Links

_IDENTITY = [0.0, 0.0, 0.0, 1.0]
_STILL = [[0.0, 0.0, 0.0]] * (N_MANO_JOINTS - 1)
_LINKS = list(range(N_MANO_JOINTS - 1))


@dataclass(frozen=True, eq=False)
class Contacts:
    """n pairs of links near each other, sorted by sides, links and place.

    side_a, link_a, side_b, link_b (n,): between hands a is the right one, within a hand
    side_a == side_b and link_a < link_b; a link is its MANO joint. point_a, point_b (n, 3) m on the
    links' hulls; normal (n, 3) unit, from b to a; gap (n,) m, negative where they overlap.
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
    """One side's hand in Bullet. rest (16, 3); ball (16, 4): a sphere about each link's hull, in
    the link's own frame."""

    number: int
    rest: Array
    ball: Array


class World:
    """A Bullet client with one right and one left hand in use."""

    def __init__(self, hands: HandPair) -> None:
        self._hands = hands
        self._links = (Links.of(hands.right), Links.of(hands.left))
        self._table = _table()
        self._client = -1
        self._bodies: dict[tuple[int, bytes], _Body] = {}
        self._used: list[_Body] = []
        self._neighbours: Array | None = None
        self._open()

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
        """Links nearer than reach (m) to each other, own: those of one hand too.

        R_world_wrist (2, 3, 3), wrist (2, 3) m, R_parent_joint (2, 15, 3, 3).
        """
        self._pose(R_world_wrist, wrist, R_parent_joint)
        right, left = (body.number for body in self._used)
        found = [
            (RIGHT, LEFT, point)
            for point in pybullet.getClosestPoints(right, left, reach, physicsClientId=self._client)
        ]
        if own:
            for side in (RIGHT, LEFT):
                number = self._used[side].number
                for a, b in self._near_pairs(side, R_world_wrist, wrist, R_parent_joint, reach):
                    found += [
                        (side, side, point)
                        for point in pybullet.getClosestPoints(
                            number, number, reach, a - 1, b - 1, physicsClientId=self._client
                        )
                    ]
        return _sorted(found)

    def link_poses(self, R_world_wrist: Array, wrist: Array, R_parent_joint: Array) -> Array:
        """Bullet's own forward kinematics: frames (2, 16, 4, 4) of all links in the world."""
        self._pose(R_world_wrist, wrist, R_parent_joint)
        T = np.zeros((2, N_MANO_JOINTS, 4, 4))
        T[..., 3, 3] = 1.0
        for side in (RIGHT, LEFT):
            body = self._used[side].number
            place = [pybullet.getBasePositionAndOrientation(body, physicsClientId=self._client)]
            place += [
                (state[4], state[5])
                for state in pybullet.getLinkStates(
                    body, _LINKS, computeForwardKinematics=1, physicsClientId=self._client
                )
            ]
            T[side, :, :3, 3] = [position for position, _ in place]
            quats_xyzw = [orientation for _, orientation in place]
            T[side, :, :3, :3] = Rotation.from_quat(quats_xyzw).as_matrix()
        return T

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
        shapes = [
            pybullet.createCollisionShape(
                pybullet.GEOM_MESH, vertices=hull.tolist(), physicsClientId=client
            )
            for hull in hulls
        ]
        bones = [rest[j] - rest[MANO_PARENTS[j]] for j in range(1, N_MANO_JOINTS)]
        count = len(_LINKS)
        number = pybullet.createMultiBody(
            1.0, shapes[0], -1, [0.0, 0.0, 0.0], _IDENTITY,
            linkMasses=[1.0] * count,
            linkCollisionShapeIndices=shapes[1:],
            linkVisualShapeIndices=[-1] * count,
            linkPositions=[bone.tolist() for bone in bones],
            linkOrientations=[_IDENTITY] * count,
            linkInertialFramePositions=[[0.0, 0.0, 0.0]] * count,
            linkInertialFrameOrientations=[_IDENTITY] * count,
            linkParentIndices=list(MANO_PARENTS[1:]),
            linkJointTypes=[pybullet.JOINT_SPHERICAL] * count,
            linkJointAxis=[[0.0, 0.0, 1.0]] * count,
            flags=pybullet.URDF_USE_SELF_COLLISION,
            physicsClientId=client,
        )  # fmt: skip
        if number < 0 or min(shapes) < 0:
            raise RuntimeError("Bullet could not make a hand's body")
        centre = np.array([hull.mean(axis=0) for hull in hulls])
        radius = [
            np.linalg.norm(hull - c, axis=1).max() for hull, c in zip(hulls, centre, strict=True)
        ]
        return _Body(number, rest, np.column_stack([centre, radius]))

    def _pose(self, R_world_wrist: Array, wrist: Array, R_parent_joint: Array) -> None:
        if not self._used:
            raise ValueError("shape() says which hands are meant, and was not called")
        R = np.concatenate([R_world_wrist[:, None], R_parent_joint], axis=1)
        quats_xyzw = Rotation.from_matrix(R.reshape(-1, 3, 3)).as_quat().reshape(2, -1, 4).tolist()
        for side, body in enumerate(self._used):
            pybullet.resetBasePositionAndOrientation(
                body.number, wrist[side].tolist(), quats_xyzw[side][0],
                physicsClientId=self._client,
            )  # fmt: skip
            pybullet.resetJointStatesMultiDof(
                body.number, _LINKS, quats_xyzw[side][1:], _STILL, physicsClientId=self._client
            )

    def _near_pairs(
        self, side: int, R_world_wrist: Array, wrist: Array, R_parent_joint: Array, reach: float
    ) -> list[tuple[int, int]]:
        """Pairs of one hand's links that are no neighbours and whose spheres lie within reach."""
        body = self._used[side]
        R = np.empty((N_MANO_JOINTS, 3, 3))
        p = np.empty((N_MANO_JOINTS, 3))
        R[0], p[0] = R_world_wrist[side], wrist[side]
        for j in range(1, N_MANO_JOINTS):
            parent = MANO_PARENTS[j]
            R[j] = R[parent] @ R_parent_joint[side, j - 1]
            p[j] = p[parent] + R[parent] @ (body.rest[j] - body.rest[parent])
        centre = p + np.einsum("jab,jb->ja", R, body.ball[:, :3])
        apart = np.linalg.norm(centre[:, None] - centre, axis=-1)
        near = apart < body.ball[:, None, 3] + body.ball[:, 3] + reach
        pairs = np.argwhere(np.triu(near & ~self._neighbour_links(), 1))
        return [(int(a), int(b)) for a, b in pairs]

    def _neighbour_links(self) -> Array:
        """(16, 16): links that do not meet, being parent and child or near in the flat hand."""
        if self._neighbours is None:
            near = np.eye(N_MANO_JOINTS, dtype=bool)
            for j in range(1, N_MANO_JOINTS):
                near[j, MANO_PARENTS[j]] = near[MANO_PARENTS[j], j] = True
            used = self._used
            self.shape(np.zeros((2, 10)))
            identity = np.broadcast_to(np.eye(3), (2, N_MANO_JOINTS, 3, 3))
            self._pose(identity[:, 0], np.zeros((2, 3)), identity[:, 1:])
            number = self._used[RIGHT].number
            for point in pybullet.getClosestPoints(
                number, number, self._table["neighbours"]["rest_gap"], physicsClientId=self._client
            ):
                a, b = point[3] + 1, point[4] + 1
                near[a, b] = near[b, a] = True
            self._neighbours = near
            if used:
                self._used = used
        return self._neighbours


def _sorted(found: list[tuple[int, int, Any]]) -> Contacts:
    rows = sorted(
        (
            (a, point[3] + 1, b, point[4] + 1, *point[5], *point[6], *point[7], point[8])
            if a != b or point[3] < point[4]
            else (
                a, point[4] + 1, b, point[3] + 1, *point[6], *point[5],
                *(-x for x in point[7]), point[8],
            )
        )
        for a, b, point in found
    )  # fmt: skip
    table = np.array(rows, dtype=np.float64).reshape(-1, 14)
    sides = table[:, :4].astype(np.int64)
    return Contacts(
        sides[:, 0], sides[:, 1], sides[:, 2], sides[:, 3],
        np.ascontiguousarray(table[:, 4:7]), np.ascontiguousarray(table[:, 7:10]),
        np.ascontiguousarray(table[:, 10:13]), np.ascontiguousarray(table[:, 13]),
    )  # fmt: skip


@cache
def _table() -> dict[str, Any]:
    text = resources.files("twohand500k.physics_assets").joinpath("bullet.toml").read_text("utf8")
    return tomllib.loads(text)
