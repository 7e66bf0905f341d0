"""Every term of the energy against finite differences, and the kernel against the plain terms."""

import numpy as np
import pytest

from twohand500k.hand import load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from twohand500k.ik import _kernels
from twohand500k.ik.attachments import Attachments
from twohand500k.ik.residuals import (
    N_COORDINATES,
    AnglePrior,
    Chain,
    limit_residual,
    orientation_residual,
    points_on,
)
from twohand500k.ik.solver import Settings, Target, make_rig

STEP = 1e-6


@pytest.fixture(scope="module", params=["right", "left"])
def model(request):
    """The open hand, with skin tips that hang on several joints and follow every joint's pose."""
    model = getattr(load_hands("open"), request.param)
    rng = np.random.default_rng(0)
    tips = list(model.tip_vertex_ids)
    posedirs, weights = model.posedirs.copy(), model.weights.copy()
    posedirs[tips] = rng.normal(size=posedirs[tips].shape) * 2e-4
    distal = weights[tips].argmax(axis=1)
    weights[tips] = 0.0
    weights[tips, distal], weights[tips, distal - 1], weights[tips, 0] = 0.9, 0.08, 0.02
    return type(model)(**{**_fields(model), "posedirs": posedirs, "weights": weights})


def _fields(model):
    from dataclasses import fields

    return {f.name: getattr(model, f.name) for f in fields(model)}


@pytest.fixture(scope="module")
def case(model):
    """Four hands: near the flat hand, and well inside and outside the limits."""
    rng = np.random.default_rng(1)
    anatomy = Anatomy.of(model)
    angles = rng.uniform(-1, 1, (4, 15, 3)) * np.array([1e-7, 0.3, 0.6, 1.2])[:, None, None]
    R0 = matrix_from_axis_angle(rng.normal(size=(4, 3)) * 2)
    wrist = rng.normal(size=(4, 3)) * 0.2
    betas = rng.normal(size=10)
    joints = Attachments.of_joints()
    markers = Attachments(
        joint=np.array([5, 6, 8, 3, 0]),
        carrier=np.array([1, 2, 3, 15, 0]),
        tip=np.full(5, -1),
        offset=rng.normal(size=(5, 3)) * 0.01,
        weight=np.array([1.0, 0.5, 1.0, 0.7, 1.0]),
    )
    attachments = Attachments(
        *(
            np.concatenate([getattr(joints, name), getattr(markers, name)])
            for name in ("joint", "carrier", "tip", "offset", "weight")
        )
    )
    return model.with_shape(betas), anatomy, attachments, R0, wrist, angles


def _moved(R0, wrist, angles, delta):
    """The pose moved by local coordinates (51,)."""
    return (
        matrix_from_axis_angle(delta[:3]) @ R0,
        wrist + delta[3:6],
        angles + delta[6:].reshape(15, 3),
    )


def test_points_are_the_models_own(case):
    shaped, anatomy, attachments, R0, wrist, angles = case
    X, _, _ = points_on(Chain.of(shaped, anatomy, R0, wrist, angles), attachments)
    pose = anatomy.pose_from_angles(angles, axis_angle_from_matrix(R0))
    posed = shaped.with_pose(pose, wrist - shaped.rest_joints[0])
    np.testing.assert_allclose(X[:, :21], posed.joints, atol=1e-12)
    T = posed.T_world_joint[:, attachments.carrier[21:]]
    expected = np.einsum("nkij,kj->nki", T[..., :3, :3], attachments.offset[21:]) + T[..., :3, 3]
    np.testing.assert_allclose(X[:, 21:], expected, atol=1e-12)


def test_point_jacobians(case):
    shaped, anatomy, attachments, *pose = case
    _, J, dX_dbetas = points_on(Chain.of(shaped, anatomy, *pose), attachments)

    def at(delta):
        return points_on(Chain.of(shaped, anatomy, *_moved(*pose, delta)), attachments)[0]

    for i, unit in enumerate(np.eye(N_COORDINATES)):
        numeric = (at(STEP * unit) - at(-STEP * unit)) / (2 * STEP)
        np.testing.assert_allclose(J[..., i], numeric, atol=1e-8, err_msg=f"coordinate {i}")

    for i, unit in enumerate(np.eye(10)):
        shapes = [shaped.model.with_shape(shaped.betas + s * unit) for s in (1e-3, -1e-3)]
        ends = [points_on(Chain.of(s, anatomy, *pose), attachments)[0] for s in shapes]
        numeric = (ends[0] - ends[1]) / 2e-3
        np.testing.assert_allclose(dX_dbetas[..., i], numeric, atol=1e-9, err_msg=f"beta {i}")


def test_prior_jacobian(case):
    _, anatomy, *_, angles = case
    prior = AnglePrior.resting(anatomy, 1.7)
    moved = np.random.default_rng(2).normal(size=(15, 3))
    change = prior.residual(angles + moved) - prior.residual(angles)
    expected = prior.jacobian() @ moved.ravel()
    np.testing.assert_allclose(change.reshape(4, 45), np.tile(expected, (4, 1)), atol=1e-9)


def test_limit_cost_slope_and_bounds(case):
    """r^2/2 below the knee; beyond, a pull that stays constant: an excess is not hidden."""
    limits = case[1].limits
    sigma, knee = np.radians(3), np.radians(4)

    def cost(angles):
        r, w = limit_residual(angles, limits, sigma, knee)
        excess = np.abs(r) * sigma
        return np.where(w < 1, knee * (2 * excess - knee), excess**2) / (2 * sigma**2)

    rng = np.random.default_rng(3)
    angles = rng.uniform(-2.5, 2.5, (200, 15, 3))
    r, w = limit_residual(angles, limits, sigma, knee)
    inside = (angles >= limits[..., 0]) & (angles <= limits[..., 1])
    assert not r[inside].any() and (r[~inside] != 0).all()
    slope = (cost(angles + STEP) - cost(angles - STEP)) / (2 * STEP)
    np.testing.assert_allclose(w * r / sigma, slope, atol=1e-3)
    assert np.abs(slope).max() <= knee / sigma**2 * (1 + 1e-9)


def test_orientation_jacobian():
    rng = np.random.default_rng(4)
    R = matrix_from_axis_angle(rng.normal(size=(6, 3)))
    target = (
        matrix_from_axis_angle(
            np.array([[1e-9], [1e-3], [0.1], [0.5], [1.0], [1.5]]) * [0.6, 0.8, 0]
        )
        @ R
    )
    _, J = orientation_residual(R, target)
    for i, unit in enumerate(np.eye(3)):
        turn = [matrix_from_axis_angle(s * STEP * unit) for s in (1, -1)]
        numeric = (
            orientation_residual(turn[0] @ R, target)[0]
            - orientation_residual(turn[1] @ R, target)[0]
        ) / (2 * STEP)
        np.testing.assert_allclose(J[..., i], numeric, atol=1e-8)


def test_kernel_is_the_plain_terms(case):
    """The kernel's energy, gradient, blocks and step against dense numpy algebra."""
    shaped, anatomy, attachments, R0, wrist, angles = case
    # The kernel leaves out how a tip's correctives follow other fingers; so does this model.
    model = shaped.model
    posedirs = model.posedirs.reshape(-1, 3, 15, 9).copy()
    for vertex in model.tip_vertex_ids:
        own = (int(model.weights[vertex].argmax()) - 1) // 3
        posedirs[vertex][:, [j for j in range(15) if j // 3 != own]] = 0.0
    model = type(model)(**{**_fields(model), "posedirs": posedirs.reshape(-1, 3, 135)})
    shaped = model.with_shape(shaped.betas)
    settings = Settings(sigma_point=2e-3, sigma_limit=np.radians(3), limit_knee=np.radians(4))
    rng = np.random.default_rng(5)
    target = Target(
        pose=anatomy.pose_from_angles(angles + 0.1, axis_angle_from_matrix(R0) + 0.1),
        wrist=wrist + 0.01,
        sigma_angle=np.full((4, 15, 3), 0.2),
        sigma_orientation=np.full(4, 0.1),
        sigma_wrist=np.full(4, 0.005),
    )
    X, J, _ = points_on(Chain.of(shaped, anatomy, R0, wrist, angles), attachments)
    Y = X + rng.normal(size=X.shape) * 0.01
    Y[:, [2, 7, 22]] = np.nan
    prior = AnglePrior.resting(anatomy)
    rig = make_rig(model, anatomy, attachments, settings)
    rig["has_target"] = 1
    for hand in range(4):
        seen = np.isfinite(Y[hand, :, 0])
        w = (attachments.weight / settings.sigma_point)[seen, None]
        rows = [(w * (X - Y)[hand, seen]).ravel()]
        slopes = [(w[..., None] * J[hand, seen]).reshape(-1, N_COORDINATES)]
        huber = np.ones(len(rows[0]))
        angle_columns = np.zeros((45, N_COORDINATES))
        angle_columns[:, 6:] = np.eye(45)
        r, weight = limit_residual(
            angles[hand], anatomy.limits, settings.sigma_limit, settings.limit_knee
        )
        rows.append(r.ravel())
        slopes.append(angle_columns * (r.ravel() != 0)[:, None] / settings.sigma_limit)
        huber = np.concatenate([huber, weight.ravel()])
        rows.append(prior.residual(angles[hand]).ravel())
        slopes.append(prior.jacobian() @ angle_columns)
        rows.append((angles[hand] - anatomy.angles_from_pose(target.pose)[hand]).ravel() / 0.2)
        slopes.append(angle_columns / 0.2)
        R_target = matrix_from_axis_angle(target.pose[:, 0])
        turn, dturn = orientation_residual(R0[hand], R_target[hand])
        rows.append(turn / 0.1)
        slopes.append(np.concatenate([dturn, np.zeros((3, 48))], axis=1) / 0.1)
        rows.append((wrist - target.wrist)[hand] / 0.005)
        slopes.append(np.eye(N_COORDINATES)[3:6] / 0.005)
        residual, jacobian = np.concatenate(rows), np.concatenate(slopes)
        huber = np.concatenate([huber, np.ones(len(residual) - len(huber))])
        gradient = jacobian.T @ (huber * residual)
        hessian = jacobian.T @ (huber[:, None] * jacobian)

        goal, state = np.zeros(1, _kernels.GOAL), np.zeros(1, _kernels.STATE)
        system = np.zeros(1, _kernels.SYSTEM)
        goal["Y"][0, : len(attachments)] = Y[hand]
        goal["present"][0, : len(attachments)] = seen
        goal["weight"] = rig["weight"]
        goal["rest"] = shaped.rest_joints
        goal["tip_rest"] = shaped.rest_vertices_at(list(model.tip_vertex_ids))
        aim = np.zeros(1, _kernels.TARGET)
        aim["angles"] = anatomy.angles_from_pose(target.pose)[hand]
        aim["R"], aim["wrist"] = R_target[hand], target.wrist[hand]
        aim["angle_weight"], aim["orientation_weight"], aim["wrist_weight"] = 5.0, 10.0, 200.0
        half = axis_angle_from_matrix(R0[hand]) / 2
        norm = np.linalg.norm(half)
        state["q"] = [np.cos(norm), *(np.sin(norm) * half / norm)]
        state["p"], state["theta"] = wrist[hand], angles[hand]
        _kernels._forward(rig[0], goal[0], state[0])
        np.testing.assert_allclose(
            state["X"][0, : len(attachments)][seen], X[hand, seen], atol=1e-12
        )
        energy = _kernels._energy(rig[0], goal[0], aim[0], state[0], system[0])
        knee, excess = settings.limit_knee, np.abs(r) * settings.sigma_limit
        limit = (
            np.where(weight < 1, knee * (2 * excess - knee), excess**2) / settings.sigma_limit**2
        )
        expected = residual @ residual - (r * r).sum() + limit.sum()
        assert energy == pytest.approx(expected / 2, rel=1e-12)

        _kernels._assemble(rig[0], goal[0], aim[0], state[0], system[0])
        H = system["H"][0]
        base = sum(H[b, 9:15, 9:15] for b in range(5))
        scale = np.abs(hessian).max()
        lower = np.tril(np.ones((9, 9), bool))
        for b in range(5):
            own = slice(6 + 9 * b, 15 + 9 * b)
            np.testing.assert_allclose(
                H[b, :9, :9][lower], hessian[own, own][lower], atol=1e-10 * scale
            )
            np.testing.assert_allclose(H[b, 9:15, :9], hessian[:6, own], atol=1e-10 * scale)
            np.testing.assert_allclose(
                H[b, 15, :9], gradient[own], atol=1e-9 * np.abs(gradient).max()
            )
        np.testing.assert_allclose(np.tril(base), np.tril(hessian[:6, :6]), atol=1e-10 * scale)
        np.testing.assert_allclose(
            sum(H[b, 15, 9:15] for b in range(5)), gradient[:6], atol=1e-9 * np.abs(gradient).max()
        )
        damping = 1e-3
        assert _kernels._eliminate(system[0], damping)
        step = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), -gradient)
        got = np.concatenate([system["step_base"][0], system["step_angles"][0].ravel()])
        np.testing.assert_allclose(got, step, rtol=1e-6, atol=1e-9)
        assert _kernels._eliminate(system[0], 0.0)
        sigma, base_sigma = np.zeros((15, 3)), np.zeros(6)
        _kernels._posterior_sigma(system[0], sigma, base_sigma)
        covariance = np.linalg.inv(hessian)
        np.testing.assert_allclose(sigma.ravel() ** 2, np.diag(covariance)[6:], rtol=1e-6)
        np.testing.assert_allclose(base_sigma**2, np.diag(covariance)[:6], rtol=1e-6)
