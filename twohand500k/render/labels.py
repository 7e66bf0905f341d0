"""What a picture shows of each hand: masks, joints that can be seen, how much is hidden.

In: the raster of the whole scene, and each hand drawn alone on a wider one. Out: the labels of the
group `image`, as `shards.schema` defines them.
"""

import numpy as np

from twohand500k.conventions import TIP_JOINTS
from twohand500k.shards.schema import IMAGE_SIZE, MASK_SIZE

Array = np.ndarray

# Over the flesh about a joint, m: the skin model is rounder than radii say.
_SPARE = 0.004
_WRIST = 0.032
# Around the picture, in sides: where a hand's outline is looked for beyond what is shown.
BEYOND = 0.5


def masks_of(label: Array) -> Array:
    """(2, 64, 64) u1 of a label map (H, W), a multiple of 64 wide: 0 right hand, 1 left."""
    n = len(label) // MASK_SIZE
    shares = [share_of(label == side, n) for side in (0, 1)]
    return np.round(255 * np.stack(shares)).astype(np.uint8)


def share_of(flags: Array, n: int) -> Array:
    """The share (H / n, W / n) of flags (H, W) that are up in squares of n x n."""
    height, width = len(flags) // n, flags.shape[1] // n
    # Row by row first: numpy sums neighbours in memory far faster than squares.
    rows = np.add.reduce(flags.reshape(height, n, width * n), axis=1, dtype=np.uint16)
    total = rows[:, ::n].astype(np.float64)
    for k in range(1, n):
        total += rows[:, k::n]
    return np.asarray(total / n**2)


def flesh_before(radii: Array) -> Array:
    """How far (21,) m before each joint its own skin may lie; radii (20,) m of the bones."""
    before = np.empty(21)
    before[0] = _WRIST
    # At a joint the thicker of the two bones that meet there.
    for joint in range(1, 21):
        own = radii[joint - 1]
        beyond = radii[joint] if joint not in TIP_JOINTS else own
        before[joint] = max(own, beyond) + _SPARE
    # A fingertip lies on the skin: from behind the whole finger is before it.
    for tip in TIP_JOINTS:
        before[tip] = 2 * radii[tip - 1] + _SPARE
    return before


def visible_joints(
    uv: Array, depth: Array, before: Array, side: int, owner: Array, nearest: Array
) -> Array:
    """(21,) bool: inside the picture, on this hand, and no more than its own flesh before it.

    uv (21, 2) pixels; depth (21,) m; before (21,) m; owner (H, W): whose surface is seen, the
    side's number for hand and arm; nearest (H, W): 1 / m.
    """
    scale = len(owner) / IMAGE_SIZE
    cell = np.floor(uv * scale).astype(int)
    inside = np.all((uv >= 0) & (uv < IMAGE_SIZE), axis=1)
    cell = np.clip(cell, 0, len(owner) - 1)
    at = (cell[:, 1], cell[:, 0])
    with np.errstate(divide="ignore"):
        surface = 1.0 / np.maximum(nearest[at].astype(np.float64), 1e-9)
    return np.asarray(inside & (owner[at] == side) & (surface > depth - before))


def hidden_share(alone: Array, label: Array, side: int) -> float:
    """The share of a hand's outline that is not seen.

    alone (n, n) bool: the hand drawn by itself on a raster that reaches `BEYOND` sides past the
    picture all around; label (H, W) of the picture, on which a cell of `alone` is some cells wide.
    Raises ValueError if the outline is empty.
    """
    total = int(alone.sum())
    if not total:
        raise ValueError("a hand without an outline: it was not drawn")
    n = len(alone)
    inside = round(n / (1 + 2 * BEYOND))
    first = (n - inside) // 2
    step = len(label) // inside
    part = label[step // 2 :: step, step // 2 :: step]
    seen = alone[first : first + inside, first : first + inside] & (part == side)
    return 1.0 - seen.sum() / total
