"""Small image datasets drawn with discs, for the tests of what reads and trains on pictures.

Every joint is a disc whose colour is its own, on a plain ground: pictures a network can learn from
and a test can find joints in. Hands are the open hand, cameras random; nothing is rendered.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from splice_fixture import Hands, _drawn, hands

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.pipeline import UnitResult, rng_for, run
from twohand500k.shards import Samples
from twohand500k.shards.schema import IMAGE_SIZE, MASK_SIZE

_RADIUS = 4.0


@dataclass(frozen=True)
class PictureHands:
    """`splice_fixture`'s drawn hands, put before a camera and painted."""

    def __call__(self, unit: Hands) -> UnitResult:
        return UnitResult(pictured(_drawn(unit, hands()).samples), (), unit.count)


def pictured(samples: Samples) -> Samples:
    """The samples in a camera's frame, the left wrist 12 cm beside the right one, painted."""
    pair = hands()
    fields = {name: np.array(getattr(samples, name)) for name in (
        "sample_id", "pose", "betas", "present", "source", "take", "subject", "split")}  # fmt: skip
    n = len(samples)
    J0 = np.stack([pair[s].with_shape(samples.betas[:, s]).rest_joints[:, 0] for s in (0, 1)], 1)
    wrist = np.zeros((n, 2, 3))
    for k, sample_id in enumerate(samples.sample_id.tolist()):
        rng = rng_for(7, sample_id)
        wrist[k] = rng.normal(scale=0.01, size=(2, 3))
        wrist[k, :, 0] += [-0.06, 0.06]
        wrist[k] += [*rng.uniform(-0.15, 0.15, size=2), rng.uniform(0.5, 0.8)]
    transl = (wrist - J0).astype(np.float32)
    joints = np.stack(
        [pair[s].with_shape(samples.betas[:, s]).with_pose(samples.pose[:, s], transl[:, s]).joints
         for s in (RIGHT, LEFT)], axis=1,
    )  # fmt: skip
    centre = joints.mean((1, 2))
    radius = np.linalg.norm(joints - centre[:, None, None], axis=-1).max((1, 2))
    f = 0.32 * IMAGE_SIZE * centre[:, 2] / radius
    K = np.zeros((n, 3, 3))
    K[:, 0, 0] = K[:, 1, 1] = f
    # A crop: the principal point is wherever the hands' centre comes to the picture's.
    K[:, :2, 2] = IMAGE_SIZE / 2 - f[:, None] * centre[:, :2] / centre[:, 2:]
    K[:, 2, 2] = 1.0
    projected = np.einsum("nij,nskj->nski", K, joints)
    uv = projected[..., :2] / projected[..., 2:]
    image, mask = painted(uv)
    return Samples(
        **fields,
        transl=transl,
        joints=joints,
        image=image,
        mask=mask,
        uv=uv,
        visible=np.ones((n, 2, 21), dtype=bool),
        K=K,
        T_camera_world=np.broadcast_to(np.eye(4), (n, 4, 4)),
        hidden=np.stack([rng_for(8, i).random(2) for i in samples.sample_id.tolist()]),
        pose_id=fields["sample_id"],
    )


def painted(uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and masks of joints uv (n, 2, 21, 2): discs on grey, right hands red, left blue."""
    n = len(uv)
    image = np.full((n, IMAGE_SIZE, IMAGE_SIZE, 3), 90, dtype=np.uint8)
    label = np.zeros((n, IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    y, x = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE] + 0.5
    for k in range(n):
        for side in (LEFT, RIGHT):
            for joint in range(21):
                u, v = uv[k, side, joint]
                there = (x - u) ** 2 + (y - v) ** 2 < _RADIUS**2
                bright = 80 + 8 * joint
                image[k][there] = (bright, 40, 30) if side == RIGHT else (30, 40, bright)
                label[k][there] = side + 1
    cells = label.reshape(n, MASK_SIZE, 4, MASK_SIZE, 4)
    mask = np.stack([(cells == side + 1).mean((2, 4)) for side in (RIGHT, LEFT)], axis=1)
    return image, np.round(255 * mask).astype(np.uint8)


def image_dataset(folder: Path, **splits: int) -> Path:
    """Pictures of so many pairs of each split, a shard each: ``train=24, val=8``."""
    units = [Hands("painted", "both", split, n) for split, n in splits.items() if n]
    run(
        PictureHands(), units, folder, name="render", options={}, hands=hands(), frame="camera",
        progress=False, command="twohand render",
    )  # fmt: skip
    return folder
