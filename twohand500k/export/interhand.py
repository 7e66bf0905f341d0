"""InterHand2.6M's annotation files: joint_3d.json and MANO_NeuralAnnot.json of each split.

Its units, order and conventions: joints in mm, right hand before left, each finger tip to base,
wrist last; MANO's pose relative to the mean hand, translation in metres. A capture is a subject of
a source, a sequence its take, a frame a sample (numbered through the capture, its `sample_id`
beside it). Rounded: joints to 0.001 mm, pose, shape and translation to 1e-6. The frame of space is
the dataset's own. A sample without a split is written under train. Tips are the dataset's (smplx's
vertices), not the surface markers of InterHand2.6M.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twohand500k.conventions import N_JOINTS, SIDES
from twohand500k.errors import DataError
from twohand500k.export.content import Array, Arrays, Digest, Source, whole_file
from twohand500k.shards import SPLITS
from twohand500k.sources.manifest import load_manifest

NAME = "interhand"
_TYPES = {(True, True): "interacting", (True, False): "right", (False, True): "left"}
_MICRO = 1e6
# Frames in memory at once.
_CHUNK = 4096


def order(source: Source) -> Iterator[Array]:
    """Rows by split, capture, shard: as they stand in the files."""
    for _, captures in _tree(source):
        for chunks in captures.values():
            yield from chunks


def arrays(source: Source, rows: Array) -> Arrays:
    """What the files hold of the rows, as whole numbers: joints (n, 2, 21, 3) in micrometres,
    pose, betas and transl in millionths of rad, 1 and m; an absent hand's are zero."""
    samples = source.samples(rows)
    pose = samples.pose.astype(np.float64)
    for side in range(2):
        pose[:, side, 1:] -= source.hands[side].hands_mean.reshape(15, 3)
    return {
        "sample_id": samples.sample_id,
        "present": samples.present,
        "joints": _millionths(samples.joints),
        "pose": _millionths(pose),
        "betas": _millionths(samples.betas),
        "transl": _millionths(samples.transl),
    }


def write(source: Source, folder: Path, digest: Digest) -> None:
    """Two files a split, and subject.txt."""
    subjects = []
    for split, captures in _tree(source):
        place = folder / "annotations" / split / f"InterHand2.6M_{split}_"
        joints_file, mano_file = (
            place.with_name(place.name + what)
            for what in ("joint_3d.json", "MANO_NeuralAnnot.json")
        )
        subjects.append(split)
        with whole_file(joints_file) as joints, whole_file(mano_file) as mano:
            for capture, ((kept_source, subject), chunks) in enumerate(captures.items()):
                if subject:
                    subjects.append(f"Capture{capture} subject{len(subjects)}: {subject}")
                lead = ("{" if not capture else "},\n") + f'"{capture}": {{'
                joints.write(lead.encode())
                mano.write(lead.encode())
                number = 0
                for rows in chunks:
                    chunk = arrays(source, rows)
                    digest.add(chunk)
                    takes = source.dataset.array("take", rows).tolist()
                    for row in range(len(rows)):
                        comma = ",\n" if number else "\n"
                        entry, fit = _entries(chunk, row)
                        entry |= {"seq": takes[row], "source": kept_source}
                        joints.write(f'{comma}"{number}": {json.dumps(entry)}'.encode())
                        mano.write(f'{comma}"{number}": {json.dumps(fit)}'.encode())
                        number += 1
            joints.write(b"}}\n")
            mano.write(b"}}\n")
    with whole_file(folder / "annotations" / "subject.txt") as file:
        file.write(("\n".join(subjects) + "\n").encode())


def read(folder: Path) -> Iterator[Arrays]:
    """The arrays, some thousand frames at a time. Reads the lines as `write` leaves them, a frame a
    line, since a whole file of half a million frames is more than memory holds.

    Raises DataError for files that are not the layout.
    """
    for split in SPLITS:
        place = folder / "annotations" / split / f"InterHand2.6M_{split}_"
        path = place.with_name(place.name + "joint_3d.json")
        if not path.exists():
            continue
        try:
            with (
                path.open(encoding="utf8") as joints,
                place.with_name(place.name + "MANO_NeuralAnnot.json").open(encoding="utf8") as mano,
            ):
                frames = zip(_frames(joints), _frames(mano), strict=True)
                while chunk := list(itertools.islice(frames, _CHUNK)):
                    yield _read_chunk(*zip(*chunk, strict=True))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} cannot be read as InterHand2.6M: {error!r}") from error


def _frames(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The entry of each frame: what stands behind the key of its line."""
    decode = json.JSONDecoder().raw_decode
    for line in lines:
        _, colon, value = line.partition(": ")
        # A capture's line ends in its open bracket.
        if colon and value.strip() != "{":
            yield decode(value)[0]


def _read_chunk(entries: Sequence[dict[str, Any]], fits: Sequence[dict[str, Any]]) -> Arrays:
    """The inverse of `_entries` for some frames."""
    n, back = len(entries), np.argsort(_rows_of_joints())
    valid = np.array([e["joint_valid"] for e in entries]).reshape(n, 2, N_JOINTS)
    present: Array = np.all(valid, axis=2)
    world = np.array([e["world_coord"] for e in entries], dtype=np.float64)
    joints = np.round(1e3 * world.reshape(n, 2, N_JOINTS, 3)).astype(np.int64)[:, :, back]
    joints[~present] = 0
    out: dict[str, Array] = {
        "sample_id": np.array([e["sample_id"] for e in entries]),
        "present": present,
        "joints": joints,
    }
    shapes = {"pose": ("pose", (16, 3)), "betas": ("shape", (10,)), "transl": ("trans", (3,))}
    for name, (key, shape) in shapes.items():
        values = np.zeros((n, 2, *shape), dtype=np.int64)
        for row, fit in enumerate(fits):
            for side, hand in enumerate(SIDES):
                if fit[hand] is not None:
                    values[row, side] = np.round(_MICRO * np.array(fit[hand][key])).reshape(shape)
        out[name] = values
    return out


def _tree(source: Source) -> Iterator[tuple[str, dict[tuple[str, str], list[Array]]]]:
    """Per split: rows of each (source, subject), a shard at a time."""
    columns = {
        name: source.dataset.array(name, source.rows) for name in ("split", "source", "subject")
    }
    split = np.where(columns["split"] == "", "train", columns["split"])
    for name in SPLITS:
        captures: dict[tuple[str, str], list[Array]] = {}
        for rows in source.by_shard():
            first = int(np.searchsorted(source.rows, rows[0]))
            here = slice(first, first + len(rows))
            keys = np.stack([columns["source"][here], columns["subject"][here]], axis=1)
            wanted = split[here] == name
            for key in np.unique(keys[wanted], axis=0).tolist():
                taken = rows[wanted & (keys == key).all(axis=1)]
                captures.setdefault((key[0], key[1]), []).append(taken)
        if captures:
            yield name, captures


def _entries(chunk: Arrays, row: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """One frame of joint_3d.json and of MANO_NeuralAnnot.json."""
    present = chunk["present"][row]
    world = 1e-3 * chunk["joints"][row][:, _rows_of_joints()]
    # What is not there is written as ones, as the authors do.
    world[~present] = 1.0
    entry = {
        "sample_id": str(chunk["sample_id"][row]),
        "world_coord": np.round(world, 3).reshape(-1, 3).tolist(),
        "joint_valid": np.repeat(present, N_JOINTS).astype(int).tolist(),
        "hand_type": _TYPES[bool(present[0]), bool(present[1])],
        "hand_type_valid": True,
    }
    fit: dict[str, Any] = {
        str(name): {
            key: np.round(chunk[own][row, side] / _MICRO, 6).ravel().tolist()
            for key, own in (("pose", "pose"), ("shape", "betas"), ("trans", "transl"))
        }
        if present[side]
        else None
        for side, name in enumerate(SIDES)
    }
    return entry, fit


def _rows_of_joints() -> Array:
    """Which of our joints each of the 21 rows of a hand is: the manifest's order, inverted."""
    return np.argsort(load_manifest("interhand26m").joint_order)


def _millionths(values: Array) -> Array:
    whole: Array = np.round(_MICRO * np.nan_to_num(values.astype(np.float64))).astype(np.int64)
    return whole
