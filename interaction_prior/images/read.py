"""`ImagePairs`: the pictures of image datasets, their labels read and checked.

Comes in: folders written by `twohand render`. Goes out: labels of the samples of one split in
memory; the pictures stay on the disk until `pictures` fetches them. What cannot be trained on is a
`DataError` in one line.

Orientation and tau are read in the frame of the camera that took the whole picture; `view` turns
them into that of one that looks straight at the crop.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from interaction_prior.data.pairs import Pairs, Split, read_pairs, rows_of
from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.shards import Dataset


@dataclass(frozen=True, eq=False)
class ImagePairs:
    """N pictures. uv (N, 2, 21, 2) pixels of the 256 pixels wide picture; visible (N, 2, 21) bool;
    hidden (N, 2); K (N, 3, 3) px; row (N,) where each lies in its dataset, `datasets` in the order
    that pairs.dataset counts.
    """

    pairs: Pairs
    uv: np.ndarray
    visible: np.ndarray
    hidden: np.ndarray
    K: np.ndarray
    row: np.ndarray
    datasets: tuple[Dataset, ...]

    def __len__(self) -> int:
        return len(self.pairs)

    def select(self, rows: np.ndarray) -> "ImagePairs":
        """The pictures at `rows` (positions or a mask), in that order."""
        arrays = {name: getattr(self, name)[rows] for name in (*_LABELS, "row")}
        return ImagePairs(self.pairs.select(rows), **arrays, datasets=self.datasets)

    def sha256(self) -> str:
        """Hash of labels and pictures: what a network was trained on.

        The pictures by the hashes of their shards, so that none has to be read.
        """
        digest = hashlib.sha256(self.pairs.sha256().encode())
        for name in _LABELS:
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        for dataset in self.datasets:
            for shard in dataset.index.shards:
                digest.update(shard.arrays_sha256.encode())
        return digest.hexdigest()


_LABELS = ("uv", "visible", "hidden", "K")


def read_images(
    folders: Sequence[str | Path], hands: HandPair, split: Split = "train"
) -> ImagePairs:
    """The pictures of one split of some datasets, all on the hand model `hands`.

    Raises DataError as `data.read_pairs` does, and for datasets without pictures, in another frame
    than the camera's, or with joints that have no place in the picture.
    """
    datasets = tuple(Dataset(folder) for folder in folders)
    for dataset in datasets:
        _check_has_pictures(dataset)
    pairs = read_pairs(folders, hands, split)
    rows = [np.flatnonzero(rows_of(dataset, split)) for dataset in datasets]
    labels = {
        name: np.concatenate([d.array(name, r) for d, r in zip(datasets, rows, strict=True)])
        for name in _LABELS
    }
    images = ImagePairs(pairs, **labels, row=np.concatenate(rows), datasets=datasets)
    finite = np.isfinite(images.uv).all((1, 2, 3)) & np.isfinite(images.K).all((1, 2))
    if not finite.all():
        raise DataError(
            f"{folders[pairs.dataset[~finite][0]]}: {np.count_nonzero(~finite):,} samples have "
            f"joints without a place in the picture, the first {pairs.sample_id[~finite][0]!r}; "
            "`twohand verify` lists them, `twohand select` drops them"
        )
    return images


def _check_has_pictures(dataset: Dataset) -> None:
    if len(dataset) and "image" not in dataset.groups:
        raise DataError(
            f"{dataset.path} holds no pictures: `twohand render {dataset.path} --out DIR` makes "
            "an image dataset of it"
        )
    if dataset.conventions["frame"] != "camera":
        raise DataError(
            f"{dataset.path} is in the frame {dataset.conventions['frame']!r}, pictures want their "
            "hands in the camera's: render it again"
        )
