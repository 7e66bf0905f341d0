"""The terms of the energy, each by itself, with its unit and its analytic Jacobian.

In: a posed hand in the solver's coordinates (`Chain`). Out: residual vectors and their Jacobians
with respect to the 51 local coordinates of a hand:

    0..2   omega, rad: a rotation of the whole hand about its wrist, R0 <- exp(omega) R0 (world axes)
    3..5   v, m: the wrist's position, p0 <- p0 + v
    6..50  the angles of MANO joints 1..15, rad: flexion, abduction, twist of each

These are the terms `_kernels.py` fuses into its inner loop; here they are plain numpy over any
batch of hands. The calibration builds its normal equations from them, and the tests hold the
kernel to them. Everything is a right hand or a left one alike: the anatomy says which.
"""

from dataclasses import dataclass

import numpy as np

from twohand500k.conventions import FINGERS, MANO_JOINT_NAMES, MANO_PARENTS, N_MANO_JOINTS
from twohand500k.hand.anatomy import ABDUCTION, FLEXION, TWIST, Anatomy, euler_matrix
from twohand500k.hand.model import HandModel
from twohand500k.hand.rotations import Array, matrix_from_axis_angle, skew

N_COORDINATES = 6 + 3 * (N_MANO_JOINTS - 1)

# A resting hand (degrees of flexion, base to middle joint), towards which unmeasured joints go; and
# the share of a finger's middle flexion that its last joint follows, two thirds by the shared tendon
# (J. Lin, Y. Wu, T. Huang, Modeling the constraints of human hand motion, HUMO 2000).
_RESTING_FLEXION_DEG = {"thumb": (0.0, 10.0), **dict.fromkeys(FINGERS[1:], (20.0, 30.0))}
_TENDON_COUPLING = {"thumb": 0.0, **dict.fromkeys(FINGERS[1:], 2.0 / 3.0)}
_COUPLING_SIGMA_DEG = 25.0


@dataclass(frozen=True, eq=False)
class AnglePrior:
    """What a hand does that is not being measured.

    r = weight (angle - mean - coupling angle_before), coupling only from a finger's middle flexion
    to its last. mean (15, 3) rad; weight (15, 3) 1/rad: one over half the width of the limits, 25
    degrees for the last joints; coupling (5,) per block of three MANO joints.
    """

    mean: Array
    weight: Array
    coupling: Array

    @staticmethod
    def resting(anatomy: Anatomy, scale: float = 1.0) -> "AnglePrior":
        """The prior of a model's anatomy, its sigmas multiplied by `scale`."""
        mean = np.zeros((N_MANO_JOINTS - 1, 3))
        sigma = 0.5 * (anatomy.limits[..., 1] - anatomy.limits[..., 0])
        coupling = np.zeros(5)
        for i, name in enumerate(MANO_JOINT_NAMES[1:]):
            finger, level = name[:-1], int(name[-1]) - 1
            if level < 2:
                mean[i, FLEXION] = np.radians(_RESTING_FLEXION_DEG[finger][level])
            else:
                sigma[i, FLEXION] = np.radians(_COUPLING_SIGMA_DEG)
                coupling[i // 3] = _TENDON_COUPLING[finger]
        return AnglePrior(mean, 1.0 / (scale * sigma), coupling)

    def residual(self, angles: Array) -> Array:
        """(..., 15, 3), in sigmas."""
        d = angles - self.mean
        d[..., 2::3, FLEXION] -= self.coupling * angles[..., 1::3, FLEXION]
        return self.weight * d

    def jacobian(self) -> Array:
        """(45, 45) with respect to the angles, the same everywhere."""
        J = np.diag(self.weight.ravel())
        for block in range(5):
            last = 9 * block + 6
            J[last, last - 3] = -self.weight[3 * block + 2, FLEXION] * self.coupling[block]
        return J
