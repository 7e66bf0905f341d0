"""Where a picture is taken from: a pinhole camera that frames what it is to show.

In: points in metres, any world frame, and the direction to look from. Out: a `Camera` whose rays
the renderer casts and whose `project` says where a point lands, so labels can be put beside it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from twohand500k.hand.rotations import Array


def _unit(v: ArrayLike) -> Array:
    v = np.asarray(v, dtype=np.float64)
    length = np.linalg.norm(v, axis=-1, keepdims=True)
    if not np.all(length > 0):
        raise ValueError("a direction of length zero (or not finite) cannot be normalised")
    return v / length


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera.

    eye (3,) m in the world. axes (3, 3): rows right, up and back (towards the viewer), unit, in
    the world. fov_deg: the angle seen across the picture's shorter side.
    """

    eye: Array
    axes: Array
    fov_deg: float = 18.0

    @classmethod
    def look_at(
        cls, eye: ArrayLike, target: ArrayLike, up: ArrayLike = (0, 1, 0), fov_deg: float = 18.0
    ) -> "Camera":
        """A camera at `eye` (3,) that looks at `target` (3,), metres."""
        eye = np.asarray(eye, dtype=np.float64)
        return cls(eye, _axes(eye - np.asarray(target, dtype=np.float64), up), fov_deg)

    @classmethod
    def framing(
        cls,
        points: ArrayLike,
        seen_from: ArrayLike,
        up: ArrayLike = (0, 1, 0),
        fov_deg: float = 18.0,
        aspect: float = 1.0,
        margin: float = 1.06,
    ) -> "Camera":
        """The nearest camera in the direction `seen_from` that has all `points` in view.

        points (..., 3) m, NaN rows ignored; seen_from (3,) points from the subject to the viewer;
        aspect = width / height of the picture; margin 1.06 leaves 6 % of room around.
        Raises ValueError if no point is finite.
        """
        points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        points = points[np.isfinite(points).all(axis=1)]
        if len(points) == 0:
            raise ValueError("no finite point to frame")
        axes = _axes(seen_from, up)
        local = points @ axes.T
        # tan of the half angle across the width and the height
        tan = np.tan(np.radians(fov_deg) / 2) * np.array([max(aspect, 1.0), max(1 / aspect, 1.0)])
        centre = (local.min(axis=0) + local.max(axis=0)) / 2
        distance = 0.1
        # Perspective moves the outline: alternate between centring the outline and stepping back.
        for _ in range(8):
            depth = np.maximum(centre[2] + distance - local[:, 2], 1e-6)
            seen = (local[:, :2] - centre[:2]) / depth[:, None] / tan
            middle = (seen.min(axis=0) + seen.max(axis=0)) / 2
            centre[:2] += middle * tan * distance
            offset = np.abs(local[:, :2] - centre[:2]) * margin / tan
            distance = float(np.max(local[:, 2] - centre[2] + offset.max(axis=1)))
            distance = max(distance, 1e-3)
        eye = (centre + np.array([0, 0, distance])) @ axes
        return cls(eye, axes, fov_deg)

    def _half_extent(self, size: tuple[int, int]) -> Array:
        """Half width and half height of the picture at distance 1."""
        return np.tan(np.radians(self.fov_deg) / 2) * np.array(size, dtype=np.float64) / min(size)

    def project(self, points: ArrayLike, size: tuple[int, int]) -> Array:
        """Points (..., 3) m to (..., 3): pixel x, pixel y (down), depth in metres."""
        local = (np.asarray(points, dtype=np.float64) - self.eye) @ self.axes.T
        depth = -local[..., 2]
        ndc = local[..., :2] / depth[..., None] / self._half_extent(size)
        pixel = (ndc * np.array([1.0, -1.0]) + 1) / 2 * np.array(size)
        return np.concatenate([pixel, depth[..., None]], axis=-1)

    def rays(self, size: tuple[int, int], samples: int) -> np.ndarray:
        """Unit directions (height * samples, width * samples, 3) float32, in the world."""
        width, height = size[0] * samples, size[1] * samples
        half = self._half_extent(size)
        x = ((np.arange(width) + 0.5) / width * 2 - 1) * half[0]
        y = (1 - (np.arange(height) + 0.5) / height * 2) * half[1]
        direction = (
            x[None, :, None] * self.axes[0] + y[:, None, None] * self.axes[1] - self.axes[2]
        ).astype(np.float32)
        direction /= np.sqrt(np.einsum("hwc,hwc->hw", direction, direction))[..., None]
        return direction


def _axes(towards_viewer: ArrayLike, up: ArrayLike) -> Array:
    """Rows right, up, back; where `up` lies along the view another up is taken."""
    back = _unit(towards_viewer)
    up_axis = _unit(up)
    if abs(float(back @ up_axis)) > 0.999:
        up_axis = np.eye(3)[np.argmin(np.abs(back))]
    right = _unit(np.cross(up_axis, back))
    return np.stack([right, np.cross(back, right), back])
