"""A tiny RHD: annotation pickles as Python 2 wrote them, and the pictures' folders, empty.

The confusions of the gates are written here too: fingers from base to tip where tip to base is the
rule, sides swapped, for all images or some.
"""

from pathlib import Path
from typing import Any

import numpy as np
from mano_fixture import python2_pickle

from fixtures_datasets.common import Array, PosedHands

# Per hand: the wrist, then each finger from its tip to its base.
_TIP_TO_BASE = [0]
for _finger in range(5):
    _TIP_TO_BASE += [4 * _finger + k for k in (4, 3, 2, 1)]
_BASE_TO_TIP = list(range(21))


def xyz_of(joints: Array, *, base_to_tip: bool = False, swapped: bool = False) -> Array:
    """An image's 42 rows, float32, of its joints (2, 21, 3) m, right then left."""
    order = _BASE_TO_TIP if base_to_tip else _TIP_TO_BASE
    right, left = (hand[order] for hand in joints)
    return np.concatenate([right, left] if swapped else [left, right]).astype(np.float32)


def write_rhd(
    folder: Path,
    joints: PosedHands | Array,
    split: str = "training",
    *,
    first_id: int = 0,
    base_to_tip: Array | None = None,
    swapped: Array | None = None,
    broken: dict[int, Any] | None = None,
) -> Path:
    """Write one split of the joints (n, 2, 21, 3) m of n images, right then left.

    base_to_tip, swapped (n,) bool: images whose fingers are written in the wrong order, whose two
    hands are exchanged. broken: image number -> what to write in place of its record.
    """
    points = joints.joints if isinstance(joints, PosedHands) else joints
    n = len(points)
    wrong_order = np.zeros(n, bool) if base_to_tip is None else base_to_tip
    exchanged = np.zeros(n, bool) if swapped is None else swapped
    K = np.array([[283.1, 0.0, 160.0], [0.0, 283.1, 160.0], [0.0, 0.0, 1.0]], np.float32)
    records: dict[int, Any] = {}
    for image in range(n):
        xyz = xyz_of(points[image], base_to_tip=wrong_order[image], swapped=exchanged[image])
        uv = xyz @ K.T
        uv_vis = np.concatenate([uv[:, :2] / uv[:, 2:], np.ones((42, 1))], axis=1)
        records[first_id + image] = {"K": K, "uv_vis": uv_vis.astype(np.float32), "xyz": xyz}
    records.update(broken or {})
    for kind in ("color", "depth", "mask"):
        (folder / split / kind).mkdir(parents=True, exist_ok=True)
    path = folder / split / f"anno_{split}.pickle"
    path.write_bytes(python2_pickle(records))
    return folder
