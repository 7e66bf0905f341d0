"""The solver's inner loop: many hands, one after the other, compiled by numba.

Everything here is a right hand in float64 and MANO's joint order. Joints 1..15 are five blocks of
three consecutive joints (index, middle, little, ring, thumb), so ``block = (joint - 1) // 3`` and
the parent of a block's first joint is the wrist. One hand's unknowns are the base (6: rotation by
a left perturbation in the world, then the wrist's position) and three angles per joint (45).

The normal equations are an arrow: a point on finger f depends on the base and on the nine angles
of f alone. So they are kept as Hbb (6, 6), Hbf (5, 6, 9) and Hff (5, 9, 9), the fingers are
eliminated by five 9 x 9 Cholesky factors, and a 6 x 6 Schur complement is left. docs/ik.md has the
derivation, residuals.py the same terms written out plainly; a test holds the two together.

A hand's result depends on nothing but its own inputs: not on its neighbours, not on threads.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

# Outcome of one hand.
CONVERGED, NOT_CONVERGED, TOO_FEW_POINTS = 0, 1, 2
# Places in the parameter vector of `solve_hands`.
(
    P_LIMIT_WEIGHT,  # 1 / sigma_limit, 1/rad
    P_LIMIT_KNEE,  # rad, from here the pull of a limit stays constant
    P_TARGET_ANGLE,  # 1 / sigma of the target's angles, 1/rad; 0 = no target
    P_TARGET_ORIENTATION,  # 1 / sigma, 1/rad
    P_TARGET_POSITION,  # 1 / sigma, 1/m
    P_MAX_ITERATIONS,
    P_RESTART,  # cost per coordinate, in squared sigmas, above which another start is tried
    N_PARAMETERS,
) = range(8)

_INITIAL_DAMPING = 1e-4
_COST_TOLERANCE = 1e-5  # absolute, in squared sigmas: statistically nothing
_COST_TOLERANCE_RELATIVE = 1e-8
_MIN_SPREAD = 5e-3  # m: points closer to a line than this leave a rotation about it undetermined
_ANNEAL_FROM = 5e-4  # m: a fit starts as if points were no better than this
FINGER_OF_BLOCK = (1, 2, 4, 3, 0)  # places in conventions.FINGERS
_CURLED = 0.6  # share of the greatest flexion, the hand of the second start

_jit = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})


class Rig(NamedTuple):
    """What all hands of a call share. See `solver.Attachments` and `residuals.AnglePrior`."""

    A: np.ndarray  # (15, 3, 3) anatomical frames
    limits: np.ndarray  # (15, 3, 2) rad
    prior_mean: np.ndarray  # (15, 3) rad
    prior_weight: np.ndarray  # (15, 3) 1/rad
    coupling: np.ndarray  # (5,)
    tip_posedirs: np.ndarray  # (5, 135, 3) m
    tip_weights: np.ndarray  # (5, 16)
    carrier: np.ndarray  # (K,) MANO joint
    tip: np.ndarray  # (K,) finger whose skin tip it is, or -1
    offset: np.ndarray  # (K, 3) m
    finger_landmarks: np.ndarray  # (5, 4) landmark of each block's joints and tip, or -1
    parameters: np.ndarray  # (N_PARAMETERS,)


class Goal(NamedTuple):
    """What one hand is fitted to, and its shape."""

    Y: np.ndarray  # (K, 3) m
    present: np.ndarray  # (K,) bool
    weight: np.ndarray  # (K,) 1/m
    rest: np.ndarray  # (16, 3) m
    tip_rest: np.ndarray  # (5, 3) m
    has_target: bool
    target_angles: np.ndarray  # (15, 3) rad
    target_R: np.ndarray  # (3, 3)
    target_p: np.ndarray  # (3,) m


class State(NamedTuple):
    """A posed hand: unknowns first, then what follows from them."""

    q: np.ndarray  # (4,) wxyz, world from wrist
    p: np.ndarray  # (3,) wrist, m
    theta: np.ndarray  # (15, 3) rad
    L: np.ndarray  # (16, 3, 3) local rotations
    R: np.ndarray  # (16, 3, 3) world rotations
    P: np.ndarray  # (16, 3) joint positions, m
    axes: np.ndarray  # (15, 3, 3) world axes of the three angles, rows
    X: np.ndarray  # (K, 3) landmarks, m
    tip_share: np.ndarray  # (5, 16, 3) what each joint contributes to a skin tip


class Fitted(NamedTuple):
    """What comes out, hand by hand."""

    pose: np.ndarray  # (N, 16, 3) axis-angle
    wrist: np.ndarray  # (N, 3) m
    angles: np.ndarray  # (N, 15, 3) rad
    sigma: np.ndarray  # (N, 15, 3) rad
    residual: np.ndarray  # (N, K) m
    cost: np.ndarray  # (N,)
    iterations: np.ndarray  # (N,)
    status: np.ndarray  # (N,)


class System(NamedTuple):
    """Normal equations, their factors, the step, and scratch."""

    Hbb: np.ndarray  # (6, 6), lower triangle
    Hbf: np.ndarray  # (5, 6, 9)
    Hff: np.ndarray  # (5, 9, 9), lower triangles
    gb: np.ndarray  # (6,)
    gf: np.ndarray  # (5, 9)
    F: np.ndarray  # (5, 9, 9) Cholesky factor of Hff
    Z: np.ndarray  # (5, 9, 6) F^-1 Hfb
    zf: np.ndarray  # (5, 9) F^-1 gf
    S: np.ndarray  # (6, 6) Cholesky factor of the Schur complement
    step_b: np.ndarray  # (6,)
    step_f: np.ndarray  # (5, 9)
    columns: np.ndarray  # (9, 3)
    slope: np.ndarray  # (3, 3)
    blend: np.ndarray  # (3, 3)
    vector: np.ndarray  # (9,)


@_jit
def new_state(n_points):
    """An empty posed hand with room for its landmarks."""
    return State(
        np.zeros(4), np.zeros(3), np.zeros((15, 3)), np.zeros((16, 3, 3)), np.zeros((16, 3, 3)),
        np.zeros((16, 3)), np.zeros((15, 3, 3)), np.zeros((n_points, 3)), np.zeros((5, 16, 3)),
    )  # fmt: skip


@_jit
def new_system():
    """Empty normal equations."""
    return System(
        np.zeros((6, 6)), np.zeros((5, 6, 9)), np.zeros((5, 9, 9)), np.zeros(6), np.zeros((5, 9)),
        np.zeros((5, 9, 9)), np.zeros((5, 9, 6)), np.zeros((5, 9)), np.zeros((6, 6)),
        np.zeros(6), np.zeros((5, 9)),
        np.zeros((9, 3)), np.zeros((3, 3)), np.zeros((3, 3)), np.zeros(9),
    )  # fmt: skip


@_jit
def _rotation_of_quaternion(q, R):
    w, x, y, z = q[0], q[1], q[2], q[3]
    R[0, 0, 0] = 1 - 2 * (y * y + z * z)
    R[0, 0, 1] = 2 * (x * y - w * z)
    R[0, 0, 2] = 2 * (x * z + w * y)
    R[0, 1, 0] = 2 * (x * y + w * z)
    R[0, 1, 1] = 1 - 2 * (x * x + z * z)
    R[0, 1, 2] = 2 * (y * z - w * x)
    R[0, 2, 0] = 2 * (x * z - w * y)
    R[0, 2, 1] = 2 * (y * z + w * x)
    R[0, 2, 2] = 1 - 2 * (x * x + y * y)


@_jit
def _turn_quaternion(q, wx, wy, wz, out):
    """out = exp(w) q, normalised: a rotation vector applied from the left, in the world."""
    angle = np.sqrt(wx * wx + wy * wy + wz * wz)
    # sin(angle/2)/angle, by its series where the quotient would lose digits
    s = np.sin(0.5 * angle) / angle if angle > 1e-6 else 0.5 - angle * angle / 48.0
    c = np.cos(0.5 * angle)
    x, y, z = s * wx, s * wy, s * wz
    a = c * q[0] - x * q[1] - y * q[2] - z * q[3]
    b = c * q[1] + x * q[0] + y * q[3] - z * q[2]
    d = c * q[2] - x * q[3] + y * q[0] + z * q[1]
    e = c * q[3] + x * q[2] - y * q[1] + z * q[0]
    n = 1.0 / np.sqrt(a * a + b * b + d * d + e * e)
    out[0], out[1], out[2], out[3] = a * n, b * n, d * n, e * n


@_jit
def _pose_joint(j, rig, rest, state):
    """Frame of joint j from its parent's: local and world rotation, position, world axes."""
    A, theta, L, R, P, axes = rig.A, state.theta, state.L, state.R, state.P, state.axes
    parent = 0 if (j - 1) % 3 == 0 else j - 1
    i = j - 1
    c0, s0 = np.cos(theta[i, 0]), np.sin(theta[i, 0])
    c1, s1 = np.cos(theta[i, 1]), np.sin(theta[i, 1])
    c2, s2 = np.cos(theta[i, 2]), np.sin(theta[i, 2])
    # E = Rot(e0, t0) Rot(e1, t1) Rot(e2, t2), row by row
    e00, e01, e02 = c1 * c2, -c1 * s2, s1
    e10, e11, e12 = c0 * s2 + s0 * s1 * c2, c0 * c2 - s0 * s1 * s2, -s0 * c1
    e20, e21, e22 = s0 * s2 - c0 * s1 * c2, s0 * c2 + c0 * s1 * s2, c0 * c1
    for r in range(3):
        # local: (A E) A^T
        a0, a1, a2 = A[i, r, 0], A[i, r, 1], A[i, r, 2]
        t0 = a0 * e00 + a1 * e10 + a2 * e20
        t1 = a0 * e01 + a1 * e11 + a2 * e21
        t2 = a0 * e02 + a1 * e12 + a2 * e22
        for c in range(3):
            L[j, r, c] = t0 * A[i, c, 0] + t1 * A[i, c, 1] + t2 * A[i, c, 2]
        # world: B = R_parent A carries the anatomical axes
        p0, p1, p2 = R[parent, r, 0], R[parent, r, 1], R[parent, r, 2]
        b0 = p0 * A[i, 0, 0] + p1 * A[i, 1, 0] + p2 * A[i, 2, 0]
        b1 = p0 * A[i, 0, 1] + p1 * A[i, 1, 1] + p2 * A[i, 2, 1]
        b2 = p0 * A[i, 0, 2] + p1 * A[i, 1, 2] + p2 * A[i, 2, 2]
        t0 = b0 * e00 + b1 * e10 + b2 * e20
        t1 = b0 * e01 + b1 * e11 + b2 * e21
        t2 = b0 * e02 + b1 * e12 + b2 * e22
        for c in range(3):
            R[j, r, c] = t0 * A[i, c, 0] + t1 * A[i, c, 1] + t2 * A[i, c, 2]
        axes[i, 0, r] = b0
        axes[i, 1, r] = c0 * b1 + s0 * b2
        axes[i, 2, r] = t2
        P[j, r] = (
            P[parent, r]
            + p0 * (rest[j, 0] - rest[parent, 0])
            + p1 * (rest[j, 1] - rest[parent, 1])
            + p2 * (rest[j, 2] - rest[parent, 2])
        )


@_jit
def _place_point(k, rig, goal, state):
    """Where landmark k is: rigid on its carrier, or a skin point by linear blend skinning.

    For a skin tip, tip_share keeps what each joint contributes, w_j x_j.
    """
    L, R, P, X = state.L, state.R, state.P, state.X
    offset, posedirs, rest, tip_rest = rig.offset, rig.tip_posedirs, goal.rest, goal.tip_rest
    f = rig.tip[k]
    if f < 0:
        j = rig.carrier[k]
        for r in range(3):
            X[k, r] = (
                P[j, r] + R[j, r, 0] * offset[k, 0] + R[j, r, 1] * offset[k, 1]
                + R[j, r, 2] * offset[k, 2]
            )  # fmt: skip
        return
    v0, v1, v2 = tip_rest[f, 0], tip_rest[f, 1], tip_rest[f, 2]
    m = 0
    for j in range(1, 16):
        for r in range(3):
            for c in range(3):
                d = L[j, r, c] - (1.0 if r == c else 0.0)
                v0 += posedirs[f, m, 0] * d
                v1 += posedirs[f, m, 1] * d
                v2 += posedirs[f, m, 2] * d
                m += 1
    X[k, 0] = X[k, 1] = X[k, 2] = 0.0
    for j in range(16):
        w = rig.tip_weights[f, j]
        if w == 0.0:
            continue
        u0, u1, u2 = v0 - rest[j, 0], v1 - rest[j, 1], v2 - rest[j, 2]
        for r in range(3):
            x = w * (P[j, r] + R[j, r, 0] * u0 + R[j, r, 1] * u1 + R[j, r, 2] * u2)
            state.tip_share[f, j, r] = x
            X[k, r] += x


@_jit
def forward(rig, goal, state):
    """Fill a state from its unknowns q, p, theta."""
    _rotation_of_quaternion(state.q, state.R)
    for r in range(3):
        state.P[0, r] = state.p[r]
    for j in range(1, 16):
        _pose_joint(j, rig, goal.rest, state)
    for k in range(rig.carrier.shape[0]):
        if goal.present[k]:
            _place_point(k, rig, goal, state)


@_jit
def _excess(angle, low, high):
    """Signed excess over a band: negative below, positive above, 0 inside."""
    if angle < low:
        return angle - low
    if angle > high:
        return angle - high
    return 0.0


@_jit
def _orientation_error(R, R_target, e):
    """Sine of the angle times the axis of R R_target^T, in the world; trace returned."""
    m00 = m11 = m22 = m21 = m12 = m02 = m20 = m10 = m01 = 0.0
    for c in range(3):
        m00 += R[0, 0, c] * R_target[0, c]
        m11 += R[0, 1, c] * R_target[1, c]
        m22 += R[0, 2, c] * R_target[2, c]
        m21 += R[0, 2, c] * R_target[1, c]
        m12 += R[0, 1, c] * R_target[2, c]
        m02 += R[0, 0, c] * R_target[2, c]
        m20 += R[0, 2, c] * R_target[0, c]
        m10 += R[0, 1, c] * R_target[0, c]
        m01 += R[0, 0, c] * R_target[1, c]
    e[0], e[1], e[2] = 0.5 * (m21 - m12), 0.5 * (m02 - m20), 0.5 * (m10 - m01)
    return m00 + m11 + m22


@_jit
def energy(rig, goal, state, e):
    """Half the sum of squared residuals: points, limits, prior, target. e (3,) is scratch."""
    X, Y, theta, limits = state.X, goal.Y, state.theta, rig.limits
    w_limit, knee = rig.parameters[P_LIMIT_WEIGHT], rig.parameters[P_LIMIT_KNEE]
    w_target = rig.parameters[P_TARGET_ANGLE] if goal.has_target else 0.0
    cost = 0.0
    for k in range(X.shape[0]):
        if goal.present[k]:
            d0, d1, d2 = X[k, 0] - Y[k, 0], X[k, 1] - Y[k, 1], X[k, 2] - Y[k, 2]
            cost += goal.weight[k] * goal.weight[k] * (d0 * d0 + d1 * d1 + d2 * d2)
    for i in range(15):
        for a in range(3):
            x = abs(_excess(theta[i, a], limits[i, a, 0], limits[i, a, 1]))
            # Huber: quadratic up to the knee, linear beyond
            cost += w_limit * w_limit * (x * x if x <= knee else knee * (2 * x - knee))
            d = theta[i, a] - rig.prior_mean[i, a]
            if a == 0 and i % 3 == 2:
                d -= rig.coupling[i // 3] * theta[i - 1, 0]
            d *= rig.prior_weight[i, a]
            t = w_target * (theta[i, a] - goal.target_angles[i, a])
            cost += d * d + t * t
    if goal.has_target:
        _orientation_error(state.R, goal.target_R, e)
        w = rig.parameters[P_TARGET_ORIENTATION]
        v = rig.parameters[P_TARGET_POSITION]
        for r in range(3):
            d, t = w * e[r], v * (state.P[0, r] - goal.target_p[r])
            cost += d * d + t * t
    return 0.5 * cost


@_jit
def _blend_rotation(f, tip_weights, R, blend):
    """Sum of w_j R_j at a skin tip."""
    for r in range(3):
        for c in range(3):
            blend[r, c] = 0.0
    for j in range(16):
        w = tip_weights[f, j]
        if w != 0.0:
            for r in range(3):
                for c in range(3):
                    blend[r, c] += w * R[j, r, c]


@_jit
def _corrective_slope(f, m, posedirs, L, R, blend, slope):
    """Turns a world rotation vector at joint m into a tip's motion by its own pose correctives.

    With the local rotation turned by l (in the parent's frame), dL = [l]x L, and the corrective
    changes by sum_s l_s (Q[s+2, s+1] - Q[s+1, s+2]), Q[r, s] = sum_c posedirs[3r + c] L[s, c].
    """
    parent = 0 if (m - 1) % 3 == 0 else m - 1
    base = 9 * (m - 1)
    for r in range(3):
        for c in range(3):
            slope[r, c] = 0.0
    for s in range(3):
        u, v = (s + 1) % 3, (s + 2) % 3
        k0 = k1 = k2 = 0.0
        for c in range(3):
            lu, lv = L[m, u, c], L[m, v, c]
            n, o = base + 3 * v + c, base + 3 * u + c
            k0 += posedirs[f, n, 0] * lu - posedirs[f, o, 0] * lv
            k1 += posedirs[f, n, 1] * lu - posedirs[f, o, 1] * lv
            k2 += posedirs[f, n, 2] * lu - posedirs[f, o, 2] * lv
        for r in range(3):
            g = blend[r, 0] * k0 + blend[r, 1] * k1 + blend[r, 2] * k2
            # l = R_parent^T w
            for c in range(3):
                slope[r, c] += g * R[parent, c, s]


@_jit
def normal_equations(rig, goal, state, system):
    """Gauss-Newton blocks at a posed hand.

    Left out is one small thing: how a tip's pose correctives follow the joints of OTHER fingers,
    which would tie the fingers together. The residual has it; only the slope does not.
    """
    P, axes, X, L, R, Y = state.P, state.axes, state.X, state.L, state.R, goal.Y
    theta, tip_share, tip_weights = state.theta, state.tip_share, rig.tip_weights
    limits, parameters, tip = rig.limits, rig.parameters, rig.tip
    Hbb, Hbf, Hff, gb, gf = system.Hbb, system.Hbf, system.Hff, system.gb, system.gf
    C, e, slope, blend = system.columns, system.vector, system.slope, system.blend
    target, target_R, target_p = goal.target_angles, goal.target_R, goal.target_p
    Hbb[:] = 0.0
    Hbf[:] = 0.0
    Hff[:] = 0.0
    gb[:] = 0.0
    gf[:] = 0.0
    for k in range(X.shape[0]):
        if not goal.present[k]:
            continue
        ww = goal.weight[k] ** 2
        r0, r1, r2 = X[k, 0] - Y[k, 0], X[k, 1] - Y[k, 1], X[k, 2] - Y[k, 2]
        # dx = omega x d + v
        d0, d1, d2 = X[k, 0] - P[0, 0], X[k, 1] - P[0, 1], X[k, 2] - P[0, 2]
        gb[0] += ww * (d1 * r2 - d2 * r1)
        gb[1] += ww * (d2 * r0 - d0 * r2)
        gb[2] += ww * (d0 * r1 - d1 * r0)
        gb[3] += ww * r0
        gb[4] += ww * r1
        gb[5] += ww * r2
        Hbb[0, 0] += ww * (d1 * d1 + d2 * d2)
        Hbb[1, 1] += ww * (d0 * d0 + d2 * d2)
        Hbb[2, 2] += ww * (d0 * d0 + d1 * d1)
        Hbb[1, 0] -= ww * d0 * d1
        Hbb[2, 0] -= ww * d0 * d2
        Hbb[2, 1] -= ww * d1 * d2
        Hbb[3, 3] += ww
        Hbb[4, 4] += ww
        Hbb[5, 5] += ww
        Hbb[3, 1] += ww * d2
        Hbb[3, 2] -= ww * d1
        Hbb[4, 0] -= ww * d2
        Hbb[4, 2] += ww * d0
        Hbb[5, 0] += ww * d1
        Hbb[5, 1] -= ww * d0
        j = rig.carrier[k]
        if j == 0:
            continue
        block = (j - 1) // 3
        first = 3 * block + 1
        levels = j - first + (0 if _at_joint(rig, k) else 1)
        f = tip[k]
        if f >= 0:
            levels = 3
            _blend_rotation(f, tip_weights, R, blend)
        for level in range(levels):
            m = first + level
            l0, l1, l2 = X[k, 0] - P[m, 0], X[k, 1] - P[m, 1], X[k, 2] - P[m, 2]
            if f >= 0:
                # Only the share of the skin that hangs on this joint or beyond turns with it.
                l0 = l1 = l2 = 0.0
                for j in range(m, first + 3):
                    w = tip_weights[f, j]
                    if w != 0.0:
                        l0 += tip_share[f, j, 0] - w * P[m, 0]
                        l1 += tip_share[f, j, 1] - w * P[m, 1]
                        l2 += tip_share[f, j, 2] - w * P[m, 2]
                _corrective_slope(f, m, rig.tip_posedirs, L, R, blend, slope)
            for a in range(3):
                x0, x1, x2 = axes[m - 1, a, 0], axes[m - 1, a, 1], axes[m - 1, a, 2]
                c0, c1, c2 = x1 * l2 - x2 * l1, x2 * l0 - x0 * l2, x0 * l1 - x1 * l0
                if f >= 0:
                    c0 += slope[0, 0] * x0 + slope[0, 1] * x1 + slope[0, 2] * x2
                    c1 += slope[1, 0] * x0 + slope[1, 1] * x1 + slope[1, 2] * x2
                    c2 += slope[2, 0] * x0 + slope[2, 1] * x1 + slope[2, 2] * x2
                i = 3 * level + a
                C[i, 0], C[i, 1], C[i, 2] = c0, c1, c2
                w0, w1, w2 = ww * c0, ww * c1, ww * c2
                gf[block, i] += w0 * r0 + w1 * r1 + w2 * r2
                Hbf[block, 0, i] += d1 * w2 - d2 * w1
                Hbf[block, 1, i] += d2 * w0 - d0 * w2
                Hbf[block, 2, i] += d0 * w1 - d1 * w0
                Hbf[block, 3, i] += w0
                Hbf[block, 4, i] += w1
                Hbf[block, 5, i] += w2
                for n in range(i + 1):
                    Hff[block, i, n] += w0 * C[n, 0] + w1 * C[n, 1] + w2 * C[n, 2]
    w_limit2 = parameters[P_LIMIT_WEIGHT] ** 2
    knee = parameters[P_LIMIT_KNEE]
    for i in range(15):
        block, level = i // 3, i % 3
        for a in range(3):
            n = 3 * level + a
            x = _excess(theta[i, a], limits[i, a, 0], limits[i, a, 1])
            if x != 0.0:
                h = w_limit2 * min(1.0, knee / abs(x))
                gf[block, n] += h * x
                Hff[block, n, n] += h
            h = rig.prior_weight[i, a] ** 2
            d = theta[i, a] - rig.prior_mean[i, a]
            if a == 0 and level == 2:
                c = rig.coupling[block]
                d -= c * theta[i - 1, 0]
                gf[block, 3] -= h * c * d
                Hff[block, 3, 3] += h * c * c
                Hff[block, 6, 3] -= h * c
            gf[block, n] += h * d
            Hff[block, n, n] += h
    if goal.has_target:
        w2 = parameters[P_TARGET_ANGLE] ** 2
        for i in range(15):
            for a in range(3):
                n = 3 * (i % 3) + a
                gf[i // 3, n] += w2 * (theta[i, a] - target[i, a])
                Hff[i // 3, n, n] += w2
        w2 = parameters[P_TARGET_ORIENTATION] ** 2
        trace = _orientation_error(R, target_R, e)
        # d e / d omega = (trace I - M^T) / 2 with M = R R_target^T; its square and its gradient:
        for r in range(3):
            for c in range(3):
                m = 0.0
                for t in range(3):
                    m += R[0, c, t] * target_R[r, t]  # (M^T)[r, c]
                C[r, c] = 0.5 * ((trace if r == c else 0.0) - m)
        for r in range(3):
            for t in range(3):
                gb[r] += w2 * C[t, r] * e[t]
                for c in range(r + 1):
                    Hbb[r, c] += w2 * C[t, r] * C[t, c]
        w2 = parameters[P_TARGET_POSITION] ** 2
        for r in range(3):
            gb[3 + r] += w2 * (P[0, r] - target_p[r])
            Hbb[3 + r, 3 + r] += w2


@_jit
def _cholesky(H, n):
    """Lower factor in place, from the lower triangle; False if not positive definite."""
    for i in range(n):
        for k in range(i + 1):
            s = H[i, k]
            for m in range(k):
                s -= H[i, m] * H[k, m]
            if i == k:
                if not s > 0.0:
                    return False
                H[i, i] = np.sqrt(s)
            else:
                H[i, k] = s / H[k, k]
    return True


@_jit
def _solve_lower(F, x, n):
    for i in range(n):
        s = x[i]
        for m in range(i):
            s -= F[i, m] * x[m]
        x[i] = s / F[i, i]


@_jit
def _solve_lower_transposed(F, x, n):
    for i in range(n - 1, -1, -1):
        s = x[i]
        for m in range(i + 1, n):
            s -= F[m, i] * x[m]
        x[i] = s / F[i, i]


@_jit
def eliminate(system, damping):
    """Solve (H + damping diag H) step = -g. False if not positive definite.

    With Hff = F F^T per finger: Z = F^-1 Hfb, S = chol(Hbb - Z^T Z).
    """
    Hbb, Hbf, Hff, gb, gf = system.Hbb, system.Hbf, system.Hff, system.gb, system.gf
    F, Z, zf, S = system.F, system.Z, system.zf, system.S
    step_b, step_f = system.step_b, system.step_f
    for i in range(6):
        step_b[i] = -gb[i]
        for c in range(i + 1):
            S[i, c] = Hbb[i, c]
        S[i, i] += damping * Hbb[i, i] + 1e-12
    for b in range(5):
        for i in range(9):
            for c in range(i + 1):
                F[b, i, c] = Hff[b, i, c]
            F[b, i, i] += damping * Hff[b, i, i]
        if not _cholesky(F[b], 9):
            return False
        for i in range(9):
            inverse = 1.0 / F[b, i, i]
            s = gf[b, i]
            for m in range(i):
                s -= F[b, i, m] * zf[b, m]
            zf[b, i] = s * inverse
            for c in range(6):
                s = Hbf[b, c, i]
                for m in range(i):
                    s -= F[b, i, m] * Z[b, m, c]
                Z[b, i, c] = s * inverse
        for i in range(9):
            for c in range(6):
                z = Z[b, i, c]
                step_b[c] += z * zf[b, i]
                for d in range(c + 1):
                    S[c, d] -= z * Z[b, i, d]
    if not _cholesky(S, 6):
        return False
    _solve_lower(S, step_b, 6)
    _solve_lower_transposed(S, step_b, 6)
    for b in range(5):
        for i in range(9):
            s = -zf[b, i]
            for c in range(6):
                s -= Z[b, i, c] * step_b[c]
            step_f[b, i] = s
        _solve_lower_transposed(F[b], step_f[b], 9)
    return True


@_jit
def _posterior_sigma(system, base, out):
    """Standard deviation of each angle, the base's own uncertainty included (Laplace). base (6,): scratch."""
    F, Z, S, column = system.F, system.Z, system.S, system.vector
    for b in range(5):
        for i in range(9):
            # var = |F^-1 e_i|^2 + |S^-1 Z^T F^-1 e_i|^2
            variance = 0.0
            for m in range(9):
                s = 1.0 if m == i else 0.0
                for t in range(i, m):
                    s -= F[b, m, t] * column[t]
                column[m] = s / F[b, m, m] if m >= i else 0.0
                variance += column[m] * column[m]
            for c in range(6):
                s = 0.0
                for m in range(i, 9):
                    s += Z[b, m, c] * column[m]
                base[c] = s
            _solve_lower(S, base, 6)
            for c in range(6):
                variance += base[c] * base[c]
            out[3 * b + i // 3, i % 3] = np.sqrt(variance)


@_jit
def _dominant_quaternion(N, scale, q):
    """Eigenvector of the largest eigenvalue of a symmetric 4 x 4, by Jacobi; destroys N.

    scale: the size of N's entries, against which an off-diagonal is nothing.
    """
    V = np.empty((4, 4))
    for i in range(4):
        for c in range(4):
            V[i, c] = 1.0 if i == c else 0.0
    for _ in range(12):
        off = 0.0
        for i in range(4):
            for c in range(i):
                off += N[i, c] * N[i, c]
        if off < 1e-24 * scale * scale:
            break
        for i in range(3):
            for c in range(i + 1, 4):
                if N[i, c] == 0.0:
                    continue
                t = (N[c, c] - N[i, i]) / (2 * N[i, c])
                t = (1.0 if t >= 0 else -1.0) / (abs(t) + np.sqrt(t * t + 1))
                cs = 1 / np.sqrt(t * t + 1)
                sn = t * cs
                for m in range(4):
                    a, b = N[m, i], N[m, c]
                    N[m, i], N[m, c] = cs * a - sn * b, sn * a + cs * b
                for m in range(4):
                    a, b = N[i, m], N[c, m]
                    N[i, m], N[c, m] = cs * a - sn * b, sn * a + cs * b
                for m in range(4):
                    a, b = V[m, i], V[m, c]
                    V[m, i], V[m, c] = cs * a - sn * b, sn * a + cs * b
    best = 0
    for i in range(1, 4):
        if N[i, i] > N[best, best]:
            best = i
    for m in range(4):
        q[m] = V[m, best]


@_jit
def _align(goal, model, weight, q, p):
    """Base q, p that lays a model, its wrist at the origin, on the points (Horn 1987)."""
    X, Y = model.X, goal.Y
    total = 0.0
    mx = np.zeros(3)
    my = np.zeros(3)
    for k in range(X.shape[0]):
        if goal.present[k]:
            total += weight[k]
            for r in range(3):
                mx[r] += weight[k] * X[k, r]
                my[r] += weight[k] * Y[k, r]
    M = np.zeros((3, 3))
    scale = 0.0
    for k in range(X.shape[0]):
        if goal.present[k]:
            for r in range(3):
                for c in range(3):
                    M[r, c] += weight[k] * (X[k, r] - mx[r] / total) * (Y[k, c] - my[c] / total)
    for r in range(3):
        for c in range(3):
            scale = max(scale, abs(M[r, c]))
    N = np.empty((4, 4))
    N[0, 0] = M[0, 0] + M[1, 1] + M[2, 2]
    N[1, 1] = M[0, 0] - M[1, 1] - M[2, 2]
    N[2, 2] = M[1, 1] - M[0, 0] - M[2, 2]
    N[3, 3] = M[2, 2] - M[0, 0] - M[1, 1]
    N[0, 1] = N[1, 0] = M[1, 2] - M[2, 1]
    N[0, 2] = N[2, 0] = M[2, 0] - M[0, 2]
    N[0, 3] = N[3, 0] = M[0, 1] - M[1, 0]
    N[1, 2] = N[2, 1] = M[0, 1] + M[1, 0]
    N[1, 3] = N[3, 1] = M[0, 2] + M[2, 0]
    N[2, 3] = N[3, 2] = M[1, 2] + M[2, 1]
    _dominant_quaternion(N, scale, q)
    R = np.empty((1, 3, 3))
    _rotation_of_quaternion(q, R)
    for r in range(3):
        p[r] = my[r] / total
        for c in range(3):
            p[r] -= R[0, r, c] * mx[c] / total


@_jit
def _aim_finger(block, rig, goal, state):
    """Angles of one finger, base to tip, from directions to the points that are there.

    Each joint is swung so that its bone points at the next landmark up the finger; where that is
    two or more bones away, the joint between is opened to the distance (law of cosines).
    """
    first = 3 * block + 1
    landmark = rig.finger_landmarks[block]
    rest, theta, limits, R, P, Y = goal.rest, state.theta, rig.limits, state.R, state.P, goal.Y
    finger = FINGER_OF_BLOCK[block]
    lengths = np.empty(3)
    for level in range(3):
        s = 0.0
        for r in range(3):
            end = rest[first + level + 1, r] if level < 2 else goal.tip_rest[finger, r]
            s += (end - rest[first + level, r]) ** 2
        lengths[level] = np.sqrt(s)
    for level in range(3):
        j = first + level
        i = j - 1
        parent = 0 if level == 0 else j - 1
        theta[i, 0], theta[i, 1], theta[i, 2] = rig.prior_mean[i, 0], 0.0, 0.0
        if level == 2:
            theta[i, 0] = rig.coupling[block] * theta[i - 1, 0]
        _pose_joint(j, rig, rest, state)
        target = level + 1
        while target < 4 and (landmark[target] < 0 or not goal.present[landmark[target]]):
            target += 1
        if target == 4:
            continue
        k = landmark[target]
        # A marker is taken back to its joint as if its carrier did not turn against this joint.
        u0 = u1 = u2 = 0.0
        length = 0.0
        for r in range(3):
            d = Y[k, r] - P[j, r]
            for c in range(3):
                d -= R[parent, r, c] * rig.offset[k, c]
            length += d * d
            # into the anatomical frame: A^T R_parent^T d
            for c in range(3):
                u0 += R[parent, r, c] * rig.A[i, c, 0] * d
                u1 += R[parent, r, c] * rig.A[i, c, 1] * d
                u2 += R[parent, r, c] * rig.A[i, c, 2] * d
        length = np.sqrt(length)
        if length < 1e-6:
            continue
        flexion = np.arctan2(-u1, u2)
        if target > level + 1:
            rear, front = lengths[level], 0.0
            for t in range(level + 1, target):
                front += lengths[t]
            cosine = (length * length - rear * rear - front * front) / (2 * rear * front)
            bend = np.arccos(min(1.0, max(-1.0, cosine)))
            flexion -= np.arctan2(front * np.sin(bend), rear + front * np.cos(bend))
        # Beyond this a direction is a fault of the points, and a bad place to start from.
        theta[i, 0] = min(limits[i, 0, 1] + 0.6, max(limits[i, 0, 0] - 1.2, flexion))
        abduction = np.arcsin(min(1.0, max(-1.0, u0 / length)))
        theta[i, 1] = min(limits[i, 1, 1], max(limits[i, 1, 0], abduction))
        _pose_joint(j, rig, rest, state)


@_jit
def _start(which, rig, goal, state, align_weight):
    """A pose to begin from. 0: palm on palm, fingers aimed; 1: a curled hand laid on all points;
    2: an open one."""
    for i in range(15):
        bend = rig.prior_mean[i, 0] if which == 0 else 0.0
        if which == 1:
            bend = _CURLED * rig.limits[i, 0, 1]
        state.theta[i, 0], state.theta[i, 1], state.theta[i, 2] = bend, 0.0, 0.0
    state.q[0], state.q[1], state.q[2], state.q[3] = 1.0, 0.0, 0.0, 0.0
    for r in range(3):
        state.p[r] = 0.0
    forward(rig, goal, state)
    for k in range(rig.carrier.shape[0]):
        j = rig.carrier[k]
        on_palm = j == 0 or ((j - 1) % 3 == 0 and _at_joint(rig, k))
        # The fingers' points weigh a little: they decide where the palm's alone lie on a line.
        align_weight[k] = goal.weight[k] * (1.0 if on_palm or which > 0 else 0.02)
    _align(goal, state, align_weight, state.q, state.p)
    if which == 0:
        _rotation_of_quaternion(state.q, state.R)
        for r in range(3):
            state.P[0, r] = state.p[r]
        for block in range(5):
            _aim_finger(block, rig, goal, state)
    forward(rig, goal, state)


@_jit
def _take_step(state, system, trial):
    """trial's unknowns = state's, moved by the system's step."""
    step = system.step_b
    _turn_quaternion(state.q, step[0], step[1], step[2], trial.q)
    for r in range(3):
        trial.p[r] = state.p[r] + step[3 + r]
    for i in range(15):
        for a in range(3):
            trial.theta[i, a] = state.theta[i, a] + system.step_f[i // 3, 3 * (i % 3) + a]


@_jit
def _copy_unknowns(state, out):
    out.q[:] = state.q
    out.p[:] = state.p
    out.theta[:] = state.theta


@_jit
def _descend(rig, goal, full_weight, start, spare, system):
    """Levenberg-Marquardt from `start`, which ends at the minimum; cost, iterations, status.

    It begins with the points as loose as `_ANNEAL_FROM` and tightens them tenfold at a time: with a
    sigma of micrometres the valley is so narrow that a straight step along it leaves it at once.
    """
    loose = 1.0
    for k in range(full_weight.shape[0]):
        loose = max(loose, _ANNEAL_FROM * full_weight[k])
    goal.weight[:] = full_weight / loose
    state, trial = start, spare
    cost = energy(rig, goal, state, system.vector)
    damping = _INITIAL_DAMPING
    iterations = 0
    status = NOT_CONVERGED
    n_iterations = int(rig.parameters[P_MAX_ITERATIONS])
    while iterations < n_iterations and status == NOT_CONVERGED:
        iterations += 1
        normal_equations(rig, goal, state, system)
        before = cost
        while True:
            moved = np.inf
            if eliminate(system, damping):
                _take_step(state, system, trial)
                forward(rig, goal, trial)
                moved = energy(rig, goal, trial, system.vector)
                # A tiny gain means the end only where the step was not held back.
                small = abs(moved - cost) <= _COST_TOLERANCE + _COST_TOLERANCE_RELATIVE * cost
                if small and (damping < 1.0 or moved >= cost):
                    status = CONVERGED
            if moved < cost:
                state, trial = trial, state
                cost = moved
                damping = max(damping * 0.1, 1e-9)
                break
            damping = max(damping * 10.0, 1e-6)
            if damping > 1e8:
                status = CONVERGED  # no step, however short, goes down any more
            if status == CONVERGED:
                break
        if loose > 1.0 and (status == CONVERGED or cost > 0.5 * before):
            loose = max(1.0, 0.1 * loose)
            goal.weight[:] = full_weight / loose
            cost = energy(rig, goal, state, system.vector)
            damping = _INITIAL_DAMPING
            status = NOT_CONVERGED
    _copy_unknowns(state, start)
    return cost, iterations, status


@_jit
def _at_joint(rig, k):
    """Whether landmark k is its carrier's origin, which the carrier's own angles do not move."""
    o = rig.offset
    return rig.tip[k] < 0 and o[k, 0] == 0.0 and o[k, 1] == 0.0 and o[k, 2] == 0.0


@_jit
def _too_few(Y, present):
    """True unless there are three points that do not lie on a line."""
    n = 0
    m = np.zeros(3)
    for k in range(Y.shape[0]):
        if present[k]:
            n += 1
            for r in range(3):
                m[r] += Y[k, r]
    if n < 3:
        return True
    for r in range(3):
        m[r] /= n
    # Farthest point from the mean gives a line; then the farthest from that line.
    far = 0.0
    u = np.zeros(3)
    for k in range(Y.shape[0]):
        if present[k]:
            s = (Y[k, 0] - m[0]) ** 2 + (Y[k, 1] - m[1]) ** 2 + (Y[k, 2] - m[2]) ** 2
            if s > far:
                far = s
                for r in range(3):
                    u[r] = Y[k, r] - m[r]
    if far < _MIN_SPREAD**2:
        return True
    spread = 0.0
    for k in range(Y.shape[0]):
        if present[k]:
            dot = square = 0.0
            for r in range(3):
                dot += (Y[k, r] - m[r]) * u[r]
                square += (Y[k, r] - m[r]) ** 2
            spread = max(spread, square - dot * dot / far)
    return spread < _MIN_SPREAD**2


@_jit
def _canonical_angles(theta):
    """The same rotations with abduction in [-pi/2, pi/2], flexion and twist in [-pi, pi]."""
    for i in range(15):
        a = np.arctan2(np.sin(theta[i, 1]), np.cos(theta[i, 1]))
        turned = abs(a) > 0.5 * np.pi
        if turned:
            a = np.pi - a if a > 0 else -np.pi - a
        theta[i, 1] = a
        for n in (0, 2):
            t = theta[i, n] + (np.pi if turned else 0.0)
            theta[i, n] = np.arctan2(np.sin(t), np.cos(t))


@_jit
def _axis_angle_of_quaternion(w, x, y, z, out):
    if w < 0.0:
        w, x, y, z = -w, -x, -y, -z
    s = np.sqrt(x * x + y * y + z * z)
    scale = 2.0 * np.arctan2(s, w) / s if s > 1e-12 else 2.0
    out[0], out[1], out[2] = scale * x, scale * y, scale * z


@_jit
def _pose_of_angles(theta, A, pose):
    """Axis-angle of every local rotation: the three half-angle quaternions in the joint's frame."""
    v = np.empty(3)
    for i in range(15):
        c0, s0 = np.cos(0.5 * theta[i, 0]), np.sin(0.5 * theta[i, 0])
        c1, s1 = np.cos(0.5 * theta[i, 1]), np.sin(0.5 * theta[i, 1])
        c2, s2 = np.cos(0.5 * theta[i, 2]), np.sin(0.5 * theta[i, 2])
        w = c0 * c1 * c2 - s0 * s1 * s2
        x = s0 * c1 * c2 + c0 * s1 * s2
        y = c0 * s1 * c2 - s0 * c1 * s2
        z = c0 * c1 * s2 + s0 * s1 * c2
        _axis_angle_of_quaternion(w, x, y, z, v)
        for r in range(3):
            pose[i + 1, r] = A[i, r, 0] * v[0] + A[i, r, 1] * v[1] + A[i, r, 2] * v[2]


@_jit
def solve_hands(
    rig, points, weight, shape_of, rest_of, tip_rest_of, target_angles, target_R, target_p, fitted
):
    """Fit every hand of a chunk into `fitted`. Shapes and units: `solver.solve`."""
    n_points = points.shape[1]
    has_target = target_angles.shape[0] > 0
    state, spare, best = new_state(n_points), new_state(n_points), new_state(n_points)
    system = new_system()
    present = np.empty(n_points, np.bool_)
    loose_weight, align_weight = np.empty(n_points), np.empty(n_points)
    no_angles, no_R, no_p = np.zeros((15, 3)), np.zeros((3, 3)), np.zeros(3)
    for h in range(points.shape[0]):
        n_present = 0
        for k in range(n_points):
            present[k] = weight[k] > 0.0 and np.isfinite(
                points[h, k, 0] + points[h, k, 1] + points[h, k, 2]
            )
            n_present += present[k]
        goal = Goal(
            points[h], present, loose_weight, rest_of[shape_of[h]], tip_rest_of[shape_of[h]],
            has_target,
            target_angles[h] if has_target else no_angles,
            target_R[h] if has_target else no_R,
            target_p[h] if has_target else no_p,
        )  # fmt: skip
        if _too_few(goal.Y, present):
            _blank(h, fitted)
            continue
        fitted.iterations[h] = 0
        fitted.status[h] = NOT_CONVERGED
        best_cost = np.inf
        for which in range(3):
            loose_weight[:] = weight
            _start(which, rig, goal, state, align_weight)
            cost, iterations, status = _descend(rig, goal, weight, state, spare, system)
            fitted.iterations[h] += iterations
            if cost < best_cost:
                best_cost = cost
                fitted.status[h] = status
                _copy_unknowns(state, best)
            # The whole cost, not the points' alone: a finger turned about itself fits them too.
            if 2.0 * best_cost <= 3.0 * n_present * rig.parameters[P_RESTART]:
                break
        fitted.cost[h] = best_cost
        _canonical_angles(best.theta)
        loose_weight[:] = weight
        forward(rig, goal, best)
        for k in range(n_points):
            fitted.residual[h, k] = np.nan
            if present[k]:
                s = 0.0
                for r in range(3):
                    s += (best.X[k, r] - goal.Y[k, r]) ** 2
                fitted.residual[h, k] = np.sqrt(s)
        normal_equations(rig, goal, best, system)
        if eliminate(system, 0.0):
            _posterior_sigma(system, system.step_b, fitted.sigma[h])
        else:
            fitted.sigma[h] = np.inf
        q = best.q
        _axis_angle_of_quaternion(q[0], q[1], q[2], q[3], fitted.pose[h, 0])
        _pose_of_angles(best.theta, rig.A, fitted.pose[h])
        fitted.angles[h] = best.theta
        fitted.wrist[h] = best.p


@_jit
def _blank(h, fitted):
    """A hand with too few points: no number that could pass for a pose."""
    fitted.status[h] = TOO_FEW_POINTS
    fitted.iterations[h] = 0
    fitted.cost[h] = np.nan
    fitted.pose[h] = np.nan
    fitted.wrist[h] = np.nan
    fitted.angles[h] = np.nan
    fitted.sigma[h] = np.nan
    fitted.residual[h] = np.nan
