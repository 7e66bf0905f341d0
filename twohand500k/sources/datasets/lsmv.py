"""LSMV: the large-scale multiview hand pose dataset, right hands recorded by a Leap Motion.

In: `annotated_frames/data_{i}/{n}_joints.txt`, 22 lines `NAME x y z` in mm in the sensor's frame;
points are found by their names, whatever the order of the lines. A finger runs, base to tip, over
KNU1_B, KNU1_A, KNU2_A, KNU3_A; F1 is the little finger, F4 the index. Out: a take a recording. The
sensor gives the palm's position and no wrist: that is worked out and weighs little. PALM_NORMAL is
a direction and not a point. Images, boxes and camera files are not read.
"""

from pathlib import Path

import numpy as np

from twohand500k.conventions import N_JOINTS, WRIST
from twohand500k.errors import DataError
from twohand500k.sources.datasets.choice import Choice
from twohand500k.sources.datasets.files import missing, numbered_files, numbers, sha256_of_all
from twohand500k.sources.datasets.frames import Frames, Hand
from twohand500k.sources.datasets.palm import wrist_towards_palm
from twohand500k.sources.manifest import SourceManifest, load_manifest
from twohand500k.sources.take import Array, Take

# The points in OpenPose order; the palm stands in the wrist's place.
_PALM = "PALM_POSITION"
_NAMES = (
    _PALM,
    *(
        f"{finger}_{knuckle}"
        for finger in ("TH", "F4", "F3", "F2", "F1")
        for knuckle in ("KNU1_B", "KNU1_A", "KNU2_A", "KNU3_A")
    ),
)
_RECORDING, _FRAME = r"data_([0-9]+)", r"([0-9]+)_joints\.txt"
_MM = 1e-3


def read(folder: Path, choice: Choice) -> list[Take]:
    """A take a recording, `data_1` to `data_21`.

    Raises DataError for a folder without annotated frames, and for any split: LSMV names none.
    """
    manifest = load_manifest("lsmv")
    choice.splits_of(manifest)
    takes = []
    root = folder / "annotated_frames"
    for _, recording in numbered_files(root, _RECORDING):
        frames = numbered_files(recording, _FRAME)
        if frames and choice.wants(1):
            takes.append(_take(root, recording.name, frames, choice, manifest))
        elif frames:
            return []
    if not takes:
        raise missing(folder, "annotated_frames/data_1/{n}_joints.txt", manifest)
    return takes


def _take(
    root: Path,
    recording: str,
    numbered: list[tuple[int, Path]],
    choice: Choice,
    manifest: SourceManifest,
) -> Take:
    frames = Frames()
    numbered = _without_twins(numbered)[: choice.most]
    for number, path in numbered:
        try:
            joints = _MM * _points(path)
        except DataError as error:
            frames.fault(number, str(error))
            continue
        joints[WRIST] = wrist_towards_palm(joints, palm=joints[WRIST])
        frames.add(number, Hand(joints), None)
    read_files = sha256_of_all(root, (path for _, path in numbered))
    return frames.take(recording, manifest, files=(read_files,))


def _without_twins(numbered: list[tuple[int, Path]]) -> list[tuple[int, Path]]:
    """Of `1_joints.txt` and `01_joints.txt` the first: frame numbers are unique."""
    return [entry for k, entry in enumerate(numbered) if k == 0 or entry[0] != numbered[k - 1][0]]


def _points(path: Path) -> Array:
    """The palm and the twenty finger points (21, 3) of one frame, mm, OpenPose order."""
    try:
        lines = path.read_text("ascii").splitlines()
    except OSError as error:
        raise DataError(f"{path.name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path.name}: is no text file") from None
    said: dict[str, list[str]] = {}
    for line in lines:
        name, *values = line.split() or [""]
        if name in said:
            raise DataError(f"{path.name}: {name} stands there twice")
        said[name] = values
    if lost := [name for name in _NAMES if name not in said]:
        raise DataError(f"{path.name}: {lost[0]} is missing ({N_JOINTS - len(lost)} of 21 points)")
    return np.stack([numbers(said[name], (3,), f"{path.name}: {name}") for name in _NAMES])
