"""Tiny lists of headset poses: WebXR's 25 joints in whole mm, relative to the pose's own wrist."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from fixtures_datasets.common import PosedHands


def poses_of(hands: PosedHands, side: str) -> list[dict[str, Any]]:
    """The poses of one side as handy.js writes them down."""
    s = ("right", "left").index(side)
    out: list[dict[str, Any]] = []
    for number, joints in enumerate(hands.joints[:, s]):
        wrist_axes = Rotation.from_rotvec(hands.pose[number, s, 0]).as_matrix()
        own = 1e3 * (joints - joints[0]) @ wrist_axes
        webxr = [own[0], *own[1:5]]
        for finger in range(1, 5):
            base = own[4 * finger + 1]
            webxr += [0.35 * base, *own[4 * finger + 1 : 4 * finger + 5]]
        rounded = np.rint(webxr).astype(int).tolist()
        out.append(
            {
                "names": [f"pose {number}"],
                "handedness": side,
                "handyRevision": 5,
                "time": 1600000000000 + 40 * number,
                "headPosition": [0, 300, 0],
                "headRotation": [0, 0, 0, 1],
                "jointPositions": rounded,
                "digitTipPositions": [rounded[tip] for tip in (4, 9, 14, 19, 24)],
            }
        )
    return out


def write_quest(path: Path, poses: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(poses))
    return path
