"""What of a dataset is wanted: which of its own splits, which of its hands, how much."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from twohand500k.errors import DataError
from twohand500k.sources.manifest import SourceManifest


@dataclass(frozen=True)
class Choice:
    """splits: the dataset's own names, () for those that are there. subset: frames with one hand
    ("single"), with both ("interacting"), or all (""). most: frames of a take that are needed; a
    reader may stop there, and must give the same first frames with any `most`."""

    splits: tuple[str, ...] = ()
    subset: Literal["", "single", "interacting"] = ""
    most: int | None = None

    def splits_of(self, manifest: SourceManifest) -> Sequence[str]:
        """The splits to look for, in the manifest's order. Raises DataError for a name that the
        dataset does not have."""
        for split in self.splits:
            if split not in manifest.splits:
                have = f"has {', '.join(manifest.splits)}" if manifest.splits else "has no splits"
                raise DataError(f"{manifest.name} {have}; there is no split {split!r}")
        return [split for split in manifest.splits if split in self.splits or not self.splits]

    def wants(self, n_hands: int) -> bool:
        """Whether a frame with so many hands is wanted."""
        return self.subset == "" or n_hands == (1 if self.subset == "single" else 2)

    def enough(self, n_frames: int) -> bool:
        """Whether a take of so many frames needs no more."""
        return self.most is not None and n_frames >= self.most
