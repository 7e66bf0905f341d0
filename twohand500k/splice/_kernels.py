"""Compiled geometry of one pair of hands: skin, capsules, skin against skin, one rigid step.

One hand at a time and in plain loops, so that a result does not depend, to the last bit, on what
else is in the batch. The right hand stands still with its wrist in the origin; the left hand is
placed by x_right = R x_left + t. Metres. Numba, never fastmath.
"""

from typing import Any

import numpy as np
from numba import njit

from twohand500k.conventions import JOINT_PARENTS, MANO_PARENTS, OPENPOSE_FROM_MANO21, TIP_JOINTS
from twohand500k.hand.capsules import PHALANGES, one_segment_distance

_PARENTS = np.array(MANO_PARENTS)
_OPENPOSE = np.array(OPENPOSE_FROM_MANO21)
_BONE_PARENT = np.array(JOINT_PARENTS)
_IS_PHALANX = np.isin(np.arange(21), PHALANGES)
_IS_TIP = np.isin(np.arange(21), TIP_JOINTS)
# Vertices of two skins further apart than this are nobody's neighbours, m. Overlap that deep is
# hopeless, and a gap that wide is no contact.
CUTOFF_M = 0.015


# For what compiled code alone calls: without the entries from Python, whose compilation costs more
# than the functions.
_OPTIONS: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
# Not cached one by one either: see `_search._entries`.
inner = njit(error_model="numpy", **_OPTIONS)


@inner
def rotation(axis_angle, R):
    """Rodrigues' formula, axis-angle (3,) to R (3, 3), written into R."""
    x, y, z = axis_angle[0], axis_angle[1], axis_angle[2]
    angle_sq = x * x + y * y + z * z
    if angle_sq < 1e-16:
        s, c = 1.0, 0.5
    else:
        angle = np.sqrt(angle_sq)
        s, c = np.sin(angle) / angle, (1.0 - np.cos(angle)) / angle_sq
    R[0, 0], R[0, 1], R[0, 2] = 1 - c * (y * y + z * z), c * x * y - s * z, c * x * z + s * y
    R[1, 0], R[1, 1], R[1, 2] = c * x * y + s * z, 1 - c * (x * x + z * z), c * y * z - s * x
    R[2, 0], R[2, 1], R[2, 2] = c * x * z - s * y, c * y * z + s * x, 1 - c * (x * x + y * y)


@inner
def pose_hand(skinning, pose, betas, transl, skin, joints):
    """Skin (V, 3) and 21 joints of one hand, written into the last two; MANO's equations.

    pose (16, 3) rad, betas (10,), transl (3,) m. `skin` of length 0: the joints alone are wanted.
    """
    G, origin, rest = np.empty((16, 3, 3)), np.empty((16, 3)), np.empty((16, 3))
    local, feature = np.empty((3, 3)), np.empty(135)
    for j in range(16):
        for r in range(3):
            rest[j, r] = skinning.J_template[j, r]
            for m in range(10):
                rest[j, r] += skinning.J_shapedirs[j, r, m] * betas[m]
        rotation(pose[j], local)
        if j == 0:
            for r in range(3):
                origin[0, r] = rest[0, r] + transl[r]
                for c in range(3):
                    G[0, r, c] = local[r, c]
            continue
        p = _PARENTS[j]
        for r in range(3):
            origin[j, r] = origin[p, r]
            for c in range(3):
                feature[9 * j - 9 + 3 * r + c] = local[r, c] - (1.0 if r == c else 0.0)
                origin[j, r] += G[p, r, c] * (rest[j, c] - rest[p, c])
                G[j, r, c] = 0.0
                for k in range(3):
                    G[j, r, c] += G[p, r, k] * local[k, c]
    offset = np.empty((16, 3))
    for j in range(16):
        for r in range(3):
            offset[j, r] = origin[j, r]
            for c in range(3):
                offset[j, r] -= G[j, r, c] * rest[j, c]
    q = np.empty(3)
    if len(skin):
        flat = skinning.v_template.copy()
        for m in range(10):
            for k in range(len(flat)):
                flat[k] += skinning.shapedirs[m, k] * betas[m]
        for m in range(135):
            for k in range(len(flat)):
                flat[k] += skinning.posedirs[m, k] * feature[m]
        for v in range(len(skin)):
            for r in range(3):
                q[r] = flat[3 * v + r]
            _blend(skinning, v, q, G, offset, skin, v)
    tip = np.empty((5, 3))
    for k in range(5):
        v = skinning.tips[k]
        if len(skin):
            for r in range(3):
                tip[k, r] = skin[v, r]
            continue
        for r in range(3):
            q[r] = skinning.v_template[3 * v + r]
            for m in range(10):
                q[r] += skinning.shapedirs[m, 3 * v + r] * betas[m]
            for m in range(135):
                q[r] += skinning.posedirs[m, 3 * v + r] * feature[m]
        _blend(skinning, v, q, G, offset, tip, k)
    for k in range(21):
        source = _OPENPOSE[k]
        for r in range(3):
            joints[k, r] = origin[source, r] if source < 16 else tip[source - 16, r]


@inner
def _blend(skinning, v, q, G, offset, out, row):
    for r in range(3):
        out[row, r] = 0.0
    for at in range(skinning.joints.start[v], skinning.joints.start[v + 1]):
        j, w = skinning.joints.item[at], skinning.weight[at]
        for r in range(3):
            out[row, r] += w * (
                G[j, r, 0] * q[0] + G[j, r, 1] * q[1] + G[j, r, 2] * q[2] + offset[j, r]
            )


@inner
def vertex_normals(faces, skin, normals):
    """Outward unit normals (V, 3) of a closed skin, faces weighted by area, into `normals`."""
    for v in range(len(normals)):
        normals[v, 0] = normals[v, 1] = normals[v, 2] = 0.0
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        x0, y0, z0 = skin[b, 0] - skin[a, 0], skin[b, 1] - skin[a, 1], skin[b, 2] - skin[a, 2]
        x1, y1, z1 = skin[c, 0] - skin[a, 0], skin[c, 1] - skin[a, 1], skin[c, 2] - skin[a, 2]
        x, y, z = y0 * z1 - z0 * y1, z0 * x1 - x0 * z1, x0 * y1 - y0 * x1
        for k in range(3):
            v = faces[f, k]
            normals[v, 0] += x
            normals[v, 1] += y
            normals[v, 2] += z
    for v in range(len(normals)):
        x, y, z = normals[v, 0], normals[v, 1], normals[v, 2]
        length = max(np.sqrt(x * x + y * y + z * z), 1e-30)
        for r in range(3):
            normals[v, r] /= length


@inner
def bone_capsules(bones, skin, joints, radius, ends):
    """Radius (20,) and ends (20, 2, 3) of a posed hand's bone capsules, into the last two.

    As `hand.capsules`, on the posed skin: mean distance of a phalanx's own skin; for palm bones the
    skin nearest to the bone's middle. A tip's capsule stops where its cap touches the fingertip.
    """
    point = np.empty(3)
    for b in range(20):
        bone, parent = b + 1, _BONE_PARENT[b + 1]
        if _IS_PHALANX[bone]:
            total, n = 0.0, 0
            for at in range(bones.start[b], bones.start[b + 1]):
                v = skin[bones.item[at]]
                total += one_segment_distance(joints[parent], joints[bone], v, v)
                n += 1
            radius[b] = total / n
        else:
            total = 0.0
            for k in range(5):
                share = 0.4 + 0.1 * k
                for r in range(3):
                    point[r] = joints[parent, r] + share * (joints[bone, r] - joints[parent, r])
                nearest = np.inf
                for v in range(len(skin)):
                    d = 0.0
                    for r in range(3):
                        d += (skin[v, r] - point[r]) ** 2
                    nearest = min(nearest, d)
                total += np.sqrt(nearest)
            radius[b] = total / 5
        length = 0.0
        for r in range(3):
            ends[b, 0, r], ends[b, 1, r] = joints[parent, r], joints[bone, r]
            length += (joints[bone, r] - joints[parent, r]) ** 2
        if _IS_TIP[bone]:
            share = min(radius[b] / max(np.sqrt(length), 1e-9), 1.0)
            for r in range(3):
                ends[b, 1, r] -= share * (joints[bone, r] - joints[parent, r])


@inner
def placed(points, R, t, out):
    """x_right = R x_left + t for points (n, 3), written into the last."""
    for n in range(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        for r in range(3):
            out[n, r] = R[r, 0] * x + R[r, 1] * y + R[r, 2] * z + t[r]


@inner
def patch_boxes(patches, skin, boxes):
    """Bounds (patches, 2, 3) of every patch of skin, written into the last."""
    for p in range(len(boxes)):
        for r in range(3):
            low, high = np.inf, -np.inf
            for at in range(patches.start[p], patches.start[p + 1]):
                x = skin[patches.item[at], r]
                low, high = min(low, x), max(high, x)
            boxes[p, 0, r], boxes[p, 1, r] = low, high


@inner
def nearest_vertices(patches_a, skin_a, boxes_a, patches_b, skin_b, boxes_b, a_to_b, b_to_a):
    """Nearest vertex of the other skin within CUTOFF_M, -1 where none: (V,) each way.

    Patches whose boxes lie further apart than CUTOFF_M are not looked into.
    """
    far = CUTOFF_M * CUTOFF_M
    best_a, best_b = np.full(len(skin_a), far), np.full(len(skin_b), far)
    for v in range(len(a_to_b)):
        a_to_b[v] = -1
    for v in range(len(b_to_a)):
        b_to_a[v] = -1
    for p in range(len(boxes_a)):
        for q in range(len(boxes_b)):
            gap = 0.0
            for r in range(3):
                g = max(boxes_a[p, 0, r] - boxes_b[q, 1, r], boxes_b[q, 0, r] - boxes_a[p, 1, r])
                if g > 0.0:
                    gap += g * g
            if gap > far:
                continue
            for i in range(patches_a.start[p], patches_a.start[p + 1]):
                a = patches_a.item[i]
                x, y, z = skin_a[a, 0], skin_a[a, 1], skin_a[a, 2]
                for j in range(patches_b.start[q], patches_b.start[q + 1]):
                    b = patches_b.item[j]
                    dx, dy, dz = x - skin_b[b, 0], y - skin_b[b, 1], z - skin_b[b, 2]
                    d = dx * dx + dy * dy + dz * dz
                    if d < best_a[a]:
                        best_a[a], a_to_b[a] = d, b
                    if d < best_b[b]:
                        best_b[b], b_to_a[b] = d, a


@inner
def closest_on_triangle(p, a, b, c, bary):
    """Closest point of a triangle, its barycentric coordinates into `bary`; returns distance^2.

    Ericson, Real-Time Collision Detection, 2005, 5.1.5.
    """
    d1 = d2 = d3 = d4 = d5 = d6 = 0.0
    for r in range(3):
        ab, ac = b[r] - a[r], c[r] - a[r]
        d1 += ab * (p[r] - a[r])
        d2 += ac * (p[r] - a[r])
        d3 += ab * (p[r] - b[r])
        d4 += ac * (p[r] - b[r])
        d5 += ab * (p[r] - c[r])
        d6 += ac * (p[r] - c[r])
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    if d1 <= 0.0 and d2 <= 0.0:
        bary[0], bary[1], bary[2] = 1.0, 0.0, 0.0
    elif d3 >= 0.0 and d4 <= d3:
        bary[0], bary[1], bary[2] = 0.0, 1.0, 0.0
    elif vc <= 0.0 and d1 >= 0.0 and d3 <= 0.0:
        v = d1 / (d1 - d3)
        bary[0], bary[1], bary[2] = 1.0 - v, v, 0.0
    elif d6 >= 0.0 and d5 <= d6:
        bary[0], bary[1], bary[2] = 0.0, 0.0, 1.0
    elif vb <= 0.0 and d2 >= 0.0 and d6 <= 0.0:
        w = d2 / (d2 - d6)
        bary[0], bary[1], bary[2] = 1.0 - w, 0.0, w
    elif va <= 0.0 and d4 - d3 >= 0.0 and d5 - d6 >= 0.0:
        w = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        bary[0], bary[1], bary[2] = 0.0, 1.0 - w, w
    else:
        total = va + vb + vc
        if total > 1e-30:
            bary[1], bary[2] = vb / total, vc / total
            bary[0] = 1.0 - bary[1] - bary[2]
        else:
            bary[0], bary[1], bary[2] = 1.0, 0.0, 0.0
    d = 0.0
    for r in range(3):
        d += (p[r] - bary[0] * a[r] - bary[1] * b[r] - bary[2] * c[r]) ** 2
    return d


@inner
def signed_distances(skin, near, faces, rings, other, normals, distance):
    """Signed distance (V,) of a skin's vertices to the other skin, negative inside, written last.

    To the faces about the nearest vertex `near`; infinite where there is none. So the size is never
    less than the true distance. The sign is that of the normal blended over the closest face.
    """
    bary, best_bary = np.empty(3), np.empty(3)
    for v in range(len(skin)):
        if near[v] < 0:
            distance[v] = np.inf
            continue
        best, best_face = np.inf, -1
        for at in range(rings.start[near[v]], rings.start[near[v] + 1]):
            f = rings.item[at]
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            d = closest_on_triangle(skin[v], other[a], other[b], other[c], bary)
            if d < best:
                best, best_face = d, f
                best_bary[0], best_bary[1], best_bary[2] = bary[0], bary[1], bary[2]
        side = 0.0
        for r in range(3):
            closest = normal = 0.0
            for k in range(3):
                corner = faces[best_face, k]
                closest += best_bary[k] * other[corner, r]
                normal += best_bary[k] * normals[corner, r]
            side += normal * (skin[v, r] - closest)
        distance[v] = -np.sqrt(best) if side < 0.0 else np.sqrt(best)


@inner
def skin_distance(faces_a, skin_a, faces_b, skin_b, within):
    """Smallest distance of two closed skins, 0 where they cut each other; `within` if it is more.

    Exact: over all pairs of faces whose boxes come within `within`, every corner against the other
    face and every edge against every edge.
    """
    near_a = _faces_near(faces_a, skin_a, skin_b, within)
    near_b = _faces_near(faces_b, skin_b, skin_a, within)
    box_a, box_b = _face_boxes(faces_a, skin_a, near_a), _face_boxes(faces_b, skin_b, near_b)
    bary = np.empty(3)
    best = within
    for i in range(len(near_a)):
        f = faces_a[near_a[i]]
        for j in range(len(near_b)):
            gap = 0.0
            for r in range(3):
                d = max(box_a[i, 0, r] - box_b[j, 1, r], box_b[j, 0, r] - box_a[i, 1, r], 0.0)
                gap += d * d
            if gap > best * best:
                continue
            g = faces_b[near_b[j]]
            for k in range(3):
                a0, a1 = skin_a[f[k]], skin_a[f[(k + 1) % 3]]
                b0, b1 = skin_b[g[k]], skin_b[g[(k + 1) % 3]]
                if _cuts(a0, a1, skin_b[g[0]], skin_b[g[1]], skin_b[g[2]]) or _cuts(
                    b0, b1, skin_a[f[0]], skin_a[f[1]], skin_a[f[2]]
                ):
                    return 0.0
                d = closest_on_triangle(a0, skin_b[g[0]], skin_b[g[1]], skin_b[g[2]], bary)
                best = min(best, np.sqrt(d))
                d = closest_on_triangle(b0, skin_a[f[0]], skin_a[f[1]], skin_a[f[2]], bary)
                best = min(best, np.sqrt(d))
                for m in range(3):
                    c0, c1 = skin_b[g[m]], skin_b[g[(m + 1) % 3]]
                    best = min(best, one_segment_distance(a0, a1, c0, c1))
    return best


@inner
def _faces_near(faces, skin, other, within):
    """Faces whose boxes come within `within` of the other skin's box."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for v in range(len(other)):
        for r in range(3):
            low[r], high[r] = min(low[r], other[v, r]), max(high[r], other[v, r])
    out, n = np.empty(len(faces), dtype=np.int64), 0
    for f in range(len(faces)):
        near = True
        for r in range(3):
            x, y, z = skin[faces[f, 0], r], skin[faces[f, 1], r], skin[faces[f, 2], r]
            near = near and min(x, y, z) - high[r] <= within and low[r] - max(x, y, z) <= within
        if near:
            out[n] = f
            n += 1
    return out[:n].copy()


@inner
def _face_boxes(faces, skin, chosen):
    """Bounds (n, 2, 3) of chosen faces."""
    box = np.empty((len(chosen), 2, 3))
    for n in range(len(chosen)):
        for r in range(3):
            x, y, z = (
                skin[faces[chosen[n], 0], r],
                skin[faces[chosen[n], 1], r],
                skin[faces[chosen[n], 2], r],
            )
            box[n, 0, r], box[n, 1, r] = min(x, y, z), max(x, y, z)
    return box


@inner
def _cuts(p, q, a, b, c):
    """Whether the segment p-q passes through a triangle (Moeller and Trumbore 1997)."""
    dx, dy, dz = q[0] - p[0], q[1] - p[1], q[2] - p[2]
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    hx, hy, hz = dy * vz - dz * vy, dz * vx - dx * vz, dx * vy - dy * vx
    det = ux * hx + uy * hy + uz * hz
    if abs(det) < 1e-18:
        return False
    sx, sy, sz = p[0] - a[0], p[1] - a[1], p[2] - a[2]
    u = (sx * hx + sy * hy + sz * hz) / det
    if u < 0.0 or u > 1.0:
        return False
    kx, ky, kz = sy * uz - sz * uy, sz * ux - sx * uz, sx * uy - sy * ux
    v = (dx * kx + dy * ky + dz * kz) / det
    if v < 0.0 or u + v > 1.0:
        return False
    along = (vx * kx + vy * ky + vz * kz) / det
    return 0.0 <= along <= 1.0


@inner
def region_distance(tables_a, skin_a, region_a, tables_b, skin_b, region_b):
    """(distance m, vertex of a, vertex of b): how near skin of one region comes to the other's.

    The nearest two vertices of the regions, and from both the faces about them: never less than the
    true distance.
    """
    best, at_a, at_b = np.inf, -1, -1
    for i in range(
        tables_a.region_vertices.start[region_a], tables_a.region_vertices.start[region_a + 1]
    ):
        a = tables_a.region_vertices.item[i]
        x, y, z = skin_a[a, 0], skin_a[a, 1], skin_a[a, 2]
        for j in range(
            tables_b.region_vertices.start[region_b], tables_b.region_vertices.start[region_b + 1]
        ):
            b = tables_b.region_vertices.item[j]
            dx, dy, dz = x - skin_b[b, 0], y - skin_b[b, 1], z - skin_b[b, 2]
            d = dx * dx + dy * dy + dz * dz
            if d < best:
                best, at_a, at_b = d, a, b
    bary = np.empty(3)
    for i in range(tables_b.rings.start[at_b], tables_b.rings.start[at_b + 1]):
        f = tables_b.faces[tables_b.rings.item[i]]
        d = closest_on_triangle(skin_a[at_a], skin_b[f[0]], skin_b[f[1]], skin_b[f[2]], bary)
        best = min(best, d)
    for i in range(tables_a.rings.start[at_a], tables_a.rings.start[at_a + 1]):
        f = tables_a.faces[tables_a.rings.item[i]]
        d = closest_on_triangle(skin_b[at_b], skin_a[f[0]], skin_a[f[1]], skin_a[f[2]], bary)
        best = min(best, d)
    return np.sqrt(best), at_a, at_b


# Overlap that the step leaves alone, m: less than the error of a vertex's plane on a fingertip.
_SLACK_M = 0.0005
# The contact meant counts as so many vertices across its normal, along it as many times _ALONG.
_CONTACT_VERTICES = 12.0
_ALONG = 0.05
# What holds the hand where it was put, in vertices: a step, and a turn at a lever of 5 cm.
_HOLD = 1.5
_LEVER_M = 0.05


@inner
def separate_step(skin_a, normals_a, a_to_b, skin_b, normals_b, b_to_a, at_a, at_b, standoff, step):
    """One Gauss-Newton step (6,) of hand b, turn about the contact point and move, into `step`.

    Every vertex inside the other skin (by the plane at its nearest vertex) is to come out along
    that plane's normal; the points meant to touch, at_a and at_b, are to stand `standoff` apart
    along the normal. Returns the deepest overlap seen, m.
    """
    H, g = np.zeros((6, 6)), np.zeros(6)
    row, n, x = np.empty(6), np.empty(3), np.empty(3)
    pivot = skin_b[at_b].copy()
    deepest = 0.0
    for v in range(len(skin_a) + len(skin_b)):
        if v < len(skin_a):
            w = a_to_b[v]
            if w < 0:
                continue
            # A vertex of a inside b: b has to move against its own normal there.
            for r in range(3):
                n[r], x[r] = -normals_b[w, r], skin_b[w, r]
            depth = 0.0
            for r in range(3):
                depth -= normals_b[w, r] * (skin_a[v, r] - skin_b[w, r])
        else:
            w = b_to_a[v - len(skin_a)]
            if w < 0:
                continue
            for r in range(3):
                n[r], x[r] = normals_a[w, r], skin_b[v - len(skin_a), r]
            depth = 0.0
            for r in range(3):
                depth -= n[r] * (x[r] - skin_a[w, r])
        if depth <= _SLACK_M:
            continue
        deepest = max(deepest, depth)
        _row_of(n, x, pivot, row)
        _add_row(H, g, row, depth - _SLACK_M, 1.0)
    for r in range(3):
        n[r] = normals_a[at_a, r] - normals_b[at_b, r]
    length = max(np.sqrt(n[0] ** 2 + n[1] ** 2 + n[2] ** 2), 1e-9)
    gap = 0.0
    for r in range(3):
        n[r] /= length
        gap += n[r] * (skin_b[at_b, r] - skin_a[at_a, r])
    _row_of(n, pivot, pivot, row)
    _add_row(H, g, row, standoff - gap, _CONTACT_VERTICES)
    for r in range(3):
        for k in range(6):
            row[k] = 0.0
        row[3 + r] = 1.0
        along = skin_a[at_a, r] - skin_b[at_b, r] + n[r] * gap
        _add_row(H, g, row, along, _CONTACT_VERTICES * _ALONG)
        H[r, r] += _HOLD * _LEVER_M**2
        H[3 + r, 3 + r] += _HOLD
    _solve6(H, g, step)
    return deepest


@inner
def _row_of(n, x, pivot, row):
    """d(n . x) for a turn about the pivot and a move."""
    dx, dy, dz = x[0] - pivot[0], x[1] - pivot[1], x[2] - pivot[2]
    row[0], row[1], row[2] = dy * n[2] - dz * n[1], dz * n[0] - dx * n[2], dx * n[1] - dy * n[0]
    row[3], row[4], row[5] = n[0], n[1], n[2]


@inner
def _add_row(H, g, row, wanted, weight):
    for r in range(6):
        g[r] += weight * row[r] * wanted
        for c in range(6):
            H[r, c] += weight * row[r] * row[c]


@inner
def _solve6(H, g, out):
    """H out = g by Cholesky; H is positive definite through its hold."""
    L = np.zeros((6, 6))
    for i in range(6):
        for j in range(i + 1):
            total = H[i, j]
            for k in range(j):
                total -= L[i, k] * L[j, k]
            L[i, j] = np.sqrt(max(total, 1e-18)) if i == j else total / L[j, j]
    for i in range(6):
        total = g[i]
        for k in range(i):
            total -= L[i, k] * out[k]
        out[i] = total / L[i, i]
    for i in range(5, -1, -1):
        total = out[i]
        for k in range(i + 1, 6):
            total -= L[k, i] * out[k]
        out[i] = total / L[i, i]


@inner
def apply_step(step, pivot, R, t):
    """Turn and move a placement, R and t read and written: x -> exp(w)(x - pivot) + pivot + v."""
    W, R_new, t_new = np.empty((3, 3)), np.empty((3, 3)), np.empty(3)
    rotation(step[:3], W)
    for r in range(3):
        t_new[r] = pivot[r] + step[3 + r]
        for c in range(3):
            t_new[r] += W[r, c] * (t[c] - pivot[c])
            R_new[r, c] = 0.0
            for k in range(3):
                R_new[r, c] += W[r, k] * R[k, c]
    for r in range(3):
        t[r] = t_new[r]
        for c in range(3):
            R[r, c] = R_new[r, c]


@inner
def _middles(ends):
    """Middle and half length (20, 4) of every bone: what tells most pairs of bones apart."""
    middle = np.empty((20, 4))
    for bone in range(20):
        half = 0.0
        for r in range(3):
            middle[bone, r] = 0.5 * (ends[bone, 0, r] + ends[bone, 1, r])
            half += (ends[bone, 1, r] - middle[bone, r]) ** 2
        middle[bone, 3] = np.sqrt(half)
    return middle


@inner
def _surely_apart(a, b, distance):
    """Whether two bones, rows of `_middles`, lie at least so far apart; False: they may not."""
    reach = distance + a[3] + b[3]
    dx, dy, dz = a[0] - b[0], a[1] - b[1], a[2] - b[2]
    return dx * dx + dy * dy + dz * dz >= reach * reach


@inner
def hopeless(ends_a, radius_a, ends_b, radius_b, too_deep, core):
    """Whether two hands overlap beyond what small steps can put right.

    Two capsules overlap by more than too_deep, or two bones come nearer than `core` of the sum of
    their radii: one finger runs through another, and there is no telling which way out.
    """
    middle_a, middle_b = _middles(ends_a), _middles(ends_b)
    for i in range(20):
        for j in range(20):
            both = radius_a[i] + radius_b[j]
            least = max(core * both, both - too_deep)
            if _surely_apart(middle_a[i], middle_b[j], least):
                continue
            d = one_segment_distance(ends_a[i, 0], ends_a[i, 1], ends_b[j, 0], ends_b[j, 1])
            if d < least:
                return True
    return False


@inner
def capsule_overlap(ends_a, radius_a, ends_b, radius_b, enough):
    """Sum of squares of the overlaps of two hands' bone capsules, m2; given up above `enough`."""
    middle_a, middle_b = _middles(ends_a), _middles(ends_b)
    total = 0.0
    for i in range(20):
        for j in range(20):
            both = radius_a[i] + radius_b[j]
            if _surely_apart(middle_a[i], middle_b[j], both):
                continue
            d = one_segment_distance(ends_a[i, 0], ends_a[i, 1], ends_b[j, 0], ends_b[j, 1])
            total += max(both - d, 0.0) ** 2
        if total > enough:
            return total
    return total


# Bones whose skins come this near count as close, m.
_CLOSE_M = 0.02


@inner
def capsule_closeness(ends_a, radius_a, ends_b, radius_b):
    """How much of two hands lies near each other: over pairs of bones, near skins times girth.

    Full where two capsules touch or overlap, nothing at a gap of _CLOSE_M; m.
    """
    middle_a, middle_b = _middles(ends_a), _middles(ends_b)
    total = 0.0
    for i in range(20):
        for j in range(20):
            both = radius_a[i] + radius_b[j]
            if _surely_apart(middle_a[i], middle_b[j], both + _CLOSE_M):
                continue
            d = one_segment_distance(ends_a[i, 0], ends_a[i, 1], ends_b[j, 0], ends_b[j, 1])
            total += both * min(max(1.0 - (d - both) / _CLOSE_M, 0.0), 1.0)
    return total


# A region is free if from this share of its places a stick along the normal, between these heights
# above the skin, keeps this much clear of the hand's own bones (beyond their radii).
_FREE_SHARE, _STICK_M, _ROOM_M = 0.4, (0.010, 0.030), 0.003
_PROBES = 8


@inner
def exposed(tables, skin, normals, ends, radius, region):
    """Whether another hand can come at a region: not a palm in its own fist."""
    first, last = tables.region_vertices.start[region], tables.region_vertices.start[region + 1]
    stride = max((last - first) // _PROBES, 1)
    low, high = np.empty(3), np.empty(3)
    free, asked = 0, 0
    for at in range(first, last, stride):
        v = tables.region_vertices.item[at]
        for r in range(3):
            low[r] = skin[v, r] + _STICK_M[0] * normals[v, r]
            high[r] = skin[v, r] + _STICK_M[1] * normals[v, r]
        clear = True
        for bone in range(20):
            d = one_segment_distance(low, high, ends[bone, 0], ends[bone, 1])
            if d < radius[bone] + _ROOM_M:
                clear = False
                break
        asked += 1
        free += clear
    return free >= _FREE_SHARE * asked


@inner
def copy_rows(source, out):
    """Rows (n, 3) of one array into another, whatever their types."""
    for n in range(len(out)):
        for r in range(3):
            out[n, r] = source[n, r]
