"""The terms of the energy, each by itself, with its unit and its analytic Jacobian.

In: posed hands in the solver's coordinates (`Chain`). Out: residuals and their Jacobians with
respect to the 51 local coordinates of a hand:

    0..2   omega, rad: the whole hand turned about its wrist, R0 <- exp(omega) R0 (world axes)
    3..5   v, m: the wrist's position, p0 <- p0 + v
    6..50  the angles of MANO joints 1..15, rad: flexion, abduction, twist of each

and, for the calibration, to the shape and the markers' offsets. `_kernels.py` fuses these terms
into its inner loop; here they are plain numpy over N hands. The calibration builds its normal
equations from them, and the tests hold the kernel to them.

    term         residual                                 unit   weight (one over)
    point        landmark - measured point                m      Settings.sigma_point, m
    limit        excess over the anatomy's limits         rad    Settings.sigma_limit, rad; Huber
    prior        angle - resting hand (`AnglePrior`)      rad    half the band of the limits, rad
    target       angle, orientation, wrist - target       rad, m Target.sigma_*, rad and m
"""

from dataclasses import dataclass

import numpy as np

from twohand500k.conventions import (
    FINGERS,
    MANO_JOINT_NAMES,
    MANO_PARENTS,
    N_BETAS,
    N_MANO_JOINTS,
)
from twohand500k.hand.anatomy import FLEXION, Anatomy, euler_matrix
from twohand500k.hand.model import ShapedHand
from twohand500k.hand.rotations import Array, skew
from twohand500k.ik.attachments import Attachments, Ints

N_COORDINATES = 6 + 3 * (N_MANO_JOINTS - 1)

# A resting hand (degrees of flexion, base to middle joint), towards which unmeasured joints go;
# and the share of a finger's middle flexion that its last joint follows, by the shared tendon
# (J. Lin, Y. Wu, T. Huang, Modeling the constraints of human hand motion, HUMO 2000).
_RESTING_FLEXION_DEG = {"thumb": (0.0, 10.0), **dict.fromkeys(FINGERS[1:], (20.0, 30.0))}
_TENDON_COUPLING = {"thumb": 0.0, **dict.fromkeys(FINGERS[1:], 2.0 / 3.0)}
_COUPLING_SIGMA_DEG = 40.0


@dataclass(frozen=True, eq=False)
class AnglePrior:
    """What a hand does that is not being measured.

    r = weight (angle - mean - coupling angle_before), coupling only from a finger's middle flexion
    to its last. mean (15, 3) rad; weight (15, 3) 1/rad: one over half the width of the limits, 40
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


def limit_residual(angles: Array, limits: Array, sigma: float, knee: float) -> tuple[Array, Array]:
    """The soft limit: excess (..., 15, 3) over `limits` in sigmas, and the weight of its square.

    r is signed and 0 inside. Up to the knee (rad) the cost is r^2 / 2; beyond, it grows linearly
    (Huber), which as a least-squares term is r^2 / 2 with the second value, knee / |excess| < 1.
    """
    excess = np.minimum(angles - limits[..., 0], 0.0) + np.maximum(angles - limits[..., 1], 0.0)
    with np.errstate(divide="ignore"):
        return excess / sigma, np.minimum(1.0, knee / np.abs(excess))


def orientation_residual(R: Array, R_target: Array) -> tuple[Array, Array]:
    """Stray from a target orientation: sin(angle) axis of R R_target^T, world axes, rad for small.

    R, R_target (..., 3, 3); returns r (..., 3) and dr / d omega (..., 3, 3).
    """
    M = R @ np.swapaxes(R_target, -1, -2)
    r = 0.5 * np.stack(
        [M[..., 2, 1] - M[..., 1, 2], M[..., 0, 2] - M[..., 2, 0], M[..., 1, 0] - M[..., 0, 1]], -1
    )
    trace = np.trace(M, axis1=-2, axis2=-1)[..., None, None]
    return r, 0.5 * (trace * np.eye(3) - M)


@dataclass(frozen=True, eq=False)
class Chain:
    """N posed hands and everything needed to differentiate points on them.

    R (N, 16, 3, 3), L (N, 16, 3, 3) world and local rotations; P (N, 16, 3) joints, m;
    axes (N, 15, 3, 3): row a is the world axis of angle a; rest (16, 3) m; dP_dbetas
    (N, 16, 3, 10) with the wrist held, since its position is an unknown of the pose.
    """

    shaped: ShapedHand
    R: Array
    L: Array
    P: Array
    axes: Array
    dP_dbetas: Array

    @staticmethod
    def of(shaped: ShapedHand, anatomy: Anatomy, R0: Array, wrist: Array, angles: Array) -> "Chain":
        """Hands of one shape (betas (10,)) with orientations R0 (N, 3, 3), wrists (N, 3) m and
        angles (N, 15, 3) rad."""
        A = anatomy.A
        E = euler_matrix(angles)
        n = len(angles)
        L = np.zeros((n, N_MANO_JOINTS, 3, 3))
        L[:, 0] = R0
        L[:, 1:] = A @ E @ np.swapaxes(A, -1, -2)
        R, P = np.empty_like(L), np.empty((n, N_MANO_JOINTS, 3))
        axes = np.empty((n, N_MANO_JOINTS - 1, 3, 3))
        dP = np.zeros((n, N_MANO_JOINTS, 3, N_BETAS))
        R[:, 0], P[:, 0] = R0, wrist
        rest, slope = shaped.rest_joints, shaped.model.J_shapedirs
        for j, parent in enumerate(MANO_PARENTS[1:], start=1):
            R[:, j] = R[:, parent] @ L[:, j]
            P[:, j] = P[:, parent] + R[:, parent] @ (rest[j] - rest[parent])
            dP[:, j] = dP[:, parent] + R[:, parent] @ (slope[j] - slope[parent])
            in_world = R[:, parent] @ A[j - 1]
            # Rot(e0) e1 and Rot(e0) Rot(e1) e2 = E e2, in the joint's frame
            flexion = angles[:, j - 1, FLEXION]
            second = np.stack([np.zeros(n), np.cos(flexion), np.sin(flexion)], axis=-1)
            axes[:, j - 1, 0] = in_world[:, :, 0]
            axes[:, j - 1, 1] = np.einsum("nij,nj->ni", in_world, second)
            axes[:, j - 1, 2] = np.einsum("nij,nj->ni", in_world, E[:, j - 1, :, 2])
        return Chain(shaped, R, L, P, axes, dP)


def points_on(chain: Chain, attachments: Attachments) -> tuple[Array, Array, Array]:
    """Landmarks (N, K, 3) m, and their derivatives by pose (N, K, 3, 51) and betas (N, K, 3, 10).

    The derivative by a landmark's own offset is its carrier's world rotation.
    """
    n, k = len(chain.R), len(attachments)
    X = np.empty((n, k, 3))
    J = np.zeros((n, k, 3, N_COORDINATES))
    dX_dbetas = np.empty((n, k, 3, N_BETAS))
    for index in np.flatnonzero(attachments.tip < 0):
        carrier = int(attachments.carrier[index])
        X[:, index] = chain.P[:, carrier] + chain.R[:, carrier] @ attachments.offset[index]
        dX_dbetas[:, index] = chain.dP_dbetas[:, carrier]
        for joint in _ancestry(carrier):
            J[:, index, :, _angles_of(joint)] = _turning(
                chain.axes[:, joint - 1], X[:, index] - chain.P[:, joint]
            )
    tips = np.flatnonzero(attachments.tip >= 0)
    if len(tips):
        _skin_tips(chain, attachments.tip[tips], tips, X, J, dX_dbetas)
    J[..., 0:3] = -skew(X - chain.P[:, :1])
    J[..., 3:6] = np.eye(3)
    return X, J, dX_dbetas


def _skin_tips(chain: Chain, fingers: Ints, at: Ints, X: Array, J: Array, dX_dbetas: Array) -> None:
    """Linear blend skinning of F tip vertices with pose correctives, and all its derivatives.

    Written to the landmarks `at` (F,) of the arrays that `points_on` returns.
    """
    model, rest = chain.shaped.model, chain.shaped.rest_joints
    n, count, joints = len(chain.R), len(fingers), N_MANO_JOINTS - 1
    vertices = [model.tip_vertex_ids[finger] for finger in fingers]
    weights = model.weights[vertices]
    correctives = model.posedirs[vertices].reshape(3 * count, joints * 9)
    relative = (chain.L[:, 1:] - np.eye(3)).reshape(n, -1)
    v = chain.shaped.rest_vertices_at(vertices) + (relative @ correctives.T).reshape(n, count, 3)
    on_joint = chain.P[:, None] + np.einsum("njab,nfjb->nfja", chain.R, v[:, :, None] - rest)
    X[:, at] = np.einsum("fj,nfja->nfa", weights, on_joint)
    blend = (weights @ chain.R.reshape(n, N_MANO_JOINTS, 9)).reshape(n, count, 3, 3)
    joints_move = chain.dP_dbetas - chain.R @ model.J_shapedirs
    dX_dbetas[:, at] = blend @ model.shapedirs[vertices] + (
        weights @ joints_move.reshape(n, N_MANO_JOINTS, -1)
    ).reshape(n, count, 3, -1)
    # Of the skin, the share that hangs on a joint or beyond turns with it.
    share = weights[:, None] * _BEYOND
    lever = np.einsum("fij,nfja->nfia", share, on_joint, optimize=True)
    lever -= share.sum(axis=-1)[..., None] * chain.P[:, None, 1:]
    columns = np.swapaxes(chain.axes[:, None] @ skew(lever), -1, -2)
    # The correctives follow every joint, those of other fingers too.
    in_parent = np.swapaxes(chain.R[:, MANO_PARENTS[1:]], -1, -2) @ np.swapaxes(chain.axes, -1, -2)
    dL = skew(np.swapaxes(in_parent, -1, -2)) @ chain.L[:, 1:, None]
    slope = correctives.reshape(3 * count, joints, 9).transpose(1, 2, 0)
    dv = np.swapaxes(dL.reshape(n, joints, 3, 9) @ slope, -1, -2).reshape(n, joints, count, 3, 3)
    columns += blend[:, :, None] @ np.swapaxes(dv, 1, 2)
    J[:, at, :, 6:] = np.swapaxes(columns, 2, 3).reshape(n, count, 3, 3 * joints)


def _turning(axes: Array, lever: Array) -> Array:
    """Velocity of a point at `lever` (N, 3) by unit turns about axes (N, 3 axes, 3): (N, 3, 3)."""
    return np.swapaxes(axes @ skew(lever), -1, -2)


def _angles_of(joint: int) -> slice:
    return slice(3 + 3 * joint, 6 + 3 * joint)


def _ancestry(joint: int) -> list[int]:
    """The joint and those before it up its finger, the wrist left out."""
    out = []
    while joint > 0:
        out.append(joint)
        joint = MANO_PARENTS[joint]
    return out


# (15, 16): which joints hang on each of the joints 1..15, itself among them.
_BEYOND = np.array(
    [
        [joint in _ancestry(beyond) for beyond in range(N_MANO_JOINTS)]
        for joint in range(1, N_MANO_JOINTS)
    ],
    dtype=np.float64,
)
