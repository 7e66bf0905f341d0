"""Headset poses: hands as a browser's WebXR gives them, saved one by one in JSON (handy.js).

In: JSON files, each a list of poses {names, handedness, jointPositions 25 x 3, digitTipPositions
5 x 3} in whole mm relative to the pose's own wrist; a joint that was not tracked is null. Out: a
take a file. Every pose is a single hand: nothing says where a right and a left one were to each
other. The metacarpal bases of the four fingers, which the headset makes up, are not used.
"""

from pathlib import Path
from typing import Any

import numpy as np

from twohand500k.conventions import SIDES, Side
from twohand500k.errors import DataError
from twohand500k.sources.datasets.choice import Choice
from twohand500k.sources.datasets.files import missing, numbers, read_json, sha256_of
from twohand500k.sources.datasets.frames import Frames, Hand
from twohand500k.sources.manifest import SourceManifest, load_manifest
from twohand500k.sources.take import Array, Take

_N_WEBXR = 25
# WebXR's joints that are the 21, in OpenPose order (W3C WebXR Hand Input, skeleton joints).
_JOINTS = (0, 1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 16, 17, 18, 19, 21, 22, 23, 24)
_TIPS = (4, 9, 14, 19, 24)
_MM = 1e-3
# The poses of one folder are one person's: they share a split, whatever the side.
_SUBJECT = "headset user"


def read(folder: Path, choice: Choice) -> list[Take]:
    """A take a JSON file of the folder (or of the one file given), called as the file.

    Raises DataError for a folder without JSON files, one that is not a list of poses, and for any
    split: there are none.
    """
    manifest = load_manifest("quest")
    choice.splits_of(manifest)
    files = [folder] if folder.is_file() else sorted(folder.glob("*.json"))
    if not files:
        raise missing(folder, "poses_right.json", manifest)
    if not choice.wants(1):
        return []
    return [_take(path, choice, manifest) for path in files]


def _take(path: Path, choice: Choice, manifest: SourceManifest) -> Take:
    poses = read_json(path)
    if not isinstance(poses, list) or not any(
        isinstance(pose, dict) and "jointPositions" in pose for pose in poses
    ):
        raise DataError(
            f"{path}: not a list of poses with jointPositions; give the headset's poses alone"
        )
    frames = Frames()
    for number, pose in enumerate(poses[: choice.most]):
        try:
            side, joints = _pose(pose, f"pose {number}")
        except DataError as error:
            frames.fault(number, str(error))
            continue
        hand = Hand(joints)
        frames.add(number, hand if side == "right" else None, hand if side == "left" else None)
    return frames.take(path.stem, manifest, files=(sha256_of(path),), subject=_SUBJECT)


def _pose(pose: Any, what: str) -> tuple[Side, Array]:
    """Side and joints (21, 3) in metres, OpenPose order, NaN where not tracked."""
    if not isinstance(pose, dict):
        raise DataError(f"{what} is no pose")
    if isinstance(pose.get("names"), list) and pose["names"]:
        what = f"{what} ({', '.join(map(str, pose['names']))[:40]})"
    if pose.get("handedness") not in SIDES:
        raise DataError(f"{what}: handedness {pose.get('handedness')!r} is neither right nor left")
    positions = pose.get("jointPositions")
    if not isinstance(positions, list) or len(positions) != _N_WEBXR:
        found = f"{len(positions)} joints" if isinstance(positions, list) else "no jointPositions"
        raise DataError(f"{what} has {found}, not {_N_WEBXR}")
    points = np.full((_N_WEBXR, 3), np.nan)
    for joint, position in enumerate(positions):
        if position is not None:
            points[joint] = numbers(position, (3,), f"{what}: joint {joint}")
    tips = pose.get("digitTipPositions")
    if isinstance(tips, list) and len(tips) == len(_TIPS) and all(t is not None for t in tips):
        said = numbers(tips, (len(_TIPS), 3), f"{what}: digitTipPositions")
        if np.nanmax(np.abs(said - points[list(_TIPS)]), initial=0.0) > 1.0:
            raise DataError(f"{what}: digitTipPositions are not the tips of jointPositions")
    return pose["handedness"], _MM * points[list(_JOINTS)]
