"""A tiny H2O: subject/{scene}/{n}/cam4/hand_pose and hand_pose_MANO, left hand first."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fixtures_datasets.common import PosedHands


def write(
    folder: Path,
    recording: str,
    hands: PosedHands,
    *,
    flags: Sequence[tuple[int, int]] | None = None,
    first: int = 0,
    mano: str = "hand_pose_MANO",
    noise: float = 0.0,
) -> Path:
    """One recording, "subject1/h1/0", seen by cam4; gives the camera's folder.

    flags: (right, left) annotated, frame by frame. noise m: of the joints, measured apart from the
    parameters. mano: what the folder of parameters is called.
    """
    camera = folder / recording / "cam4"
    rng = np.random.default_rng(0)
    joints = hands.joints + noise * rng.normal(size=hands.joints.shape)
    (camera / "hand_pose").mkdir(parents=True)
    (camera / mano).mkdir()
    for row in range(len(hands)):
        right, left = (1, 1) if flags is None else flags[row]
        pose, parameters = [], []
        for flag, side in ((left, 1), (right, 0)):
            pose += [flag, *(flag * joints[row, side].ravel())]
            values = (hands.transl, hands.pose, hands.betas)
            parameters += [flag, *(flag * np.concatenate([v[row, side].ravel() for v in values]))]
        name = f"{first + row:06d}.txt"
        (camera / "hand_pose" / name).write_text(_line(pose))
        (camera / mano / name).write_text(_line(parameters))
    (camera / "cam_intrinsics.txt").write_text("636.66 636.25 635.28 366.87 1280 720\n")
    return camera


def _line(values: Sequence[float]) -> str:
    return " ".join(f"{value:.8f}" if value not in (0, 1) else f"{value:g}" for value in values)
