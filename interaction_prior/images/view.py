"""The view that looks straight at a crop: what a network is shown, and what its labels are in.

A crop lies off the optical axis of the camera that took the whole picture, in ours by up to 25
degrees. The same hand, oriented alike, looks another way there: a picture alone cannot tell its
orientation in that camera's frame, however long one trains. So the crop is resampled as a camera
at the same place sees it that looks at the crop's middle, and orientation and tau are turned into
that camera's frame: pixels by the homography K' R K^-1, space by R, exactly.

R is the shortest turn of the ray through the crop's middle onto the axis; K' has square pixels, its
principal point in the middle, and keeps the area of things there.
"""

from dataclasses import dataclass

import numpy as np

from twohand500k.shards.schema import IMAGE_SIZE

# From pixels of the crop to -1..1 from side to side.
_UNIT = np.array([[2 / IMAGE_SIZE, 0, -1], [0, 2 / IMAGE_SIZE, -1], [0, 0, 1]])


@dataclass(frozen=True, eq=False)
class Views:
    """Of N crops: R (N, 3, 3), x_view = R @ x_camera; K (N, 3, 3) px of the resampled crop; H
    (N, 3, 3), from a crop's points to the view's, both -1..1 from side to side.
    """

    R: np.ndarray
    K: np.ndarray
    H: np.ndarray


def straight_views(K: np.ndarray) -> Views:
    """The views straight at crops of intrinsics K (N, 3, 3), pixels of 256."""
    K = np.asarray(K, dtype=np.float64)
    middle = np.array([IMAGE_SIZE / 2, IMAGE_SIZE / 2, 1.0])
    ray = np.linalg.solve(K, np.broadcast_to(middle, K.shape[:-1])[..., None])[..., 0]
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    R = _onto_axis(ray)
    # Off the axis by an angle a, a crop shows things larger by 1 / cos^3 a in area.
    f = np.sqrt(K[:, 0, 0] * K[:, 1, 1]) / ray[:, 2] ** 1.5
    straight = np.zeros_like(K)
    straight[:, 0, 0] = straight[:, 1, 1] = f
    straight[:, :2, 2] = IMAGE_SIZE / 2
    straight[:, 2, 2] = 1.0
    H = _UNIT @ straight @ R @ np.linalg.inv(K) @ np.linalg.inv(_UNIT)
    return Views(R, straight, H / H[:, 2:, 2:])


def _onto_axis(ray: np.ndarray) -> np.ndarray:
    """The shortest turns (N, 3, 3) of unit vectors (N, 3), z > 0, onto (0, 0, 1)."""
    x, y, z = ray.T
    k = 1.0 / (1.0 + z)
    rows = [1 - x * x * k, -x * y * k, -x, -x * y * k, 1 - y * y * k, -y, x, y, z]
    return np.stack(rows, axis=-1).reshape(-1, 3, 3)
