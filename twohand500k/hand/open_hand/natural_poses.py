"""A natural mean pose, and the directions in which natural poses vary: `hands_mean` and
`hands_components`.

Poses are drawn from a small model of how fingers move together: a common closing, each finger's
own, the end joint following the middle one at two thirds (J. Lin, Y. Wu, T. Huang, Modeling the
constraints of human hand motion, 2000), the thumb opposing. The amounts are ours.
"""

import numpy as np

from twohand500k.hand.anatomy import ABDUCTION, FLEXION, TWIST, Anatomy
from twohand500k.hand.rotations import Array

# MANO joint minus one.
_FINGERS = ((0, 1, 2), (3, 4, 5), (9, 10, 11), (6, 7, 8))  # index, middle, ring, little
_THUMB = (12, 13, 14)
# A hand at rest: flexion of the three joints, degrees, closing more towards the little finger.
_RELAXED_DEG = ((18, 28, 14), (22, 32, 17), (25, 34, 18), (26, 32, 16))
_RELAXED_THUMB_DEG = (8, 12, 16)
_COUNT = 4000


def natural_poses(anatomy: Anatomy, count: int = _COUNT) -> Array:
    """Poses (count, 45) axis-angle relative to the flat hand; the same every time."""
    rng = np.random.default_rng(20230801)
    angles = np.zeros((count, 15, 3))
    together = rng.normal(size=count)
    radial_ulnar = rng.normal(size=count)
    spread = rng.normal(size=count)
    for f, (chain, relaxed) in enumerate(zip(_FINGERS, _RELAXED_DEG, strict=True)):
        own = rng.normal(size=(2, count))
        base = 22 * together + 9 * (f - 1.5) * radial_ulnar + 12 * own[0]
        middle = 24 * together + 8 * (f - 1.5) * radial_ulnar - 6 * own[0] + 14 * own[1]
        angles[:, chain[0], FLEXION] = relaxed[0] + base
        angles[:, chain[1], FLEXION] = relaxed[1] + middle
        angles[:, chain[2], FLEXION] = relaxed[2] + 2 / 3 * middle + 5 * rng.normal(size=count)
        fan = (1.0, 0.1, -0.8, -1.6)[f]
        angles[:, chain[0], ABDUCTION] = fan * (1.0 + 2.5 * spread) + rng.normal(size=count)
    oppose = rng.normal(size=count)
    for k, joint in enumerate(_THUMB):
        angles[:, joint, FLEXION] = _RELAXED_THUMB_DEG[k] + (6, 10, 18)[k] * (
            0.6 * oppose + 0.3 * together + 0.7 * rng.normal(size=count)
        )
    angles[:, _THUMB[0], ABDUCTION] = 8 * oppose - 3 * spread + 5 * rng.normal(size=count)
    angles[:, _THUMB[0], TWIST] = -6 * oppose + 3 * rng.normal(size=count)
    # What is left of the 45 dimensions: play of the joints.
    angles += 0.8 * rng.normal(size=angles.shape)
    angles = np.clip(np.radians(angles), anatomy.limits[..., 0], anatomy.limits[..., 1])
    return anatomy.pose_from_angles(angles)[:, 1:].reshape(count, 45)


def mean_and_components(anatomy: Anatomy) -> tuple[Array, Array]:
    """`hands_mean` (45,) and the principal components (45, 45), rows orthonormal, largest first."""
    poses = natural_poses(anatomy)
    mean = poses.mean(axis=0)
    _, _, rows = np.linalg.svd(poses - mean, full_matrices=False)
    # An SVD's signs are free: make the largest entry of each row positive.
    largest = rows[np.arange(45), np.argmax(np.abs(rows), axis=1)]
    return mean, rows * np.sign(largest)[:, None]
