"""Light on what the rasteriser found: skin, cloth and things, one picture's radiance.

In: the nearest faces on a raster twice as fine as the picture, the points' attributes, one
`Material` a part, a `Light` and its shadow map. Out: linear radiance (S, S, 3), already multiplied
by how much of each pixel is covered, and that cover (S, S).

Of a pixel's four cells those that show one surface are shaded once, at their middle, so that
outlines are smooth and the inside costs a quarter. Skin is not paint: light that enters leaves
some millimetres on, red light farthest. Three cheap stand-ins: the terminator is wrapped farther
for red (d'Eon & Luebke, GPU Gems 3, ch. 14, describe what it stands for), red shading sees a
smoother normal than blue, and the shadow map lets red through where flesh is thin. Ambient light
is darkened by occlusion with the light that skin gives to skin (Jimenez et al., "Practical
real-time strategies for accurate indirect occlusion", 2016).
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import njit
from scipy.ndimage import gaussian_filter

Array = np.ndarray

# Columns of a point's attributes.
NORMAL, PLACE, REST, ALBEDO, OCCLUSION, MARKS = 0, 3, 6, 9, 12, 13
# Of the marks those that are wanted at every pixel: crease, along, dorsal, nail along, nail across.
N_ATTRIBUTES = 18

SKIN, CLOTH, THING = 0.0, 1.0, 2.0
# Columns of a material.
KIND, ROUGHNESS, GLOSS, BUMP, MOTTLE, CREASES, VEINS, PATTERN, SCALE, OTHER = range(10)
NAIL = 13  # three numbers: the nail's colour
POLISH = 16
SEED = 17  # three numbers: where in the noise this material begins
N_MATERIAL = 20
PLAIN, STRIPES, CHECKS, PLAID, SPOTS, GRAIN = (float(k) for k in range(6))

_NOISE = 64
# A spiral of points in the unit disc, equally dense; turned at random it blurs a shadow's edge.
_TAPS = np.stack(
    [np.sqrt((k + 0.5) / 8) * np.array([np.cos(2.399963 * k), np.sin(2.399963 * k)])
     for k in range(8)]
)  # fmt: skip
# Free paths of red, green and blue light in skin, m: Jensen et al. 2001 measured 3.7, 1.4, 0.7 mm.
_PATH_R, _PATH_G, _PATH_B = 0.0037, 0.0014, 0.0007


@dataclass(frozen=True, eq=False)
class Light:
    """A distant key light that casts shadows, a fill light that does not, and light from all
    sides: directions (3,) are unit, towards the light, in the camera's frame; colours (3,) linear;
    around (4, 3): its mean, and how it grows along x, y and z.

    softness: of the shadow, m. bleed: how far light wanders in skin, 1 as measured.
    """

    key: Array
    key_colour: Array
    fill: Array
    fill_colour: Array
    around: Array
    softness: float

    @property
    def packed(self) -> Array:
        parts = (self.key, self.key_colour, self.fill, self.fill_colour, self.around.ravel())
        return np.concatenate([*parts, [self.softness]])


@dataclass(frozen=True, eq=False)
class Shadow:
    """The key light's view: nearness (H, W), and to get there cells = axes (2, 3) @ x + offset."""

    nearness: Array
    axes: Array
    offset: Array


@cache
def noise_volume() -> Array:
    """Smooth noise (64, 64, 64, 4) float32 that repeats, mean 0, deviation 1: the same always."""
    rng = np.random.Generator(np.random.PCG64(20231))
    white = rng.standard_normal((_NOISE, _NOISE, _NOISE, 4))
    fine = gaussian_filter(white, (0.8, 0.8, 0.8, 0), mode="wrap")
    coarse = gaussian_filter(white, (2.0, 2.0, 2.0, 0), mode="wrap")
    both = fine / fine.std() + 0.7 * coarse / coarse.std()
    return (both / both.std()).astype(np.float32)


@njit(cache=True, error_model="numpy", fastmath=True, inline="never")
def noise_at(volume: Array, x: float, y: float, z: float, out: Array) -> None:
    """Four noises at a place in cells, linear between them."""
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    tx, ty, tz = np.float32(x - fx), np.float32(y - fy), np.float32(z - fz)
    one = np.float32(1.0)
    i0, j0, k0 = int(fx) & 63, int(fy) & 63, int(fz) & 63
    i1, j1, k1 = (i0 + 1) & 63, (j0 + 1) & 63, (k0 + 1) & 63
    for c in range(4):
        low = (volume[i0, j0, k0, c] * (one - tx) + volume[i1, j0, k0, c] * tx) * (one - ty) + (
            volume[i0, j1, k0, c] * (one - tx) + volume[i1, j1, k0, c] * tx
        ) * ty
        high = (volume[i0, j0, k1, c] * (one - tx) + volume[i1, j0, k1, c] * tx) * (one - ty) + (
            volume[i0, j1, k1, c] * (one - tx) + volume[i1, j1, k1, c] * tx
        ) * ty
        out[c] = low * (one - tz) + high * tz


@njit(cache=True, error_model="numpy", fastmath=True)
def lit(
    shadow: Array,
    axes: Array,
    offset: Array,
    radius: float,
    bias: float,
    x: float,
    y: float,
    z: float,
    spin: float,
    out: Array,
    path: float,
) -> None:
    """What share of the key light arrives (red, green, blue) at a place, its shadow's edge blurred.

    radius: of the blur, cells. path: a factor on light's free paths in flesh, 0 for what is opaque.
    """
    u = axes[0, 0] * x + axes[0, 1] * y + axes[0, 2] * z + offset[0]
    v = axes[1, 0] * x + axes[1, 1] * y + axes[1, 2] * z + offset[1]
    near = axes[2, 0] * x + axes[2, 1] * y + axes[2, 2] * z
    height, width = shadow.shape
    out[0] = out[1] = out[2] = 0.0
    taps = len(_TAPS)
    cos, sin = radius * np.cos(spin), radius * np.sin(spin)
    for t in range(taps):
        i = int(np.floor(v + sin * _TAPS[t, 0] + cos * _TAPS[t, 1]))
        j = int(np.floor(u + cos * _TAPS[t, 0] - sin * _TAPS[t, 1]))
        before = -1.0
        if 0 <= i < height and 0 <= j < width:
            before = shadow[i, j] - near - bias
        if before <= 0.0:
            out[0] += 1.0
            out[1] += 1.0
            out[2] += 1.0
        elif path > 0.0 and before < 0.02:
            out[0] += 0.7 * np.exp(-before / (path * _PATH_R))
            out[1] += 0.7 * np.exp(-before / (path * _PATH_G))
            out[2] += 0.7 * np.exp(-before / (path * _PATH_B))
    for c in range(3):
        out[c] /= taps


@njit(cache=True, error_model="numpy", fastmath=True)
def _line(x: float, width: float) -> float:
    """1 at 0, falling to 0 within a width."""
    t = x / width
    return np.exp(-t * t) if -3.0 < t < 3.0 else 0.0


@njit(cache=True, error_model="numpy", fastmath=True)
def _step(low: float, high: float, x: float) -> float:
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True, error_model="numpy", fastmath=True)
def _arc(x: float, z: float, cx: float, cz: float, radius: float, width: float) -> float:
    return _line(np.hypot(x - cx, z - cz) - radius, width)


@njit(cache=True, error_model="numpy", fastmath=True)
def _pattern(m: Array, x: float, y: float, z: float, n: Array) -> float:
    """How much of a material's other colour there is at a place of it."""
    kind, s = m[PATTERN], m[SCALE]
    if kind == STRIPES:
        return _step(-0.15, 0.15, np.sin(x * s))
    if kind == CHECKS:
        return _step(-0.1, 0.1, np.sin(x * s) * np.sin(z * s) + 0.0 * y)
    if kind == PLAID:
        a, b = np.sin(x * s), np.sin(z * s * 1.1)
        return 0.5 * (_step(0.1, 0.3, a) + _step(0.1, 0.3, b))
    if kind == SPOTS:
        return _step(0.7, 0.9, n[1])
    if kind == GRAIN:
        return _step(-1.0, 1.0, np.sin(x * s + 1.5 * n[0]) + 0.4 * n[2])
    return 0.0


@njit(cache=True, error_model="numpy", fastmath=True)
def shade(
    faces: Array, part: Array, xy: Array, inverse_depth: Array, attributes: Array,
    materials: Array, light: Array, shadow: Array, shadow_axes: Array, shadow_offset: Array,
    volume: Array, face: Array, nearest: Array, same: float, radiance: Array, cover: Array,
) -> None:  # fmt: skip
    """Shade a raster `face`, `nearest` (2 S, 2 S) into radiance (S, S, 3) and cover (S, S).

    faces (F, 3); part (F,) the material of each; xy (P, 2) cells of the fine raster; inverse_depth
    (P,) 1/m; attributes (P, 18); same: cells no farther apart than this in depth, m, show one
    surface.
    """
    size = radiance.shape[0]
    ids = np.empty(4, dtype=np.int64)
    depths = np.empty(4)
    done = np.empty(4, dtype=np.bool_)
    a = np.empty(N_ATTRIBUTES)
    colour = np.empty(3)
    fine = np.empty(4, dtype=np.float32)
    coarse = np.empty(4, dtype=np.float32)
    arrives = np.empty(3)
    for y in range(size):
        for x in range(size):
            some = False
            for k in range(4):
                i, j = 2 * y + k // 2, 2 * x + k % 2
                ids[k] = face[i, j]
                done[k] = ids[k] < 0
                if not done[k]:
                    depths[k] = 1.0 / nearest[i, j]
                    some = True
            if not some:
                continue
            for k in range(4):
                if done[k]:
                    continue
                # All cells that show the surface of this one, and their middle.
                n, cx, cy = 0, 0.0, 0.0
                for o in range(k, 4):
                    if (
                        not done[o]
                        and part[ids[o]] == part[ids[k]]
                        and (abs(depths[o] - depths[k]) < same)
                    ):
                        done[o] = True
                        n += 1
                        cx += 2 * x + o % 2 + 0.5
                        cy += 2 * y + o // 2 + 0.5
                f = ids[k]
                p, q, r = faces[f, 0], faces[f, 1], faces[f, 2]
                ax, ay = xy[p, 0], xy[p, 1]
                bx, by = xy[q, 0] - ax, xy[q, 1] - ay
                dx, dy = xy[r, 0] - ax, xy[r, 1] - ay
                area = bx * dy - by * dx
                px, py = cx / n - ax, cy / n - ay
                wq = (px * dy - py * dx) / area
                wr = (bx * py - by * px) / area
                # The middle may lie a little outside the face that one of its cells shows.
                wq = min(max(wq, 0.0), 1.0)
                wr = min(max(wr, 0.0), 1.0 - wq)
                wp = (1.0 - wq - wr) * inverse_depth[p]
                wq *= inverse_depth[q]
                wr *= inverse_depth[r]
                total = wp + wq + wr
                for c in range(N_ATTRIBUTES):
                    a[c] = (
                        wp * attributes[p, c] + wq * attributes[q, c] + wr * attributes[r, c]
                    ) / total
                _shade_point(
                    a,
                    materials[part[f]],
                    light,
                    shadow,
                    shadow_axes,
                    shadow_offset,
                    volume,
                    2.399 * (x * 7 + y * 13 % 17),
                    fine,
                    coarse,
                    arrives,
                    colour,
                )
                for c in range(3):
                    radiance[y, x, c] += 0.25 * n * colour[c]
                cover[y, x] += 0.25 * n


@njit(cache=True, error_model="numpy", fastmath=True)
def _shade_point(
    a: Array, m: Array, light: Array, shadow: Array, shadow_axes: Array, shadow_offset: Array,
    volume: Array, spin: float, fine: Array, coarse: Array, arrives: Array, colour: Array,
) -> None:  # fmt: skip
    x, y, z = a[PLACE], a[PLACE + 1], a[PLACE + 2]
    away = np.sqrt(x * x + y * y + z * z)
    vx, vy, vz = -x / away, -y / away, -z / away
    nx, ny, nz = a[NORMAL], a[NORMAL + 1], a[NORMAL + 2]
    length = np.sqrt(nx * nx + ny * ny + nz * nz)
    nx, ny, nz = nx / length, ny / length, nz / length
    facing = nx * vx + ny * vy + nz * vz
    if facing < 0.0 and m[KIND] != SKIN:  # the inside of a cuff
        nx, ny, nz, facing = -nx, -ny, -nz, -facing
    facing = min(max(facing, 0.02), 1.0)
    rx, ry, rz = a[REST], a[REST + 1], a[REST + 2]
    sx, sy, sz = m[SEED], m[SEED + 1], m[SEED + 2]
    noise_at(volume, rx * 900.0 + sx, ry * 900.0 + sy, rz * 900.0 + sz, fine)
    noise_at(volume, rx * 130.0 + sy, ry * 130.0 + sz, rz * 130.0 + sx, coarse)
    red, green, blue = a[ALBEDO], a[ALBEDO + 1], a[ALBEDO + 2]
    occlusion = min(max(a[OCCLUSION], 0.0), 1.0)
    roughness, gloss, bump = m[ROUGHNESS], m[GLOSS], m[BUMP]
    crease, along, dorsal = a[MARKS], a[MARKS + 1], a[MARKS + 2]
    skin = m[KIND] == SKIN
    if skin:
        tone = 1.0 + m[MOTTLE] * (0.6 * coarse[0] + 0.25 * fine[0])
        flush = m[MOTTLE] * (0.5 * coarse[1] + 0.1 * fine[1])
        red *= tone * (1.0 + 0.2 * flush)
        green *= tone * (1.0 - 0.5 * flush)
        blue *= tone * (1.0 - 0.4 * flush)
        back = _step(0.15, 0.6, dorsal)
        front = _step(0.0, 0.5, -dorsal)
        # Wrinkles over the joints: loose on the back, folds in front.
        fold = 0.0
        wander = 0.03 * coarse[2] + 0.012 * fine[2]
        if crease > 0.0:
            for j in range(1, 3):
                d = along - j + wander
                if -0.5 < d < 0.5:
                    lines = 0.0
                    for k in range(-2, 3):
                        at = 0.075 * k + 0.03 * (k * k % 3 - 1)
                        lines += (1.0 - 0.22 * abs(k)) * _line(d - at, 0.026)
                    fold += 0.75 * back * lines
                    fold += front * (_line(d + 0.05, 0.028) + 0.8 * _line(d - 0.035, 0.022))
            fold += front * _line(along - 0.42 + wander, 0.035)
            fold *= crease
        if front > 0.3 and along < 0.3 and rx < 0.085:
            # The palm's three great lines, on circles of the flat hand.
            w = 0.0011 * (1.0 + 0.5 * coarse[3])
            px, pz = rx + 0.0022 * coarse[2], rz + 0.0022 * coarse[1]
            lines = _arc(px, pz, 0.052, 0.052, 0.040, w) * _step(-0.01, 0.0, px)
            lines += 0.8 * _arc(px, pz, 0.10, 0.075, 0.098, w) * _step(-0.022, -0.01, -abs(pz))
            lines += 0.8 * _arc(px, pz, -0.035, 0.075, 0.098, w) * _step(-0.03, -0.02, pz)
            fold += 0.8 * front * min(lines, 1.0)
        dark = 1.0 - m[CREASES] * min(fold, 1.2)
        red *= 1.0 - 0.7 * (1.0 - dark)
        green *= dark
        blue *= dark
        bump += 0.12 * min(fold, 1.0)
        if m[VEINS] > 0.0 and back > 0.0 and along < 0.6:
            vein = m[VEINS] * back * _line(coarse[3] - 0.1, 0.16)
            red *= 1.0 - 0.16 * vein
            green *= 1.0 - 0.05 * vein
            blue *= 1.0 - 0.01 * vein
        up, across = a[MARKS + 3], a[MARKS + 4]
        if up > -0.2 and dorsal > 0.0:
            # A rounded rectangle with a round base.
            u = abs(2.0 * up - 1.0)
            w = abs(across)
            inside = 1.0 - (u**3 + w**4)
            edge = _step(-0.12, 0.12, inside) * _step(0.0, 0.25, dorsal)
            groove = _line(inside, 0.22) * _step(0.0, 0.25, dorsal) * (1.0 if up < 0.85 else 0.3)
            red *= 1.0 - 0.22 * groove
            green *= 1.0 - 0.32 * groove
            blue *= 1.0 - 0.32 * groove
            tip = _step(0.86, 0.93, up - 0.05 * w * w)
            moon = 0.5 * _step(0.2, 0.08, up + 0.12 * w * w)
            for c in range(3):
                plate = m[NAIL + c]
                white = 0.62 if c < 2 else 0.55
                plate += (1.0 - m[POLISH]) * max(tip, moon) * 0.6 * (white - plate)
                mixed = edge * plate
                if c == 0:
                    red = mixed + (1.0 - edge) * red
                elif c == 1:
                    green = mixed + (1.0 - edge) * green
                else:
                    blue = mixed + (1.0 - edge) * blue
            roughness = roughness * (1.0 - edge) + 0.3 * edge
            gloss *= 1.0 + 0.5 * edge
            bump *= 1.0 - 0.8 * edge
    else:
        share = _pattern(m, rx, ry, rz, coarse)
        tone = 1.0 + m[MOTTLE] * (0.5 * fine[0] + 0.5 * coarse[0])
        red = tone * (red * (1.0 - share) + m[OTHER] * share)
        green = tone * (green * (1.0 - share) + m[OTHER + 1] * share)
        blue = tone * (blue * (1.0 - share) + m[OTHER + 2] * share)
    red = min(max(red, 0.003), 0.95)
    green = min(max(green, 0.003), 0.95)
    blue = min(max(blue, 0.003), 0.95)
    # The small relief.
    bx = nx + bump * (fine[1] + 0.8 * coarse[0])
    by = ny + bump * (fine[2] + 0.8 * coarse[1])
    bz = nz + bump * (fine[3] + 0.8 * coarse[2])
    length = np.sqrt(bx * bx + by * by + bz * bz)
    bx, by, bz = bx / length, by / length, bz / length
    lx, ly, lz = light[0], light[1], light[2]
    smooth = nx * lx + ny * ly + nz * lz
    rough = bx * lx + by * ly + bz * lz
    bias = 0.0025 + 0.003 * (1.0 - max(smooth, 0.0))
    path = 1.0 if skin else 0.0
    lit(
        shadow, shadow_axes, shadow_offset, light[24], bias,
        x + 0.001 * nx, y + 0.001 * ny, z + 0.001 * nz, spin, arrives, path,
    )  # fmt: skip
    half_x, half_y, half_z = lx + vx, ly + vy, lz + vz
    length = max(np.sqrt(half_x * half_x + half_y * half_y + half_z * half_z), 1e-6)
    nh = max((bx * half_x + by * half_y + bz * half_z) / length, 0.0)
    lh = max((lx * half_x + ly * half_y + lz * half_z) / length, 0.05)
    mirror = 0.0
    if rough > 0.0:
        # Two lobes, a broad one and a sharper one (Blinn-Phong; Kelemen's visibility).
        fresnel = 0.028 + 0.972 * (1.0 - lh) ** 5
        e1 = 2.0 / roughness**4
        e2 = 2.0 / (0.55 * roughness) ** 4
        lobes = 0.75 * (e1 + 2.0) * nh**e1 + 0.25 * (e2 + 2.0) * nh**e2
        mirror = gloss * fresnel * rough * lobes / (8.0 * np.pi * lh * lh)
    fill = max((bx * light[6] + by * light[7] + bz * light[8] + 0.3) / 1.3, 0.0)
    grazing = gloss * (0.028 + 0.5 * (1.0 - roughness) * (1.0 - facing) ** 5)
    for c in range(3):
        albedo = red if c == 0 else (green if c == 1 else blue)
        if skin:
            share = 0.75 if c == 0 else (0.4 if c == 1 else 0.25)
            wrap = 0.30 if c == 0 else (0.14 if c == 1 else 0.09)
            falls = share * smooth + (1.0 - share) * rough
            diffuse = max((falls + wrap) / (1.0 + wrap), 0.0)
            diffuse *= diffuse if falls < 0.0 else (diffuse + (1.0 - diffuse) * 0.9)
        else:
            diffuse = max(rough, 0.0)
        b1 = 2.0404 * albedo - 0.3324
        b2 = -4.7951 * albedo + 0.6417
        b3 = 2.7552 * albedo + 0.6903
        seen = max(occlusion, ((occlusion * b1 + b2) * occlusion + b3) * occlusion)
        around = light[12 + c] + (bx * light[15 + c] + by * light[18 + c] + bz * light[21 + c])
        around = max(around, 0.15 * light[12 + c])
        colour[c] = (
            albedo * (light[3 + c] * diffuse * arrives[c] + seen * (light[9 + c] * fill + around))
            + light[3 + c] * mirror * arrives[1]
            + grazing * seen * light[12 + c]
        )
