"""Tzionas et al., Hands in Action (HIC): MANO fits, one pickle a frame and hand, to takes.

In: the folder that holds `IJCV16___Results_MANO___parms_for___joints21/`, or that folder. Out: one
take a sequence, named `sequenceNN`; a hand without a pickle is not in its frame. Each pickle holds
the fit's own joints and skin, so the order of the joints and their tip set, which nobody documents,
are read off the skin: a fingertip joint is a vertex. Conventions and defects: its manifest.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from twohand500k.conventions import (
    N_BETAS,
    N_JOINTS,
    N_MANO_JOINTS,
    N_VERTICES,
    OPENPOSE_FROM_MANO21,
    TIP_JOINTS,
    TIP_SETS,
)
from twohand500k.errors import DataError
from twohand500k.pickles import read_pickle
from twohand500k.sources.datasets.choice import Choice
from twohand500k.sources.datasets.files import missing, numbered_files, numbers, sha256_of_all
from twohand500k.sources.datasets.frames import Frames, Hand
from twohand500k.sources.manifest import load_manifest
from twohand500k.sources.take import Array, Take

NAME = "hic"
_RESULTS = "IJCV16___Results_MANO___parms_for___joints21"
_FOLDER = re.compile(r"IJCV16___fakeGT___IJCV___(\w+?)___Model_Hand_([LR])___ncomps45")
# Orders a 21-joint file may be in, as rows of it for OpenPose's joints.
_ORDERS = {"MANO": OPENPOSE_FROM_MANO21, "OpenPose": tuple(range(N_JOINTS))}
# A fingertip joint is a skin vertex; float32 and another choice of vertex are all that may differ.
_ON_THE_SKIN = 0.008


def read(folder: Path, choice: Choice) -> list[Take]:
    """One take a sequence. Raises DataError where the fits' folder is missing or empty."""
    manifest = load_manifest(NAME)
    choice.splits_of(manifest)
    takes = []
    for sequence, sides in _sequences(folder).items():
        frames = Frames()
        seen: Counter[str] = Counter()
        files = [_numbered(place) for place in sides]
        for number in sorted(set(files[0]) | set(files[1])):
            if choice.enough(len(frames)):
                break
            try:
                right, left = (_hand(paths.get(number), seen) for paths in files)
            except DataError as fault:
                frames.fault(number, str(fault).replace(f"{folder}/", ""))
                continue
            if choice.wants((right is not None) + (left is not None)):
                frames.add(number, right, left)
        # Hashed are the files of the frames that were read, whatever `most` cut away.
        used = set(frames.numbers)
        paths = [path for side in files for n, path in sorted(side.items()) if n in used]
        tips = seen.most_common(1)[0][0] if seen else manifest.tips
        take = frames.take(
            f"sequence{sequence}",
            manifest,
            files=[sha256_of_all(folder, paths)],
            notes=[f"fingertips are of the set {tips}, as the skin beside them shows"],
        )
        takes.append(replace(take, tips=tips))
    return takes


def _sequences(folder: Path) -> Mapping[str, tuple[Path | None, Path | None]]:
    """Per sequence the folders of the right and the left hand, None where there is none."""
    manifest = load_manifest(NAME)
    root = folder / _RESULTS
    root = root if root.is_dir() else folder
    found: dict[str, list[Path | None]] = {}
    for place in sorted(root.iterdir()) if root.is_dir() else ():
        if place.is_dir() and (match := _FOLDER.fullmatch(place.name)):
            found.setdefault(match[1], [None, None])["RL".index(match[2])] = place
    if not found:
        inside = "IJCV16___fakeGT___IJCV___01___Model_Hand_R___ncomps45"
        raise missing(folder, f"{_RESULTS}/{inside}" if root != folder else _RESULTS, manifest)
    return {sequence: (right, left) for sequence, (right, left) in found.items()}


def _numbered(place: Path | None) -> dict[int, Path]:
    """The pickles of a folder by frame number."""
    return {} if place is None else dict(numbered_files(place, r"([0-9]+)\.pkl", 3))


def _hand(path: Path | None, seen: Counter[str]) -> Hand | None:
    """One hand of one frame; counts the tip set its joints are of. Raises DataError."""
    if path is None:
        return None
    where = f"{path.parent.name}/{path.name}"
    content = read_pickle(path)

    def value(key: str, shape: tuple[int, ...]) -> Array:
        if key not in content:
            raise DataError(f"{where} lacks {key}")
        return numbers(np.ravel(content[key]()), (int(np.prod(shape)),), f"{where} {key}").reshape(
            shape
        )

    joints, tips = _joints(value("J_transformed___j21", (N_JOINTS, 3)), value("v", (N_VERTICES, 3)))
    if tips is None:
        raise DataError(f"{where}: no fingertip of J_transformed___j21 lies on the skin v")
    seen[tips] += 1
    return Hand(
        joints=joints,
        pose=value("pose", (N_MANO_JOINTS, 3)),
        betas=value("betas", (N_BETAS,)),
        transl=value("trans", (3,)),
    )


def _joints(rows: Array, skin: Array) -> tuple[Array, str | None]:
    """Joints (21, 3) in OpenPose order and the tip set they are of, from 21 rows and the skin.

    The order and the set whose five vertices lie nearest the tips; no set where none is near.
    """
    best, order, tips = np.inf, _ORDERS["MANO"], None
    for rows_of_openpose in _ORDERS.values():
        tip_rows = rows[[rows_of_openpose[tip] for tip in TIP_JOINTS]]
        for name, vertices in TIP_SETS.items():
            off = float(np.linalg.norm(tip_rows - skin[list(vertices)], axis=1).max())
            if off < best - 1e-9:
                best, order, tips = off, rows_of_openpose, name
    return rows[list(order)], tips if best <= _ON_THE_SKIN else None
