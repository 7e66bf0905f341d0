"""A tiny HO-3D and a tiny H2O-3D: {split}/{sequence}/meta/%04d.pkl in an OpenGL camera's frame.

The hands given are taken to stand in that frame already (y up, z negative): the writer turns
nothing. Pickles are as Python 2 wrote them unless another protocol is asked for.
"""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from mano_fixture import python2_pickle

from fixtures_datasets.common import PosedHands
from twohand500k.hand import HandPair

CAMERA = np.array([[614.627, 0.0, 320.262], [0.0, 614.101, 238.469], [0.0, 0.0, 1.0]])
# MANO's order: the wrist, index, middle, little, ring, thumb, then thumb's to little finger's tip.
MANO21_OF_OPENPOSE = [0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20]


def on_left_model(hands: PosedHands, shapedirs: Literal["as shipped", "negated"]) -> PosedHands:
    """The same parameters on a left model made wrong as MANO_LEFT is, or as HO-3D's script does."""
    left = hands.pair.left
    sign = {"as shipped": [-1.0, 1.0, 1.0], "negated": [1.0, -1.0, -1.0]}[shapedirs]
    wrong = replace(left, shapedirs=left.shapedirs * np.array(sign)[:, None])
    return replace(hands, pair=HandPair(hands.pair.right, wrong))


def ho3d_frame(hands: PosedHands, row: int) -> dict[str, Any]:
    """One frame of HO-3D: the right hand and an object."""
    return _object() | {
        "handJoints3D": hands.joints[row, 0][MANO21_OF_OPENPOSE],
        "handPose": hands.pose[row, 0].ravel(),
        "handTrans": hands.transl[row, 0],
        "handBeta": hands.betas[row, 0],
    }


def h2o3d_frame(hands: PosedHands, row: int) -> dict[str, Any]:
    """One frame of H2O-3D: both hands, one shape."""
    frame = _object() | {"handBeta": hands.betas[row, 0]}
    for side, name in enumerate(("rightHand", "leftHand")):
        frame[f"{name}Joints3D"] = hands.joints[row, side][MANO21_OF_OPENPOSE]
        frame[f"{name}Pose"] = hands.pose[row, side].ravel().astype(np.float32)
        frame[f"{name}Trans"] = hands.transl[row, side].astype(np.float32)
    return frame


def unannotated(frame: dict[str, Any]) -> dict[str, Any]:
    """A frame nobody annotated: None but for the camera and the object's name."""
    return {k: v if k in ("camMat", "objName", "objLabel") else None for k, v in frame.items()}


def wrist_alone(frame: dict[str, Any]) -> dict[str, Any]:
    """The same frame as the evaluation split has it."""
    hidden = ("Pose", "Trans", "Beta")
    kept = {key: value for key, value in frame.items() if not key.endswith(hidden)}
    for key in [key for key in kept if key.endswith("Joints3D")]:
        kept[key] = kept[key][0]
        kept[f"{key.removesuffix('Joints3D')}BoundingBox"] = np.array([100, 100, 250, 260])
    return kept


def write(
    folder: Path,
    sequence: str,
    frames: list[dict[str, Any]],
    *,
    split: str = "train",
    first: int = 0,
    protocol: int | None = None,
) -> list[Path]:
    """The pickles of a sequence. protocol: Python 3's pickle with that one, else as Python 2's."""
    meta = folder / split / sequence / "meta"
    meta.mkdir(parents=True, exist_ok=True)
    paths = []
    for row, frame in enumerate(frames):
        paths.append(meta / f"{first + row:04d}.pkl")
        data = python2_pickle(frame) if protocol is None else pickle.dumps(frame, protocol)
        paths[-1].write_bytes(data)
    return paths


def _object() -> dict[str, Any]:
    corners = np.array(np.meshgrid([-0.05, 0.05], [-0.08, 0.08], [-0.03, 0.03])).reshape(3, 8).T
    return {
        "camMat": CAMERA,
        "objRot": np.array([[0.1], [-0.2], [0.3]]),
        "objTrans": np.array([0.0, 0.0, -0.7]),
        "objName": "003_cracker_box",
        "objLabel": 2,
        "objCorners3D": corners - np.array([0.0, 0.0, 0.7]),
        "objCorners3DRest": corners,
    }
