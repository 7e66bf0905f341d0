"""The rasteriser: which triangle is seen where, and how near.

In: vertices on a raster, in cells, with a number `nearness` for each that is an affine function of
the raster (1 / depth of a pinhole camera, minus the distance of parallel light), and faces. Out:
two maps, the nearest face and its nearness at the middle of every cell. A picture, the silhouette
of one hand alone and the shadows of the key light are all made by this one routine.
"""

import numpy as np
from numba import njit

Array = np.ndarray

NOTHING = -1
_FAR = np.float32(-np.inf)


def rasterise(
    xy: Array, nearness: Array, faces: Array, size: tuple[int, int], one_sided: int = 0
) -> tuple[Array, Array]:
    """The nearest face (H, W) int32, -1 where there is none, and its nearness (H, W) float32.

    xy (V, 2) cells, the first cell's middle at (0.5, 0.5), NaN for a vertex that cannot be seen
    (its faces are left out); nearness (V,); faces (F, 3) int32; size (H, W). The first `one_sided`
    faces belong to closed skins: of those only the side that looks here is drawn.
    """
    face = np.full(size, NOTHING, dtype=np.int32)
    nearest = np.full(size, _FAR, dtype=np.float32)
    _rasterise(xy, nearness, faces, one_sided, face, nearest)
    return face, nearest


@njit(cache=True, error_model="numpy")
def _rasterise(
    xy: Array, nearness: Array, faces: Array, one_sided: int, face: Array, nearest: Array
) -> None:
    height, width = face.shape
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, bx, by, cx, cy = xy[a, 0], xy[a, 1], xy[b, 0], xy[b, 1], xy[c, 0], xy[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        # Rows run down: a face whose corners run counter-clockwise outside has a negative area.
        if not (area < 0.0 or (area > 0.0 and f >= one_sided)):
            continue
        left = max(int(np.ceil(min(ax, bx, cx) - 0.5)), 0)
        right = min(int(np.floor(max(ax, bx, cx) - 0.5)), width - 1)
        top = max(int(np.ceil(min(ay, by, cy) - 0.5)), 0)
        bottom = min(int(np.floor(max(ay, by, cy) - 0.5)), height - 1)
        if left > right or top > bottom:
            continue
        na = nearness[a]
        # Barycentric coordinates of b and c, and the nearness, are affine in x and y.
        b_x, b_y = (cy - ay) / area, -(cx - ax) / area
        c_x, c_y = -(by - ay) / area, (bx - ax) / area
        for y in range(top, bottom + 1):
            dy = y + 0.5 - ay
            for x in range(left, right + 1):
                dx = x + 0.5 - ax
                share_b = b_x * dx + b_y * dy
                share_c = c_x * dx + c_y * dy
                if share_b < 0.0 or share_c < 0.0 or share_b + share_c > 1.0:
                    continue
                near = np.float32(na + share_b * (nearness[b] - na) + share_c * (nearness[c] - na))
                if near > nearest[y, x]:
                    nearest[y, x] = near
                    face[y, x] = f
