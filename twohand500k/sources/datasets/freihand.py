"""FreiHAND: one right hand a picture, with MANO parameters on the mean pose and its joints.

In: the folder with {split}_xyz.json and {split}_mano.json. Out: one take a split, whose frame
numbers are the places in those lists (and the names of the pictures on the first background). The
32,560 hands of the training set are read once; its other 97,680 pictures show them again before
another background. MANO comes without a translation, so the hand is to be placed on its joints.
"""

from pathlib import Path
from typing import Any

from twohand500k.errors import DataError
from twohand500k.sources.datasets.choice import Choice
from twohand500k.sources.datasets.files import numbers, read_json, reordered, require, sha256_of
from twohand500k.sources.datasets.frames import Frames, Hand, Split
from twohand500k.sources.manifest import SourceManifest, load_manifest
from twohand500k.sources.take import Take

_SPLIT: dict[str, Split] = {"training": "train", "evaluation": "test"}


def read(folder: Path, choice: Choice) -> list[Take]:
    """One take a split: those asked for, or those that are there.

    Raises DataError for a missing or broken file, for lists of different lengths, and for a split
    that FreiHAND does not have. An entry that is no hand is a fault of its frame.
    """
    manifest = load_manifest("freihand")
    splits = choice.splits_of(manifest)
    there = [split for split in splits if (folder / f"{split}_xyz.json").exists()]
    if choice.splits or not there:
        there = list(splits)
    return [_take(folder, split, choice, manifest) for split in there]


def _take(folder: Path, split: str, choice: Choice, manifest: SourceManifest) -> Take:
    names = (f"{split}_xyz.json", f"{split}_mano.json")
    paths = [require(folder, name, manifest) for name in names]
    xyz, mano = (_listed(path) for path in paths)
    if len(xyz) != len(mano):
        raise DataError(
            f"{folder}: {names[0]} has {len(xyz)} entries and {names[1]} {len(mano)}: they are not "
            "of one release; fetch both again"
        )
    frames = Frames()
    for number in range(len(xyz) if choice.wants(1) else 0):
        if choice.enough(len(frames)):
            break
        try:
            frames.add(number, _hand(xyz[number], mano[number], split, manifest), None)
        except DataError as error:
            frames.fault(number, str(error))
    return frames.take(
        split,
        manifest,
        files=[sha256_of(path) for path in paths],
        split=_SPLIT[split],
        shape="frame",
    )


def _listed(path: Path) -> list[Any]:
    content = read_json(path)
    if not isinstance(content, list):
        raise DataError(f"{path}: holds no list; fetch the file again")
    return content


def _hand(xyz: Any, mano: Any, split: str, manifest: SourceManifest) -> Hand:
    """One entry of both lists. The last three MANO numbers place the hand in the image alone."""
    joints = numbers(xyz, (21, 3), f"{split}_xyz")
    theta = numbers(mano, (1, 61), f"{split}_mano")[0]
    return Hand(
        joints=reordered(joints, manifest.joint_order),
        pose=theta[:48].reshape(16, 3),
        betas=theta[48:58],
    )
