"""What part of a picture a network is shown, and how what it says of it is said of the picture.

A network sees a crop and not where in the picture it was. The same hand, held alike before the same
camera, shows another side of itself in a corner of the picture than in the middle, so the best that
can be answered to a crop alone is the orientation before a camera that looks straight at it. That
camera is made here: it stands where the picture's camera stands and is turned, without roll, until
its axis goes through the middle of the box. Turning a camera about its centre moves pixels by a
homography, whatever the scene:

    x_camera = R_camera_crop x_crop,     u_picture ~ K R_camera_crop K_crop^-1 u_crop

so the crop is resampled by it, which makes it exactly what the turned camera would have taken, and
orientations, joints and tau come back by R_camera_crop. For a box in the middle of the picture it
is the plain square crop. (Crops are warped so in Yu et al., "PCLs: Geometry-aware neural
reconstruction of 3D pose with perspective crop layers", CVPR 2021; orientations are corrected so in
Kundu et al., "3D-RCNN", CVPR 2018, section 3.2.)

Pixels: the centre of the first is (0.5, 0.5), so a picture reaches from 0 to its width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional

from twohand500k.errors import DataError

Array = np.ndarray

# Focal length taken where none is given, in longer sides of the picture: 45 degrees across it.
# Between a phone's main camera (0.7) and the long lenses of capture studios (2.5).
ASSUMED_FOCAL = 1.2
# A box around hands is widened by so much before it is shown: what pictures to train on have in the
# middle (`twohand render`: 1.15 to 1.55).
MARGIN = 1.35
# Boxes and pictures narrower than this show no hand, pixels.
SMALLEST = 16
# Views wider than this are no photographs through a pinhole: K is wrong.
_WIDEST_DEG = 150
_WIDEST = math.tan(math.radians(_WIDEST_DEG / 2))
# Samples along a side of a network's pixel, at most: a picture 16 times as fine is fine enough.
_MOST_SAMPLES = 16


@dataclass(frozen=True, eq=False)
class Crop:
    """A square view out of a picture.

    K (3, 3): the picture's intrinsics, px. R_camera_crop (3, 3): the turned camera's axes in the
    picture's camera. half: half the view's width at distance 1.
    """

    K: Array
    R_camera_crop: Array
    half: float

    def K_crop(self, size: int) -> Array:
        """Intrinsics (3, 3) of the view as `size` x `size` pixels; the axis meets its middle."""
        f, c = size / (2.0 * self.half), size / 2.0
        return np.array([[f, 0.0, c], [0.0, f, c], [0.0, 0.0, 1.0]])

    def to_picture(self, uv: ArrayLike, size: int) -> Array:
        """Pixels (..., 2) of the view of `size` pixels as pixels of the picture; NaN behind it."""
        return _mapped(self.K @ self.R_camera_crop @ np.linalg.inv(self.K_crop(size)), uv)

    def from_picture(self, uv: ArrayLike, size: int) -> Array:
        """Pixels (..., 2) of the picture as pixels of the view of `size` pixels."""
        return _mapped(self.K_crop(size) @ self.R_camera_crop.T @ np.linalg.inv(self.K), uv)


def crop_around(box: Sequence[float] | Array, K: Array, margin: float = MARGIN) -> Crop:
    """The view that looks at the middle of a box (x0, y0, x1, y1) px and holds it with a margin.

    The view is square: as wide as the box's longer side times `margin`.
    """
    x0, y0, x1, y1 = map(float, box)
    inverse = np.linalg.inv(K)
    middle = np.array([(x0 + x1) / 2.0, (y0 + y1) / 2.0])
    R = _turned_to(inverse @ [*middle, 1.0])
    reach = 0.5 * margin * max(x1 - x0, y1 - y0)
    edges = middle + reach * np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    seen = _mapped(R.T @ inverse, edges)
    # The middles of the four edges: at the side of a picture a square is one no more.
    half = float(np.abs([*seen[:2, 0], *seen[2:, 1]]).max())
    if not half < _WIDEST:
        raise DataError(
            f"the box {_told(np.asarray(box))} takes in more than {_WIDEST_DEG} degrees through a "
            f"lens of focal length {K[0, 0]:g} px: give the picture's own K, in pixels"
        )
    return Crop(K, R, half)


def assumed_K(width: int, height: int) -> Array:
    """Intrinsics (3, 3) for a picture of which none are known."""
    f = ASSUMED_FOCAL * max(width, height)
    return np.array([[f, 0.0, width / 2.0], [0.0, f, height / 2.0], [0.0, 0.0, 1.0]])


def checked_K(K: ArrayLike) -> Array:
    """Intrinsics (3, 3) as float64. DataError for numbers that are none."""
    try:
        k = np.asarray(K, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"K is not a matrix of numbers: {error}") from error
    if k.shape != (3, 3):
        raise DataError(
            f"K must be 3 x 3, got shape {k.shape}: [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]"
        )
    if not np.isfinite(k).all() or not np.array_equal(k[2], [0, 0, 1]) or k[1, 0] != 0:
        raise DataError(f"K = {k.tolist()} is not [[fx, s, cx], [0, fy, cy], [0, 0, 1]]")
    if not (k[0, 0] > 0 and k[1, 1] > 0):
        raise DataError(f"K has focal lengths {k[0, 0]:g} and {k[1, 1]:g} px: both are above 0")
    return k


def checked_box(box: ArrayLike, width: int, height: int) -> Array:
    """A box (x0, y0, x1, y1) px as float64. DataError for one that shows nothing of the picture."""
    try:
        b = np.asarray(box, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"a box is four numbers x0, y0, x1, y1: {error}") from error
    if b.shape != (4,) or not np.isfinite(b).all():
        raise DataError(f"a box is four numbers x0, y0, x1, y1, got {np.asarray(box).tolist()}")
    if b[2] <= b[0] or b[3] <= b[1]:
        raise DataError(f"the box {_told(b)} has its corners the wrong way round: x0 < x1, y0 < y1")
    if max(b[2] - b[0], b[3] - b[1]) < SMALLEST:
        raise DataError(f"the box {_told(b)} is narrower than {SMALLEST} pixels")
    if b[0] >= width or b[1] >= height or b[2] <= 0 or b[3] <= 0:
        raise DataError(f"the box {_told(b)} lies outside the picture of {width} x {height} pixels")
    return b


def shown(image: Array, crop: Crop, size: int, device: torch.device) -> Tensor:
    """The view (3, size, size) of a picture (H, W, 3) uint8, sRGB 0..1 float32.

    Every pixel is the mean of as many samples of the picture as it has pixels there: areas are
    averaged where the picture is finer than the view, as training pictures are made smaller.
    What lies outside the picture has the mean colour of what lies inside.
    """
    height, width = image.shape[:2]
    H = crop.K @ crop.R_camera_crop @ np.linalg.inv(crop.K_crop(size))
    ends = _mapped(H, size * np.array([[0, 0.5], [1, 0.5], [0.5, 0], [0.5, 1]]))
    across = np.linalg.norm(ends[[1, 3]] - ends[[0, 2]], axis=-1)
    finest = float(np.nanmax(across)) / size if np.isfinite(across).any() else 1.0
    n = min(max(1, math.ceil(finest - 1e-6)), _MOST_SAMPLES)
    # Where the picture is much finer its own pixels are averaged first, which is quicker.
    k = max(1, n // 2)
    n = -(-n // k)
    # Only what is seen is made float: pictures may be large. Lines stay lines, so the corners tell.
    corners = _mapped(H, size * np.array([[0, 0], [0, 1], [1, 0], [1, 1]]))
    low, high = np.zeros(2, dtype=int), np.array([width, height])
    if np.isfinite(corners).all():
        low = np.clip(np.floor(corners.min(0) + 1e-3).astype(int) - k, 0, high)
        high = np.clip(np.ceil(corners.max(0)).astype(int) + k, 0, high)
    if not (low < high).all():
        raise DataError("the box shows nothing of the picture")
    part = torch.from_numpy(image[low[1] : high[1], low[0] : high[0]].copy())
    part = part.to(device).permute(2, 0, 1)[None].float() / 255.0
    part = functional.avg_pool2d(part, k, ceil_mode=True, count_include_pad=False)
    # From the view's pixels to -1..1, the outer edges of the part; the last pixels may be partly
    # outside the picture.
    extent = k * np.array([part.shape[3], part.shape[2]])
    last = 2.0 * (high - low) / extent - 1.0
    to_part = np.array(
        [
            [2 / extent[0], 0, -2 * low[0] / extent[0] - 1],
            [0, 2 / extent[1], -2 * low[1] / extent[1] - 1],
            [0, 0, 1],
        ]
    )
    M = torch.from_numpy(to_part @ H).to(device, torch.float32)
    at = (torch.arange(n * size, device=device, dtype=torch.float32) + 0.5) / n
    # Row by row instead of a product with every sample's (x, y, 1).
    column, row, one = M[..., None, None].unbind(1)
    x, y, w = column * at + row * at[:, None] + one
    x, y = x / w, y / w
    inside = (w > 0) & (x >= -1.0) & (y >= -1.0) & (x <= last[0]) & (y <= last[1])
    grid = torch.stack([x, y], dim=-1)[None]
    # Samples of the outermost half pixel take the edge's colour, not half of what is outside.
    taken = functional.grid_sample(part, grid, padding_mode="border", align_corners=False)
    taken = torch.where(inside, taken, 0.0)
    mean = taken.sum((-1, -2), keepdim=True) / inside.sum().clamp_min(1)
    return functional.avg_pool2d(torch.where(inside, taken, mean), n)[0]


def _turned_to(direction: Array) -> Array:
    """The rotation (3, 3) of least angle that takes z, a camera's axis, to a direction (3,)."""
    x, y, z = direction / np.linalg.norm(direction)
    v = np.array([[0.0, 0.0, x], [0.0, 0.0, y], [-x, -y, 0.0]])
    # z > 0: what a picture shows lies before its camera.
    return np.eye(3) + v + v @ v / (1.0 + z)


def _mapped(H: Array, uv: ArrayLike) -> Array:
    """Points (..., 2) through a homography (3, 3); NaN where they have no image."""
    uv = np.asarray(uv, dtype=np.float64)
    w = uv @ H[:, :2].T + H[:, 2]
    depth = np.where(w[..., 2:] > 1e-9, w[..., 2:], np.nan)
    return np.asarray(w[..., :2] / depth)


def _told(box: Array) -> str:
    return "(" + ", ".join(f"{x:g}" for x in box) + ")"
