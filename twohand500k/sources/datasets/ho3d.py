"""HO-3D and H2O-3D: one pickle a frame, an OpenGL camera, MANO parameters and their joints.

In: the folder with train/ and evaluation/, each {sequence}/meta/%04d.pkl. Out: one take a sequence,
in a camera that looks along +z with y down. HO-3D holds one right hand, H2O-3D both with one shape;
they differ in the names of the keys alone. The evaluation split holds the wrist and no more: of
HO-3D its joints came later, in a file of their own, and are read from there without MANO; where
that is not at hand each frame becomes a reject that says so. Frames that were never annotated hold
None; they are no hands at all and are counted in the take's notes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from twohand500k.errors import DataError
from twohand500k.pickles import read_pickle
from twohand500k.sources.datasets.choice import Choice
from twohand500k.sources.datasets.files import (
    missing,
    numbered_files,
    numbers,
    read_json,
    reordered,
    require,
    sha256_of,
    sha256_of_all,
)
from twohand500k.sources.datasets.frames import Frames, Hand, Split
from twohand500k.sources.manifest import SourceManifest, load_manifest
from twohand500k.sources.take import Array, Take

# What the keys of a side's hand begin with, right and left; None where the set has no such hand.
_STEMS: Mapping[str, tuple[str | None, str | None]] = {
    "ho3d": ("hand", None),
    "h2o3d": ("rightHand", "leftHand"),
}
# The evaluation split's joints as released in November 2024, and the frames they belong to.
_RELEASED = ("evaluation_xyz.json", "evaluation.txt")
# The released wrist must be the frame's own, m.
_SAME_WRIST = 1e-3
_SPLIT: dict[str, Split] = {"train": "train", "evaluation": "test"}
# OpenGL's camera (y up, looking along -z) to the house's (y down, looking along +z).
_R_CAMERA_OPENGL = np.diag([1.0, -1.0, -1.0])

_Content = Mapping[Any, Callable[[], Any]]


def read_ho3d(folder: Path, choice: Choice) -> list[Take]:
    """HO-3D v2 or v3. Raises DataError as `_read` does."""
    return _read("ho3d", folder, choice)


def read_h2o3d(folder: Path, choice: Choice) -> list[Take]:
    """H2O-3D. Raises DataError as `_read` does."""
    return _read("h2o3d", folder, choice)


def _read(name: str, folder: Path, choice: Choice) -> list[Take]:
    """One take a sequence, of the splits asked for or of those that are there.

    Raises DataError for a folder without sequences, for one of the sister set, and for a split that
    the set does not have. A pickle that cannot be read is a fault of its frame.
    """
    manifest = load_manifest(name)
    splits = choice.splits_of(manifest)
    there = [split for split in splits if (folder / split).is_dir()]
    if choice.splits or not there:
        there = list(splits)
    takes = []
    for split in there:
        sequences = sorted(path.parent for path in folder.glob(f"{split}/*/meta"))
        pickles = {
            sequence: numbered_files(sequence / "meta", r"([0-9]+)\.pkl", 4)
            for sequence in sequences
        }
        if not any(pickles.values()):
            raise missing(folder, f"{split}/*/meta/*.pkl", manifest)
        _check_set(next(found for found in pickles.values() if found), folder, manifest)
        released = _released(folder, manifest) if (name, split) == ("ho3d", "evaluation") else {}
        for sequence, found in pickles.items():
            takes.append(_take(folder, split, sequence.name, found, released, choice, manifest))
    return takes


def _released(folder: Path, manifest: SourceManifest) -> Mapping[str, Any]:
    """The joints of the evaluation split by "sequence/frame"; none where they are not at hand."""
    joints, names = (folder / name for name in _RELEASED)
    if not joints.exists():
        return {}
    values = read_json(joints)
    listed = require(folder, names.name, manifest).read_text("utf8", "replace").split()
    if not isinstance(values, list) or len(values) != len(listed):
        count = len(values) if isinstance(values, list) else "no"
        raise DataError(
            f"{joints}: {count} frames, {names.name} names {len(listed)}: they are not of one "
            "release; fetch both again"
        )
    return dict(zip(listed, values, strict=True))


def _check_set(found: Sequence[tuple[int, Path]], folder: Path, manifest: SourceManifest) -> None:
    """Refuse the sister set, which lies in the same folders under other keys."""
    (other,) = set(_STEMS) - {manifest.name}
    try:
        content = read_pickle(found[0][1])
    except DataError:
        return  # its frame's fault
    key = f"{_STEMS[other][0]}Joints3D"
    if key in content:
        raise DataError(
            f"{folder}: is {other}, not {manifest.name} (its frames have {key}); give "
            f"--source {other}"
        )


def _take(
    folder: Path,
    split: str,
    sequence: str,
    found: Sequence[tuple[int, Path]],
    released: Mapping[str, Any],
    choice: Choice,
    manifest: SourceManifest,
) -> Take:
    frames = Frames()
    used = []
    not_annotated = 0
    for number, path in found:
        if choice.enough(len(frames)):
            break
        used.append(path)
        try:
            content = read_pickle(path)
            joints = released.get(f"{sequence}/{path.stem}")
            right, left = (_hand(content, stem, joints, manifest) for stem in _STEMS[manifest.name])
        except DataError as error:
            frames.fault(number, str(error).replace(f"{folder}/", ""))
            continue
        n_hands = (right is not None) + (left is not None)
        if not n_hands:
            not_annotated += 1
        elif choice.wants(n_hands):
            frames.add(number, right, left)
    notes = [f"{not_annotated} frames are not annotated; left out"] if not_annotated else []
    files = [sha256_of_all(folder, used)]
    if released:
        files += [sha256_of(folder / name) for name in _RELEASED]
    take = frames.take(
        f"{split}/{sequence}",
        manifest,
        files=files,
        split=_SPLIT[split],
        R_house_dataset=_R_CAMERA_OPENGL,
        notes=notes,
    )
    if take.mano is not None and take.seen.any() and not take.mano.given.any():
        take = replace(take, mano=None)
    return take


def _hand(
    content: _Content, stem: str | None, released: Any, manifest: SourceManifest
) -> Hand | None:
    """One side of a frame; None where the set, or this frame, has no such hand.

    released: the frame's joints where the frame itself has the wrist alone, else None.
    """
    if stem is None:
        return None
    joints = _value(content, f"{stem}Joints3D")
    if np.shape(joints) in ((3,), (1, 3)):
        wrist = numbers(np.reshape(joints, 3), (3,), f"{stem}Joints3D")
        return Hand(joints=_released_joints(wrist, stem, released, manifest))
    pose, transl = (_value(content, f"{stem}{what}") for what in ("Pose", "Trans"))
    if joints is None and pose is None:
        return None
    return Hand(
        joints=reordered(numbers(joints, (21, 3), f"{stem}Joints3D"), manifest.joint_order),
        pose=numbers(pose, (48,), f"{stem}Pose").reshape(16, 3),
        betas=numbers(_value(content, "handBeta"), (10,), "handBeta"),
        transl=numbers(transl, (3,), f"{stem}Trans"),
    )


def _released_joints(wrist: Array, stem: str, released: Any, manifest: SourceManifest) -> Array:
    """Joints (21, 3) of a frame that has the wrist (3,) alone. Raises DataError without them."""
    if released is None:
        later = f"; {_RELEASED[0]}, released later, has them" if manifest.name == "ho3d" else ""
        raise DataError(
            f"{stem}Joints3D is the wrist alone: the evaluation split comes without hands{later}"
        )
    joints = reordered(numbers(released, (21, 3), _RELEASED[0]), manifest.joint_order)
    apart = float(np.linalg.norm(joints[0] - wrist))
    if apart > _SAME_WRIST:
        raise DataError(f"{_RELEASED[0]} has the wrist {1e3 * apart:.1f} mm from this frame's")
    return joints


def _value(content: _Content, key: str) -> Any:
    """A key's value. Raises DataError where the frame lacks it."""
    if key not in content:
        raise DataError(f"has no {key}")
    return content[key]()
