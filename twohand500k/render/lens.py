"""From radiance to the picture a camera gives: lens, sensor, white balance, tone curve, JPEG.

In: linear radiance (S, S, 3). Out: sRGB bytes. Every step is one that photographs go through:
a little blur, sometimes movement, photon and read noise, an exposure and a white balance that are
never quite right, a tone curve, and compression.
"""

import io
from functools import cache

import numpy as np
from numba import njit
from PIL import Image
from scipy.ndimage import gaussian_filter1d

Array = np.ndarray

_TILE = 512
# Steps of the tone curve.
_TONES = 1023


def photograph(
    radiance: Array, subject: Array, rng: np.random.Generator, *, dark: bool = False
) -> Array:
    """The picture (S, S, 3) uint8. subject (S, S): where what is exposed for is, 0..1.

    dark: the surroundings are a studio's, the camera is not fooled by them.
    """
    size = len(radiance)
    sigma = rng.choice([rng.uniform(0.25, 0.6), rng.uniform(0.6, 1.3)], p=[0.75, 0.25])
    light = radiance.astype(np.float32)
    for axis in (0, 1):
        light = gaussian_filter1d(light, sigma, axis=axis, truncate=2.5)
    if rng.random() < 0.12:
        light = _shaken(light, rng)
    # Exposed for the hands, somewhat wrongly.
    weight = (subject + 1e-3).ravel()
    grey_levels = light.reshape(-1, 3) @ np.full(3, 1 / 3, dtype=np.float32)
    level = float(grey_levels @ weight / weight.sum())
    level = level if dark else 0.75 * level + 0.25 * float(grey_levels.mean())
    target = np.exp(rng.normal(np.log(0.20), 0.38))
    # A dark skin is exposed darker than a light one, though not by as much as it is darker.
    exposure = (target / max(level, 1e-4)) * (level / 0.25) ** 0.35
    gains = np.exp(rng.normal(0, 0.07, 3))
    if rng.random() < 0.1:
        gains *= np.array([1.12, 1.06, 0.68]) ** rng.uniform(0.3, 1.0)
    grey = rng.random() < 0.04
    middle, falls = np.full(2, 0.5), 0.0
    if rng.random() < 0.4:
        middle, falls = rng.uniform(0.2, 0.8, 2), rng.uniform(0.05, 0.5)
    photons = 10 ** rng.uniform(2.4, 4.6)
    read = 10 ** rng.uniform(-3.6, -2.2)
    top, left = rng.integers(0, _TILE - size + 1, 2)
    noise = _grain()[top : top + size, left : left + size, rng.permutation(3)]
    knee = rng.uniform(0.6, 0.95)
    contrast = rng.normal(0.15, 0.25)
    saturation = 0.0 if grey else np.exp(rng.normal(0.02, 0.12))
    picture = np.empty((size, size, 3), dtype=np.uint8)
    _develop(
        light, noise, (exposure * gains / gains[1]).astype(np.float32),
        np.array([*middle, falls, 1 / photons, read**2, knee, saturation], np.float32),
        _tones(contrast),
        picture,
    )  # fmt: skip
    quality = int(rng.integers(40, 97)) if rng.random() < 0.85 else 0
    return compressed(picture, quality) if quality else picture


@njit(cache=True, error_model="numpy", fastmath=True)
def _develop(
    light: Array, noise: Array, gains: Array, film: Array, tones: Array, picture: Array
) -> None:
    """From light on the sensor to sRGB bytes, pixel by pixel, in float32.

    film: where the lens is clearest (2), how it falls off, noise of photons and of reading (their
    variances), where highlights begin to bend, saturation. tones: `_tones`.
    """
    one = np.float32(1.0)
    y0, x0, falls, of_photons, of_reading, knee, saturation = film
    size = np.float32(picture.shape[0])
    code = np.empty(3, dtype=np.float32)
    for i in range(picture.shape[0]):
        for j in range(picture.shape[1]):
            y, x = (i + np.float32(0.5)) / size - y0, (j + np.float32(0.5)) / size - x0
            clear = one - falls * (x * x + y * y)
            for c in range(3):
                v = light[i, j, c] * gains[c] * clear
                v += noise[i, j, c] * np.sqrt(max(v, np.float32(0.0)) * of_photons + of_reading)
                v = max(v, np.float32(0.0))
                # A shoulder instead of a hard end to the highlights.
                if v > knee:
                    v = knee + (one - knee) * (one - np.exp((knee - v) / (one - knee)))
                at = np.sqrt(v) * np.float32(_TONES)
                k = min(int(at), _TONES - 1)
                code[c] = tones[k] + (at - k) * (tones[k + 1] - tones[k])
            mean = np.float32(0.3) * code[0] + np.float32(0.6) * code[1] + np.float32(0.1) * code[2]
            for c in range(3):
                v = np.float32(255.0) * (mean + saturation * (code[c] - mean)) + np.float32(0.5)
                picture[i, j, c] = np.uint8(min(max(v, np.float32(0.0)), np.float32(255.0)))


def _tones(contrast: float) -> Array:
    """sRGB's curve (IEC 61966-2-1) and a camera's own, over the square root of light in 0..1."""
    v = np.linspace(0.0, 1.0, _TONES + 1) ** 2
    code = np.where(v <= 0.0031308, 12.92 * v, 1.055 * v ** (1 / 2.4) - 0.055)
    return np.asarray(code + contrast * code * (1 - code) * (2 * code - 1), dtype=np.float32)


@cache
def _grain() -> Array:
    """Noise (512, 512, 3) float32 of deviation 1, the same always; a picture takes a part of it."""
    rng = np.random.Generator(np.random.PCG64(20233))
    return rng.standard_normal((_TILE, _TILE, 3), dtype=np.float32)


def compressed(picture: Array, quality: int) -> Array:
    """What is left of a picture after JPEG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def _shaken(light: Array, rng: np.random.Generator) -> Array:
    """Moved by some pixels in one direction while the shutter was open."""
    steps = int(rng.integers(2, 6))
    move = rng.uniform(-1.0, 1.0, 2)
    move *= rng.uniform(0.5, 1.0) / max(np.abs(move).max(), 1e-6)
    out = np.zeros_like(light)
    for k in range(steps):
        dy, dx = np.round((k - (steps - 1) / 2) * move).astype(int)
        out += _moved(light, dy, dx)
    return out / steps


def _moved(light: Array, dy: int, dx: int) -> Array:
    size = len(light)
    rows = np.clip(np.arange(size) + dy, 0, size - 1)
    columns = np.clip(np.arange(size) + dx, 0, size - 1)
    return light[rows][:, columns]
