"""A hand measured as one would measure a person's: bones, length, breadth, thickness, volume.

Comes in: a `HandModel` and betas. Goes out: millimetres and cubic centimetres of its flat pose.
`pair_displacement` measures two hands against themselves: how far a pair has changed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from twohand500k.conventions import MANO_CHAINS
from twohand500k.hand.mesh import volume_cm3
from twohand500k.hand.model import HandModel
from twohand500k.hand.rotations import Array


@dataclass(frozen=True, eq=False)
class Measures:
    """One hand's dimensions.

    bones_mm (5, 4): per finger (thumb first) from the wrist joint to the base, then the three
    bones, the last one to the fingertip's skin. length_mm: wrist joint to middle fingertip.
    breadth_mm, thickness_mm: across the four knuckles, on the skin. volume_cm3: closed skin.
    """

    bones_mm: Array
    length_mm: float
    breadth_mm: float
    thickness_mm: float
    volume_cm3: float


def measure(model: HandModel, betas: ArrayLike | None = None) -> Measures:
    """Measures of the flat hand at betas (10,), None for the template."""
    posed = model.with_shape(betas).with_pose()
    joints, skin = posed.joints, posed.vertices
    chains = joints[1:].reshape(5, 4, 3)
    points = np.concatenate([np.broadcast_to(joints[0], (5, 1, 3)), chains], axis=1)
    bones = np.linalg.norm(np.diff(points, axis=1), axis=-1)
    # The plane through the knuckles of index and little finger, square to the palm.
    across = chains[1, 0] - chains[4, 0]
    across = across / np.linalg.norm(across)
    along = chains[1:, 0].mean(axis=0) - joints[0]
    palm_normal = np.cross(across, along)
    palm_normal = palm_normal / np.linalg.norm(palm_normal)
    section = _section(model, skin, chains[4, 0], np.cross(palm_normal, across))
    return Measures(
        bones_mm=bones * 1e3,
        length_mm=float(np.linalg.norm(joints[12] - joints[0]) * 1e3),
        breadth_mm=float(np.ptp(section @ across) * 1e3),
        thickness_mm=float(np.ptp(section @ palm_normal) * 1e3),
        volume_cm3=float(volume_cm3(skin, model.closed_faces)),
    )


def pair_displacement(joints_before: ArrayLike, joints_after: ArrayLike) -> float:
    """How far the joints of a pair moved on average (m), the pair's common rigid motion removed.

    joints_before, joints_after (2, 21, 3) m, in any two frames. The motion removed is the rotation
    and translation of all 42 joints together that brings the sum of their squared distances to its
    least (Kabsch, Acta Cryst. A32, 1976); a reflection is none. Each hand's own motion against the
    other counts. Exactly 0 for the same joints, NaN if a joint is NaN. Raises ValueError for other
    shapes.
    """
    before = np.asarray(joints_before, dtype=np.float64)
    after = np.asarray(joints_after, dtype=np.float64)
    if before.shape != (2, 21, 3) or after.shape != (2, 21, 3):
        raise ValueError(f"joints of a pair are (2, 21, 3), not {before.shape} and {after.shape}")
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        return float("nan")
    if np.array_equal(before, after):
        return 0.0
    R, t = common_motion(before, after)
    return float(np.linalg.norm(before - (after - t) @ R, axis=-1).mean())


def common_motion(joints_before: Array, joints_after: Array) -> tuple[Array, Array]:
    """The rigid motion x -> R x + t, R (3, 3) and t (3,) m, that a pair made as one.

    joints_before, joints_after (2, 21, 3) m, finite. See `pair_displacement`.
    """
    before, after = joints_before.reshape(-1, 3), joints_after.reshape(-1, 3)
    middle_before, middle_after = before.mean(axis=0), after.mean(axis=0)
    U, _, Vt = np.linalg.svd((before - middle_before).T @ (after - middle_after))
    handed = np.array([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))])
    R = (Vt.T * handed) @ U.T
    return R, middle_after - R @ middle_before


def _section(model: HandModel, skin: Array, point: Array, normal: Array) -> Array:
    """Where the plane cuts the edges of the skin (n, 3), the thumb left out."""
    edges = np.unique(np.sort(model.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    is_thumb = model.weights[:, list(MANO_CHAINS[0])].sum(axis=1) > 0.5
    edges = edges[~is_thumb[edges].any(axis=1)]
    height = (skin - point) @ normal
    a, b = height[edges[:, 0]], height[edges[:, 1]]
    cut = (a < 0) != (b < 0)
    share = (a[cut] / (a[cut] - b[cut]))[:, None]
    return skin[edges[cut, 0]] * (1 - share) + skin[edges[cut, 1]] * share
