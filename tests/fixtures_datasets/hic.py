"""A tiny Hands in Action: one Python 2 pickle a frame and hand, with the fit's joints and skin."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from mano_fixture import python2_pickle

from fixtures_datasets.common import PosedHands

RESULTS = "IJCV16___Results_MANO___parms_for___joints21"
# MANO's order: the wrist, index, middle, little, ring, thumb, then thumb's to little finger's tip.
MANO21_OF_OPENPOSE = [0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20]


def frame(
    hands: PosedHands,
    row: int,
    side: int,
    *,
    order: Literal["MANO", "OpenPose"] = "MANO",
    relative_to: Literal["flat", "mean"] = "flat",
) -> dict[str, Any]:
    """One hand of one frame, keys and shapes as the fits have them."""
    joints = hands.joints[row, side]
    flat = hands.pose[row, side].ravel()
    chain = hands.chain[row, side]
    return {
        "pose": flat if relative_to == "flat" else hands.pose_from_mean(side)[row],
        "trans": hands.transl[row, side],
        "betas": hands.betas[row, side],
        "v": hands.vertices[row, side].astype(np.float32),
        "J_transformed": chain,
        "J_transformed___j15": chain[1:],
        "J_transformed___j21": joints[MANO21_OF_OPENPOSE] if order == "MANO" else joints,
        "model_name": "MANO_RIGHT.pkl" if side == 0 else "MANO_LEFT.pkl",
        "ncomps": 45,
    }


def write(
    folder: Path,
    frames: Mapping[int, tuple[dict[str, Any] | None, dict[str, Any] | None]],
    sequence: str = "01",
) -> Path:
    """Frames by number, each a right and a left hand or None. Returns the folder of the fits."""
    root = folder / RESULTS
    for number, pair in frames.items():
        for letter, hand in zip("RL", pair, strict=True):
            if hand is not None:
                path = pickle_of(folder, sequence, letter, number)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(python2_pickle(hand))
                # The meshes lie beside the pickles and are nobody's frames.
                path.with_suffix(".ply").write_bytes(b"ply\n")
    return root


def pickle_of(folder: Path, sequence: str, letter: str, number: int) -> Path:
    """Where the pickle of a frame's hand lies."""
    name = f"IJCV16___fakeGT___IJCV___{sequence}___Model_Hand_{letter}___ncomps45"
    return folder / RESULTS / name / f"{number:03d}.pkl"
