"""What a picture happens to look like: whose skin, which light, what clothes.

In: a generator. Out: a `Look`, everything drawn about a picture that is not its geometry.

Skin is drawn in CIELAB over the range that people have: measured on hands and arms, lightness runs
from about 25 to 75, yellowness is greatest in the middle of it and falls towards both ends (Wang,
Xiao et al., "Measuring human skin colour", CIC 2015; Xiao et al., Skin Research and Technology
2017). The curve below is drawn through those findings, not fitted to their tables. Palms are
lighter, the more so the darker the back; what is well supplied with blood is redder.
"""

from dataclasses import dataclass

import numpy as np

from twohand500k.render import shading as s

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Skin:
    """One hand's skin: CIELAB of its back, its palm, how much redder where it is red."""

    back: Array
    palm: Array
    flush: float
    relief: float
    material: Array


@dataclass(frozen=True, eq=False)
class Look:
    """skin: of the right hand and of the left. light: in the camera's frame. sleeve: a material of
    each arm or None, and where up the arm it begins, m."""

    skin: tuple[Skin, Skin]
    light: s.Light
    sleeve: tuple[Array | None, Array | None]
    cuff: tuple[float, float]
    cloth: Array
    studio: bool


def draw_look(rng: np.random.Generator) -> Look:
    """Everything about a picture's looks."""
    studio = rng.random() < 0.2
    lightness = rng.uniform(27.0, 74.0)
    right = draw_skin(lightness, rng)
    # Two hands of one person; one in twelve pictures shows two people's.
    left = draw_skin(rng.uniform(27.0, 74.0), rng) if rng.random() < 1 / 12 else right
    cloth = draw_cloth(rng)
    dressed = rng.random() < 0.6
    bare = rng.random(2) < 0.12
    start = rng.choice([0.0, 1.0], p=[0.7, 0.3]) * rng.uniform(0.06, 0.18) + rng.uniform(
        0.002, 0.03
    )
    sleeve = tuple(None if not dressed or off else cloth for off in bare)
    cuff = tuple(start + rng.uniform(-0.01, 0.01, 2).clip(-start))
    return Look((right, left), draw_light(rng, studio), sleeve, cuff, cloth, studio)  # type: ignore[arg-type]


def draw_skin(lightness: float, rng: np.random.Generator) -> Skin:
    """A skin whose back has this L*."""
    a = 9.0 + 3.5 * np.exp(-(((lightness - 52) / 18) ** 2)) + rng.normal(0, 1.3)
    b = 9.0 + 9.0 * np.exp(-(((lightness - 56) / 17) ** 2)) + rng.normal(0, 1.8)
    back = np.array([lightness, max(a, 3.0), max(b, 4.0)])
    towards = rng.uniform(0.15, 0.35) + 0.35 * np.clip((60 - lightness) / 30, 0, 1)
    palm = back + towards * (np.array([69.0, 13.0, 15.0]) - back)
    material = np.zeros(s.N_MATERIAL)
    material[s.KIND] = s.SKIN
    material[s.ROUGHNESS] = rng.uniform(0.5, 0.68)
    material[s.GLOSS] = rng.choice([rng.uniform(0.35, 0.9), rng.uniform(0.9, 1.6)], p=[0.8, 0.2])
    material[s.BUMP] = rng.uniform(0.03, 0.09)
    material[s.MOTTLE] = rng.uniform(0.04, 0.12)
    material[s.CREASES] = rng.uniform(0.18, 0.5)
    material[s.VEINS] = rng.choice([0.0, rng.uniform(0.3, 1.0)])
    nail = palm + np.array([3.0 + 0.1 * (70 - palm[0]), rng.uniform(1, 6), rng.uniform(-4, 2)])
    colour = lab_to_linear(nail)
    if rng.random() < 0.07:
        material[s.POLISH] = 1.0
        colour = srgb_to_linear(rng.uniform(0.05, 0.95, 3) ** 1.2)
    material[s.NAIL : s.NAIL + 3] = colour
    material[s.SEED : s.SEED + 3] = rng.uniform(0, 64, 3)
    return Skin(back, palm, rng.uniform(0.5, 1.4), rng.uniform(0.0, 1.0) ** 1.5, material)


def albedo_of(skin: Skin, palmar: Array, red: Array) -> Array:
    """Linear RGB (n, 3) of points so palmar (n,) and so red (n,), 0..1."""
    lab = skin.back + palmar[:, None] * (skin.palm - skin.back)
    lab = lab + (skin.flush * red)[:, None] * np.array([-2.5, 7.0, 1.0])
    return np.clip(lab_to_linear(lab), 0.005, 0.9)


def draw_cloth(rng: np.random.Generator) -> Array:
    """A cloth's material; its colour stands in `OTHER` and, for plain cloth, is all of it."""
    material = np.zeros(s.N_MATERIAL)
    material[s.KIND] = s.CLOTH
    material[s.ROUGHNESS] = 0.9
    material[s.GLOSS] = rng.uniform(0.0, 0.4)
    material[s.BUMP] = rng.uniform(0.06, 0.3)
    material[s.MOTTLE] = rng.uniform(0.03, 0.25)
    material[s.PATTERN] = rng.choice(
        [s.PLAIN, s.STRIPES, s.PLAID, s.SPOTS], p=[0.6, 0.15, 0.15, 0.1]
    )
    material[s.SCALE] = 10 ** rng.uniform(2.2, 3.0)
    material[s.NAIL : s.NAIL + 3] = draw_colour(rng)
    material[s.OTHER : s.OTHER + 3] = draw_colour(rng)
    material[s.SEED : s.SEED + 3] = rng.uniform(0, 64, 3)
    return material


def draw_stuff(rng: np.random.Generator) -> Array:
    """The material of a thing."""
    material = draw_cloth(rng)
    material[s.KIND] = s.THING
    material[s.ROUGHNESS] = rng.uniform(0.25, 0.9)
    material[s.GLOSS] = rng.uniform(0.3, 3.0)
    material[s.BUMP] = rng.choice([0.0, rng.uniform(0.0, 0.1)])
    material[s.MOTTLE] = rng.uniform(0.0, 0.15)
    material[s.PATTERN] = rng.choice(
        [s.PLAIN, s.STRIPES, s.CHECKS, s.SPOTS, s.GRAIN], p=[0.5, 0.1, 0.1, 0.15, 0.15]
    )
    return material


def draw_colour(rng: np.random.Generator) -> Array:
    """A linear colour as things have them: mostly dull, wood and stone and skin more often than
    blue, blue more often than the rest, vivid now and then."""
    value = rng.uniform(0.04, 0.92)
    vivid = rng.random() < 0.1
    saturation = rng.uniform(0.3, 0.9) if vivid else rng.beta(1.0, 4.5)
    kind = rng.random()
    hue = rng.random()
    if kind < 0.55:
        hue = rng.normal(0.09, 0.04) % 1.0
    elif kind < 0.8:
        hue = rng.normal(0.6, 0.05) % 1.0
    rgb = np.clip(np.abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return srgb_to_linear(value * (1 - saturation * (1 - rgb)))


def draw_light(rng: np.random.Generator, studio: bool) -> s.Light:
    """Key, fill and light from all sides."""
    key = rng.standard_normal(3)
    key /= np.linalg.norm(key)
    # Lights stand above and on the camera's side more often than not: y is down, z away.
    key += np.array([0.0, -0.55, -0.6 if rng.random() < 0.8 else 0.5])
    key /= np.linalg.norm(key)
    fill = rng.standard_normal(3) + np.array([0.0, 0.0, -0.8])
    fill /= np.linalg.norm(fill)
    warmth = rng.normal(0, 0.10)
    key_colour = np.array([1 + warmth, 1.0, 1 - warmth])
    other = rng.normal(0, 0.10)
    sky = np.array([1 + other, 1.0, 1 - other])
    # How much of the light comes from the key: hard light to none at all.
    share = rng.uniform(0.25, 0.6) if studio else rng.beta(2.0, 1.6)
    mean = (1 - share) * 0.85 * sky
    slope = np.outer(rng.normal(0, 0.28, 3) + np.array([0.0, -0.25, -0.15]), mean)
    colour_slope = rng.normal(0, 0.04, (3, 3)) * mean.mean()
    return s.Light(
        key=key,
        key_colour=1.15 * share * key_colour,
        fill=fill,
        fill_colour=rng.uniform(0.0, 0.45) * (1 - share) * (sky + rng.normal(0, 0.08, 3)),
        around=np.vstack([mean, slope + colour_slope]),
        softness=float(10 ** rng.uniform(-3.0, -1.75)),
    )


# Colour


def srgb_to_linear(srgb: Array) -> Array:
    """Linear values of sRGB in 0..1 (IEC 61966-2-1)."""
    srgb = np.asarray(srgb, dtype=np.float64)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


_XYZ_TO_RGB = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])


def lab_to_linear(lab: Array) -> Array:
    """Linear sRGB (..., 3) of CIELAB (..., 3) under D65."""
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * _WHITE
    return np.asarray(xyz @ _XYZ_TO_RGB.T)
