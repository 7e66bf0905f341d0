"""STB: the stereo hand tracking benchmark, one left hand counting and moving at random.

In: `labels/{B1..B6}{Counting,Random}_{BB,SK}.mat`, each `handPara` 3 x 21 x T in mm, camera axes;
the palm's centre first, then little finger base to tip, ring, middle, index, thumb. Out: a take a
sequence. The wrist is worked out from the palm's centre and the finger bases and weighs little.

BB and SK are two cameras on the same hands: of a sequence that is there in both, BB is read. B1 is
the test split, as is usual.
"""

from pathlib import Path

import numpy as np

from twohand500k.conventions import N_JOINTS, WRIST
from twohand500k.errors import DataError
from twohand500k.sources.datasets.choice import Choice
from twohand500k.sources.datasets.files import missing, numbers, reordered, sha256_of
from twohand500k.sources.datasets.frames import Frames, Hand, Split
from twohand500k.sources.datasets.matlab import read_matlab_array
from twohand500k.sources.datasets.palm import wrist_beyond_palm
from twohand500k.sources.manifest import SourceManifest, load_manifest
from twohand500k.sources.take import Array, Take

_SEQUENCES: dict[Split, tuple[str, ...]] = {
    "train": tuple(f"B{b}{kind}" for b in range(2, 7) for kind in ("Counting", "Random")),
    "test": ("B1Counting", "B1Random"),
}
_CAMERAS = ("BB", "SK")
_MM = 1e-3


def read(folder: Path, choice: Choice) -> list[Take]:
    """A take a sequence, `B1Counting` to `B6Random`.

    Raises DataError for a folder without labels, a label file that cannot be read and a split that
    STB does not have.
    """
    manifest = load_manifest("stb")
    splits = choice.splits_of(manifest)
    found: list[tuple[str, Split, list[str]]] = []
    for split, sequences in _SEQUENCES.items():
        if split not in splits:
            continue
        here = []
        for sequence in sequences:
            cameras = [c for c in _CAMERAS if (folder / _labels(sequence, c)).exists()]
            if cameras:
                here.append((sequence, split, cameras))
        if not here and choice.splits:
            raise missing(folder, _labels(sequences[0], "BB"), manifest)
        found += here
    if not found:
        raise missing(folder, _labels("B1Counting", "BB"), manifest)
    if not choice.wants(1):
        return []
    return [_take(folder, *which, choice, manifest) for which in found]


def _labels(sequence: str, camera: str) -> str:
    return f"labels/{sequence}_{camera}.mat"


def _take(
    folder: Path,
    sequence: str,
    split: Split,
    cameras: list[str],
    choice: Choice,
    manifest: SourceManifest,
) -> Take:
    path = folder / _labels(sequence, cameras[0])
    points = _hand_para(path)
    frames = Frames()
    for number in range(len(points))[: choice.most]:
        try:
            recorded = numbers(points[number], (N_JOINTS, 3), f"frame {number}: handPara")
        except DataError as error:
            frames.fault(number, str(error))
            continue
        joints = reordered(_MM * recorded, manifest.joint_order).copy()
        joints[WRIST] = wrist_beyond_palm(joints, palm=joints[WRIST])
        frames.add(number, None, Hand(joints))
    notes = [f"camera {cameras[0]}"]
    if len(cameras) > 1:
        notes.append("camera SK shows the same hands and was left out")
    return frames.take(sequence, manifest, files=(sha256_of(path),), split=split, notes=notes)


def _hand_para(path: Path) -> Array:
    """The label file's points (T, 21, 3) in mm and in its own order. Raises DataError."""
    points = read_matlab_array(path, "handPara")
    if points.ndim != 3 or points.shape[:2] != (3, N_JOINTS):
        raise DataError(f"{path}: handPara is {points.shape}, not (3, 21, T)")
    return np.moveaxis(points, -1, 0).swapaxes(1, 2)
