"""What a `Reconstructor` asks of a network.

Kept apart from the geometry, so that this is tested on answers that are known to be right.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Answer:
    """What a network says of B views, each in the frame of the camera that looks straight at it.

    joints (B, 2, 21, 3) m, vertices (B, 2, V, 3) m or None: each hand from its own wrist. rotations
    (B, 2, 16, 3, 3) local, entry 0 the orientation, and betas (B, 2, 10); None for joints and
    skins. tau (B, 3) m. heatmaps (B, 42, m, m) right 0-20, left 21-41. saliency (B, 2, m, m) 0..1,
    None for a network without.
    """

    joints: Tensor
    vertices: Tensor | None
    rotations: Tensor | None
    betas: Tensor | None
    tau: Tensor
    heatmaps: Tensor
    saliency: Tensor | None


class Network(Protocol):
    """size: the side of its pictures, px. perfect_peak: how high a joint's heatmap is at best."""

    @property
    def size(self) -> int: ...

    @property
    def perfect_peak(self) -> float: ...

    def __call__(self, image: Tensor) -> Answer:
        """Of pictures (B, 3, size, size), sRGB 0..1."""
        ...
