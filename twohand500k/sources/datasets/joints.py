"""Plain arrays of 21 joints: hands as everybody else's programs leave them.

In: .npy and .npz files, (T, 21, 3) of one hand or (T, 2, 21, 3) right first, or an .npz with
`right` and `left` (`sources.recordings.arrays` has the details). The order of the joints is
declared (a joint map's name; OpenPose's by default), the unit declared, in the file or found from
the size of the hand, the side declared or in the file's name. Out: a take a file. Two files are
never one recording here: two hands in one frame of space come in one array.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from twohand500k.conventions import Side
from twohand500k.sources.datasets.choice import Choice
from twohand500k.sources.datasets.files import missing
from twohand500k.sources.manifest import load_manifest
from twohand500k.sources.recordings.joint_map import JointMap
from twohand500k.sources.recordings.reader import read_takes
from twohand500k.sources.take import Array, Take

_SUFFIXES = (".npy", ".npz")
_ORDER = "openpose21"


def read(
    folder: Path,
    choice: Choice,
    *,
    map: str | Path | JointMap | None = None,
    unit: str | None = None,
    side: Side | None = None,
    subject: str | None = None,
    coordinates: str | None = None,
) -> list[Take]:
    """A take an array file of the folder (searched through) or of the one file given.

    map, unit, side, subject, coordinates: as `read_takes` has them, but that the map left out is
    OpenPose's order. A hand of which a frame shows
    no point is not in that frame. Raises DataError for a folder without arrays, an array that is
    not of hands, and for any split: there are none.
    """
    manifest = load_manifest("joints")
    choice.splits_of(manifest)
    files = [folder] if folder.is_file() else _arrays(folder)
    if not files:
        raise missing(folder, "NAME_right.npy", manifest)
    declared = {"unit": unit, "side": side, "subject": subject, "coordinates": coordinates}
    takes = [take for path in files for take in read_takes([path], map=map or _ORDER, **declared)]  # type: ignore[arg-type]
    return [_chosen(replace(take, source=manifest.name), choice) for take in takes]


def _arrays(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())


def _chosen(take: Take, choice: Choice) -> Take:
    """The frames that are wanted, each with the hands it shows; one that shows none is missed."""
    shown: Array = np.asarray(take.seen.any(axis=2))
    recorded = np.where(shown.any(axis=1, keepdims=True), shown, take.sides)
    take = replace(take, recorded=recorded)
    wanted = np.array([choice.wants(n) for n in recorded.sum(axis=1).tolist()], dtype=bool)
    return take.rows(np.flatnonzero(wanted)[: choice.most])
