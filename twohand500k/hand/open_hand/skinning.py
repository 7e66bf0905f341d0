"""Which joint carries which vertex, and which vertices tell where a joint is.

Weights come from ramps along each digit. A ramp is at least 2 r tan(theta_max / 2) wide on the
palmar side, r the palmar depth there: a narrower one folds the crease inside out at theta_max.
"""

import numpy as np

from twohand500k.conventions import MANO_CHAINS, N_MANO_JOINTS, N_VERTICES
from twohand500k.hand.open_hand.skeleton import Digit, Skeleton
from twohand500k.hand.open_hand.surface import Skin
from twohand500k.hand.open_hand.topology import Mesh
from twohand500k.hand.rotations import Array

MOST_WEIGHTS = 4
# Flexion the creases are made for, degrees: base, middle, end joint; the thumb's CMC, MCP, IP.
FINGER_FLEXION_DEG = (112.0, 112.0, 100.0)
THUMB_FLEXION_DEG = (60.0, 88.0, 105.0)
DIFFUSION_STEPS, THUMB_DIFFUSION_STEPS = 3, 7
DORSAL_SHARE = 0.55  # width of a ramp on the dorsal side relative to the palmar side


def smoothstep(x: Array) -> Array:
    """0 below 0, 1 above 1, smooth between."""
    x = np.clip(x, 0.0, 1.0)
    return np.asarray(x * x * (3.0 - 2.0 * x))


def soft_ramp(x: Array) -> Array:
    """A straight ramp from 0 to 1 with rounded shoulders; its steepest slope is 1 / 0.88."""
    shoulder = 0.12
    x = np.clip(x, 0.0, 1.0)
    low, high = np.minimum(x, shoulder), np.maximum(x - (1.0 - shoulder), 0.0)
    middle = np.clip(x, shoulder, 1.0 - shoulder) - shoulder
    rise = low * low / (2 * shoulder) + middle + high - high * high / (2 * shoulder)
    return np.asarray(rise / (1.0 - shoulder))


def digit_coordinates(skeleton: Skeleton, points: Array) -> tuple[Array, Array, Array]:
    """Arc length, radial and dorsal offset (N, 5) of points from every digit's ray, mm."""
    s = np.stack([(points - d.base) @ d.distal for d in skeleton.digits], axis=-1)
    lateral = np.stack([(points - d.base) @ d.radial for d in skeleton.digits], axis=-1)
    height = np.stack([(points - d.base) @ d.dorsal for d in skeleton.digits], axis=-1)
    return s, lateral, height


def _ramp(s: Array, height: Array, at: float, palmar: float, dorsal: float) -> Array:
    """Share 0 -> 1 across a joint at arc length `at`; half-widths of its two sides, mm."""
    side = smoothstep(0.5 - 0.5 * height / 8.0)  # 1 palmar, 0 dorsal
    half = dorsal + (palmar - dorsal) * side
    return soft_ramp(0.5 + 0.5 * (s - at) / half)


def _palmar_depth(skin: Skin, digit: Digit, at: float) -> float:
    """Flesh between a joint and the palmar skin, mm."""
    start = digit.at(at)
    return float(np.linalg.norm(skin.cast(start[None], -digit.dorsal[None], 30.0) - start))


def skin_weights(skin: Skin, mesh: Mesh) -> Array:
    """Skinning weights (778, 16), rows sum to 1, at most four a row.

    Ramps first, then a little diffusion over the palm and the digits' roots: a finger flexed alone
    shears its webs, and the shear must be spread over several triangles or they fold.
    """
    weights = _ramp_weights(skin, mesh.vertices, mesh.digit)
    arc = np.nan_to_num(mesh.arc, nan=-np.inf)
    softness = np.where(mesh.digit < 0, 0.5, 0.0)
    for finger, digit in enumerate(skin.skeleton.digits):
        reach = digit.knots[1] + 14.0 if finger == 0 else 0.75 * digit.knots[1]
        softness[(mesh.digit == finger) & (arc < reach)] = 0.25
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    near = np.zeros((len(weights), len(weights)))
    near[edges[:, 0], edges[:, 1]] = near[edges[:, 1], edges[:, 0]] = 1.0
    near /= near.sum(axis=1, keepdims=True)
    for _ in range(DIFFUSION_STEPS):
        weights = weights + softness[:, None] * (near @ weights - weights)
    # The thumb swings its web and the thenar further than a finger does: more of it there.
    fingers = weights[:, 1 : MANO_CHAINS[0][0]].sum(axis=1)
    softness = np.where(fingers < 0.1, softness, 0.0)
    for _ in range(THUMB_DIFFUSION_STEPS):
        weights = weights + softness[:, None] * (near @ weights - weights)
    return keep_largest(weights)


def _ramp_weights(skin: Skin, points: Array, digit: np.ndarray) -> Array:
    skeleton = skin.skeleton
    s, lateral, height = digit_coordinates(skeleton, points)
    weights = np.zeros((len(points), N_MANO_JOINTS))

    # Fingers share the palm's far end by distance from their rays.
    away = np.stack(
        [np.abs(lateral[:, f]) / skin.digit_rays[f].breadth[1] for f in range(1, 5)], axis=-1
    )
    member = np.exp(-((away / 0.62) ** 2))
    member /= np.maximum(member.sum(axis=1, keepdims=True), 1e-12)
    for f in range(1, 5):
        on = digit == f
        member[on] = 0.0
        member[on, f - 1] = 1.0
    member[digit == 0] = 0.0
    total_finger = np.zeros(len(points))
    for f in range(1, 5):
        digit_ = skeleton.digits[f]
        parts = []
        for k in range(3):
            at = float(digit_.knots[k])
            palmar = _palmar_depth(skin, digit_, at) * np.tan(np.radians(FINGER_FLEXION_DEG[k]) / 2)
            parts.append(_ramp(s[:, f], height[:, f], at, palmar, DORSAL_SHARE * palmar))
        g1, g2, g3 = parts
        m = member[:, f - 1]
        chain = MANO_CHAINS[f]
        weights[:, chain[0]] += m * g1 * (1 - g2)
        weights[:, chain[1]] += m * g1 * g2 * (1 - g3)
        weights[:, chain[2]] += m * g1 * g2 * g3
        total_finger += m * g1
    # Thumb: the thenar follows the metacarpal, fading with distance from its ray.
    thumb = skeleton.digits[0]
    along = np.clip(s[:, 0], 0.0, thumb.knots[3])
    gap = np.linalg.norm(points - (thumb.base + along[:, None] * thumb.distal), axis=-1)
    near = 1.0 - smoothstep((gap - 12.0) / 22.0)
    base = smoothstep((s[:, 0] + 12.0) / 40.0) * near
    base = np.where(digit == 0, 1.0, base)
    base = np.minimum(base, 1.0 - total_finger)
    parts = []
    for k in (1, 2):
        at = float(thumb.knots[k])
        palmar = _palmar_depth(skin, thumb, at) * np.tan(np.radians(THUMB_FLEXION_DEG[k]) / 2)
        parts.append(_ramp(s[:, 0], height[:, 0], at, palmar, DORSAL_SHARE * palmar))
    g2, g3 = parts
    chain = MANO_CHAINS[0]
    weights[:, chain[0]] += base * (1 - g2)
    weights[:, chain[1]] += base * g2 * (1 - g3)
    weights[:, chain[2]] += base * g2 * g3
    weights[:, 0] = np.maximum(1.0 - weights.sum(axis=1), 0.0)
    return weights


def keep_largest(weights: Array) -> Array:
    """The four largest weights of every row, tiny ones dropped, rows summing to 1 again."""
    order = np.argsort(-weights, axis=1, kind="stable")
    out = np.zeros_like(weights)
    rows = np.arange(len(weights))[:, None]
    top = order[:, :MOST_WEIGHTS]
    kept = weights[rows, top]
    kept[kept < 0.004] = 0.0
    out[rows, top] = kept
    return out / out.sum(axis=1, keepdims=True)


def joint_regressor(
    vertices: Array, joints: Array, shapedirs: Array, joint_shapedirs: Array
) -> Array:
    """J_regressor (16, 778): rows sum to 1, exact on the template and on every shape direction.

    Each row is the smallest change of "the mean of the vertices around the joint" that meets the
    3 (1 + 10) + 1 linear conditions. Raises ValueError where they cannot be met.
    """
    regressor = np.zeros((N_MANO_JOINTS, N_VERTICES))
    for joint in range(N_MANO_JOINTS):
        distance = np.linalg.norm(vertices - joints[joint], axis=1)
        near = np.argsort(distance, kind="stable")[:60]
        start = np.exp(-0.5 * (distance[near] / distance[near][20]) ** 4)
        start /= start.sum()
        scale = 10.0
        rows = [np.ones(len(near)), *((vertices[near] - joints[joint]).T / scale)]
        right = [1.0, 0.0, 0.0, 0.0]
        for beta in range(shapedirs.shape[2]):
            change = shapedirs[near, :, beta]
            size = max(float(np.abs(change).max()), 1e-9)
            rows += list((change - joint_shapedirs[joint, :, beta]).T / size)
            right += [0.0, 0.0, 0.0]
        matrix, target = np.array(rows), np.array(right)
        # Freer where the vertex is near: weighted least norm.
        freedom = start + 1e-3
        scaled = matrix * freedom
        step, *_ = np.linalg.lstsq(scaled @ matrix.T, target - matrix @ start, rcond=1e-12)
        row = start + freedom * (matrix.T @ step)
        miss = float(np.abs(matrix @ row - target).max())
        if miss > 1e-6:
            raise ValueError(f"joint {joint} cannot follow the shape: {miss:.2e}")
        regressor[joint, near] = row / row.sum()
    return regressor
