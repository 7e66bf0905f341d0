"""From radiance to the picture a camera gives: lens, sensor, white balance, tone curve, JPEG.

In: linear radiance (S, S, 3). Out: sRGB bytes. Every step is one that photographs go through:
a little blur, sometimes movement, photon and read noise, an exposure and a white balance that are
never quite right, a tone curve, and compression.
"""

import io

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter1d

Array = np.ndarray


def photograph(
    radiance: Array, subject: Array, rng: np.random.Generator, *, dark: bool = False
) -> Array:
    """The picture (S, S, 3) uint8. subject (S, S): where what is exposed for is, 0..1.

    dark: the surroundings are a studio's, the camera is not fooled by them.
    """
    size = len(radiance)
    sigma = rng.choice([rng.uniform(0.25, 0.6), rng.uniform(0.6, 1.3)], p=[0.75, 0.25])
    light = gaussian_filter1d(
        gaussian_filter1d(radiance, sigma, axis=0, truncate=2.5), sigma, axis=1, truncate=2.5
    )
    if rng.random() < 0.12:
        light = _shaken(light, rng)
    # Exposed for the hands, somewhat wrongly.
    weight = subject + 1e-3
    level = float((light.mean(axis=2) * weight).sum() / weight.sum())
    level = level if dark else 0.75 * level + 0.25 * float(light.mean())
    target = np.exp(rng.normal(np.log(0.20), 0.38))
    # A dark skin is exposed darker than a light one, though not by as much as it is darker.
    light = light * (target / max(level, 1e-4)) * (level / 0.25) ** 0.35
    gains = np.exp(rng.normal(0, 0.07, 3))
    if rng.random() < 0.1:
        gains *= np.array([1.12, 1.06, 0.68]) ** rng.uniform(0.3, 1.0)
    light = light * gains / gains[1]
    grey = rng.random() < 0.04
    if rng.random() < 0.4:
        y, x = (np.mgrid[:size, :size] + 0.5) / size - rng.uniform(0.2, 0.8, 2)[:, None, None]
        light = light * (1 - rng.uniform(0.05, 0.5) * (x * x + y * y))[..., None]
    photons = 10 ** rng.uniform(2.4, 4.6)
    read = 10 ** rng.uniform(-3.6, -2.2)
    noise = rng.standard_normal((size, size, 3), dtype=np.float32)
    light = light + noise * np.sqrt(np.maximum(light, 0) / photons + read**2)
    # A shoulder instead of a hard end to the highlights.
    light = np.maximum(light, 0.0)
    knee = rng.uniform(0.6, 0.95)
    over = np.maximum(light - knee, 0)
    light = np.minimum(light, knee) + (1 - knee) * (1 - np.exp(-over / (1 - knee)))
    code = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    contrast = rng.normal(0.15, 0.25)
    code = code + contrast * code * (1 - code) * (2 * code - 1)
    if grey:
        code = np.repeat(code @ np.array([[0.3], [0.6], [0.1]]), 3, axis=2)
    else:
        saturation = np.exp(rng.normal(0.02, 0.12))
        mean = code @ np.array([[0.3], [0.6], [0.1]])
        code = mean + saturation * (code - mean)
    picture = np.clip(np.round(255 * code), 0, 255).astype(np.uint8)
    quality = int(rng.integers(40, 97)) if rng.random() < 0.85 else 0
    return compressed(picture, quality) if quality else picture


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
