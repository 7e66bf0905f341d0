"""InterHand2.6M: joint_3d.json and MANO_NeuralAnnot.json of each split to takes.

In: the folder with `annotations/`, that folder itself, or one that holds the files alone under any
name that ends as theirs (`test_*_joint_3d.json`), as extracts of the dataset come. Out: one take a
capture and sequence, named `split/captureN/sequence`. Joints are in mm of the world, MANO's
translation in metres of the same world. Conventions and defects: its manifest.

Pictures are no part of a build. `cameras` and `pictures` say, for a frame of a take, which files
show it and through which camera; they read camera.json and data.json when called.
"""

import json
import mmap
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from twohand500k.conventions import N_BETAS, N_JOINTS, N_MANO_JOINTS, SIDES
from twohand500k.errors import DataError
from twohand500k.sources.datasets.choice import Choice
from twohand500k.sources.datasets.files import (
    missing,
    numbers,
    read_json,
    reordered,
    require,
    sha256_of,
)
from twohand500k.sources.datasets.frames import Frames, Hand, Split
from twohand500k.sources.manifest import SourceManifest, load_manifest
from twohand500k.sources.take import Array, InputFile, Take

NAME = "interhand26m"
_JOINTS = "joint_3d.json"
_HANDS = {"right": (True, False), "left": (False, True), "interacting": (True, True)}
_MM = 1e-3
# data.json lists images as flat objects; its annotations never hold a file_name.
_IMAGE = re.compile(rb'\{[^{}]*"file_name"[^{}]*\}')


@dataclass(frozen=True, eq=False)
class View:
    """A camera: `x_camera = R @ x_world + t` metres, `(u, v, 1) ~ K @ x_camera` pixels."""

    K: Array
    R: Array
    t: Array


@dataclass(frozen=True)
class Picture:
    """An image of a frame. camera: its name, for `cameras`. width, height: pixels."""

    file: Path
    width: int
    height: int
    capture: int
    frame: int
    camera: str


@dataclass(frozen=True)
class _Files:
    """Where one split's files lie; stem: the path without `joint_3d.json`."""

    split: Split
    stem: Path
    images: Path
    subjects: Path

    def named(self, what: str) -> Path:
        return self.stem.with_name(self.stem.name + what)

    @property
    def joints(self) -> Path:
        return self.named(_JOINTS)

    @property
    def mano(self) -> Path:
        return self.named("MANO_NeuralAnnot.json")

    @property
    def data(self) -> Path:
        return self.named("data.json")

    @property
    def camera(self) -> Path:
        return self.named("camera.json")


def read(folder: Path, choice: Choice) -> list[Take]:
    """The takes of the wanted splits. choice.subset tells single from interacting frames.

    Raises DataError where a split's joint_3d.json is missing or is not its layout.
    """
    manifest = load_manifest(NAME)
    takes: list[Take] = []
    for files in _splits(folder, choice, manifest):
        takes += _takes(files, choice, manifest)
    return takes


def place_of(take: str) -> tuple[Split, int]:
    """Split and capture of a take, from its name. Raises ValueError for a name not given here."""
    found = re.match(r"(train|val|test)/capture(\d+)/", take)
    if not found:
        raise ValueError(f"{take!r} is no take of {NAME}")
    return found[1], int(found[2])  # type: ignore[return-value]


def cameras(folder: Path, split: Split) -> dict[tuple[int, str], View]:
    """Every camera of a split by capture and camera name. Raises DataError."""
    path = _present(_files_of(folder, split), "camera.json")
    views = {}
    for capture, table in _dictionary(read_json(path), f"{path}:").items():
        where = f"{path}: capture {capture}"
        table = _dictionary(table, where)
        for key in ("campos", "camrot", "focal", "princpt"):
            if not isinstance(table.get(key), dict):
                raise DataError(f"{where} has no {key}")
        for camera, position in table["campos"].items():
            R = numbers(table["camrot"].get(camera), (3, 3), f"{where} camrot {camera}")
            focal = numbers(table["focal"].get(camera), (2,), f"{where} focal {camera}")
            centre = numbers(table["princpt"].get(camera), (2,), f"{where} princpt {camera}")
            # campos is where the camera stands, not the translation of a transform.
            t = -R @ numbers(position, (3,), f"{where} campos {camera}") * _MM
            K = np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]])
            views[_whole(capture, where), camera] = View(K, R, t)
    return views


def pictures(
    folder: Path, split: Split, wanted: Container[tuple[int, int]] | None = None
) -> dict[tuple[int, int], list[Picture]]:
    """The images of each (capture, frame) of a split, or of those wanted. Raises DataError.

    One pass over data.json, which has more than a million images in the training split: name what
    is wanted rather than call this once for each frame.
    """
    files = _files_of(folder, split)
    found: dict[tuple[int, int], list[Picture]] = {}
    for image in _images(_present(files, "data.json")):
        moment = (int(image["capture"]), int(image["frame_idx"]))
        if wanted is None or moment in wanted:
            picture = Picture(
                file=files.images / str(image["file_name"]),
                width=int(image["width"]),
                height=int(image["height"]),
                capture=moment[0],
                frame=moment[1],
                camera=str(image["camera"]),
            )
            found.setdefault(moment, []).append(picture)
    return found


def _splits(folder: Path, choice: Choice, manifest: SourceManifest) -> list[_Files]:
    """The files of each wanted split; not told which, of those that are there."""
    wanted = list(choice.splits_of(manifest))
    there = [files for split in wanted if (files := _find(folder, split)) is not None]  # type: ignore[arg-type]
    if not there or (choice.splits and len(there) < len(wanted)):
        have = {files.split for files in there}
        absent = next(split for split in wanted if split not in have)
        raise missing(folder, manifest.layout[0].format(split=absent), manifest)
    return there


def _find(folder: Path, split: Split) -> _Files | None:
    for root in (folder / "annotations", folder):
        # v1.0 has a folder a split; v0.0 had all, human_annot and machine_annot.
        for place in (split, "all"):
            stem = root / place / f"InterHand2.6M_{split}_"
            if stem.with_name(stem.name + _JOINTS).is_file():
                images = root.parent / "images" / split
                return _Files(split, stem, images, root / "subject.txt")
    alone = [p for p in folder.glob(f"*_{_JOINTS}") if split in re.split(r"[_.\W]", p.name.lower())]
    if len(alone) > 1:
        names = ", ".join(sorted(p.name for p in alone))
        raise DataError(f"{folder}: {names} are all of split {split}; put one in a folder")
    for path in alone:
        stem = path.with_name(path.name.removesuffix(_JOINTS))
        return _Files(split, stem, folder, folder / "subject.txt")
    return None


def _files_of(folder: Path, split: Split) -> _Files:
    return _splits(folder, Choice(splits=(split,)), load_manifest(NAME))[0]


def _present(files: _Files, what: str) -> Path:
    return require(files.stem.parent, files.stem.name + what, load_manifest(NAME))


def _takes(files: _Files, choice: Choice, manifest: SourceManifest) -> list[Take]:
    captures = _dictionary(read_json(files.joints), f"{files.joints}:")
    inputs = [sha256_of(files.joints)]
    notes = []
    if files.mano.is_file():
        mano = _dictionary(read_json(files.mano), f"{files.mano}:")
        inputs.append(sha256_of(files.mano))
    else:
        mano = {}
        notes.append(f"no {files.mano.name}: joints alone")
    about = _about(files)
    inputs += about.inputs
    takes = []
    for capture, table in _by_number(captures, f"{files.joints}: a capture"):
        fits = mano.get(str(capture))
        frames = _dictionary(table, f"{files.joints}: capture {capture}")
        fits = {} if fits is None else _dictionary(fits, f"{files.mano}: capture {capture}")
        for sequence, read_frames in _sequences(capture, frames, fits, about, choice).items():
            take = read_frames.take(
                f"{files.split}/capture{capture}/{sequence}",
                manifest,
                files=inputs,
                subject=about.subjects.get(capture, ""),
                split=files.split,
                # Fitted shapes differ between the frames of one person, the person does not.
                shape="subject",
                notes=notes,
            )
            if take.mano is not None and not take.mano.given.any():
                take = replace(take, mano=None)
            takes.append(take)
    return takes


def _sequences(
    capture: int, frames: dict[str, Any], fits: dict[str, Any], about: "_About", choice: Choice
) -> dict[str, Frames]:
    """The frames of a capture, by the sequence they belong to."""
    found: dict[str, Frames] = {}
    for number, entry in _by_number(frames, f"capture {capture}: a frame"):
        own = entry.get("seq") if isinstance(entry, dict) else None
        name = str(own or about.sequences.get((capture, number)) or "unnamed")
        so_far = found.setdefault(name, Frames())
        if choice.enough(len(so_far)):
            continue
        try:
            right, left = _hands(entry, fits.get(str(number)))
        except DataError as fault:
            so_far.fault(number, str(fault))
            continue
        if choice.wants((right is not None) + (left is not None)):
            so_far.add(number, right, left)
    return found


def _hands(entry: Any, fit: Any) -> tuple[Hand | None, Hand | None]:
    """Right and left hand of a frame. Raises DataError saying what is wrong with it."""
    entry = _dictionary(entry, "joint_3d")
    for key in ("world_coord", "joint_valid"):
        if not isinstance(entry.get(key), list) or len(entry[key]) != 2 * N_JOINTS:
            raise DataError(f"{key} is not a list of {2 * N_JOINTS}")
    flags = [_unpacked(flag) for flag in entry["joint_valid"]]
    valid = numbers(flags, (2 * N_JOINTS,), "joint_valid") > 0
    joints = np.full((2 * N_JOINTS, 3), np.nan)
    rows = np.flatnonzero(valid)
    # Rows that are not valid hold a placeholder, which nobody is to look at.
    coordinates = [entry["world_coord"][row] for row in rows]
    joints[rows] = numbers(coordinates, (len(rows), 3), "world_coord") * _MM if len(rows) else 0.0
    fit = {} if fit is None else _dictionary(fit, "MANO_NeuralAnnot")
    hands: list[Hand | None] = []
    for side, there in enumerate(_said_to_hold(entry, valid)):
        own = joints[side * N_JOINTS : (side + 1) * N_JOINTS]
        hands.append(_hand(own, fit.get(SIDES[side]), SIDES[side]) if there else None)
    return hands[0], hands[1]


def _unpacked(flag: Any) -> Any:
    """A flag, which the files also give as a list of one."""
    return flag[0] if isinstance(flag, list) and len(flag) == 1 else flag


def _said_to_hold(entry: dict[str, Any], valid: Array) -> tuple[bool, bool]:
    """Which hands the frame shows: as annotated, or those with a valid joint where nobody knew."""
    sure = _unpacked(entry.get("hand_type_valid", True))
    if numbers(sure, (), "hand_type_valid") > 0:
        if entry.get("hand_type") not in _HANDS:
            raise DataError(f"hand_type {entry.get('hand_type')!r} is none of {', '.join(_HANDS)}")
        return _HANDS[entry["hand_type"]]
    right, left = bool(valid[:N_JOINTS].any()), bool(valid[N_JOINTS:].any())
    if not (right or left):
        raise DataError("no hand type and no valid joint")
    return right, left


def _hand(joints: Array, fit: Any, side: str) -> Hand:
    manifest = load_manifest(NAME)
    ordered = reordered(joints, manifest.joint_order)
    if fit is None:
        return Hand(joints=ordered)
    fit = _dictionary(fit, f"MANO {side}")
    return Hand(
        joints=ordered,
        pose=numbers(fit.get("pose"), (48,), f"MANO {side} pose").reshape(N_MANO_JOINTS, 3),
        betas=numbers(fit.get("shape"), (N_BETAS,), f"MANO {side} shape"),
        transl=numbers(fit.get("trans"), (3,), f"MANO {side} trans"),
    )


@dataclass(frozen=True)
class _About:
    """What joint_3d.json may not say: the subject of a capture, the sequence of a frame."""

    subjects: Mapping[int, str] = field(default_factory=dict)
    sequences: Mapping[tuple[int, int], str] = field(default_factory=dict)
    inputs: tuple[InputFile, ...] = ()


def _about(files: _Files) -> _About:
    if files.data.is_file():
        subjects: dict[int, str] = {}
        sequences: dict[tuple[int, int], str] = {}
        for image in _images(files.data):
            capture = int(image["capture"])
            subjects[capture] = str(image.get("subject", ""))
            sequences[capture, int(image["frame_idx"])] = str(image.get("seq_name", ""))
        return _About(subjects, sequences, (sha256_of(files.data),))
    if files.subjects.is_file():
        named = _subjects(files.subjects, files.split)
        return _About(named, {}, (sha256_of(files.subjects),))
    return _About()


def _subjects(path: Path, split: Split) -> dict[int, str]:
    """Capture to subject out of subject.txt, from lines that name both; a split heads its lines."""
    found: dict[int, str] = {}
    doubted: set[int] = set()
    current = split
    for line in path.read_text("utf8", errors="replace").lower().splitlines():
        heading = re.search(r"\b(train|val|test)\b", line)
        current = heading[1] if heading else current  # type: ignore[assignment]
        capture = re.search(r"capture\D{0,3}(\d+)", line)
        subject = re.search(r"subject\D{0,3}(\d+)", line)
        if capture and subject and current == split:
            number, name = int(capture[1]), str(int(subject[1]))
            if found.setdefault(number, name) != name:
                doubted.add(number)
    return {capture: name for capture, name in found.items() if capture not in doubted}


def _images(path: Path) -> Iterator[dict[str, Any]]:
    """The image records of data.json, one by one: the training split's file has over 1 GB.

    Raises DataError for a file that is cut or has none.
    """
    count = 0
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            if not text[-64:].rstrip().endswith(b"}"):
                raise DataError(f"{path}: not whole JSON (it is cut); fetch the file again")
            for match in _IMAGE.finditer(text):
                image = json.loads(match[0])
                if not all(isinstance(image.get(k), int) for k in ("capture", "frame_idx")):
                    raise DataError(f"{path}: an image without capture and frame_idx")
                yield image
                count += 1
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: not whole JSON ({reason}); fetch the file again") from None
    if not count:
        raise DataError(f"{path}: lists no image; is it InterHand2.6M's data.json?")


def _by_number(table: dict[str, Any], what: str) -> list[tuple[int, Any]]:
    """Items whose keys are whole numbers, in their order. Raises DataError for another key."""
    return sorted(((_whole(key, what), value) for key, value in table.items()), key=_first)


def _first(item: tuple[int, Any]) -> int:
    return item[0]


def _whole(key: str, what: str) -> int:
    if not key.isdecimal():
        raise DataError(f"{what} is called {key[:40]!r}, not by a number")
    return int(key)


def _dictionary(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{what} is a {type(value).__name__}, not a dictionary")
    return value
