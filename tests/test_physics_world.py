"""The Bullet world: links cut from the skin, bodies, contacts, the same bytes in any order."""

import gc
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pybullet
import pytest
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from twohand500k.conventions import LEFT, MANO_PARENTS, N_MANO_JOINTS, RIGHT
from twohand500k.hand import HandPair, load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.physics import world as world_module
from twohand500k.physics.links import Links, quaternions
from twohand500k.physics.world import Contacts, World, link_meshes

HANDS: HandPair = load_hands("open")
MARGIN = world_module._table()["links"]["margin"]
REACH = 0.008
SIDES = (RIGHT, LEFT)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(HANDS) as opened:
        yield opened


class Sample:
    """Two hands bent at random within their limits, of random shapes, near each other."""

    def __init__(self, seed: int, near: float = 0.04) -> None:
        rng = np.random.default_rng(seed)
        self.pose = np.empty((2, 16, 3))
        self.betas = rng.normal(size=(2, 10))
        self.transl = near * rng.normal(size=(2, 3))
        for s in SIDES:
            anatomy = Anatomy.of(HANDS[s])
            low, high = anatomy.limits[..., 0], anatomy.limits[..., 1]
            angles = rng.uniform(0.8 * low, 0.8 * high)
            self.pose[s] = anatomy.pose_from_angles(angles, rng.normal(size=3))
        rest = np.stack([HANDS[s].with_shape(self.betas[s]).rest_joints[0] for s in SIDES])
        R = Rotation.from_rotvec(self.pose.reshape(-1, 3)).as_matrix().reshape(2, 16, 3, 3)
        self.frames = R[:, 0], rest + self.transl, R[:, 1:]

    def T_world_joint(self) -> np.ndarray:
        return np.stack(
            [
                HANDS[s].with_shape(self.betas[s]).with_pose(self.pose[s], self.transl[s])
                .T_world_joint
                for s in SIDES
            ]
        )  # fmt: skip


@cache
def sample(seed: int) -> Sample:
    return Sample(seed)


def ask(world: World, one: Sample, reach: float = REACH) -> Contacts:
    world.shape(one.betas)
    return world.contacts(*one.frames, reach)


def as_bytes(contacts: Contacts) -> bytes:
    return b"".join(np.ascontiguousarray(column).tobytes() for column in vars(contacts).values())


def hulls_in_world(one: Sample) -> list[list[np.ndarray]]:
    T = one.T_world_joint()
    return [
        [points @ T[s, j, :3, :3].T + T[s, j, :3, 3] for j, (points, _) in enumerate(links)]
        for s, links in enumerate(link_meshes(HANDS, one.betas))
    ]


def gap_along(n: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How far apart two convex sets of points are along unit n (..., 3), from b to a."""
    return (n @ a.T).min(axis=-1) - (n @ b.T).max(axis=-1)


# The links


@pytest.mark.parametrize("seed", range(4))
def test_hulls_hold_the_skin_of_their_part(seed: int) -> None:
    betas = np.random.default_rng(seed).normal(size=(2, 10))
    for s, links in enumerate(link_meshes(HANDS, betas)):
        shaped = HANDS[s].with_shape(betas[s])
        owner = HANDS[s].weights.argmax(axis=1)
        for j, (points, _) in enumerate(links):
            planes = ConvexHull(points).equations
            skin = shaped.rest_vertices[owner == j] - shaped.rest_joints[j]
            outside = (skin @ planes[:, :3].T + planes[:, 3]).max(axis=1)
            assert outside.max() < 1e-6, (s, j)


def test_a_hull_of_few_corners_loses_little() -> None:
    """On a hand with more corners than are kept, the margin makes up for nearly all of it."""
    shaped = HANDS.right.with_shape(np.ones(10))
    whole, thinned = (Links.of(HANDS.right).hulls(np.ones(10), most) for most in (200, 40))
    owner = HANDS.right.weights.argmax(axis=1)
    assert len(whole[0]) > 50 and max(map(len, thinned)) == 40
    for j, points in enumerate(thinned):
        planes = ConvexHull(points).equations
        skin = shaped.rest_vertices[owner == j] - shaped.rest_joints[j]
        assert (skin @ planes[:, :3].T + planes[:, 3]).max() < 2.5e-3


def test_link_meshes_are_closed_convex_outward_and_mirrored() -> None:
    betas = np.tile(np.random.default_rng(0).normal(size=10), (2, 1))
    right, left = link_meshes(HANDS, betas)
    for (points, faces), (other, _) in zip(right, left, strict=True):
        assert len(points) <= world_module._table()["links"]["hull_vertices"]
        corner = points[faces]
        volume = np.einsum("fc,fc->", corner[:, 0], np.cross(corner[:, 1], corner[:, 2])) / 6
        assert volume == pytest.approx(ConvexHull(points).volume, rel=1e-9)
        edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
        assert sorted(map(tuple, edges)) == sorted(map(tuple, edges[:, ::-1]))
        assert ConvexHull(other).volume == pytest.approx(ConvexHull(points).volume, rel=0.02)


def test_links_of_a_joint_meet_at_it() -> None:
    """Parent and child share the ring of skin between them: no gap to slip through."""
    for s, links in enumerate(link_meshes(HANDS, np.zeros((2, 10)))):
        rest = HANDS[s].with_shape(np.zeros(10)).rest_joints
        for j in range(1, N_MANO_JOINTS):
            parent, child = (links[k][0] + rest[k] for k in (MANO_PARENTS[j], j))
            shared = (np.linalg.norm(parent[:, None] - child[None], axis=-1) < 1e-9).any()
            planes = ConvexHull(parent).equations
            inside = (child @ planes[:, :3].T + planes[:, 3]).max(axis=1).min() < 0
            assert shared or inside, (s, j)


# Bodies and kinematics


@pytest.mark.parametrize("seed", range(6))
def test_bullet_poses_links_where_the_hand_model_has_its_joints(world: World, seed: int) -> None:
    one = sample(seed)
    world.shape(one.betas)
    T = world.link_poses(*one.frames)
    expected = one.T_world_joint()
    np.testing.assert_allclose(T[..., :3, 3], expected[..., :3, 3], atol=1e-6)
    np.testing.assert_allclose(T[..., :3, :3], expected[..., :3, :3], atol=1e-5)


def test_quaternions_are_scipys() -> None:
    rng = np.random.default_rng(0)
    turned = rng.normal(size=(200, 3))
    # Near nothing and near half a turn about every axis, where the largest entry changes.
    turned[:100] *= np.pi / np.linalg.norm(turned[:100], axis=1, keepdims=True)
    turned[100:110] *= 1e-9
    R = Rotation.from_rotvec(turned).as_matrix()
    out = np.empty((200, 4))
    quaternions(R, out)
    expected = Rotation.from_matrix(R).as_quat()
    flip = np.sign(np.einsum("nk,nk->n", out, expected))
    np.testing.assert_allclose(out * flip[:, None], expected, atol=1e-12)


# Contacts against geometry


def box(client: int, half: float, place: list[float]) -> int:
    grid = [[x, y, z] for x in (-half, half) for y in (-half, half) for z in (-half, half)]
    shape = pybullet.createCollisionShape(pybullet.GEOM_MESH, vertices=grid, physicsClientId=client)
    return pybullet.createMultiBody(1.0, shape, -1, place, physicsClientId=client)


@pytest.mark.parametrize("gap", [0.006, 0.001, -0.001, -0.004, -0.015])
def test_what_bullet_means_by_point_normal_and_gap(gap: float) -> None:
    """Two boxes a known gap apart: margins are counted in, the normal runs from b to a."""
    client = pybullet.connect(pybullet.DIRECT)
    a = box(client, 0.01, [0.0, 0.0, 0.0])
    b = box(client, 0.01, [0.02 + gap, 0.001, 0.002])
    (found,) = pybullet.getClosestPoints(a, b, 0.01, physicsClientId=client)
    pybullet.disconnect(physicsClientId=client)
    assert found[8] == pytest.approx(gap - 2 * MARGIN, abs=1e-7)
    np.testing.assert_allclose(found[7], [-1.0, 0.0, 0.0], atol=1e-6)
    assert found[5][0] == pytest.approx(0.01 + MARGIN, abs=1e-7)
    assert found[6][0] == pytest.approx(0.01 + gap - MARGIN, abs=1e-7)


@pytest.mark.parametrize("seed", range(8))
def test_contacts_are_the_least_distance_or_the_least_way_out(world: World, seed: int) -> None:
    """Of each pair: along the normal the hulls part by the gap, along no other direction more.

    That is what nearest points mean (separating axis), and for deep links it is what the repair
    relies on: moving a along the normal by the depth parts them.
    """
    one = sample(seed)
    found = ask(world, one)
    hulls = hulls_in_world(one)
    directions = np.random.default_rng(seed).normal(size=(1500, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert len(found.gap)
    np.testing.assert_allclose(np.linalg.norm(found.normal, axis=1), 1.0, atol=1e-9)
    np.testing.assert_allclose(
        found.point_a - found.point_b, found.gap[:, None] * found.normal, atol=1e-6
    )
    for i in range(len(found.gap)):
        a = hulls[found.side_a[i]][found.link_a[i]]
        b = hulls[found.side_b[i]][found.link_b[i]]
        gap = found.gap[i] + 2 * MARGIN
        # No direction parts two convex sets further than their distance.
        assert gap_along(directions, a, b).max() < gap + 1e-6
        # Bullet's search for nearest points stops within 0.1 mm of the least distance.
        assert gap_along(found.normal[i], a, b) > gap - (4e-4 if gap > 0 else 3e-5)


@pytest.mark.parametrize("seed", range(4))
def test_no_pair_of_links_within_reach_is_left_out(world: World, seed: int) -> None:
    """The twin asks for every pair by itself, without the bounds."""
    one = sample(seed)
    found = ask(world, one)
    expected = []
    for a, b in ((RIGHT, LEFT), (RIGHT, RIGHT), (LEFT, LEFT)):
        bodies = world._used[a].number, world._used[b].number
        reach = REACH if a != b else world_module._OWN_REACH
        for i in range(N_MANO_JOINTS):
            for j in range(N_MANO_JOINTS) if a != b else range(i + 1, N_MANO_JOINTS):
                if a == b and world._neighbours[i, j]:
                    continue
                expected += [
                    (a, i, b, j)
                    for _ in pybullet.getClosestPoints(
                        *bodies, reach, i - 1, j - 1, physicsClientId=world._client
                    )
                ]
    rows = zip(found.side_a, found.link_a, found.side_b, found.link_b, strict=True)
    assert list(map(tuple, rows)) == sorted(expected)


def test_an_open_hand_does_not_touch_itself_and_a_fist_does(world: World) -> None:
    one = Sample(0)
    one.betas[:] = 0.0
    world.shape(one.betas)
    flat = np.tile(np.eye(3), (2, 15, 1, 1))
    apart = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    R = np.tile(np.eye(3), (2, 1, 1))
    assert (world.contacts(R, apart, flat, REACH).gap >= 0).all()
    bent = flat.copy()
    for s in SIDES:
        anatomy = Anatomy.of(HANDS[s])
        angles = np.zeros((15, 3))
        angles[:12, 0] = 1.9
        pose = anatomy.pose_from_angles(angles, np.zeros(3))
        bent[s] = Rotation.from_rotvec(pose[1:]).as_matrix()
    found = world.contacts(R, apart, bent, REACH)
    for s in SIDES:
        # Fingertips reach into the palm's own skin.
        pressed = (found.side_a == s) & (found.side_b == s) & (found.gap < -0.002)
        assert (found.link_a[pressed] == 0).any()
    assert len(world.contacts(R, apart, bent, REACH, own=False).gap) == 0


def test_links_thrust_through_each_other_part_along_the_normal(world: World) -> None:
    """A finger driven through the other palm: moved out as the contact says, it is out."""
    one = sample(3)
    world.shape(one.betas)
    R, wrist, joints = (np.copy(x) for x in one.frames)
    T = one.T_world_joint()
    wrist[LEFT] += T[RIGHT, 4, :3, 3] - T[LEFT, 2, :3, 3]  # the left index onto the right palm
    found = world.contacts(R, wrist, joints, REACH, own=False)
    deepest = int(np.argmin(found.gap))
    assert found.gap[deepest] < -0.01
    wrist[RIGHT] -= (found.gap[deepest] - 1e-5) * found.normal[deepest]
    after = world.contacts(R, wrist, joints, REACH, own=False)
    same = (after.link_a == found.link_a[deepest]) & (after.link_b == found.link_b[deepest])
    assert abs(after.gap[same]).max() < 1e-4


# History


def test_same_bytes_in_any_order_from_any_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh and reused clients, new and cached bodies, few kept and many, forwards and back."""
    seeds = list(range(6))
    expected = {}
    for seed in seeds:
        with World(HANDS) as fresh:
            expected[seed] = as_bytes(ask(fresh, sample(seed)))
    assert len(set(expected.values())) == len(seeds)
    order = seeds + seeds[::-1] + [3, 3, 0, 5, 0]
    with World(HANDS) as kept:
        assert [as_bytes(ask(kept, sample(k))) for k in order] == [expected[k] for k in order]
    table = {**world_module._table(), "client": {"most_shapes": 3}}
    monkeypatch.setattr(world_module, "_table", lambda: table)
    with World(HANDS) as recycled, World(HANDS) as other:
        for k in order:
            ask(other, sample((k + 1) % 6))
            assert as_bytes(ask(recycled, sample(k))) == expected[k]
            assert len(recycled._bodies) <= 3


def test_reach_only_adds_rows(world: World) -> None:
    one = sample(1)
    near, far = (ask(world, one, reach) for reach in (0.002, 0.012))
    chosen = (far.side_a == far.side_b) | (far.gap < 0.002)
    for name, column in vars(near).items():
        np.testing.assert_array_equal(column, getattr(far, name)[chosen], err_msg=name)


def test_rows_are_sorted_and_move_with_the_pair(world: World) -> None:
    one = sample(2)
    found = ask(world, one)
    keys = list(zip(found.side_a, found.link_a, found.side_b, found.link_b, strict=True))
    assert keys == sorted(keys) and len(set(keys)) == len(keys)
    R, t = Rotation.from_rotvec([0.3, -2.0, 0.7]).as_matrix(), np.array([5.0, -3.0, 1.0])
    R_wrist, wrist, joints = one.frames
    moved = world.contacts(R @ R_wrist, wrist @ R.T + t, joints, REACH)
    np.testing.assert_allclose(moved.gap, found.gap, atol=1e-7)
    np.testing.assert_allclose(moved.normal, found.normal @ R.T, atol=1e-4)
    np.testing.assert_array_equal(moved.link_a, found.link_a)


def test_a_world_without_shapes_or_closed_says_so() -> None:
    world = World(HANDS)
    with pytest.raises(ValueError, match="shape"):
        world.contacts(*sample(0).frames, REACH)
    world.close()
    with pytest.raises(ValueError, match="closed"):
        world.shape(np.zeros((2, 10)))


def test_nothing_is_kept_of_a_shape_that_is_gone(world: World) -> None:
    """pybullet holds on to every list and row that it is shown, if one shows it new ones."""
    rng = np.random.default_rng(0)

    def blocks_after(pairs: int) -> int:
        for _ in range(pairs):
            world.shape(rng.normal(size=(2, 10)))
        gc.collect()
        return sys.getallocatedblocks()

    kept = world_module._table()["client"]["most_shapes"] // 2
    before = blocks_after(2 * kept)
    # A list a link would be 32 a pair, its rows a thousand.
    assert blocks_after(kept) - before < 10 * kept


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_stays_flat_over_new_shapes(world: World) -> None:
    """Bullet's own memory, 0.5 MB a pair, is freed with its client."""
    rng = np.random.default_rng(1)

    def resident_mb(pairs: int) -> float:
        for _ in range(pairs):
            world.shape(rng.normal(size=(2, 10)))
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    kept = world_module._table()["client"]["most_shapes"] // 2
    before = resident_mb(2 * kept)
    assert resident_mb(4 * kept) - before < 15
