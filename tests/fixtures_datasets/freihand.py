"""A tiny FreiHAND: {split}_{K,xyz,mano,scale,verts}.json, right hands in a camera's frame."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from fixtures_datasets.common import PosedHands

K = np.array([[480.0, 0.0, 112.0], [0.0, 481.0, 111.5], [0.0, 0.0, 1.0]])


def write(folder: Path, hands: PosedHands, split: str = "training") -> dict[str, list[Any]]:
    """The right hands of `hands` (tips "freihand") as a split; gives what each file holds.

    A hand's place is told by joint 9 alone: where it is in the image, and focal length over depth.
    """
    joints = hands.regressed[:, 0]
    root = joints[:, 9]
    focal = 0.5 * (K[0, 0] + K[1, 1])
    scale = focal / root[:, 2]
    uv_root = root[:, :2] * scale[:, None] + K[:2, 2]
    theta = np.concatenate(
        [hands.pose_from_mean(0), hands.betas[:, 0], uv_root, scale[:, None]], axis=1
    )
    bone = np.linalg.norm(joints[:, 10] - joints[:, 9], axis=1)
    content: dict[str, list[Any]] = {
        "K": np.tile(K, (len(hands), 1, 1)).tolist(),
        "xyz": joints.tolist(),
        "mano": theta[:, None].tolist(),
        "scale": bone.tolist(),
        "verts": hands.vertices[:, 0].tolist(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in content.items():
        (folder / f"{split}_{name}.json").write_text(json.dumps(values))
    return content
