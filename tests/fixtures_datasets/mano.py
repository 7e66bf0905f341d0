"""Plain MANO arrays as people save them: an .npz a take, and the TOML that says what it means."""

from pathlib import Path
from typing import Any

import numpy as np

from fixtures_datasets.common import PosedHands

# MANO's 16 joints with the thumb first and ring before little, as OpenPose lists fingers.
_MANO_JOINT_OF_OPENPOSE = [0, 13, 14, 15, 1, 2, 3, 4, 5, 6, 10, 11, 12, 7, 8, 9]


def arrays(
    hands: PosedHands,
    *,
    relative_to: str = "flat",
    translation: str = "transl",
    unit: str = "m",
    pose_order: str = "mano",
    joints: bool = True,
) -> dict[str, np.ndarray]:
    """right_pose (N, 48), right_betas, right_transl, right_joints and the left hand's."""
    per_metre = {"m": 1.0, "cm": 100.0, "mm": 1000.0}[unit]
    out: dict[str, np.ndarray] = {}
    for side, name in enumerate(("right", "left")):
        pose = hands.pose[:, side].reshape(len(hands), 48)
        if relative_to == "mean":
            pose = hands.pose_from_mean(side)
        if pose_order == "openpose":
            pose = pose.reshape(-1, 16, 3)[:, _MANO_JOINT_OF_OPENPOSE].reshape(-1, 48)
        place = hands.transl[:, side] if translation == "transl" else hands.joints[:, side, 0]
        out |= {
            f"{name}_pose": pose,
            f"{name}_betas": hands.betas[:, side],
            f"{name}_transl": place * per_metre,
        }
        if joints:
            out[f"{name}_joints"] = hands.joints[:, side] * per_metre
    return out


def convention(**said: Any) -> str:
    """A convention.toml; what is not given is flat, transl, m, world, mirrored."""
    usual = {
        "relative_to": "flat",
        "translation": "transl",
        "unit": "m",
        "frame": "world",
        "left_shapedirs": "mirrored",
    }
    lines = [f"{key} = {_toml(value)}" for key, value in (usual | said).items() if value != ""]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def write(path: Path, content: dict[str, np.ndarray], said: str | None = None) -> Path:
    """The .npz at `path`, and beside it convention.toml if `said` is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **content)  # type: ignore[arg-type]
    if said is not None:
        (path.parent / "convention.toml").write_text(said)
    return path
