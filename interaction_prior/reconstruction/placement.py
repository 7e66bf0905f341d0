"""Where hands are before a camera: from where their joints are seen, and how they lie together.

Comes in: joints of both hands in metres, in the directions of the camera's axes, from any origin (a
network tells joints from their wrists, and the left wrist from the right); where each is seen. Goes
out: the one translation t of them all. A point X + t is seen at

    x = (X_x + t_x) / (X_z + t_z),    y = (X_y + t_y) / (X_z + t_z)

which times X_z + t_z is linear in t: a least-squares start (Hartley and Zisserman, "Multiple View
Geometry", section 7.1, with everything but the centre known). Then Gauss-Newton on the distances in
the picture themselves, each joint weighed by its peak and by how well it agrees: a peak taken from
the wrong joint is an outlier, and Geman and McClure's weight 1 / (1 + (r / s)^2)^2 forgets it. s
begins wide and is halved, so that a bad start is no trap (Blake and Zisserman's graduated
non-convexity). Every joint stays before the camera all along, and the hands so near that they are
larger than a cell: peaks that are all in one place do not send them to infinity.

Depth follows from the hands' size, so an error of a hundredth in the size or in the focal length is
one of a hundredth in the distance.
"""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray

# No joint comes nearer to the camera, m.
NEAREST_M = 0.03
# The last s: what two heatmap cells are, in the map's units.
_SCALE_CELLS = 2.0
_HALVINGS = 4
_STEPS = 6
_BACKTRACKS = 8


@dataclass(frozen=True, eq=False)
class Placement:
    """t (B, 3) m. off (B, n): distance of each projected point from where it is seen, in cells."""

    t: Array
    off: Array


def place(points: Array, seen: Array, weight: Array, cell: Array) -> Placement:
    """The translation that puts points where they are seen.

    points (B, n, 3) m; seen (B, n, 2) at distance 1, which is pixels through K^-1; weight (B, n),
    not negative; cell (B,): the width of a heatmap's cell at distance 1. Where all weights are zero
    all points count alike.
    """
    points, seen = (np.asarray(a, dtype=np.float64) for a in (points, seen))
    total = weight.sum(-1, keepdims=True)
    w = np.where(total > 0, weight / np.where(total > 0, total, 1.0), 1.0 / weight.shape[-1])
    spread = points - points.mean(1, keepdims=True)
    farthest = np.sqrt((spread**2).sum(-1).mean(-1)) / cell
    t = _started(points, seen, w, farthest)
    for k in range(_HALVINGS, -1, -1):
        scale = _SCALE_CELLS * 2.0**k * cell
        for _ in range(_STEPS):
            t = _stepped(t, points, seen, w, scale, farthest)
    off = np.linalg.norm(_projected(points, t) - seen, axis=-1) / cell[:, None]
    return Placement(t, off)


def _started(points: Array, seen: Array, w: Array, farthest: Array) -> Array:
    """The linear solution; the one without perspective where that is not before the camera."""
    # Rows (1, 0, -x) t = x X_z - X_x, and likewise y.
    A = np.zeros((*seen.shape, 3))
    A[..., 0, 0] = A[..., 1, 1] = 1.0
    A[..., 2] = -seen
    b = seen * points[..., 2:] - points[..., :2]
    AtA = np.einsum("bn,bnik,bnil->bkl", w, A, A) + 1e-12 * np.eye(3)
    t = np.linalg.solve(AtA, np.einsum("bn,bnik,bni->bk", w, A, b)[..., None])[..., 0]
    flat = _without_perspective(points, seen, w, farthest)
    fine = np.isfinite(t).all(-1) & _in_view(points, t, farthest)
    return np.where(fine[:, None], t, flat)


def _without_perspective(points: Array, seen: Array, w: Array, farthest: Array) -> Array:
    """As if all points were equally far away: by their spread. Always before the camera."""
    middle = np.einsum("bn,bnk->bk", w, points)
    centre = np.einsum("bn,bnk->bk", w, seen)
    spread = np.einsum("bn,bnk->b", w, (points[..., :2] - middle[:, None, :2]) ** 2)
    width = np.einsum("bn,bnk->b", w, (seen - centre[:, None]) ** 2)
    depth = np.minimum(np.sqrt(spread / np.maximum(width, 1e-12)), 0.9 * farthest)
    nearest = NEAREST_M - (points[..., 2] - middle[:, None, 2]).min(-1)
    depth = np.maximum(depth, nearest + 1e-3)[:, None]
    return np.concatenate([centre * depth, depth], axis=-1) - middle


def _stepped(
    t: Array, points: Array, seen: Array, w: Array, scale: Array, farthest: Array
) -> Array:
    """One step of Gauss and Newton, shortened until the cost falls and nothing is behind."""
    p = points + t[:, None]
    x = p[..., :2] / p[..., 2:]
    r = x - seen
    u = (r**2).sum(-1) / scale[:, None] ** 2
    robust = w / (1.0 + u) ** 2
    J = np.zeros((*r.shape, 3))
    J[..., 0, 0] = J[..., 1, 1] = 1.0
    J[..., 2] = -x
    J /= p[..., 2:, None]
    H = np.einsum("bn,bnik,bnil->bkl", robust, J, J)
    H = H + 1e-9 * np.trace(H, axis1=1, axis2=2)[:, None, None] * np.eye(3) + 1e-15 * np.eye(3)
    step = -np.linalg.solve(H, np.einsum("bn,bnik,bni->bk", robust, J, r)[..., None])[..., 0]
    before = _cost(points, seen, w, scale, t)
    out, todo, share = t, np.ones(len(t), dtype=bool), 1.0
    for _ in range(_BACKTRACKS):
        there = t + share * step
        good = _in_view(points, there, farthest)
        good &= _cost(points, seen, w, scale, np.where(good[:, None], there, t)) <= before
        out = np.where((todo & good)[:, None], there, out)
        todo &= ~good
        share *= 0.5
        if not todo.any():
            break
    return out


def _cost(points: Array, seen: Array, w: Array, scale: Array, t: Array) -> Array:
    u = ((_projected(points, t) - seen) ** 2).sum(-1) / scale[:, None] ** 2
    return np.asarray((w * u / (1.0 + u)).sum(-1))


def _projected(points: Array, t: Array) -> Array:
    p = points + t[:, None]
    return p[..., :2] / p[..., 2:]


def _in_view(points: Array, t: Array, farthest: Array) -> Array:
    """Whether every point is before the camera and their middle no further than `farthest` (B,)."""
    z = points[..., 2] + t[:, None, 2]
    return np.asarray((z.min(-1) >= NEAREST_M) & (z.mean(-1) <= farthest))
