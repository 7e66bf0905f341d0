"""`ImageBatch`: pictures of two hands with everything that is known of them, on the device."""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """B pictures; hand arrays (B, 2, …), side 0 right.

    image (B, 3, S, S) float, sRGB 0..1. mask (B, 2, m, m), m = S // 4: the share of each cell where
    that hand is what is seen. uv (B, 2, 21, 2) joints in pixels of the m-map, the first cell's
    centre at (0.5, 0.5). visible (B, 2, 21) bool. rotations (B, 2, 16, 3, 3) local, entry 0 the
    global orientation in the camera's frame (x right, y down, z forward). betas (B, 2, 10). tau
    (B, 3) m, wrist_left - wrist_right in the camera's frame. hidden (B, 2) the share of a hand's
    outline that is covered, as it was before any augmentation.
    """

    image: Tensor
    mask: Tensor
    uv: Tensor
    visible: Tensor
    rotations: Tensor
    betas: Tensor
    tau: Tensor
    hidden: Tensor

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, rows: Any) -> "ImageBatch":
        return ImageBatch(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @staticmethod
    def concat(parts: list["ImageBatch"]) -> "ImageBatch":
        """All pictures of `parts`, in order."""
        return ImageBatch(
            **{f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(ImageBatch)}
        )
