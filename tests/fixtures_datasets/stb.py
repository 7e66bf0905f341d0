"""A tiny STB: label files as MATLAB 5, 3 x 21 x T in mm, a left hand, the palm's centre first."""

from pathlib import Path

import numpy as np
from scipy.io import savemat

from fixtures_datasets.common import Array, PosedHands

# OpenPose joints in STB's order behind the palm: little, ring, middle, index, thumb, base to tip.
_BEHIND_PALM = [*range(17, 21), *range(13, 17), *range(9, 13), *range(5, 9), *range(1, 5)]


def palm_centres(hands: PosedHands) -> Array:
    """The middle of the flesh between wrist and knuckles of the left hands (n, 3), m."""
    joints, skin = hands.joints[:, 1], hands.vertices[:, 1]
    wrist, knuckle = joints[:, 0, None], joints[:, 9, None]
    along = ((skin - wrist) * (knuckle - wrist)).sum(-1) / ((knuckle - wrist) ** 2).sum(-1)
    of_palm = hands.pair.left.weights[:, 0] > 0.5
    inside = (along > 0) & (along < 1) & of_palm
    return np.stack([points[here].mean(axis=0) for points, here in zip(skin, inside, strict=True)])


def write_stb(
    folder: Path, hands: PosedHands, sequence: str = "B2Random", camera: str = "BB"
) -> Path:
    """One sequence, all frames of `hands`."""
    points = np.concatenate([palm_centres(hands)[:, None], hands.joints[:, 1][:, _BEHIND_PALM]], 1)
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    path = folder / "labels" / f"{sequence}_{camera}.mat"
    savemat(path, {"handPara": (1e3 * points).transpose(2, 1, 0)})
    return path
