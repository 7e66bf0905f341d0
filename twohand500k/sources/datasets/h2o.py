"""H2O: two text files a frame and camera, the left hand first in each.

In: the folder with subject*/{scene}/{n}/cam4/hand_pose and hand_pose_MANO. Out: one take a
recording, of one subject, seen by the head-mounted camera (cam4), which every download has: the
other four show the same hands from elsewhere. The camera moves with the head, so each frame stands
in a frame of space of its own. A hand whose flag is 0 was not annotated and is not there.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twohand500k.errors import DataError
from twohand500k.sources.datasets.choice import Choice
from twohand500k.sources.datasets.files import (
    missing,
    numbered_files,
    reordered,
    sha256_of_all,
    text_numbers,
)
from twohand500k.sources.datasets.frames import Frames, Hand, Split
from twohand500k.sources.manifest import SourceManifest, load_manifest
from twohand500k.sources.take import Array, Take

_CAMERA = "cam4"
# The README says hand_pose_MANO, the authors' player opens hand_pose_mano.
_MANO_FOLDERS = ("hand_pose_MANO", "hand_pose_mano")
# Numbers of a hand in either file, flag included.
_JOINT_NUMBERS, _MANO_NUMBERS = 1 + 21 * 3, 1 + 3 + 48 + 10
# Scenes of subject 3 that the README gives to validation; the rest of it is training.
_VAL_SCENES = ("k2", "o1", "o2")


@dataclass(frozen=True)
class _Recording:
    """One folder subject*/{scene}/{n}, and whose it is whatever the folder's ending."""

    path: Path
    subject: str
    scene: str
    number: str

    @property
    def name(self) -> str:
        return f"{self.subject}/{self.scene}/{self.number}"

    @property
    def split(self) -> Split:
        """The README's split: subjects 1 and 2 train, 3 by scene, 4 test."""
        if self.subject == "subject3":
            return "val" if self.scene in _VAL_SCENES else "train"
        known: dict[str, Split] = {"subject1": "train", "subject2": "train", "subject4": "test"}
        return known.get(self.subject, "")


def read(folder: Path, choice: Choice) -> list[Take]:
    """One take a recording, of the splits asked for.

    Raises DataError for a folder without recordings, for a recording without MANO labels, and for a
    split that H2O does not have. A file that cannot be read is a fault of its frame.
    """
    manifest = load_manifest("h2o")
    splits = choice.splits_of(manifest)
    recordings = _recordings(folder)
    if not recordings:
        raise missing(folder, f"subject1/h1/0/{_CAMERA}/hand_pose", manifest)
    return [
        _take(folder, recording, choice, manifest)
        for recording in recordings
        if recording.split in splits or not choice.splits
    ]


def _recordings(folder: Path) -> list[_Recording]:
    """All recordings below a folder, in an order that does not depend on the disk's."""
    found = []
    for hand_pose in folder.glob(f"subject*/*/*/{_CAMERA}/hand_pose"):
        path = hand_pose.parents[1]
        subject = re.match(r"subject\d+", path.parents[1].name)
        if subject is not None:
            found.append(_Recording(path, subject[0], path.parent.name, path.name))
    found.sort(key=lambda r: (r.subject, r.scene, len(r.number), r.number, r.path))
    for first, second in itertools.pairwise(found):
        if first.name == second.name:
            raise DataError(
                f"{folder}: recording {first.name} is there twice, in {first.path.parents[1].name} "
                f"and {second.path.parents[1].name}; give one of them"
            )
    return found


def _take(folder: Path, recording: _Recording, choice: Choice, manifest: SourceManifest) -> Take:
    camera = recording.path / _CAMERA
    there = [camera / name for name in _MANO_FOLDERS if (camera / name).is_dir()]
    if not there:
        raise missing(folder, f"{camera.relative_to(folder)}/{_MANO_FOLDERS[0]}", manifest)
    frames = Frames()
    used: list[Path] = []
    not_annotated = 0
    for number, path in numbered_files(camera / "hand_pose", r"([0-9]+)\.txt", 6):
        if choice.enough(len(frames)):
            break
        files = [path, there[0] / path.name]
        used += files
        try:
            right, left = _hands(files, manifest)
        except DataError as error:
            frames.fault(number, str(error))
            continue
        n_hands = (right is not None) + (left is not None)
        if not n_hands:
            not_annotated += 1
        elif choice.wants(n_hands):
            frames.add(number, right, left)
    notes = [f"{not_annotated} frames have no annotated hand; left out"] if not_annotated else []
    return frames.take(
        recording.name,
        manifest,
        files=[sha256_of_all(folder, used)],
        subject=recording.subject,
        split=recording.split,
        notes=notes,
    )


def _hands(files: Sequence[Path], manifest: SourceManifest) -> tuple[Hand | None, Hand | None]:
    """The right and the left hand of a frame; None where there are no joints of it."""
    joints_left, joints_right = _by_hand(files[0], _JOINT_NUMBERS)
    mano_left, mano_right = _by_hand(files[1], _MANO_NUMBERS)
    return (
        _hand(joints_right, mano_right, manifest),
        _hand(joints_left, mano_left, manifest),
    )


def _by_hand(path: Path, count: int) -> Sequence[Array | None]:
    """The numbers of the left and the right hand without their flags; None where that is 0."""
    try:
        rows = text_numbers(path, 2 * count).reshape(2, count)
    except DataError as error:
        raise DataError(f"{path.parent.name}/{error}") from None
    if not np.isin(rows[:, 0], (0, 1)).all():
        flag = rows[~np.isin(rows[:, 0], (0, 1)), 0][0]
        raise DataError(f"{path.parent.name}/{path.name}: flag {flag:g} is neither 0 nor 1")
    return [row[1:] if row[0] else None for row in rows]


def _hand(joints: Array | None, mano: Array | None, manifest: SourceManifest) -> Hand | None:
    if joints is None:
        return None
    points = reordered(joints.reshape(21, 3), manifest.joint_order)
    if mano is None:
        return Hand(joints=points)
    return Hand(joints=points, pose=mano[3:51].reshape(16, 3), betas=mano[51:61], transl=mano[:3])
