"""Plain arrays of 21 joints, in whatever order and unit is asked for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fixtures_datasets.common import Array


def write_joints(
    path: Path, joints: Array, *, order: Sequence[int] | None = None, per_m: float = 1.0
) -> Path:
    """joints (T, 21, 3) or (T, 2, 21, 3) m in OpenPose order; order: which of them come when."""
    path.parent.mkdir(parents=True, exist_ok=True)
    points = joints if order is None else joints[..., list(order), :]
    np.save(path, per_m * points)
    return path
