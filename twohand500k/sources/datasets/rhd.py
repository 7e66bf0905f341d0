"""RHD: the rendered hand pose dataset, a synthetic person an image, both hands in view or not.

In: `{split}/anno_{split}.pickle`, a dictionary image number -> {xyz 42 x 3 m, uv_vis, K}, rows 0-20
the left hand, 21-41 the right one, each wrist first and every finger from its TIP to its base. Out:
two takes a split, one a side. The two hands of an image belong to one person but do not act on each
other, so they are never a pair. Every image may show another person: a shape a frame.

Fingers read from tip to base as if they ran from base to tip, and left rows taken for right ones,
are how hands bent backwards came into published data; both are turned here, once.
"""

from pathlib import Path

from twohand500k.conventions import N_JOINTS, SIDES
from twohand500k.errors import DataError
from twohand500k.pickles import read_pickle
from twohand500k.sources.datasets.choice import Choice
from twohand500k.sources.datasets.files import missing, numbers, reordered, require, sha256_of
from twohand500k.sources.datasets.frames import Frames, Hand, Split
from twohand500k.sources.manifest import SourceManifest, load_manifest
from twohand500k.sources.take import Take

_SPLITS: dict[str, Split] = {"training": "train", "evaluation": "test"}
# Rows of the 42 that each side's hand has, right then left.
_ROWS = (slice(N_JOINTS, 2 * N_JOINTS), slice(0, N_JOINTS))


def read(folder: Path, choice: Choice) -> list[Take]:
    """Takes `training-right`, `training-left`, `evaluation-right` and `evaluation-left`.

    Raises DataError for a folder without annotations, an annotation file that cannot be read and a
    split that RHD does not have.
    """
    manifest = load_manifest("rhd")
    splits = choice.splits_of(manifest)
    there = [split for split in splits if (folder / _annotation(split)).exists()]
    for split in splits:
        if split not in there and (choice.splits or not there):
            raise missing(folder, _annotation(split), manifest)
    if not choice.wants(1):
        return []
    return [take for split in there for take in _takes(folder, split, choice, manifest)]


def _annotation(split: str) -> str:
    return f"{split}/anno_{split}.pickle"


def _takes(folder: Path, split: str, choice: Choice, manifest: SourceManifest) -> list[Take]:
    path = require(folder, _annotation(split), manifest)
    content = read_pickle(path)
    images = sorted(key for key in content if isinstance(key, int) and key >= 0)
    if not images:
        raise DataError(
            f"{path}: holds no image numbers with their hands; it is not RHD's annotation file"
        )
    right, left = Frames(), Frames()
    for image in images[: choice.most]:
        try:
            record = content[image]()
            if not isinstance(record, dict) or "xyz" not in record:
                raise DataError(f"image {image} has no xyz")
            xyz = record["xyz"]
            if getattr(xyz, "shape", None) != (2 * N_JOINTS, 3):
                raise DataError(
                    f"image {image}: xyz has shape {getattr(xyz, 'shape', ())}, not (42, 3)"
                )
        except DataError as error:
            for frames in (right, left):
                frames.fault(image, str(error).removeprefix(f"{path}: "))
            continue
        for frames, side, rows in zip((right, left), SIDES, _ROWS, strict=True):
            try:
                joints = numbers(xyz[rows], (N_JOINTS, 3), f"image {image}: xyz of the {side} hand")
            except DataError as error:
                frames.fault(image, str(error))
                continue
            hand = Hand(reordered(joints, manifest.joint_order))
            frames.add(image, hand if side == "right" else None, hand if side == "left" else None)
    files = (sha256_of(path),)
    return [
        frames.take(f"{split}-{side}", manifest, files=files, split=_SPLITS[split], shape="frame")
        for frames, side in ((right, "right"), (left, "left"))
    ]
