"""`Pairs`: interactions read from datasets of the toolkit, checked, ready to be made vectors.

Comes in: dataset folders, a weight for each, the split wanted. Goes out: MANO parameters of pairs
on one hand model. A set that cannot be trained on is a `DataError` in one line: which folder,
what is wrong with it, what would work. Nothing is dropped silently: a sample of one hand is
counted and left out only where the caller says so.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np

from twohand500k.conventions import LEFT, RIGHT, WRIST
from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.shards import Dataset

Split = Literal["train", "val", "test", "all"]
_READ = ("sample_id", "pose", "betas", "joints")


@dataclass(frozen=True, eq=False)
class Pairs:
    """N interactions. sample_id (N,) str; pose (N, 2, 16, 3) axis-angle, rad; betas (N, 2, 10);
    place (N, 3) m, wrist_left - wrist_right in the frame of the orientations; dataset (N,) int,
    the folder each comes from.
    """

    sample_id: np.ndarray
    pose: np.ndarray
    betas: np.ndarray
    place: np.ndarray
    dataset: np.ndarray

    def __len__(self) -> int:
        return len(self.sample_id)

    def select(self, rows: np.ndarray) -> "Pairs":
        """The pairs at `rows` (positions or a mask), in that order."""
        return Pairs(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @staticmethod
    def concat(parts: Sequence["Pairs"]) -> "Pairs":
        """All pairs of `parts`, in order."""
        names = [f.name for f in fields(Pairs)]
        return Pairs(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})

    def sha256(self) -> str:
        """Hash of the numbers and ids, in order: what a run was trained on."""
        digest = hashlib.sha256("\n".join(self.sample_id.tolist()).encode())
        for array in (self.pose, self.betas, self.place, self.dataset):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def read_pairs(folders: Sequence[str | Path], hands: HandPair, split: Split) -> Pairs:
    """The interactions of one split of some datasets, all on the hand model `hands`.

    split "all" takes samples whatever their split, those without one too. Samples of a single
    hand are not interactions and are left out; a set of nothing else is refused.

    Raises DataError for a folder that is no dataset or of another format, parameters made on
    another hand model, numbers that are not finite, or a split that is empty.
    """
    parts = [_read(Path(folder), hands, split, k) for k, folder in enumerate(folders)]
    pairs = Pairs.concat(parts)
    if not len(pairs):
        raise DataError(f"no sample of split {split!r} in {', '.join(map(str, folders))}")
    return pairs


def _read(folder: Path, hands: HandPair, split: Split, number: int) -> Pairs:
    dataset = Dataset(folder)
    _check_hand_model(dataset, hands)
    rows = rows_of(dataset, split)
    ids, pose, betas, joints = (dataset.array(name) for name in _READ)
    pose, betas, joints, ids = pose[rows], betas[rows], joints[rows], ids[rows]
    finite = np.isfinite(pose).all((1, 2, 3)) & np.isfinite(betas).all((1, 2))
    finite &= np.isfinite(joints[:, :, WRIST]).all((1, 2))
    if not finite.all():
        raise DataError(
            f"{folder}: {np.count_nonzero(~finite):,} samples hold numbers that are not finite, "
            f"the first {ids[~finite][0]!r}; `twohand verify {folder}` lists them, `twohand "
            "select` drops them"
        )
    place = joints[:, LEFT, WRIST] - joints[:, RIGHT, WRIST]
    return Pairs(ids, pose, betas, place, np.full(len(ids), number, dtype=np.int32))


def rows_of(dataset: Dataset, split: Split) -> np.ndarray:
    """Which samples (N,) bool of a dataset are interactions of that split, as `read_pairs` reads.

    Raises DataError where there is none.
    """
    folder = dataset.path
    if not len(dataset):
        raise DataError(f"{folder} holds no samples")
    both = np.all(dataset.array("present"), axis=-1)
    splits = dataset.array("split")
    if not both.any():
        raise DataError(
            f"{folder} holds single hands, no interaction: `twohand splice --bank {folder}` makes "
            "interactions of them"
        )
    rows: np.ndarray = both if split == "all" else both & (splits == split)
    if not rows.any():
        there = ", ".join(f"{n:,} {s or 'without a split'}" for s, n in _counted(splits[both]))
        raise DataError(f"{folder} has no sample in split {split!r}: it has {there}")
    return rows


def _check_hand_model(dataset: Dataset, hands: HandPair) -> None:
    conventions = dataset.conventions
    theirs = tuple(conventions[f"hand_model_{side}_sha256"] for side in ("right", "left"))
    ours = (hands.right.sha256, hands.left.sha256)
    if theirs != ours:
        name = "/".join(dict.fromkeys(conventions["hand_model"]))
        raise DataError(
            f"{dataset.path} is on another hand model ({name}, {theirs[0][:12]}…) than the one "
            f"asked for ({hands.right.name}, {ours[0][:12]}…): name its own with --hand-model, or "
            f"move it with `twohand hand convert`"
        )


def _counted(values: np.ndarray) -> list[tuple[str, int]]:
    names, counts = np.unique(values, return_counts=True)
    return list(zip(names.tolist(), counts.tolist(), strict=True))
