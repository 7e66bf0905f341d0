"""The open hand in smplx.MANO: does smplx load our file, and do the two agree on every point?

    python benchmarks/smplx_twin.py [--hand-model open|DIR] [--count N]

Writes the model as MANO_RIGHT.npz and MANO_LEFT.npz, lets smplx read them itself, and compares
vertices and joints over random shapes and poses, near-zero and near-pi rotations among them, in
double precision (smplx still rounds the model's arrays to float32). Needs torch and smplx
(pip install 'twohand500k[train]').
"""

import argparse
import contextlib
import io
import tempfile
from pathlib import Path

import numpy as np
import smplx
import torch

from twohand500k.conventions import OPENPOSE_FROM_MANO21
from twohand500k.hand import HandModel, load_hands
from twohand500k.hand.anatomy import Anatomy

BATCH = 250


def random_poses(rng: np.random.Generator, n: int) -> np.ndarray:
    """Axis-angle (n, 16, 3): angles over 0..pi, a tenth below 1e-4, a tenth within 1e-4 of pi."""
    axis = rng.normal(size=(n, 16, 3))
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    small = 10 ** rng.uniform(-12, -4, size=(n, 16, 1))
    kind = rng.random((n, 16, 1))
    angle = np.where(kind < 0.1, small, rng.uniform(0, np.pi, size=(n, 16, 1)))
    return axis * np.where(kind > 0.9, np.pi - small, angle)


def poses_within_limits(rng: np.random.Generator, model: HandModel, n: int) -> np.ndarray:
    """Poses (n, 16, 3) drawn evenly over the box of the anatomy's limits, any orientation."""
    anatomy = Anatomy.of(model)
    angles = rng.uniform(anatomy.limits[..., 0], anatomy.limits[..., 1], size=(n, 15, 3))
    return anatomy.pose_from_angles(angles, random_poses(rng, n)[:, 0])


def worst(model: HandModel, layer: smplx.MANO, pose: np.ndarray, betas: np.ndarray,
          transl: np.ndarray) -> tuple[float, float]:  # fmt: skip
    """Largest difference of a coordinate, vertices and 21 joints, metres."""
    n = len(pose)
    with torch.no_grad():
        out = layer(
            betas=torch.from_numpy(betas),
            global_orient=torch.from_numpy(pose[:, 0].copy()),
            hand_pose=torch.from_numpy(pose[:, 1:].reshape(n, 45).copy()),
            transl=torch.from_numpy(transl),
        )
    vertices = out.vertices.numpy()
    tips = vertices[:, list(model.tip_vertex_ids)]
    joints = np.concatenate([out.joints.numpy(), tips], axis=1)[:, OPENPOSE_FROM_MANO21]
    posed = model.with_shape(betas).with_pose(pose, transl)
    return np.abs(posed.vertices - vertices).max(), np.abs(posed.joints - joints).max()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hand-model", default="open")
    parser.add_argument("--count", type=int, default=2000, help="hands per row")
    options = parser.parse_args()
    batches = max(1, options.count // BATCH)
    hands = load_hands(options.hand_model)
    print(
        f"hand model {hands.right.name}, sha256 {hands.sha256[:12]}, {batches * BATCH} hands a row"
    )
    print(
        f"{'side':<6} {'poses':<16} {'vertices, max |diff| (m)':>26} {'joints, max |diff| (m)':>24}"
    )
    passed = True
    with tempfile.TemporaryDirectory() as folder:
        for model in (hands.right, hands.left):
            model.save(Path(folder) / f"MANO_{model.side.upper()}.npz")
            # smplx prints a warning that there are only ten betas.
            with contextlib.redirect_stdout(io.StringIO()):
                layer = smplx.MANO(
                    folder, is_rhand=model.side == "right", ext="npz", use_pca=False,
                    flat_hand_mean=True, batch_size=BATCH, dtype=torch.float64,
                )  # fmt: skip
            for name in ("any rotation", "within limits"):
                rng = np.random.default_rng(0)
                found = np.zeros(2)
                for _ in range(batches):
                    pose = (
                        random_poses(rng, BATCH)
                        if name == "any rotation"
                        else poses_within_limits(rng, model, BATCH)
                    )
                    betas, transl = 2 * rng.normal(size=(BATCH, 10)), rng.normal(size=(BATCH, 3))
                    found = np.maximum(found, worst(model, layer, pose, betas, transl))
                passed &= bool(found.max() <= 1e-6)
                print(f"{model.side:<6} {name:<16} {found[0]:26.2e} {found[1]:24.2e}")
    print("every difference at most 1e-6 m" if passed else "FAILED: a difference above 1e-6 m")
    raise SystemExit(0 if passed else 1)


if __name__ == "__main__":
    main()
