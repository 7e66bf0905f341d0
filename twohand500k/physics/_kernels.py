"""Compiled parts of the repair: kinematics, rows of motion, and the small quadratic program.

A pair moves by a step of 102 numbers, 51 a hand: the wrist's translation (3, world), a rotation
vector about the wrist (3, world), and the increments of 15 x 3 anatomical angles. Everything here
is linear in that step, computed for one pair, without BLAS, whose bits depend on its build.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from twohand500k.conventions import MANO_PARENTS

Array = NDArray[np.float64]

DOF = 51
# Multipliers have settled when none moves its contact by more, metres.
_SETTLED = 1e-6
_PARENTS = np.array(MANO_PARENTS)
# ANCESTORS[j, i]: joint i is j or above it. What moves with joint i moves link j.
ANCESTORS = np.zeros((16, 16))
for _j in range(16):
    _i = _j
    while _i >= 0:
        ANCESTORS[_j, _i] = 1.0
        _i = _PARENTS[_i] if _i > 0 else -1


@njit(cache=True)
def forward(rest, A, R_world_wrist, wrist, angles, R, p, axes):
    """Frames of one hand's joints and the world axes of their angles, into R, p, axes.

    rest (16, 3); A (15, 3, 3) anatomical frames; angles (15, 3) rad. R (16, 3, 3), p (16, 3),
    axes (16, 3, 3): axes[j, k] turns joint j about its k-th angle.
    """
    for a in range(3):
        p[0, a] = wrist[a]
        for b in range(3):
            R[0, a, b] = R_world_wrist[a, b]
            axes[0, a, b] = 1.0 if a == b else 0.0
    B = np.empty((3, 3))
    E = np.empty((3, 3))
    BE = np.empty((3, 3))
    for j in range(1, 16):
        parent = _PARENTS[j]
        for a in range(3):
            for b in range(3):
                B[a, b] = 0.0
                for c in range(3):
                    B[a, b] += R[parent, a, c] * A[j - 1, c, b]
        c0, s0 = np.cos(angles[j - 1, 0]), np.sin(angles[j - 1, 0])
        c1, s1 = np.cos(angles[j - 1, 1]), np.sin(angles[j - 1, 1])
        c2, s2 = np.cos(angles[j - 1, 2]), np.sin(angles[j - 1, 2])
        E[0, 0], E[0, 1], E[0, 2] = c1 * c2, -c1 * s2, s1
        E[1, 0], E[1, 1], E[1, 2] = c0 * s2 + s0 * s1 * c2, c0 * c2 - s0 * s1 * s2, -s0 * c1
        E[2, 0], E[2, 1], E[2, 2] = s0 * s2 - c0 * s1 * c2, s0 * c2 + c0 * s1 * s2, c0 * c1
        for a in range(3):
            axes[j, 0, a] = B[a, 0]
            axes[j, 1, a] = c0 * B[a, 1] + s0 * B[a, 2]
            axes[j, 2, a] = s1 * B[a, 0] - s0 * c1 * B[a, 1] + c0 * c1 * B[a, 2]
            p[j, a] = p[parent, a]
            for b in range(3):
                p[j, a] += R[parent, a, b] * (rest[j, b] - rest[parent, b])
                BE[a, b] = 0.0
                for c in range(3):
                    BE[a, b] += B[a, c] * E[c, b]
        for a in range(3):
            for b in range(3):
                R[j, a, b] = 0.0
                for c in range(3):
                    R[j, a, b] += BE[a, c] * A[j - 1, b, c]


@njit(cache=True)
def motion_row(point, along, share, p, axes, sign, out):
    """How fast a point of a hand moves along a direction, added to out (51,) times sign.

    share (16,): how much of the point moves with every joint; the row of `ANCESTORS` for a rigid
    link, sums of skin weights for skin.
    """
    for j in range(16):
        if share[j] == 0.0:
            continue
        x, y, z = point[0] - p[j, 0], point[1] - p[j, 1], point[2] - p[j, 2]
        mx = y * along[2] - z * along[1]
        my = z * along[0] - x * along[2]
        mz = x * along[1] - y * along[0]
        for k in range(3):
            turn = axes[j, k, 0] * mx + axes[j, k, 1] * my + axes[j, k, 2] * mz
            out[3 + 3 * j + k] += sign * share[j] * turn
    for k in range(3):
        out[k] += sign * along[k]


@njit(cache=True)
def rows_of_contacts(point_a, point_b, normal, share_a, share_b, side_a, side_b, p, axes):
    """Rows (n, 102): how fast each contact opens, normal . (J_a step - J_b step).

    point_a, point_b, normal (n, 3); share_a, share_b (n, 16); side_a, side_b (n,): whose hand
    each point is on; p (2, 16, 3), axes (2, 16, 3, 3).
    """
    rows = np.zeros((len(normal), 2 * DOF))
    for i in range(len(normal)):
        for side, point, share, sign in (
            (side_a[i], point_a[i], share_a[i], 1.0),
            (side_b[i], point_b[i], share_b[i], -1.0),
        ):
            motion_row(
                point,
                normal[i],
                share,
                p[side],
                axes[side],
                sign,
                rows[i, side * DOF : (side + 1) * DOF],
            )
    return rows


@njit(cache=True)
def metric(points, carrier, target, weight, p, axes, angle_weight, angles, start, H, g):
    """Quadratic model of how far one hand is from where it was, into H (51, 51) and g (51,).

    sum_i weight_i |points_i + J_i step - target_i|^2 / 2 and the angles' own share
    sum_a angle_weight_a (angle_a + step_a - start_a)^2 / 2. points, target (n, 3); carrier (n,).
    """
    for a in range(DOF):
        g[a] = 0.0
        for b in range(DOF):
            H[a, b] = 0.0
    J = np.zeros((3, DOF))
    used = np.empty(DOF, dtype=np.int64)
    for i in range(len(points)):
        count = 3
        for k in range(3):
            used[k] = k
            for c in range(3):
                J[c, k] = 1.0 if c == k else 0.0
        for j in range(16):
            if ANCESTORS[carrier[i], j] == 0.0:
                continue
            r = points[i] - p[j]
            for k in range(3):
                a = axes[j, k]
                column = 3 + 3 * j + k
                J[0, column] = a[1] * r[2] - a[2] * r[1]
                J[1, column] = a[2] * r[0] - a[0] * r[2]
                J[2, column] = a[0] * r[1] - a[1] * r[0]
                used[count] = column
                count += 1
        for x in range(count):
            a = used[x]
            for c in range(3):
                g[a] += weight[i] * J[c, a] * (points[i, c] - target[i, c])
            for y in range(x + 1):
                b = used[y]
                total = J[0, a] * J[0, b] + J[1, a] * J[1, b] + J[2, a] * J[2, b]
                H[a, b] += weight[i] * total
    for a in range(DOF):
        for b in range(a):
            total = H[a, b] + H[b, a]
            H[a, b] = H[b, a] = total
    for j in range(15):
        for k in range(3):
            H[6 + 3 * j + k, 6 + 3 * j + k] += angle_weight[j, k]
            g[6 + 3 * j + k] += angle_weight[j, k] * (angles[j, k] - start[j, k])


@njit(cache=True)
def invert(H):
    """H (n, n), positive definite, becomes its inverse (Gauss-Jordan, row by row)."""
    n = len(H)
    for k in range(n):
        pivot = 1.0 / H[k, k]
        row = H[k]
        row[k] = 1.0
        for b in range(n):
            row[b] *= pivot
        for a in range(n):
            if a == k:
                continue
            share = H[a, k]
            other = H[a]
            other[k] = 0.0
            for b in range(n):
                other[b] -= share * row[b]


@njit(cache=True)
def solve(inverse, g, rows, least, softness, sweeps, step):
    """The step that moves least and keeps every row: rows @ step >= least, softly.

    inverse (2, 51, 51) of both hands' metrics, g (2, 51) their gradients; rows (m, 102),
    least (m,). A row may be missed by softness (m,) times its own flexibility times its multiplier,
    so that rows that contradict each other share the miss. Gauss-Seidel on the dual (Hildreth,
    A quadratic programming procedure, 1957). Returns the multipliers (m,); fills step (102,).
    """
    m = len(rows)
    moved = np.zeros((m, 2 * DOF))
    step[:] = 0.0
    for s in range(2):
        part = step[s * DOF : (s + 1) * DOF]
        for a in range(DOF):
            column, share = inverse[s, a], -g[s, a]
            for b in range(DOF):
                part[b] += share * column[b]
        for i in range(m):
            part = moved[i, s * DOF : (s + 1) * DOF]
            for a in range(DOF):
                share = rows[i, s * DOF + a]
                if share == 0.0:
                    continue
                column = inverse[s, a]
                for b in range(DOF):
                    part[b] += share * column[b]
    # gram[i, j]: how much row j opens when row i is pushed with one unit.
    gram = np.zeros((m, m))
    columns = rows.T.copy()
    missing = least.copy()
    for i in range(m):
        effect = gram[i]
        for a in range(2 * DOF):
            share = moved[i, a]
            if share == 0.0:
                continue
            column = columns[a]
            for j in range(m):
                effect[j] += share * column[j]
        for a in range(2 * DOF):
            missing[i] -= rows[i, a] * step[a]
    multiplier = np.zeros(m)
    for _ in range(sweeps):
        largest = 0.0
        for i in range(m):
            scale = gram[i, i]
            if scale <= 0.0:
                continue
            soft = softness[i] * scale
            change = (missing[i] - soft * multiplier[i]) / (scale + soft)
            if multiplier[i] + change < 0.0:
                change = -multiplier[i]
            if change == 0.0:
                continue
            multiplier[i] += change
            effect = gram[i]
            for j in range(m):
                missing[j] -= change * effect[j]
            largest = max(largest, abs(change) * scale)
        if largest < _SETTLED:
            break
    for i in range(m):
        if multiplier[i] != 0.0:
            for a in range(2 * DOF):
                step[a] += multiplier[i] * moved[i, a]
    return multiplier
