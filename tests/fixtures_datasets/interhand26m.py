"""A tiny InterHand2.6M: four JSON files a split, mm, tip to base, MANO relative to its mean."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fixtures_datasets.common import PosedHands

Tables = dict[str, Any]
# R_Thumb_4 .. R_Thumb_1, R_Index_4 .., R_Wrist, then L_: as skeleton.txt lists them. OpenPose's
# joints of a finger are 1..4 from its base.
_ROWS = [4 * finger + joint for finger in range(5) for joint in (4, 3, 2, 1)] + [0]
TYPES = ("right", "left", "interacting")


def tables(
    hands: PosedHands,
    *,
    capture: int = 0,
    seq: str | None = "0390_dh_touchROM",
    first: int = 100,
    step: int = 6,
    subject: int = 3,
    types: Sequence[str] | None = None,
) -> Tables:
    """The content of joint_3d, MANO_NeuralAnnot, data and camera.json for the frames of `hands`.

    types: hand_type of each frame; "interacting" if left out. seq None: joint_3d says none.
    """
    numbers = [first + step * row for row in range(len(hands))]
    kinds = types or ["interacting"] * len(hands)
    joints, mano, images, annotations = {}, {}, [], []
    for row, (number, kind) in enumerate(zip(numbers, kinds, strict=True)):
        there = [kind in ("right", "interacting"), kind in ("left", "interacting")]
        valid = np.repeat(there, 21)
        world = np.concatenate([hands.joints[row, side][_ROWS] for side in (0, 1)]) * 1000
        # What is not there is written as ones, as the authors do.
        world[~valid] = 1.0
        joints[str(number)] = {
            "world_coord": world.tolist(),
            "joint_valid": [[bool(v)] for v in valid],
            "hand_type": kind,
            "hand_type_valid": True,
        } | ({} if seq is None else {"seq": seq})
        mano[str(number)] = {
            name: {
                "pose": hands.pose_from_mean(side)[row].tolist(),
                "shape": hands.betas[row, side].tolist(),
                "trans": hands.transl[row, side].tolist(),
            }
            if there[side]
            else None
            for side, name in enumerate(("right", "left"))
        }
        name = f"Capture{capture}/{seq or 'ROM01'}/cam400262/image{number}.jpg"
        images.append(
            {
                "id": row,
                "file_name": name,
                "width": 334,
                "height": 512,
                "capture": capture,
                "subject": subject,
                "seq_name": seq or "ROM01",
                "camera": "400262",
                "frame_idx": number,
            }
        )
        annotations.append(
            {
                "id": row,
                "image_id": row,
                "bbox": [10.0, 20.0, 100.0, 120.0],
                "joint_valid": [[int(v)] for v in valid],
                "hand_type": kind,
                "hand_type_valid": 1,
            }
        )
    camera = {
        "campos": {"400262": [100.0, -50.0, -900.0]},
        "camrot": {"400262": [[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]},
        "focal": {"400262": [1261.5, 1262.5]},
        "princpt": {"400262": [155.8, 258.8]},
    }
    return {
        "joint_3d": {str(capture): joints},
        "MANO_NeuralAnnot": {str(capture): mano},
        "data": {"images": images, "annotations": annotations},
        "camera": {str(capture): camera},
    }


def together(*several: Tables) -> Tables:
    """Several captures, or several sequences of a capture, in one split's files."""
    whole: Tables = {name: {} for name in ("joint_3d", "MANO_NeuralAnnot", "data", "camera")}
    for one in several:
        for name in ("joint_3d", "MANO_NeuralAnnot", "camera"):
            for capture, frames in one[name].items():
                whole[name].setdefault(capture, {}).update(frames)
        for name, rows in one["data"].items():
            whole["data"].setdefault(name, []).extend(rows)
    return whole


def write(folder: Path, content: Tables, split: str = "test") -> Path:
    """annotations/{split}/InterHand2.6M_{split}_*.json. What is left out is not written."""
    place = folder / "annotations" / split
    place.mkdir(parents=True, exist_ok=True)
    for name, table in content.items():
        (place / f"InterHand2.6M_{split}_{name}.json").write_text(json.dumps(table))
    return folder
