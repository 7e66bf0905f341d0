"""The solver's inner loop: many hands, one after the other, compiled by numba.

Everything here is a right hand in float64 and MANO's joint order. Joints 1..15 are five blocks of
three consecutive joints (index, middle, little, ring, thumb), so ``block = (joint - 1) // 3`` and
the parent of a block's first joint is the wrist. One hand's unknowns are the base (rotation by a
left perturbation in the world, then the wrist's position: 6) and three angles per joint (45).

The normal equations are an arrow: a point on a finger depends on the base and on that finger's nine
angles. They are kept as five 16 x 16 blocks (nine angles, six of the base, the gradient as the last
row), each of which gives up its angles in a partial Cholesky factorisation; what is left of the
five adds up to the 6 x 6 Schur complement of the base. docs/ik.md has the derivation, residuals.py
the same terms written out plainly; a test holds the two together.

A hand's result depends on nothing but its own input: not on its neighbours, not on threads. Data
passes in structured records, whose fixed layout keeps both compile time and running time short.
"""

import numpy as np
from numba import njit

MAX_POINTS = 64

# Outcome of one hand.
CONVERGED, NOT_CONVERGED, TOO_FEW_POINTS, FAILED = 0, 1, 2, 3
# The blocks as places in conventions.FINGERS.
FINGER_OF_BLOCK = (1, 2, 4, 3, 0)

_INITIAL_DAMPING = 1e-6
_COST_TOLERANCE = 1e-4  # in squared sigmas: statistically nothing
_COST_TOLERANCE_RELATIVE = 1e-8
MIN_SPREAD = 5e-3  # m: points closer to a line than this leave a rotation about it open
_ANNEAL_FROM = 5e-4  # m: a fit starts as if points were no better than this
_CURLED = 0.6  # share of the greatest flexion, the hand of the second start

_f8, _i8 = np.float64, np.int64

# What all hands of a call share. See `solver.Attachments`, `Settings`, `residuals.AnglePrior`.
RIG = np.dtype(
    [
        ("A", _f8, (15, 3, 3)),  # anatomical frames
        ("limits", _f8, (15, 3, 2)),  # rad
        ("prior_mean", _f8, (15, 3)),  # rad
        ("prior_weight", _f8, (15, 3)),  # 1/rad
        ("coupling", _f8, 5),
        ("tip_posedirs", _f8, (5, 135, 3)),  # m
        ("tip_weights", _f8, (5, 16)),
        ("n_points", _i8),
        ("carrier", _i8, MAX_POINTS),  # MANO joint
        ("tip", _i8, MAX_POINTS),  # finger whose skin tip it is, or -1
        ("offset", _f8, (MAX_POINTS, 3)),  # m, in the carrier's frame
        ("at_joint", _i8, MAX_POINTS),  # 1 where it is its carrier's origin
        ("weight", _f8, MAX_POINTS),  # 1/m
        ("finger_landmarks", _i8, (5, 4)),  # landmark of each block's joints and tip, or -1
        ("limit_weight", _f8),  # 1/rad
        ("limit_knee", _f8),  # rad
        ("has_target", _i8),
        ("max_iterations", _i8),
        ("restart", _f8),  # squared sigmas per coordinate
    ]
)

# A pose to stay close to, and one over the sigma of each part (0 without one).
TARGET = np.dtype(
    [
        ("angles", _f8, (15, 3)),  # rad
        ("R", _f8, (3, 3)),
        ("wrist", _f8, 3),  # m
        ("angle_weight", _f8, (15, 3)),  # 1/rad
        ("orientation_weight", _f8),  # 1/rad
        ("wrist_weight", _f8),  # 1/m
    ]
)

# What one hand is fitted to, and its shape.
GOAL = np.dtype(
    [
        ("Y", _f8, (MAX_POINTS, 3)),  # m
        ("present", _i8, MAX_POINTS),
        ("weight", _f8, MAX_POINTS),  # 1/m, as loosened for now
        ("rest", _f8, (16, 3)),  # m
        ("tip_rest", _f8, (5, 3)),  # m
    ]
)

# A posed hand: the unknowns first, then what follows from them.
STATE = np.dtype(
    [
        ("q", _f8, 4),  # wxyz, world from wrist
        ("p", _f8, 3),  # wrist, m
        ("theta", _f8, (15, 3)),  # rad
        ("L", _f8, (16, 3, 3)),  # local rotations
        ("R", _f8, (16, 3, 3)),  # world rotations
        ("P", _f8, (16, 3)),  # joint positions, m
        ("axes", _f8, (15, 3, 3)),  # world axes of the three angles, as rows
        ("X", _f8, (MAX_POINTS, 3)),  # landmarks, m
        ("tip_share", _f8, (5, 16, 3)),  # what each joint contributes to a skin tip, m
    ]
)

# Normal equations, their factors, the step, and scratch.
SYSTEM = np.dtype(
    [
        ("H", _f8, (5, 16, 16)),  # lower triangles: 9 angles, 6 base, gradient
        ("F", _f8, (5, 16, 16)),  # partial factors
        ("S", _f8, (7, 7)),  # factor of the base's Schur complement, gradient last
        ("step_base", _f8, 6),
        ("step_angles", _f8, (15, 3)),
        ("columns", _f8, (15, 3)),  # derivatives of one point by its block's unknowns
        ("axis_angle", _f8, 3),
        ("slope", _f8, (3, 3)),
        ("blend", _f8, (3, 3)),
        ("align_weight", _f8, MAX_POINTS),
        ("N", _f8, (4, 4)),
        ("V", _f8, (4, 4)),
        ("x_mean", _f8, 3),
        ("y_mean", _f8, 3),
        ("moment", _f8, (3, 3)),
        ("lengths", _f8, 3),
        ("column", _f8, 9),
        ("base", _f8, 6),
    ]
)

# What comes out for one hand.
FITTED = np.dtype(
    [
        ("pose", _f8, (16, 3)),  # axis-angle
        ("wrist", _f8, 3),  # m
        ("angles", _f8, (15, 3)),  # rad
        ("sigma", _f8, (15, 3)),  # rad
        ("base_sigma", _f8, 6),  # rad, then m
        ("residual", _f8, MAX_POINTS),  # m
        ("cost", _f8),
        ("iterations", _i8),
        ("status", _i8),
    ]
)

# No fastmath: with it, code compiled in this process and the same code from the cache round
# differently (inlined copies are vectorised differently), and it was slower.
_jit = njit(cache=True, nogil=True, error_model="numpy")


@_jit
def _base_rotation(s):
    w, x, y, z = s.q[0], s.q[1], s.q[2], s.q[3]
    R = s.R
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
def _pose_joint(j, rig, rest, s):
    """Frame of joint j from its parent's: local and world rotation, position, world axes."""
    parent = 0 if (j - 1) % 3 == 0 else j - 1
    i = j - 1
    A, L, R, P, axes = rig.A, s.L, s.R, s.P, s.axes
    c0, s0 = np.cos(s.theta[i, 0]), np.sin(s.theta[i, 0])
    c1, s1 = np.cos(s.theta[i, 1]), np.sin(s.theta[i, 1])
    c2, s2 = np.cos(s.theta[i, 2]), np.sin(s.theta[i, 2])
    # E = Rot(e0, t0) Rot(e1, t1) Rot(e2, t2), row by row
    e00, e01, e02 = c1 * c2, -c1 * s2, s1
    e10, e11, e12 = c0 * s2 + s0 * s1 * c2, c0 * c2 - s0 * s1 * s2, -s0 * c1
    e20, e21, e22 = s0 * s2 - c0 * s1 * c2, s0 * c2 + c0 * s1 * s2, c0 * c1
    for r in range(3):
        # local: (A E) A^T
        b0, b1, b2 = A[i, r, 0], A[i, r, 1], A[i, r, 2]
        t0 = b0 * e00 + b1 * e10 + b2 * e20
        t1 = b0 * e01 + b1 * e11 + b2 * e21
        t2 = b0 * e02 + b1 * e12 + b2 * e22
        for c in range(3):
            L[j, r, c] = t0 * A[i, c, 0] + t1 * A[i, c, 1] + t2 * A[i, c, 2]
        P[j, r] = P[parent, r]
        for c in range(3):
            P[j, r] += R[parent, r, c] * (rest[j, c] - rest[parent, c])
    for r in range(3):
        b0 = b1 = b2 = 0.0
        for c in range(3):
            x = R[parent, r, c]
            b0 += x * A[i, c, 0]
            b1 += x * A[i, c, 1]
            b2 += x * A[i, c, 2]
            R[j, r, c] = (
                R[parent, r, 0] * L[j, 0, c]
                + R[parent, r, 1] * L[j, 1, c]
                + R[parent, r, 2] * L[j, 2, c]
            )
        axes[i, 0, r] = b0
        axes[i, 1, r] = c0 * b1 + s0 * b2
        axes[i, 2, r] = b0 * e02 + b1 * e12 + b2 * e22


@_jit
def _place_tip(k, rig, goal, s):
    """A skin tip by linear blend skinning with pose correctives; keeps each joint's share."""
    f = rig.tip[k]
    L, R, P, X, rest = s.L, s.R, s.P, s.X, goal.rest
    v0, v1, v2 = goal.tip_rest[f, 0], goal.tip_rest[f, 1], goal.tip_rest[f, 2]
    m = 0
    for j in range(1, 16):
        for r in range(3):
            for c in range(3):
                d = L[j, r, c] - (1.0 if r == c else 0.0)
                v0 += rig.tip_posedirs[f, m, 0] * d
                v1 += rig.tip_posedirs[f, m, 1] * d
                v2 += rig.tip_posedirs[f, m, 2] * d
                m += 1
    for r in range(3):
        X[k, r] = 0.0
    for j in range(16):
        w = rig.tip_weights[f, j]
        if w != 0.0:
            u0, u1, u2 = v0 - rest[j, 0], v1 - rest[j, 1], v2 - rest[j, 2]
            for r in range(3):
                x = w * (P[j, r] + R[j, r, 0] * u0 + R[j, r, 1] * u1 + R[j, r, 2] * u2)
                s.tip_share[f, j, r] = x
                X[k, r] += x


@_jit
def _forward(rig, goal, s):
    """Fill a state from its unknowns q, p, theta."""
    _base_rotation(s)
    for r in range(3):
        s.P[0, r] = s.p[r]
    for j in range(1, 16):
        _pose_joint(j, rig, goal.rest, s)
    for k in range(rig.n_points):
        if goal.present[k] == 0:
            continue
        if rig.tip[k] >= 0:
            _place_tip(k, rig, goal, s)
        else:
            j = rig.carrier[k]
            for r in range(3):
                x = s.P[j, r]
                for c in range(3):
                    x += s.R[j, r, c] * rig.offset[k, c]
                s.X[k, r] = x


@_jit
def _excess(angle, low, high):
    """Signed excess over a band: negative below, positive above, 0 inside."""
    return min(0.0, angle - low) + max(0.0, angle - high)


@_jit
def _orientation_error(target, s, system):
    """Into axis_angle: sin(angle) axis of R R_target^T, in the world; into blend its derivative.

    For R <- exp(omega) R and M = R R_target^T that derivative is (trace(M) I - M) / 2.
    """
    M, e = system.slope, system.axis_angle
    trace = 0.0
    for r in range(3):
        for c in range(3):
            m = 0.0
            for t in range(3):
                m += s.R[0, r, t] * target.R[c, t]
            M[r, c] = m
        trace += M[r, r]
    for r in range(3):
        u, v = (r + 1) % 3, (r + 2) % 3
        e[r] = 0.5 * (M[v, u] - M[u, v])
        for c in range(3):
            system.blend[r, c] = 0.5 * ((trace if r == c else 0.0) - M[r, c])


@_jit
def _energy(rig, goal, target, s, system):
    """Half the sum of squared residuals: points, limits, prior, target."""
    cost = 0.0
    for k in range(rig.n_points):
        if goal.present[k] != 0:
            for r in range(3):
                d = goal.weight[k] * (s.X[k, r] - goal.Y[k, r])
                cost += d * d
    knee = rig.limit_knee
    for i in range(15):
        for a in range(3):
            angle = s.theta[i, a]
            # Huber: quadratic up to the knee, linear beyond
            x = abs(_excess(angle, rig.limits[i, a, 0], rig.limits[i, a, 1]))
            cost += rig.limit_weight**2 * (x * x if x <= knee else knee * (2 * x - knee))
            d = angle - rig.prior_mean[i, a]
            if a == 0 and i % 3 == 2:
                d -= rig.coupling[i // 3] * s.theta[i - 1, 0]
            d *= rig.prior_weight[i, a]
            t = target.angle_weight[i, a] * (angle - target.angles[i, a])
            cost += d * d + t * t
    if rig.has_target != 0:
        _orientation_error(target, s, system)
        for r in range(3):
            d = target.orientation_weight * system.axis_angle[r]
            t = target.wrist_weight * (s.P[0, r] - target.wrist[r])
            cost += d * d + t * t
    return 0.5 * cost


@_jit
def _tip_slope(f, m, rig, s, system):
    """Turns a world rotation vector at joint m into a tip's motion by its own pose correctives.

    With the local rotation turned by l (in the parent's frame), dL = [l]x L, and the corrective
    changes by sum_s l_s (Q[s+2, s+1] - Q[s+1, s+2]), Q[r, s] = sum_c posedirs[3r + c] L[s, c].
    """
    parent = 0 if (m - 1) % 3 == 0 else m - 1
    slope, blend, D = system.slope, system.blend, rig.tip_posedirs
    for r in range(3):
        for c in range(3):
            slope[r, c] = 0.0
    for t in range(3):
        u, v = (t + 1) % 3, (t + 2) % 3
        for d in range(3):
            k = 0.0
            for c in range(3):
                k += D[f, 9 * m - 9 + 3 * v + c, d] * s.L[m, u, c]
                k -= D[f, 9 * m - 9 + 3 * u + c, d] * s.L[m, v, c]
            for r in range(3):
                for c in range(3):
                    slope[r, c] += blend[r, d] * k * s.R[parent, c, t]


@_jit
def _point_columns(k, rig, s, system):
    """Derivatives of landmark k by its block's nine angles (into columns 0..8); how many are set.

    Left out is one small thing: how a tip's pose correctives follow the joints of OTHER fingers,
    which would tie the fingers together. The residual has it; only the slope does not.
    """
    j = rig.carrier[k]
    if j == 0:
        return 0
    first = 3 * ((j - 1) // 3) + 1
    f = rig.tip[k]
    levels = 3 if f >= 0 else j - first + 1 - rig.at_joint[k]
    C, slope, lever = system.columns, system.slope, system.axis_angle
    if f >= 0:
        for r in range(3):
            for c in range(3):
                x = 0.0
                for i in range(16):
                    x += rig.tip_weights[f, i] * s.R[i, r, c]
                system.blend[r, c] = x
    for level in range(levels):
        m = first + level
        for r in range(3):
            lever[r] = s.X[k, r] - s.P[m, r]
        if f >= 0:
            # Only the share of the skin that hangs on this joint or beyond turns with it.
            for r in range(3):
                lever[r] = 0.0
                for i in range(m, first + 3):
                    w = rig.tip_weights[f, i]
                    if w != 0.0:
                        lever[r] += s.tip_share[f, i, r] - w * s.P[m, r]
            _tip_slope(f, m, rig, s, system)
        for a in range(3):
            i = 3 * level + a
            x0, x1, x2 = s.axes[m - 1, a, 0], s.axes[m - 1, a, 1], s.axes[m - 1, a, 2]
            C[i, 0] = x1 * lever[2] - x2 * lever[1]
            C[i, 1] = x2 * lever[0] - x0 * lever[2]
            C[i, 2] = x0 * lever[1] - x1 * lever[0]
            if f >= 0:
                for r in range(3):
                    C[i, r] += slope[r, 0] * x0 + slope[r, 1] * x1 + slope[r, 2] * x2
    return 3 * levels


@_jit
def _assemble(rig, goal, target, s, system):
    """Gauss-Newton blocks at a posed hand: angles 0..8, base 9..14, gradient in row 15."""
    H, C = system.H, system.columns
    for b in range(5):
        for i in range(16):
            for c in range(16):
                H[b, i, c] = 0.0
    for k in range(rig.n_points):
        if goal.present[k] == 0:
            continue
        n = _point_columns(k, rig, s, system)
        # The base: dx = omega x d + v
        d0, d1, d2 = s.X[k, 0] - s.P[0, 0], s.X[k, 1] - s.P[0, 1], s.X[k, 2] - s.P[0, 2]
        for i in range(9, 15):
            for r in range(3):
                C[i, r] = 1.0 if i == 12 + r else 0.0
        C[9, 1], C[9, 2] = -d2, d1
        C[10, 0], C[10, 2] = d2, -d0
        C[11, 0], C[11, 1] = -d1, d0
        b = max(0, (rig.carrier[k] - 1) // 3)
        ww = goal.weight[k] ** 2
        e0, e1, e2 = s.X[k, 0] - goal.Y[k, 0], s.X[k, 1] - goal.Y[k, 1], s.X[k, 2] - goal.Y[k, 2]
        for i in range(15):
            if n <= i < 9:
                continue
            w0, w1, w2 = ww * C[i, 0], ww * C[i, 1], ww * C[i, 2]
            H[b, 15, i] += w0 * e0 + w1 * e1 + w2 * e2
            for c in range(min(n, i + 1)):
                H[b, i, c] += w0 * C[c, 0] + w1 * C[c, 1] + w2 * C[c, 2]
            for c in range(9, i + 1):
                H[b, i, c] += w0 * C[c, 0] + w1 * C[c, 1] + w2 * C[c, 2]
    for i in range(15):
        b = i // 3
        for a in range(3):
            n = 3 * (i % 3) + a
            angle = s.theta[i, a]
            x = _excess(angle, rig.limits[i, a, 0], rig.limits[i, a, 1])
            h = 0.0 if x == 0.0 else rig.limit_weight**2 * min(1.0, rig.limit_knee / abs(x))
            p = rig.prior_weight[i, a] ** 2
            d = angle - rig.prior_mean[i, a]
            if a == 0 and i % 3 == 2:
                c = rig.coupling[b]
                d -= c * s.theta[i - 1, 0]
                H[b, 15, 3] -= p * c * d
                H[b, 3, 3] += p * c * c
                H[b, 6, 3] -= p * c
            w = target.angle_weight[i, a] ** 2
            H[b, 15, n] += h * x + p * d + w * (angle - target.angles[i, a])
            H[b, n, n] += h + p + w
    if rig.has_target != 0:
        _orientation_error(target, s, system)
        e, D = system.axis_angle, system.blend
        w, v = target.orientation_weight**2, target.wrist_weight**2
        for r in range(3):
            H[0, 15, 12 + r] += v * (s.P[0, r] - target.wrist[r])
            H[0, 12 + r, 12 + r] += v
            for t in range(3):
                H[0, 15, 9 + r] += w * D[t, r] * e[t]
                for c in range(r + 1):
                    H[0, 9 + r, 9 + c] += w * D[t, r] * D[t, c]


@_jit
def _eliminate(system, damping):
    """Solve (H + damping diag H) step = -gradient; False if not positive definite.

    Block by block, the first nine columns of a Cholesky factorisation of 16 rows: F F^T = Hff on
    the diagonal, (F^-1 Hfb)^T and (F^-1 gf)^T below it, and in the last seven rows and columns that
    block's part of the base's Schur complement and gradient.
    """
    H, F, S = system.H, system.F, system.S
    for r in range(7):
        for c in range(7):
            S[r, c] = 0.0
    for b in range(5):
        for r in range(16):
            for c in range(min(r + 1, 15)):
                x = H[b, r, c]
                if r == c:
                    x += damping * x
                for m in range(min(c, 9)):
                    x -= F[b, r, m] * F[b, c, m]
                if c >= 9:
                    S[r - 9, c - 9] += x
                elif r == c:
                    if not x > 0.0:
                        return False
                    F[b, r, r] = np.sqrt(x)
                else:
                    F[b, r, c] = x / F[b, c, c]
    for r in range(7):
        for c in range(min(r + 1, 6)):
            x = S[r, c]
            for m in range(c):
                x -= S[r, m] * S[c, m]
            if r == c:
                if not x > 0.0:
                    return False
                S[r, r] = np.sqrt(x)
            else:
                S[r, c] = x / S[c, c]
    step = system.step_base
    for i in range(5, -1, -1):
        x = -S[6, i]
        for m in range(i + 1, 6):
            x -= S[m, i] * step[m]
        step[i] = x / S[i, i]
    for b in range(5):
        for i in range(8, -1, -1):
            x = -F[b, 15, i]
            for c in range(6):
                x -= F[b, 9 + c, i] * step[c]
            for m in range(i + 1, 9):
                x -= F[b, m, i] * system.step_angles[3 * b + m // 3, m % 3]
            system.step_angles[3 * b + i // 3, i % 3] = x / F[b, i, i]
    return True


@_jit
def _posterior_sigma(system, out, base_out):
    """Standard deviation of each angle and of the base, each over all else (Laplace).

    For an angle var_i = |F^-1 e_i|^2 + |S^-1 Z^T F^-1 e_i|^2, S being the complement's factor.
    """
    F, S, column, base = system.F, system.S, system.column, system.base
    for b in range(5):
        for i in range(9):
            variance = 0.0
            for m in range(i, 9):
                x = 1.0 if m == i else 0.0
                for t in range(i, m):
                    x -= F[b, m, t] * column[t]
                column[m] = x / F[b, m, m]
                variance += column[m] * column[m]
            for c in range(6):
                x = 0.0
                for m in range(i, 9):
                    x += F[b, 9 + c, m] * column[m]
                for t in range(c):
                    x -= S[c, t] * base[t]
                base[c] = x / S[c, c]
                variance += base[c] * base[c]
            out[3 * b + i // 3, i % 3] = np.sqrt(variance)
    for i in range(6):
        variance = 0.0
        for c in range(i, 6):
            x = 1.0 if c == i else 0.0
            for t in range(i, c):
                x -= S[c, t] * base[t]
            base[c] = x / S[c, c]
            variance += base[c] * base[c]
        base_out[i] = np.sqrt(variance)


@_jit
def _dominant_quaternion(system, scale, q):
    """Eigenvector of system.N (symmetric, entries about `scale`) to its largest eigenvalue.

    By Jacobi rotations, which destroy N.
    """
    N, V = system.N, system.V
    for i in range(4):
        for c in range(4):
            V[i, c] = 1.0 if i == c else 0.0
    for _ in range(12):
        off = 0.0
        for i in range(4):
            for c in range(i + 1, 4):
                off += N[i, c] * N[i, c]
                if abs(N[i, c]) < 1e-14 * scale:
                    continue
                t = (N[c, c] - N[i, i]) / (2 * N[i, c])
                t = (1.0 if t >= 0 else -1.0) / (abs(t) + np.sqrt(t * t + 1))
                cs = 1 / np.sqrt(t * t + 1)
                sn = t * cs
                for m in range(4):
                    x, y = N[m, i], N[m, c]
                    N[m, i], N[m, c] = cs * x - sn * y, sn * x + cs * y
                for m in range(4):
                    x, y = N[i, m], N[c, m]
                    N[i, m], N[c, m] = cs * x - sn * y, sn * x + cs * y
                    x, y = V[m, i], V[m, c]
                    V[m, i], V[m, c] = cs * x - sn * y, sn * x + cs * y
        if off < 1e-24 * scale * scale:
            break
    best = 0
    for i in range(1, 4):
        if N[i, i] > N[best, best]:
            best = i
    for m in range(4):
        q[m] = V[m, best]


@_jit
def _align(rig, goal, s, system):
    """Lay a model that is posed at the identity, its wrist at the origin, on the points.

    Least squares with system.align_weight; Horn 1987, by quaternions. Fills q and p.
    """
    mx, my, M, N = system.x_mean, system.y_mean, system.moment, system.N
    total = 0.0
    for r in range(3):
        mx[r] = my[r] = 0.0
    for k in range(rig.n_points):
        if goal.present[k] != 0:
            w = system.align_weight[k]
            total += w
            for r in range(3):
                mx[r] += w * s.X[k, r]
                my[r] += w * goal.Y[k, r]
    scale = 0.0
    for r in range(3):
        mx[r] /= total
        my[r] /= total
    for r in range(3):
        for c in range(3):
            x = 0.0
            for k in range(rig.n_points):
                if goal.present[k] != 0:
                    w = system.align_weight[k]
                    x += w * (s.X[k, r] - mx[r]) * (goal.Y[k, c] - my[c])
            M[r, c] = x
            scale = max(scale, abs(x))
    trace = M[0, 0] + M[1, 1] + M[2, 2]
    N[0, 0] = trace
    for r in range(3):
        u, v = (r + 1) % 3, (r + 2) % 3
        N[0, r + 1] = N[r + 1, 0] = M[u, v] - M[v, u]
        for c in range(3):
            N[r + 1, c + 1] = M[r, c] + M[c, r] - (trace if r == c else 0.0)
    _dominant_quaternion(system, scale, s.q)
    _base_rotation(s)
    for r in range(3):
        x = my[r]
        for c in range(3):
            x -= s.R[0, r, c] * mx[c]
        s.p[r] = s.P[0, r] = x


@_jit
def _aim_finger(block, rig, goal, s, lengths):
    """Angles of one finger, base to tip, from directions to the points that are there.

    Each joint is swung so that its bone points at the next landmark up the finger; where that is
    two or more bones away, the joint between is opened to the distance (law of cosines).
    """
    first = 3 * block + 1
    finger = FINGER_OF_BLOCK[block]
    theta, limits = s.theta, rig.limits
    for level in range(3):
        x = 0.0
        for r in range(3):
            end = goal.rest[first + level + 1, r] if level < 2 else goal.tip_rest[finger, r]
            x += (end - goal.rest[first + level, r]) ** 2
        lengths[level] = np.sqrt(x)
    for level in range(3):
        j = first + level
        i = j - 1
        parent = 0 if level == 0 else j - 1
        theta[i, 0] = rig.prior_mean[i, 0]
        if level == 2:
            theta[i, 0] += rig.coupling[block] * theta[i - 1, 0]
        _pose_joint(j, rig, goal.rest, s)
        k = -1
        target = level
        while k < 0 and target < 3:
            target += 1
            k = rig.finger_landmarks[block, target]
            if k >= 0 and goal.present[k] == 0:
                k = -1
        if k < 0:
            continue
        # A marker is taken back to its joint as if its carrier did not turn against this joint.
        # u is the direction in the anatomical frame, A^T R_parent^T d.
        u0 = u1 = u2 = 0.0
        for r in range(3):
            d = goal.Y[k, r] - s.P[j, r]
            for c in range(3):
                d -= s.R[parent, r, c] * rig.offset[k, c]
            for c in range(3):
                x = s.R[parent, r, c] * d
                u0 += rig.A[i, c, 0] * x
                u1 += rig.A[i, c, 1] * x
                u2 += rig.A[i, c, 2] * x
        length = np.sqrt(u0 * u0 + u1 * u1 + u2 * u2)
        if length < 1e-6:
            continue
        flexion = np.arctan2(-u1, u2)
        front = 0.0
        for t in range(level + 1, target):
            front += lengths[t]
        if front > 0.0:
            rear = lengths[level]
            cosine = (length * length - rear * rear - front * front) / (2 * rear * front)
            bend = np.arccos(min(1.0, max(-1.0, cosine)))
            flexion -= np.arctan2(front * np.sin(bend), rear + front * np.cos(bend))
        # Beyond this a direction is a fault of the points, and a bad place to start from.
        theta[i, 0] = min(limits[i, 0, 1] + 0.6, max(limits[i, 0, 0] - 1.2, flexion))
        abduction = np.arcsin(min(1.0, max(-1.0, u0 / length)))
        theta[i, 1] = min(limits[i, 1, 1], max(limits[i, 1, 0], abduction))
        _pose_joint(j, rig, goal.rest, s)


@_jit
def _start(which, rig, goal, s, system):
    """A pose to begin from, into the state's unknowns.

    0: palm on palm, fingers aimed. 1: a curled hand laid on all points. 2: an open one.
    """
    for i in range(15):
        for a in range(3):
            s.theta[i, a] = 0.0
        if which == 0:
            s.theta[i, 0] = rig.prior_mean[i, 0]
        elif which == 1:
            s.theta[i, 0] = _CURLED * rig.limits[i, 0, 1]
    for r in range(3):
        s.q[r + 1] = s.p[r] = 0.0
    s.q[0] = 1.0
    _forward(rig, goal, s)
    for k in range(rig.n_points):
        on_palm = rig.carrier[k] == 0 or (rig.carrier[k] % 3 == 1 and rig.at_joint[k] != 0)
        # The fingers' points weigh a little: they decide where the palm's alone lie on a line.
        system.align_weight[k] = rig.weight[k] * (1.0 if on_palm or which > 0 else 0.02)
    _align(rig, goal, s, system)
    if which == 0:
        for block in range(5):
            _aim_finger(block, rig, goal, s, system.lengths)


@_jit
def _take_step(s, system, out):
    """Unknowns of `out` = those of `s` moved by the system's step: q <- exp(omega) q."""
    step, q = system.step_base, s.q
    angle = np.sqrt(step[0] * step[0] + step[1] * step[1] + step[2] * step[2])
    # sin(angle/2)/angle, by its series where the quotient would lose digits
    f = np.sin(0.5 * angle) / angle if angle > 1e-6 else 0.5 - angle * angle / 48.0
    w, x, y, z = np.cos(0.5 * angle), f * step[0], f * step[1], f * step[2]
    out.q[0] = w * q[0] - x * q[1] - y * q[2] - z * q[3]
    out.q[1] = w * q[1] + x * q[0] + y * q[3] - z * q[2]
    out.q[2] = w * q[2] - x * q[3] + y * q[0] + z * q[1]
    out.q[3] = w * q[3] + x * q[2] - y * q[1] + z * q[0]
    norm = 0.0
    for m in range(4):
        norm += out.q[m] * out.q[m]
    norm = np.sqrt(norm)
    for m in range(4):
        out.q[m] /= norm
    for r in range(3):
        out.p[r] = s.p[r] + step[3 + r]
    for i in range(15):
        for a in range(3):
            out.theta[i, a] = s.theta[i, a] + system.step_angles[i, a]


@_jit
def _copy_unknowns(s, out):
    for m in range(4):
        out.q[m] = s.q[m]
    for r in range(3):
        out.p[r] = s.p[r]
    for i in range(15):
        for a in range(3):
            out.theta[i, a] = s.theta[i, a]


@_jit
def _loosen(factor, rig, goal):
    for k in range(rig.n_points):
        goal.weight[k] = rig.weight[k] / factor


@_jit
def _descend(rig, goal, target, start, spare, system):
    """Levenberg-Marquardt from `start`, which ends at the minimum; cost, iterations, status.

    It begins with the points as loose as `_ANNEAL_FROM` and tightens them tenfold at a time: with a
    sigma of micrometres the valley is so narrow that a straight step along it leaves it at once.
    """
    loose = 1.0
    for k in range(rig.n_points):
        loose = max(loose, _ANNEAL_FROM * rig.weight[k])
    _loosen(loose, rig, goal)
    state, trial = start, spare
    _forward(rig, goal, state)
    cost = _energy(rig, goal, target, state, system)
    damping = _INITIAL_DAMPING
    iterations = 0
    status = NOT_CONVERGED
    while iterations < rig.max_iterations and status == NOT_CONVERGED:
        iterations += 1
        _assemble(rig, goal, target, state, system)
        before = cost
        while True:
            moved = np.inf
            if _eliminate(system, damping):
                _take_step(state, system, trial)
                _forward(rig, goal, trial)
                moved = _energy(rig, goal, target, trial, system)
                # A tiny gain means the end only where the step was not held back.
                small = abs(moved - cost) <= _COST_TOLERANCE + _COST_TOLERANCE_RELATIVE * cost
                if small and (damping < 1.0 or moved >= cost):
                    status = CONVERGED
            if moved < cost:
                state, trial = trial, state
                cost = moved
                damping = max(damping * 0.1, 1e-12)
                break
            damping = max(damping * 10.0, 1e-8)
            if damping > 1e8:
                status = CONVERGED  # no step, however short, goes down any more
            if status == CONVERGED:
                break
        if loose > 1.0 and (status == CONVERGED or cost > 0.5 * before):
            loose = max(1.0, 0.1 * loose)
            _loosen(loose, rig, goal)
            cost = _energy(rig, goal, target, state, system)
            damping = _INITIAL_DAMPING
            status = NOT_CONVERGED
    _copy_unknowns(state, start)
    return cost, iterations, status


@_jit
def _too_few(rig, goal, system):
    """True unless there are three points that do not lie on a line. Fills align_weight."""
    n = 0
    mean, line = system.x_mean, system.y_mean
    for r in range(3):
        mean[r] = 0.0
    for k in range(rig.n_points):
        if goal.present[k] != 0:
            n += 1
            for r in range(3):
                mean[r] += goal.Y[k, r]
    # The farthest point from the mean gives a line; then the farthest from that line.
    longest = 0.0
    for k in range(rig.n_points):
        x = 0.0
        for r in range(3):
            x += (goal.Y[k, r] - mean[r] / n) ** 2
        if goal.present[k] != 0 and x > longest:
            longest = x
            for r in range(3):
                line[r] = goal.Y[k, r] - mean[r] / n
    spread = 0.0
    for k in range(rig.n_points):
        if goal.present[k] != 0:
            dot = square = 0.0
            for r in range(3):
                d = goal.Y[k, r] - mean[r] / n
                dot += d * line[r]
                square += d * d
            aside = square - dot * (dot / longest)
            if not aside <= spread:  # NaN, where numbers overflow, is no sign of a line
                spread = aside
    return n < 3 or longest <= 0.0 or spread <= MIN_SPREAD**2


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
def _axis_angle(w, x, y, z, out):
    """Axis-angle of a unit quaternion, angle in [0, pi]."""
    sin_half = np.sqrt(x * x + y * y + z * z)
    angle = 2.0 * np.arctan2(sin_half, abs(w))
    scale = angle / sin_half if sin_half > 1e-12 else 2.0
    if w < 0.0:
        scale = -scale
    out[0], out[1], out[2] = scale * x, scale * y, scale * z


@_jit
def _store_pose(rig, s, system, fitted):
    """Axis-angle of every rotation: three half-angle quaternions in each joint's own frame."""
    v = system.axis_angle
    _axis_angle(s.q[0], s.q[1], s.q[2], s.q[3], v)
    for r in range(3):
        fitted.pose[0, r] = v[r]
        fitted.wrist[r] = s.p[r]
    for i in range(15):
        c0, s0 = np.cos(0.5 * s.theta[i, 0]), np.sin(0.5 * s.theta[i, 0])
        c1, s1 = np.cos(0.5 * s.theta[i, 1]), np.sin(0.5 * s.theta[i, 1])
        c2, s2 = np.cos(0.5 * s.theta[i, 2]), np.sin(0.5 * s.theta[i, 2])
        w = c0 * c1 * c2 - s0 * s1 * s2
        x = s0 * c1 * c2 + c0 * s1 * s2
        y = c0 * s1 * c2 - s0 * c1 * s2
        z = c0 * c1 * s2 + s0 * s1 * c2
        _axis_angle(w, x, y, z, v)
        for r in range(3):
            fitted.angles[i, r] = s.theta[i, r]
            fitted.pose[i + 1, r] = (
                rig.A[i, r, 0] * v[0] + rig.A[i, r, 1] * v[1] + rig.A[i, r, 2] * v[2]
            )


@_jit
def _fit_hand(rig, goal, target, states, system, fitted):
    """Fit one hand: up to three starts, the cheapest end is kept."""
    state, spare, best = states[0], states[1], states[2]
    n_present = 0
    for k in range(rig.n_points):
        n_present += goal.present[k]
    fitted.iterations = 0
    fitted.status = TOO_FEW_POINTS
    if _too_few(rig, goal, system):
        return
    fitted.status = NOT_CONVERGED
    fitted.cost = np.inf
    for which in range(3):
        _start(which, rig, goal, state, system)
        cost, iterations, status = _descend(rig, goal, target, state, spare, system)
        fitted.iterations += iterations
        if cost < fitted.cost:
            fitted.cost = cost
            fitted.status = status
            _copy_unknowns(state, best)
        # The whole cost, not the points' alone: a finger turned about itself fits them too.
        if 2.0 * fitted.cost <= 3.0 * n_present * rig.restart:
            break
    if not fitted.cost < np.inf:
        # Overflow: no start has a cost, and `best` may hold another hand.
        fitted.status = FAILED
        fitted.cost = np.nan
        return
    _canonical_angles(best.theta)
    _forward(rig, goal, best)
    for k in range(rig.n_points):
        if goal.present[k] != 0:
            x = 0.0
            for r in range(3):
                x += (best.X[k, r] - goal.Y[k, r]) ** 2
            fitted.residual[k] = np.sqrt(x)
    _assemble(rig, goal, target, best, system)
    if _eliminate(system, 0.0):
        _posterior_sigma(system, fitted.sigma, fitted.base_sigma)
    _store_pose(rig, best, system, fitted)


@_jit
def solve_hands(
    rigs, points, present, shape_of, rest, tip_rest, targets, goals, states, systems, fitted
):
    """Fit every hand of a chunk into `fitted`, which comes in filled with NaN.

    rigs (1,) RIG; points (N, K, 3), finite; present (N, K) 0 or 1; shape_of (N,) the row of
    rest (S, 16, 3) and tip_rest (S, 5, 3);
    targets (N,) TARGET, or (1,) of weight 0; goals (1,), states (3,), systems (1,): workspace.
    """
    rig, goal, system = rigs[0], goals[0], systems[0]
    for h in range(points.shape[0]):
        for k in range(rig.n_points):
            for r in range(3):
                goal.Y[k, r] = points[h, k, r]
            goal.present[k] = present[h, k]
        for r in range(3):
            for j in range(16):
                goal.rest[j, r] = rest[shape_of[h], j, r]
            for f in range(5):
                goal.tip_rest[f, r] = tip_rest[shape_of[h], f, r]
        # Without targets there is one of weight 0 for all.
        target = targets[h if rig.has_target != 0 else 0]
        _fit_hand(rig, goal, target, states, system, fitted[h])
