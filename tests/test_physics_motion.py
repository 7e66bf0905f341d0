"""The repair's compiled parts: kinematics, rows of motion, the program, skin distances."""

from functools import cache

import numpy as np
import pytest
import trimesh
from scipy.optimize import minimize

from twohand500k.hand import HandPair, load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.physics._kernels import (
    ANCESTORS,
    DOF,
    invert,
    metric,
    rows_of_contacts,
    solve,
)
from twohand500k.physics.skin import Skin, touches
from twohand500k.physics.state import Pair, State

HANDS: HandPair = load_hands("open")


@cache
def skins() -> tuple[Skin, Skin]:
    return Skin.of(HANDS.right), Skin.of(HANDS.left)


def random_pair(seed: int) -> Pair:
    """Two hands bent at random within their limits, a hand's breadth apart, random shapes."""
    rng = np.random.default_rng(seed)
    anatomies = (Anatomy.of(HANDS.right), Anatomy.of(HANDS.left))
    pose = np.empty((2, 16, 3))
    for s, anatomy in enumerate(anatomies):
        low, high = anatomy.limits[..., 0], anatomy.limits[..., 1]
        angles = rng.uniform(0.5 * low, 0.5 * high)
        pose[s] = anatomy.pose_from_angles(angles, rng.normal(size=3))
    return Pair.of(HANDS, anatomies, pose, rng.normal(size=(2, 10)), 0.03 * rng.normal(size=(2, 3)))


def skin_of(pair: Pair, state: State, side: int) -> np.ndarray:
    frames = pair.frames(state)
    rest = np.ascontiguousarray(HANDS[side].with_shape(pair.betas[side]).rest_vertices)
    return skins()[side].posed(rest, pair.rest[side], frames.R[side], frames.p[side])


@pytest.mark.parametrize("seed", range(3))
def test_kinematics_and_skin_are_the_hand_models(seed: int) -> None:
    pair = random_pair(seed)
    frames = pair.frames(pair.start)
    for s in (0, 1):
        posed = HANDS[s].with_shape(pair.betas[s]).with_pose(pair.pose[s], pair.transl[s])
        np.testing.assert_allclose(frames.p[s], posed.T_world_joint[:, :3, 3], atol=1e-12)
        np.testing.assert_allclose(frames.R[s], posed.T_world_joint[:, :3, :3], atol=1e-12)
        np.testing.assert_allclose(skin_of(pair, pair.start, s), posed.vertices, atol=1e-12)


def test_a_state_that_did_not_move_keeps_its_parameters_bit_by_bit() -> None:
    pair = random_pair(1)
    pose, transl = pair.parameters(pair.start)
    assert pose.tobytes() == pair.pose.tobytes() and transl.tobytes() == pair.transl.tobytes()
    step = np.zeros(2 * DOF)
    step[6 + 3 * 4 + 0] = 0.1  # the right hand's fifth joint bends
    pose, transl = pair.parameters(pair.start.moved(step, pair.low, pair.high))
    changed = (pose != pair.pose).any(axis=-1)
    assert np.argwhere(changed).tolist() == [[0, 5]] and (transl == pair.transl).all()


def test_parameters_of_a_moved_state_are_that_state() -> None:
    pair = random_pair(2)
    step = 0.05 * np.random.default_rng(0).normal(size=2 * DOF)
    state = pair.start.moved(step, pair.low, pair.high)
    pose, transl = pair.parameters(state)
    for s in (0, 1):
        posed = HANDS[s].with_shape(pair.betas[s]).with_pose(pose[s], transl[s])
        np.testing.assert_allclose(posed.vertices, skin_of(pair, state, s), atol=1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_rows_are_derivatives_of_the_gap(seed: int) -> None:
    """A link's point moves as its row says."""
    pair = random_pair(seed)
    rng = np.random.default_rng(seed)
    frames = pair.frames(pair.start)
    h = 1e-6
    for link_a, link_b in rng.integers(0, 16, (4, 2)):
        local_a, local_b = 0.02 * rng.normal(size=(2, 3))
        normal = rng.normal(size=3)
        normal /= np.linalg.norm(normal)

        def gap(state: State, a=link_a, b=link_b, x=local_a, y=local_b, n=normal) -> float:
            f = pair.frames(state)
            point = f.R[0, a] @ x + f.p[0, a], f.R[1, b] @ y + f.p[1, b]
            return float(n @ (point[0] - point[1]))

        points = [
            (frames.R[s, link] @ x + frames.p[s, link])[None]
            for s, link, x in ((0, link_a, local_a), (1, link_b, local_b))
        ]
        row = rows_of_contacts(
            points[0], points[1], normal[None], ANCESTORS[[link_a]], ANCESTORS[[link_b]],
            np.array([0]), np.array([1]), frames.p, frames.axes,
        )[0]  # fmt: skip
        wide = np.full((2, 15, 3), 10.0)
        for k in range(2 * DOF):
            step = np.zeros(2 * DOF)
            step[k] = h
            slope = (
                gap(pair.start.moved(step, -wide, wide)) - gap(pair.start.moved(-step, -wide, wide))
            ) / (2 * h)
            assert slope == pytest.approx(row[k], abs=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_the_program_agrees_with_a_general_solver(seed: int) -> None:
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(2, 80, DOF))
    H = np.einsum("sia,sib->sab", A, A) / 10
    g = rng.normal(size=(2, DOF))
    rows = rng.normal(size=(12, 2 * DOF))
    least = rng.normal(size=12)
    inverse = H.copy()
    for s in (0, 1):
        invert(inverse[s])
        np.testing.assert_allclose(inverse[s] @ H[s], np.eye(DOF), atol=1e-9)
    step = np.empty(2 * DOF)
    solve(inverse, g, rows, least, np.zeros(12), 20000, step)

    def cost(x: np.ndarray) -> float:
        y = x.reshape(2, DOF)
        return 0.5 * float(np.einsum("sa,sab,sb", y, H, y) + 2 * (g * y).sum())

    def slope(x: np.ndarray) -> np.ndarray:
        return (np.einsum("sab,sb->sa", H, x.reshape(2, DOF)) + g).ravel()

    found = minimize(
        cost, np.zeros(2 * DOF), jac=slope, method="SLSQP", options={"maxiter": 500, "ftol": 1e-13},
        constraints={"type": "ineq", "fun": lambda x: rows @ x - least, "jac": lambda x: rows},
    )  # fmt: skip
    assert (rows @ step >= least - 1e-4).all()
    assert cost(step) <= found.fun + 1e-4 * abs(found.fun)


def test_the_metric_is_the_distance_to_where_the_joints_were() -> None:
    """H and g are what a linear model of the joints' motion gives."""
    pair = random_pair(3)
    frames = pair.frames(pair.start)
    rng = np.random.default_rng(0)
    target = frames.p[0] + 0.01 * rng.normal(size=(16, 3))
    weight = rng.uniform(1, 5, 16)
    cost = rng.uniform(0, 1, (15, 3))
    H, g = np.empty((DOF, DOF)), np.empty(DOF)
    before = pair.start.angles[0] + 0.1
    metric(
        frames.p[0], np.arange(16), target, weight, frames.p[0], frames.axes[0], cost,
        pair.start.angles[0], before, H, g,
    )  # fmt: skip
    J = np.zeros((16, 3, DOF))
    for i in range(16):
        for c in range(3):
            J[i, c] = rows_of_contacts(
                frames.p[0, i][None], np.zeros((1, 3)), np.eye(3)[c][None], ANCESTORS[[i]],
                np.zeros((1, 16)), np.array([0]), np.array([1]), frames.p, frames.axes,
            )[0, :DOF]  # fmt: skip
    full = np.einsum("i,ica,icb->ab", weight, J, J)
    full[range(6, DOF), range(6, DOF)] += cost.ravel()
    np.testing.assert_allclose(H, full, atol=1e-9)
    slope = np.einsum("i,ica,ic->a", weight, J, frames.p[0] - target)
    slope[6:] += (cost * -0.1).ravel()
    np.testing.assert_allclose(g, slope, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_skin_distances_are_those_of_another_library(seed: int) -> None:
    """Distance and side of every near vertex against trimesh."""
    pair = random_pair(seed)
    right, left = (skin_of(pair, pair.start, s) for s in (0, 1))
    left = left - left.mean(axis=0) + right.mean(axis=0) + np.array([0.0, 0.01, 0.0])
    found = touches(skins()[0], right, skins()[1], left, 0.005)
    mesh = trimesh.Trimesh(left, skins()[1].faces, process=False)
    points = right[found.vertex]
    _, distance, _ = trimesh.proximity.closest_point_naive(mesh, points)
    inside = mesh.contains(points)
    assert len(found.gap) > 100
    clear = np.abs(found.gap) > 1e-6
    # Vertices deeper than a hand is thick are not looked for; a folded skin has no clear side.
    np.testing.assert_allclose(np.abs(found.gap), distance, atol=1e-9)
    assert ((found.gap < 0) == inside)[clear].mean() > 0.97
    offset = found.point_a - found.point_b
    np.testing.assert_allclose(offset[clear], (found.gap[:, None] * found.normal)[clear], atol=1e-9)
    # None inside is missed, but such as lie deeper than the search goes, where the hand is thick,
    # or where a folded skin has no clear inside.
    missed = right[mesh.contains(right) & ~np.isin(np.arange(len(right)), found.vertex)]
    if len(missed):
        _, depth, _ = trimesh.proximity.closest_point_naive(mesh, missed)
        assert (depth < 0.0149).sum() <= 0.02 * len(found.gap)
