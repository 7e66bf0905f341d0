"""What `verify` recomputes of pictures: joints through the camera, and what the labels may say.

In: one shard's arrays. Out: faults, each with its dataset and row, and the largest difference.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from twohand500k.conventions import SIDES
from twohand500k.shards.hdf5 import Stored
from twohand500k.shards.schema import IMAGE_SIZE

# Joints and intrinsics are float32: a micrometre at a focal length of some thousand pixels.
TOLERANCE_PX: Final = 0.02
# Rotations of float64 written as float32.
_ROTATION: Final = 1e-5

Found = tuple[str, int, str]


def picture_faults(stored: Mapping[str, Stored], present: np.ndarray) -> tuple[list[Found], float]:
    """(dataset, row, what is wrong) of each fault, and the largest difference of uv, pixels."""
    K, T, uv, visible, hidden, mask = (
        stored[f"image/{name}"].array
        for name in ("K", "T_camera_world", "uv", "visible", "hidden", "mask")
    )
    faults: list[Found] = []
    joints = stored["joints"].array.astype(np.float64)
    seen = np.einsum("nij,nskj->nski", K.astype(np.float64), joints)
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.linalg.norm(seen[..., :2] / seen[..., 2:] - uv, axis=-1).max(axis=-1)
    off[~present] = 0.0
    for row, side in np.argwhere(~(off <= TOLERANCE_PX)):
        what = (
            f"the {SIDES[side]} hand's joints are up to {off[row, side]:.4g} px from where K puts "
            "them"
        )
        faults.append(("image/uv", int(row), what))
    faults += [
        ("joints", int(row), f"the {SIDES[side]} hand reaches behind the camera")
        for row, side in np.argwhere((joints[..., 2] <= 0).any(axis=-1) & present)
    ]
    outside = ~((uv >= 0) & (uv < IMAGE_SIZE)).all(axis=-1)
    faults += [
        ("image/visible", int(row), f"a joint of the {SIDES[side]} hand is visible, but outside")
        for row, side in np.argwhere((visible & outside & present[..., None]).any(axis=-1))
    ]
    faults += [
        ("image/visible", int(row), f"the {SIDES[side]} hand is absent, but has visible joints")
        for row, side in np.argwhere(visible.any(axis=-1) & ~present)
    ]
    faults += [
        ("image/hidden", int(row), f"{hidden[row, side]:.4g} is no share")
        for row, side in np.argwhere(~((hidden >= 0) & (hidden <= 1)) & present)
    ]
    # Rounded each: together they may exceed a whole cell by one step.
    faults += [
        ("image/mask", int(row), "the two hands cover more than the whole of a cell")
        for row in np.flatnonzero((mask.astype(int).sum(axis=1) > 256).any(axis=(1, 2)))
    ]
    faults += [
        ("image/mask", int(row), f"the {SIDES[side]} hand is absent, but covers something")
        for row, side in np.argwhere(mask.any(axis=(2, 3)) & ~present)
    ]
    R = T[:, :3, :3].astype(np.float64)
    turned = np.abs(R @ R.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2)) > _ROTATION
    turned |= ~(np.linalg.det(R) > 0)
    faults += [
        ("image/T_camera_world", int(row), "is no rigid motion") for row in np.flatnonzero(turned)
    ]
    known = off[np.isfinite(off)]
    return faults, float(known.max()) if known.size else float("nan")
