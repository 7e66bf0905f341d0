"""Kinematics: smplx as the oracle, mirrors, batches, the two joint definitions."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mano_fixture import random_model, random_pair

from twohand500k.conventions import OPENPOSE_FROM_MANO21
from twohand500k.hand import HandModel, load_hands
from twohand500k.hand.rotations import (
    axis_angle_from_matrix,
    matrix_from_axis_angle,
    mirror_axis_angle,
    mirror_points,
)

ROOT = Path(__file__).parents[1]


def random_poses(rng: np.random.Generator, n: int) -> np.ndarray:
    """Poses (n, 16, 3): all angles to pi, a share of them near 0 and a share near pi."""
    axis = rng.normal(size=(n, 16, 3))
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = rng.uniform(0, np.pi, size=(n, 16, 1))
    kind = rng.random((n, 16, 1))
    angle = np.where(kind < 0.15, 10 ** rng.uniform(-12, -4, size=angle.shape), angle)
    angle = np.where(kind > 0.85, np.pi - 10 ** rng.uniform(-12, -4, size=angle.shape), angle)
    return axis * angle


@pytest.fixture(scope="module", params=["tube right", "tube left", "open right", "open left"])
def model(request: pytest.FixtureRequest) -> HandModel:
    name, side = request.param.split()
    pair = random_pair(3) if name == "tube" else load_hands("open")
    return pair.right if side == "right" else pair.left


@pytest.mark.torch
def test_equals_smplx(model: HandModel) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("smplx")
    rng = np.random.default_rng(0)
    n = 64
    pose, betas = random_poses(rng, n), 2 * rng.normal(size=(n, 10))
    transl = rng.normal(size=(n, 3))
    layer = model.to_smplx(batch_size=n, dtype=torch.float64)
    with torch.no_grad():
        out = layer(
            betas=torch.from_numpy(betas),
            global_orient=torch.from_numpy(pose[:, 0].copy()),
            hand_pose=torch.from_numpy(pose[:, 1:].reshape(n, 45).copy()),
            transl=torch.from_numpy(transl),
        )
    posed = model.with_shape(betas).with_pose(pose, transl)
    # smplx rounds the model's arrays to float32: 1e-8 m on a hand.
    vertices = out.vertices.numpy()
    assert np.abs(posed.vertices - vertices).max() < 1e-6
    tips = vertices[:, list(model.tip_vertex_ids)]
    joints = np.concatenate([out.joints.numpy(), tips], axis=1)[:, OPENPOSE_FROM_MANO21]
    assert np.abs(posed.joints - joints).max() < 1e-6
    assert layer.is_rhand == (model.side == "right")


@pytest.mark.torch
def test_smplx_reads_our_npz(model: HandModel, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    smplx = pytest.importorskip("smplx")
    model.save(tmp_path / f"MANO_{model.side.upper()}.npz")
    layer = smplx.MANO(
        str(tmp_path), is_rhand=model.side == "right", ext="npz", use_pca=True, num_pca_comps=12
    )
    coeffs = torch.randn(1, 12, generator=torch.Generator().manual_seed(0)) * 0.3
    vertices = layer(hand_pose=coeffs).vertices.detach().numpy()[0]
    # smplx's own default: 12 components about the mean pose, float32 throughout.
    pose = np.zeros((16, 3))
    pose[1:] = (
        model.hands_mean + coeffs.numpy()[0].astype(float) @ model.hands_components[:12]
    ).reshape(15, 3)
    ours = model.with_shape().with_pose(pose).vertices
    assert np.abs(ours - vertices).max() < 1e-5
    assert np.abs(ours - model.with_shape().with_pose().vertices).max() > 1e-3


def test_mirror_twice_is_identity(model: HandModel) -> None:
    twice = model.mirrored().mirrored()
    assert twice.sha256 == model.sha256
    assert twice.side == model.side
    np.testing.assert_array_equal(twice.hands_mean, model.hands_mean)
    np.testing.assert_array_equal(twice.hands_components, model.hands_components)


def test_mirrored_model_is_mirrored_pose(model: HandModel) -> None:
    rng = np.random.default_rng(1)
    pose, betas, transl = random_poses(rng, 8), rng.normal(size=(8, 10)), rng.normal(size=(8, 3))
    posed = model.with_shape(betas).with_pose(pose, transl)
    other = (
        model.mirrored().with_shape(betas).with_pose(mirror_axis_angle(pose), mirror_points(transl))
    )
    np.testing.assert_allclose(other.vertices, mirror_points(posed.vertices), atol=1e-14)
    np.testing.assert_allclose(other.joints, mirror_points(posed.joints), atol=1e-14)
    mean, other_mean = model.hands_mean, model.mirrored().hands_mean
    np.testing.assert_array_equal(mirror_axis_angle(mean.reshape(15, 3)), other_mean.reshape(15, 3))


def test_any_batch_shape_broadcasts(model: HandModel) -> None:
    rng = np.random.default_rng(2)
    pose, betas = random_poses(rng, 6).reshape(3, 2, 16, 3), rng.normal(size=(2, 10))
    transl = rng.normal(size=(3, 1, 3))
    posed = model.with_shape(betas).with_pose(pose, transl)
    assert posed.vertices.shape == (3, 2, 778, 3) and posed.joints.shape == (3, 2, 21, 3)
    one = model.with_shape(betas[1]).with_pose(pose[2, 1], transl[2, 0])
    np.testing.assert_allclose(posed.vertices[2, 1], one.vertices, atol=1e-14)
    np.testing.assert_allclose(posed.joints[2, 1], one.joints, atol=1e-14)
    # One pose, many shapes.
    shapes = model.with_shape(rng.normal(size=(5, 10))).with_pose(pose[0, 0])
    assert shapes.joints.shape == (5, 21, 3) and shapes.vertices.shape == (5, 778, 3)


def test_wrist_is_rest_wrist_plus_transl(model: HandModel) -> None:
    rng = np.random.default_rng(3)
    shaped = model.with_shape(rng.normal(size=10))
    transl = rng.normal(size=3)
    wrist = shaped.with_pose(random_poses(rng, 1)[0], transl).joints[0]
    np.testing.assert_allclose(wrist, shaped.rest_joints[0] + transl, atol=1e-15)


def test_rigid_motion_moves_everything_rigidly(model: HandModel) -> None:
    rng = np.random.default_rng(4)
    shaped = model.with_shape(rng.normal(size=10))
    pose = random_poses(rng, 1)[0]
    R = matrix_from_axis_angle(rng.normal(size=3))
    turned = pose.copy()
    turned[0] = axis_angle_from_matrix(R @ matrix_from_axis_angle(pose[0]))
    a, b = shaped.with_pose(pose), shaped.with_pose(turned)
    root = shaped.rest_joints[0]
    for name in ("joints", "vertices", "regressed_joints"):
        np.testing.assert_allclose(
            getattr(b, name) - root, (getattr(a, name) - root) @ R.T, atol=1e-12
        )


def test_rest_pose_regresses_its_own_joints(model: HandModel) -> None:
    betas = np.random.default_rng(5).normal(size=10)
    rest = model.with_shape(betas).with_pose()
    np.testing.assert_allclose(rest.regressed_joints, rest.T_world_joint[..., :3, 3], atol=1e-12)


def test_hash_names_the_model() -> None:
    model = random_model(3)
    hashes = {model.sha256, random_model(4).sha256, model.mirrored().sha256}
    for field in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights"):
        array = getattr(model, field).copy()
        array.flat[7] = np.nextafter(array.flat[7], 9.0)
        hashes.add(replace(model, **{field: array}).sha256)
    hashes.add(model.with_tips((745, 317, 444, 556, 673)).sha256)
    assert len(hashes) == 9
    assert replace(model, name="x", notes=("y",)).sha256 == model.sha256


def test_wrong_shapes_are_refused(model: HandModel) -> None:
    with pytest.raises(ValueError, match="betas"):
        model.with_shape(np.zeros(9))
    with pytest.raises(ValueError, match="pose"):
        model.with_shape().with_pose(np.zeros(48))


def test_to_smplx_without_torch_names_the_extra() -> None:
    """In a fresh interpreter in which torch and smplx cannot be imported."""
    code = (
        "import sys; sys.modules['torch'] = sys.modules['smplx'] = None\n"
        "from mano_fixture import random_model\n"
        "try: random_model().to_smplx()\n"
        "except ImportError as e: print(e)\n"
    )
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    out = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    ).stdout
    assert "twohand500k[train]" in out


def test_the_documentation_runs() -> None:
    """The Python of docs/hand-model.md, block after block in one namespace."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/hand-model.md").read_text(), re.S)
    assert len(blocks) == 3
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert names["posed"].vertices.shape == (5, 778, 3) and names["closed"].shape == (1552, 3)
    assert names["there"].converged.all() and names["there"].residual_mean.max() < 2e-3


def test_no_hands_at_all_have_no_joints() -> None:
    posed = random_model(0).with_shape(np.zeros((0, 10))).with_pose(np.zeros((0, 16, 3)))
    assert posed.joints.shape == (0, 21, 3) and posed.vertices.shape == (0, 778, 3)
