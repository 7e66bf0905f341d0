"""The camera of a photo: any focal lengths, any principal point, and a part of what it took.

In: intrinsics in pixels and, where the points are not in the camera's own frame, its place. Out: a
`Camera` that the renderer draws with, so that a skin lands on the pixels where the photo has it.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from twohand500k.hand.rotations import Array
from twohand500k.pictures.camera import Camera


@dataclass(frozen=True, eq=False)
class PhotoCamera(Camera):
    """A camera with intrinsics K (3, 3): (u, v, 1) ~ K x, pixels of what is drawn."""

    K: Array = field(default_factory=lambda: np.eye(3))

    @classmethod
    def of(
        cls, K: ArrayLike, R: ArrayLike | None = None, t: ArrayLike | None = None
    ) -> "PhotoCamera":
        """x_camera = R x + t, x right, y down, z forward; without R and t, points are in it."""
        R = np.eye(3) if R is None else np.asarray(R, dtype=np.float64)
        t = np.zeros(3) if t is None else np.asarray(t, dtype=np.float64)
        # The renderer's rows are right, up, back; a photo's camera has right, down, forward.
        axes = R * np.array([[1.0], [-1.0], [-1.0]])
        return cls(eye=-R.T @ t, axes=axes, K=np.asarray(K, dtype=np.float64))

    def rays(self, size: tuple[int, int], samples: int) -> np.ndarray:
        """Unit directions (height * samples, width * samples, 3) through the pixels' parts."""
        u, v = ((np.arange(n * samples) + 0.5) / samples for n in size)
        pixels = np.stack(np.broadcast_arrays(u[None], v[:, None], 1.0), axis=-1)
        local = pixels @ np.linalg.inv(self.K).T * np.array([1.0, -1.0, -1.0])
        direction = local @ self.axes
        return (direction / np.linalg.norm(direction, axis=-1, keepdims=True)).astype(np.float32)

    def project(self, points: ArrayLike, size: tuple[int, int]) -> Array:
        """Points (..., 3) m to (..., 3): pixel x, pixel y, depth in metres; `size` is K's own."""
        local = (np.asarray(points, dtype=np.float64) - self.eye) @ self.axes.T
        seen = local * np.array([1.0, -1.0, -1.0]) @ self.K.T
        return np.concatenate([seen[..., :2] / seen[..., 2:], seen[..., 2:]], axis=-1)


def K_of_part(K: ArrayLike, corner: ArrayLike, scale: float) -> Array:
    """Intrinsics of a part of a photo that begins at `corner` (2,) px, drawn `scale` times as
    large."""
    part: Array = np.array(K, dtype=np.float64)
    part[:2, 2] -= np.asarray(corner, dtype=np.float64)
    part[:2] *= scale
    return part
