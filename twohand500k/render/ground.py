"""What lies behind the hands: a studio's dark, a wall or a table with their shadow, a room, a body.

In: a generator, the light and its shadow map, the crop's camera. Out: linear radiance (S, S, 3).
Everything is made of soft shapes and of noise whose spectrum falls as photographs' does, as if out
of focus; nothing is taken from a picture.
"""

from functools import cache

import numpy as np
from numba import njit

from twohand500k.render import shading as s
from twohand500k.render.looks import Look, draw_colour, srgb_to_linear

Array = np.ndarray

_TILE = 512
STUDIO, PLANE, ROOM, SOFT, BODY = range(5)


@cache
def natural_noise() -> Array:
    """(4, 512, 512) float32 noise that repeats, amplitudes falling as 1 / f^1.2, deviation 1."""
    rng = np.random.Generator(np.random.PCG64(20232))
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(_TILE), np.fft.fftfreq(_TILE)))
    f[0, 0] = np.inf
    out = np.empty((4, _TILE, _TILE), dtype=np.float32)
    for k in range(4):
        noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((_TILE, _TILE))) / f**1.2).real
        out[k] = noise / noise.std()
    return out


def draw_ground(
    look: Look, K: Array, behind: float, shadow: s.Shadow, size: int, rng: np.random.Generator
) -> Array:
    """The background's radiance (size, size, 3). behind: m from the camera to beyond all hands."""
    kind = (
        STUDIO if look.studio else rng.choice([PLANE, ROOM, SOFT, BODY], p=[0.3, 0.33, 0.17, 0.2])
    )
    light = look.light
    ambient = light.around[0] + 0.5 * light.fill_colour
    if kind == STUDIO:
        ground = _studio(size, rng)
        if rng.random() < 0.6:
            ground = _body(ground, look, size, rng, ambient * 0.9)
        return ground
    if kind == PLANE:
        return _plane(look, K, behind, shadow, size, rng)
    if kind == SOFT:
        return _soft(size, rng) * (ambient + 0.4 * light.key_colour)
    ground = _room(size, rng) * (ambient + 0.5 * light.key_colour)
    return (
        _body(ground, look, size, rng, ambient + 0.5 * light.key_colour) if kind == BODY else ground
    )


def _grain(size: int, rng: np.random.Generator, stretch: float = 1.0) -> Array:
    """A piece (size, size) of natural noise, enlarged `stretch` times."""
    noise = natural_noise()[rng.integers(4)]
    n = min(int(np.ceil(size / stretch)) + 1, _TILE)
    top, left = rng.integers(0, _TILE - n + 1, 2)
    piece = noise[top : top + n, left : left + n]
    if rng.random() < 0.5:
        piece = piece.T
    if stretch == 1.0:
        return np.asarray(piece[:size, :size], dtype=np.float64)
    return enlarged(piece[..., None], size)[..., 0]


def enlarged(image: Array, size: int) -> Array:
    """A picture (n, n, C) on (size, size, C), linear between the middles of its pixels."""
    out = np.empty((size, size, image.shape[2]))
    _enlarge(np.ascontiguousarray(image, dtype=np.float64), out)
    return out


@njit(cache=True, error_model="numpy")
def _enlarge(image: Array, out: Array) -> None:
    n, size = image.shape[0], out.shape[0]
    for y in range(size):
        v = min(max((y + 0.5) * n / size - 0.5, 0.0), n - 1.0)
        i = min(int(v), n - 2)
        tv = v - i
        for x in range(size):
            u = min(max((x + 0.5) * n / size - 0.5, 0.0), n - 1.0)
            j = min(int(u), n - 2)
            tu = u - j
            for c in range(out.shape[2]):
                low = image[i, j, c] * (1 - tu) + image[i, j + 1, c] * tu
                high = image[i + 1, j, c] * (1 - tu) + image[i + 1, j + 1, c] * tu
                out[y, x, c] = low * (1 - tv) + high * tv


def _studio(size: int, rng: np.random.Generator) -> Array:
    """Near black, some with the lamps of a dome."""
    level = 10 ** rng.uniform(-3.0, -1.6)
    ground = level * (1 + 0.3 * rng.random(3)) * np.ones((size, size, 3))
    ground *= np.clip(1 + 0.4 * _grain(size, rng, 2.0), 0.1, None)[..., None]
    if rng.random() < 0.55:
        spacing = rng.uniform(0.18, 0.5) * size
        angle, bright = rng.uniform(0, np.pi), rng.uniform(0.8, 5.0)
        cos, sin = np.cos(angle) * spacing, np.sin(angle) * spacing
        at = np.arange(-4, 5)
        lamps = np.stack(np.meshgrid(at, at), -1).reshape(-1, 2) @ np.array(
            [[cos, sin], [-sin, cos]]
        )
        lamps += (
            size / 2
            + rng.uniform(-0.5, 0.5, 2) * spacing
            + rng.normal(0, 0.06 * spacing, lamps.shape)
        )
        spread = rng.uniform(0.004, 0.012) * size
        _lamps(ground, lamps, spread, bright * (0.9 + 0.2 * rng.random(3)))
    return ground


@njit(cache=True, error_model="numpy")
def _lamps(ground: Array, lamps: Array, spread: float, colour: Array) -> None:
    size = ground.shape[0]
    reach = int(7 * spread) + 1
    for k in range(len(lamps)):
        u, v = lamps[k]
        for y in range(max(int(v) - reach, 0), min(int(v) + reach + 1, size)):
            for x in range(max(int(u) - reach, 0), min(int(u) + reach + 1, size)):
                away = np.hypot(x + 0.5 - u, y + 0.5 - v) / spread
                halo = np.exp(-(away**4) / 16) + 0.05 * np.exp(-away / 2)
                for c in range(3):
                    ground[y, x, c] += halo * colour[c]


def _soft(size: int, rng: np.random.Generator) -> Array:
    """A gradient with soft lights, far out of focus."""
    corners = np.array([draw_colour(rng) for _ in range(4)]).reshape(2, 2, 3)
    corners = corners.mean((0, 1)) + rng.uniform(0.1, 1.0) * (corners - corners.mean((0, 1)))
    t = (np.arange(size) + 0.5) / size
    t = t * t * (3 - 2 * t)
    rows = corners[0] * (1 - t[:, None, None]) + corners[1] * t[:, None, None]
    ground = rows[:, :1] * (1 - t[None, :, None]) + rows[:, 1:] * t[None, :, None]
    ground = (
        ground * np.clip(1 + rng.uniform(0, 0.25) * _grain(size, rng, 2.0), 0.1, None)[..., None]
    )
    for _ in range(rng.integers(0, 5)):
        ground = _blot(ground, rng, draw_colour(rng) * rng.uniform(0.5, 2.0), soft=(0.1, 0.5))
    return np.asarray(ground)


def _room(size: int, rng: np.random.Generator) -> Array:
    """Many things behind one another, all a little out of focus."""
    ground = draw_colour(rng) * np.ones((size, size, 3))
    # Blurred to one depth's amount: what is far is drawn on few pixels and enlarged.
    small = int(rng.choice([40, 64, 96, 160]))
    ground = ground[:small, :small]
    shadowed = np.clip(1 + 0.25 * _grain(small, rng), 0.2, None)[..., None]
    for _ in range(rng.integers(5, 22)):
        colour = draw_colour(rng)
        ground = _blot(ground, rng, colour, soft=(0.01, 0.06), grained=rng.random() < 0.5)
    ground = ground * shadowed
    if small == size:
        return ground
    return enlarged(ground, size)


def _blot(
    ground: Array, rng: np.random.Generator, colour: Array, soft: tuple[float, float],
    grained: bool = False,
) -> Array:  # fmt: skip
    """A turned box or ellipse of a colour over the ground, its edge soft."""
    size = len(ground)
    centre = rng.uniform(-0.1, 1.1, 2)
    half = 10 ** rng.uniform(-1.4, -0.3, 2)
    angle = rng.choice([0.0, rng.uniform(0, np.pi)])
    power = float(rng.choice([2.0, 12.0]))
    edge = rng.uniform(*soft)
    share = np.empty((size, size))
    _superellipse(share, centre, half, angle, power, edge)
    if grained:
        colour = colour * np.clip(
            1 + rng.uniform(0.1, 0.6) * _grain(size, rng)[..., None], 0.05, None
        )
    return np.asarray(ground + share[..., None] * (colour - ground))


@njit(cache=True, error_model="numpy")
def _superellipse(
    share: Array, centre: Array, half: Array, angle: float, power: float, edge: float
) -> None:
    size = share.shape[0]
    cos, sin = np.cos(angle), np.sin(angle)
    small = min(half[0], half[1])
    for y in range(size):
        for x in range(size):
            dx, dy = (x + 0.5) / size - centre[0], (y + 0.5) / size - centre[1]
            a = abs(cos * dx + sin * dy) / half[0]
            b = abs(cos * dy - sin * dx) / half[1]
            r = max(a, b) if power > 2.0 else np.sqrt(a * a + b * b)
            t = min(max(0.5 - (r - 1.0) * small / edge, 0.0), 1.0)
            share[y, x] = t * t * (3.0 - 2.0 * t)


def _body(ground: Array, look: Look, size: int, rng: np.random.Generator, light: Array) -> Array:
    """A clothed body behind the hands: cloth on one side of a soft, bent line."""
    angle, at, bend = rng.uniform(0, 2 * np.pi), rng.uniform(-0.35, 0.25), rng.normal(0, 0.25)
    y, x = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    u = np.cos(angle) * x + np.sin(angle) * y
    v = np.cos(angle) * y - np.sin(angle) * x
    edge = rng.uniform(0.008, 0.05)
    share = np.clip((u - at + bend * v * v) / edge + 0.5, 0, 1)
    cloth = look.cloth if rng.random() < 0.75 else None
    colour = draw_colour(rng) if cloth is None else cloth[s.OTHER : s.OTHER + 3]
    folds = _grain(size, rng, rng.uniform(1.5, 4.0))
    pattern = np.zeros((size, size))
    kind = rng.random()
    warp = 0.02 * folds
    scale = 2 * np.pi * 10 ** rng.uniform(0.6, 1.3)
    turn = rng.uniform(0, np.pi)
    p = np.cos(turn) * x + np.sin(turn) * y + warp
    q = np.cos(turn) * y - np.sin(turn) * x + warp
    if kind < 0.15:
        pattern = np.clip(2 * np.sin(scale * p) + 0.5, 0, 1)
    elif kind < 0.3:
        pattern = 0.5 * (
            np.clip(3 * np.sin(scale * p), 0, 1) + np.clip(3 * np.sin(scale * q), 0, 1)
        )
    second = draw_colour(rng)
    albedo = colour + pattern[..., None] * (second - colour)
    lit = (
        light
        * np.clip(0.75 + 0.22 * folds + 0.9 * (u + 0.2) * rng.normal(0, 0.6), 0.08, 1.6)[..., None]
    )
    return np.asarray(ground + share[..., None] * (albedo * lit - ground))


def _plane(
    look: Look, K: Array, behind: float, shadow: s.Shadow, size: int, rng: np.random.Generator
) -> Array:
    """A wall or a table top behind the hands, with their shadow on it."""
    light = look.light
    tilt = rng.normal(0, 0.35, 2)
    normal = np.array([tilt[0], tilt[1], -1.0])
    normal /= np.linalg.norm(normal)
    gap = rng.choice([rng.uniform(0.005, 0.05), rng.uniform(0.05, 0.6)])
    first, second = draw_colour(rng), draw_colour(rng)
    kind = rng.choice([0, 1, 2, 3], p=[0.45, 0.25, 0.2, 0.1])
    if kind == 1:  # wood
        first = srgb_to_linear(np.array([0.62, 0.45, 0.3]) * rng.uniform(0.5, 1.4))
        second = first * rng.uniform(0.5, 0.9)
    # Half as fine as the picture: what lies behind the hands is never quite in focus.
    half = size // 2
    K_half = np.diag([0.5, 0.5, 1.0]) @ K
    grain = _grain(half, rng, rng.choice([1.0, 2.0]))
    out = np.empty((half, half, 3))
    amount = rng.uniform(0.03, 0.25)
    axes = np.linalg.qr(np.column_stack([normal, rng.standard_normal((3, 2))]))[0][:, 1:]
    _lay_plane(
        out, np.linalg.inv(K_half), normal, np.array([0.0, 0.0, behind + gap]), axes, float(kind),
        2 * np.pi * 10 ** rng.uniform(1.0, 2.0), first, second, grain, amount,
        light.packed, shadow.nearness, shadow.axes, shadow.offset,
    )  # fmt: skip
    return enlarged(out, size)


@njit(cache=True, error_model="numpy")
def _lay_plane(
    out: Array, K_inverse: Array, normal: Array, point: Array, axes: Array, kind: float,
    scale: float, first: Array, second: Array, grain: Array, amount: float,
    light: Array, shadow: Array, shadow_axes: Array, shadow_offset: Array,
) -> None:  # fmt: skip
    size = out.shape[0]
    arrives = np.empty(3)
    facing = max(normal[0] * light[0] + normal[1] * light[1] + normal[2] * light[2], 0.0)
    height = normal[0] * point[0] + normal[1] * point[1] + normal[2] * point[2]
    for i in range(size):
        for j in range(size):
            u, v = j + 0.5, i + 0.5
            x = K_inverse[0, 0] * u + K_inverse[0, 1] * v + K_inverse[0, 2]
            y = K_inverse[1, 0] * u + K_inverse[1, 1] * v + K_inverse[1, 2]
            along = normal[0] * x + normal[1] * y + normal[2]
            depth = height / along if along < -0.05 else 5.0
            depth = min(max(depth, 0.05), 5.0)
            px, py, pz = depth * x, depth * y, depth
            a = px * axes[0, 0] + py * axes[1, 0] + pz * axes[2, 0]
            b = px * axes[0, 1] + py * axes[1, 1] + pz * axes[2, 1]
            share = 0.0
            if kind == 1.0:
                share = 0.5 + 0.5 * np.sin(scale * a + 2.0 * grain[i, j])
            elif kind == 2.0:
                share = 1.0 if np.sin(scale * a) * np.sin(scale * b) > 0.0 else 0.0
            elif kind == 3.0:
                share = 1.0 if grain[i, j] > 0.6 else 0.0
            arrives[0] = arrives[1] = arrives[2] = 0.0
            if facing > 0.0:
                s.lit(
                    shadow,
                    shadow_axes,
                    shadow_offset,
                    light[24] * 2.5,
                    0.001,
                    px,
                    py,
                    pz,
                    2.399 * (j * 7 + i * 13 % 17),
                    arrives,
                    0.0,
                )
            tone = max(1.0 + amount * grain[i, j], 0.05)
            for c in range(3):
                albedo = tone * (first[c] + share * (second[c] - first[c]))
                around = light[12 + c] + (
                    normal[0] * light[15 + c]
                    + normal[1] * light[18 + c]
                    + normal[2] * light[21 + c]
                )
                around = max(around, 0.15 * light[12 + c])
                out[i, j, c] = albedo * (light[3 + c] * facing * arrives[c] + around)
