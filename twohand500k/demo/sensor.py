"""What an optical recording does to a take: marker noise, dropouts, and a C3D file in millimetres.

In: true joints (T, 2, 21, 3) m. Out: measured points of the same shape, NaN where nothing was seen,
and the file. A joint is lost alone for a short while, more often where the other hand hides it; a
whole hand is lost now and then.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import ezc3d
import numpy as np

from twohand500k.conventions import JOINT_NAMES, N_JOINTS, SIDES
from twohand500k.hand.rotations import Array

FIRST_FRAME = 1  # C3D counts frames from 1


@dataclass(frozen=True)
class Sensor:
    """noise: standard deviation per axis, m. gap_rate: how often a joint is lost, per second, and
    hidden_gap_rate the same with the other hand within 25 mm. gap_s: shortest and longest gap, s.
    hand_losses: times in the take that a whole hand is lost, for between 0.05 and 0.25 s."""

    noise: float = 0.0007
    gap_rate: float = 0.06
    hidden_gap_rate: float = 0.5
    gap_s: tuple[float, float] = (0.03, 0.35)
    hand_losses: int = 3


def measure(joints: Array, fps: float, sensor: Sensor, rng: np.random.Generator) -> Array:
    """Measured points (T, 2, 21, 3) m of true joints, NaN where lost."""
    n_frames = len(joints)
    points = joints + rng.normal(scale=sensor.noise, size=joints.shape)
    apart = np.linalg.norm(
        joints[:, 0, :, None, :].astype(np.float32) - joints[:, 1, None, :, :], axis=-1
    )
    nearest = np.stack([apart.min(axis=2), apart.min(axis=1)], axis=1)
    rate = np.where(nearest < 0.025, sensor.hidden_gap_rate, sensor.gap_rate)
    starts = np.argwhere(rng.random((n_frames, 2, N_JOINTS)) < rate / fps)
    lengths = rng.uniform(*sensor.gap_s, size=len(starts)) * fps
    for (frame, side, joint), length in zip(starts, lengths, strict=True):
        points[frame : frame + max(1, round(length)), side, joint] = np.nan
    for _ in range(sensor.hand_losses):
        frame, side = int(rng.integers(n_frames)), int(rng.integers(2))
        points[frame : frame + round(rng.uniform(0.05, 0.25) * fps), side] = np.nan
    return points


def labels() -> tuple[str, ...]:
    """The file's point names: right hand first, joints in the order of the 21."""
    return tuple(f"{side}_{joint}" for side in SIDES for joint in JOINT_NAMES)


def write_c3d(path: Path, points: Array, fps: float) -> None:
    """Write points (T, 2, 21, 3) m, NaN = lost, as C3D in millimetres, whole or not at all."""
    file = ezc3d.c3d()
    file["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
    file["parameters"]["POINT"]["RATE"]["value"] = [float(fps)]
    file["parameters"]["POINT"]["LABELS"]["value"] = list(labels())
    data = np.ones((4, len(labels()), len(points)))
    data[:3] = points.reshape(len(points), -1, 3).transpose(2, 1, 0) * 1e3
    file["data"]["points"] = data
    temporary = path.with_name(f".{path.stem}.writing.c3d")
    try:
        file.write(str(temporary))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
