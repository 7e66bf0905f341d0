"""How well hands are placed in a picture, if a network were right: what the geometry alone costs.

    python benchmarks/reconstruct_placement.py DIR [--pairs 300]

DIR: a dataset. Its pairs stand 0.4 to 1 m before a camera, up to 25 degrees off its axis, turned
any way. Their joints' heatmaps are equation 1's, neighbours and all; joints and tau are the true
ones, then spoilt. Printed per case: the right wrist off aside and in depth, mm, medians and the
95th percentile of the whole distance; then the orientation, were it left in the crop's own camera.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from interaction_prior.features.heatmaps import adjacency_heatmaps
from interaction_prior.reconstruction.crop import Crop, crop_around
from interaction_prior.reconstruction.peaks import peaks_of
from interaction_prior.reconstruction.placement import place
from twohand500k.hand.rotations import matrix_from_axis_angle
from twohand500k.shards import Dataset

K = np.array([[1000.0, 0.0, 640.0], [0.0, 1000.0, 480.0], [0.0, 0.0, 1.0]])
DISTANCE, OFF_AXIS = (0.4, 1.0), np.tan(np.radians(25))


@dataclass(frozen=True, eq=False)
class Case:
    """cells: side of the maps. noise: of a peak, px of 256. wrong: share of peaks that are another
    joint's. joints_mm: noise of a joint. size, focal: factors on the hands and on the focal length.
    """

    name: str
    cells: int = 64
    noise: float = 0.0
    wrong: float = 0.0
    joints_mm: float = 0.0
    size: float = 1.0
    focal: float = 1.0


CASES = (
    Case("true maps, 64 cells"),
    Case("true maps, 32 cells", cells=32),
    Case("peaks off by 4 px of 256", noise=4.0),
    Case("one peak in ten another joint's", wrong=0.1),
    Case("one peak in four another joint's", wrong=0.25),
    Case("joints off by 10 mm", joints_mm=10.0),
    Case("hands taken for 5 % larger", size=1.05),
    Case("focal length taken for 20 % longer", focal=1.2),
    Case("4 px, one in ten, 10 mm", noise=4.0, wrong=0.1, joints_mm=10.0),
)


def pairs_before_a_camera(folder: Path, n: int, rng: np.random.Generator) -> np.ndarray:
    """Joints (n, 42, 3) m of pairs of a dataset, in a camera's frame."""
    dataset = Dataset(folder)
    rows = np.linspace(0, len(dataset) - 1, n).astype(int)
    joints = dataset.samples(rows).joints.astype(np.float64).reshape(n, 42, 3)
    turn = rng.normal(size=(n, 3))
    turn *= rng.uniform(0, np.pi, (n, 1)) / np.linalg.norm(turn, axis=1, keepdims=True)
    R = matrix_from_axis_angle(turn)
    angle, off = rng.uniform(0, 2 * np.pi, n), OFF_AXIS * np.sqrt(rng.random(n))
    z = rng.uniform(*DISTANCE, n)
    at = np.stack([z * off * np.cos(angle), z * off * np.sin(angle), z], axis=-1)
    joints = joints - joints.mean(1, keepdims=True)
    return np.asarray(np.einsum("nij,nkj->nki", R, joints) + at[:, None])


def placed(joints: np.ndarray, case: Case, rng: np.random.Generator) -> np.ndarray:
    """Where the right wrists (n, 3) are put, in the camera's frame."""
    taken = K.copy()
    taken[[0, 1], [0, 1]] *= case.focal
    uv = _seen(K)(joints)
    boxes = np.concatenate([uv.min(1), uv.max(1)], axis=1)
    crops: list[Crop] = [crop_around(box, taken) for box in boxes]
    m = case.cells
    cells = np.stack([c.from_picture(points, m) for c, points in zip(crops, uv, strict=True)])
    peaks = peaks_of(adjacency_heatmaps(torch.from_numpy(cells).float(), size=m))
    at = peaks.uv.double().numpy()
    at += rng.normal(size=at.shape) * case.noise * m / 256
    order = rng.permuted(np.tile(np.arange(42), (len(at), 1)), axis=1)
    other = np.take_along_axis(at, order[..., None], axis=1)
    at = np.where((rng.random(at.shape[:2]) < case.wrong)[..., None], other, at)
    # What a network tells: from the right wrist, in the camera that looks straight at the hands.
    R = np.stack([c.R_camera_crop for c in crops])
    own = np.einsum("nji,nkj->nki", R, joints - joints[:, :1]) * case.size
    own += 1e-3 * case.joints_mm / np.sqrt(3) * rng.normal(size=own.shape)
    own -= own[:, :1]
    cell = np.array([2 * c.half / m for c in crops])
    weight = np.where(peaks.cut_off.numpy(), 0.0, peaks.height.double().numpy())
    t = place(own, (at - m / 2) * cell[:, None, None], weight, cell).t
    return np.asarray(np.einsum("nij,nj->ni", R, t))


def _seen(K: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    def project(points: np.ndarray) -> np.ndarray:
        p = points @ K.T
        return np.asarray(p[..., :2] / p[..., 2:])

    return project


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    joints = pairs_before_a_camera(options.folder, options.pairs, rng)
    print(f"{'case':36} {'aside':>7} {'depth':>7} {'95 %':>7}   mm")
    for case in CASES:
        off = 1e3 * (placed(joints, case, np.random.default_rng(1)) - joints[:, 0])
        ray = joints[:, 0] / np.linalg.norm(joints[:, 0], axis=1, keepdims=True)
        depth = np.abs((off * ray).sum(1))
        aside = np.linalg.norm(off - (off * ray).sum(1)[:, None] * ray, axis=1)
        whole = np.linalg.norm(off, axis=1)
        print(
            f"{case.name:36} {np.median(aside):7.2f} {np.median(depth):7.2f} "
            f"{np.quantile(whole, 0.95):7.2f}"
        )
    uv = _seen(K)(joints)
    R = [crop_around([*p.min(0), *p.max(0)], K).R_camera_crop for p in uv]
    turned = np.degrees(np.arccos([r[2, 2] for r in R]))
    print(f"orientations, not corrected: off by {turned.mean():.1f} degrees, "
          f"{np.quantile(turned, 0.95):.1f} at the 95th percentile")  # fmt: skip


if __name__ == "__main__":
    main()
