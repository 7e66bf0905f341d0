"""The skin as an implicit surface: negative inside, zero on the skin, about a distance in mm.

Every digit is a straight ray with a breadth, a dorsal and a palmar half-depth along its length. The
palm is a smooth union of metacarpal rays, wrist, thenar, hypothenar and web pads. Digits join the
palm smoothly and each other by a hard minimum, so that neighbours never fuse.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.interpolate import PchipInterpolator

from twohand500k.hand.open_hand import anthropometry as a
from twohand500k.hand.open_hand.skeleton import Digit, Skeleton, place
from twohand500k.hand.rotations import Array

Field = Callable[[Array], Array]


def smooth_min(first: Array, second: Array, radius: float) -> Array:
    """Polynomial smooth minimum: differs from min only where the two are within `radius` mm."""
    h = np.maximum(radius - np.abs(first - second), 0.0) / radius
    return np.minimum(first, second) - h * h * h * radius / 6.0


def ellipsoid(centre: Array, axes: Array, radii: Array) -> Field:
    """Ellipsoid; axes (3, 3) rows are its unit axes, radii (3,) mm."""
    frame = axes / radii[:, None]

    def field(p: Array) -> Array:
        q = (p - centre) @ frame.T
        k0 = np.linalg.norm(q, axis=-1)
        k1 = np.linalg.norm(q / radii, axis=-1)
        return np.asarray(k0 * (k0 - 1.0) / np.maximum(k1, 1e-9))

    return field


@dataclass(frozen=True, eq=False)
class Ray:
    """A tube with an elliptic section whose two halves differ, closed by a dome at its end.

    s (K,) knots; breadth, dorsal, palmar (K,) half-extents there, mm; the dome is `dome` long.
    """

    base: Array
    distal: Array
    dorsal: Array
    radial: Array
    s: Array
    breadth: Array
    dorsal_depth: Array
    palmar_depth: Array
    end: float
    dome: float
    start: float = -np.inf
    start_dome: float = 1.0
    power: float = 2.0

    @cached_property
    def _profile(self) -> PchipInterpolator:
        return PchipInterpolator(
            self.s, np.stack([self.breadth, self.dorsal_depth, self.palmar_depth], axis=-1)
        )

    def __call__(self, p: Array) -> Array:
        q = p - self.base
        s = q @ self.distal
        along = np.clip(s, self.s[0], self.s[-1])
        half = self._profile(along)
        lateral, height = q @ self.radial, q @ self.dorsal
        depth = np.where(height > 0, half[..., 1], half[..., 2])
        beyond = np.maximum(s - (self.end - self.dome), 0.0)
        before = np.maximum(self.start + self.start_dome - s, 0.0) / self.start_dome
        scaled = np.stack(
            [lateral / half[..., 0], height / depth, beyond / self.dome + before], axis=-1
        )
        extent = np.stack([half[..., 0], depth, np.full_like(s, self.dome)], axis=-1)
        k0 = np.sum(np.abs(scaled) ** self.power, axis=-1) ** (1.0 / self.power)
        k1 = np.linalg.norm(scaled / extent, axis=-1)
        # Near the axis the estimate degenerates; there only the sign and the size matter.
        return np.where(
            k1 > 1e-6, k0 * (k0 - 1.0) / np.maximum(k1, 1e-6), -np.minimum(half[..., 0], depth)
        )


def _digit_ray(digit: Digit) -> Ray:
    first, second = digit.knots[1], digit.knots[2]
    end = digit.knots[3]
    b1, b2 = (0.5 * x for x in a.BREADTH_MM[digit.name])
    d1, d2 = (0.5 * x for x in a.DEPTH_MM[digit.name])
    if digit.name == "thumb":
        # knots: CMC 0, MCP, IP, tip
        s = [0.0, 0.45 * first, 0.8 * first, first, 0.5 * (first + second), second,
             0.5 * (second + end), end - 8.0]  # fmt: skip
        breadth = [13.0, 12.2, 11.8, b1, 0.93 * b1, b2, 0.99 * b2, 0.86 * b2]
        top = [11.0, 10.0, 9.8, 1.02 * d1, 0.80 * d1, 0.95 * d2, 0.82 * d2, 0.66 * d2]
        bottom = [14.0, 13.0, 11.5, 1.0 * d1, 0.98 * d1, 1.02 * d2, 1.18 * d2, 0.94 * d2]
        dome = 11.0
    else:
        s = [-0.3 * first, 0.0, 0.45 * first, 0.72 * first, first, 0.5 * (first + second), second,
             0.5 * (second + end), end - 6.0]  # fmt: skip
        breadth = [0.92 * b1, 0.94 * b1, 0.93 * b1, 0.93 * b1, b1, 0.5 * (b1 + b2) * 0.96, b2,
                   0.97 * b2, 0.84 * b2]  # fmt: skip
        top = [1.0 * d1, 1.15 * d1, 0.95 * d1, 0.86 * d1, 1.0 * d1, 0.5 * (d1 + d2) * 0.86,
               0.98 * d2, 0.84 * d2, 0.66 * d2]  # fmt: skip
        bottom = [1.12 * d1, 1.15 * d1, 1.06 * d1, 1.05 * d1, 1.0 * d1, 0.5 * (d1 + d2) * 1.08,
                  1.02 * d2, 1.10 * d2, 0.9 * d2]  # fmt: skip
        dome = 9.0
    return Ray(
        digit.base, digit.distal, digit.dorsal, digit.radial,
        np.array(s), np.array(breadth), np.array(top), np.array(bottom), end, dome,
        start=-0.25 * first if digit.name != "thumb" else -6.0, start_dome=8.0, power=2.15,
    )  # fmt: skip


class Skin:
    """The hand's implicit surface. Call with points (..., 3) mm."""

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton = skeleton
        self.digit_rays = tuple(_digit_ray(digit) for digit in skeleton.digits)
        self._palm_parts = _palm(skeleton)

    def palm(self, p: Array) -> Array:
        """The palm alone."""
        value: Array | None = None
        for field, radius in self._palm_parts:
            part = field(p)
            value = part if value is None else smooth_min(value, part, radius)
        assert value is not None
        return value

    def __call__(self, p: Array) -> Array:
        palm = self.palm(p)
        joined = [
            smooth_min(palm, ray(p), 18.0 if finger == 0 else 8.0)
            for finger, ray in enumerate(self.digit_rays)
        ]
        return np.minimum.reduce(joined)

    def gradient(self, p: Array) -> Array:
        """Central-difference gradient (..., 3)."""
        h = 0.05
        steps = h * np.eye(3)
        return np.stack([(self(p + e) - self(p - e)) / (2 * h) for e in steps], axis=-1)

    def project(self, p: Array, iterations: int = 6) -> Array:
        """Walk points to the skin along the gradient; at most 3 mm a step."""
        for _ in range(iterations):
            g = self.gradient(p)
            step = (self(p) / np.maximum(np.sum(g * g, axis=-1), 0.05))[..., None] * g
            size = np.linalg.norm(step, axis=-1, keepdims=True)
            p = p - step * np.minimum(1.0, 3.0 / np.maximum(size, 1e-9))
        return p

    def cast(self, origin: Array, direction: Array, reach: float) -> Array:
        """First way out (..., 3) from inside points along unit directions, within `reach` mm."""
        ts = np.linspace(0.0, reach, 121)
        values = self(origin[..., None, :] + ts[:, None] * direction[..., None, :])
        outside = values > 0
        first = np.argmax(outside, axis=-1)
        if np.any(first == 0):
            raise ValueError("a ray starts outside the skin or does not leave it")
        low, high = ts[first - 1], ts[first]
        for _ in range(40):
            middle = 0.5 * (low + high)
            out = self(origin + middle[..., None] * direction) > 0
            low, high = np.where(out, low, middle), np.where(out, middle, high)
        return origin + high[..., None] * direction


def _palm(skeleton: Skeleton) -> list[tuple[Field, float]]:
    parts: list[tuple[Field, float]] = []
    up = np.array([0.0, 1.0, 0.0])
    distal = np.array([-1.0, 0.0, 0.0])
    radial = np.array([0.0, 0.0, 1.0])
    breadth, depth = 0.5 * a.WRIST_BREADTH_MM, 0.5 * a.WRIST_DEPTH_MM
    wrist = Ray(
        place(0.0, 0.0, 0.0), distal, up, radial, np.array([-40.0, -10.0, 8.0, 28.0, 60.0]),
        np.array([0.95, 0.97, 1.02, 1.06, 0.96]) * breadth,
        np.array([0.97, 0.97, 0.85, 0.72, 0.58]) * depth,
        np.array([1.03, 1.03, 0.98, 0.95, 0.75]) * depth, 68.0, 30.0, power=2.3,
    )  # fmt: skip
    parts.append((wrist, 10.0))
    # Metacarpals two to five, from the carpus to beyond the knuckle.
    for finger, carpal in ((1, (24.0, 1.0, 11.0)), (2, (26.0, 2.0, 2.5)), (3, (25.0, 1.0, -6.5)),
                           (4, (22.0, -1.0, -14.0))):  # fmt: skip
        base = place(*carpal)
        head = skeleton.digits[finger].base
        axis = head - base
        length = float(np.linalg.norm(axis))
        axis = axis / length
        dorsal = up - (up @ axis) * axis
        dorsal /= np.linalg.norm(dorsal)
        # Bulge at the head: the knuckle.
        s = np.array([0.0, 0.5, 0.8, 1.0, 1.15]) * length
        thick = {1: 1.0, 2: 1.0, 3: 0.95, 4: 0.88}[finger]
        ray = Ray(
            base, axis, dorsal, np.cross(dorsal, axis), s,
            np.array([10.0, 9.8, 10.0, 10.2, 9.0]) * thick,
            np.array([0.38, 0.36, 0.355, 0.38, 0.27]) * a.PALM_DEPTH_MM * thick,
            np.array([0.45, 0.46, 0.48, 0.47, 0.34]) * a.PALM_DEPTH_MM * thick,
            length + 9.0, 12.0, start=-6.0, start_dome=8.0,
        )  # fmt: skip
        parts.append((ray, 11.0))
    # Web pads between neighbouring fingers, palmar of the axis.
    for (left, right), height in zip(((1, 2), (2, 3), (3, 4)), a.WEB_MM[1:], strict=True):
        one, two = skeleton.digits[left], skeleton.digits[right]
        # The pad's edge lies 0.18 of a phalanx beyond its centre.
        knuckles = 0.5 * (a.KNUCKLE_MM[one.name][0] + a.KNUCKLE_MM[two.name][0])
        along = (height - knuckles) / (0.5 * (one.knots[1] + two.knots[1])) - 0.18
        start, stop = one.at(along * one.knots[1]), two.at(along * two.knots[1])
        centre = 0.5 * (start + stop) + np.array([0.0, -3.5, 0.0])
        axis = stop - start
        half = 0.5 * float(np.linalg.norm(axis))
        axis = axis / (2 * half)
        across = np.cross(axis, up)
        across /= np.linalg.norm(across)
        parts.append((ellipsoid(centre, np.stack([axis, np.cross(across, axis), across]),
                                np.array([half + 3.0, 8.5, 6.5])), 6.0))  # fmt: skip
    # Hypothenar eminence, along the little finger's metacarpal.
    little = skeleton.digits[4].base
    heel = place(18.0, -9.0, -17.0)
    axis = little - heel
    length = float(np.linalg.norm(axis))
    axis /= length
    dorsal = up - (up @ axis) * axis
    dorsal /= np.linalg.norm(dorsal)
    parts.append((ellipsoid(heel + 0.35 * (little - heel) + np.array([0.0, -3.0, 0.0]),
                            np.stack([axis, dorsal, np.cross(dorsal, axis)]),
                            np.array([0.54 * length, 12.5, 12.0])), 12.0))  # fmt: skip
    # Thenar eminence: between the thumb's metacarpal and the palm.
    thumb = skeleton.digits[0]
    mcp = thumb.at(thumb.knots[1])
    centre = thumb.at(0.50 * thumb.knots[1]) + np.array([-3.0, -5.0, -5.0])
    axis = mcp - thumb.base
    axis = axis / np.linalg.norm(axis)
    dorsal = up - (up @ axis) * axis
    dorsal /= np.linalg.norm(dorsal)
    parts.append((ellipsoid(centre, np.stack([axis, dorsal, np.cross(dorsal, axis)]),
                            np.array([29.0, 13.5, 15.0])), 18.0))  # fmt: skip
    # First web: a plate between the two metacarpals, its free edge from thumb to index.
    index = skeleton.digits[1].base
    a0, a1 = thumb.at(0.88 * thumb.knots[1]), index + np.array([0.0, -4.0, 2.0])
    centre = 0.40 * a0 + 0.34 * a1 + 0.26 * place(30.0, -4.0, 15.0)
    axis = (a1 - a0) / np.linalg.norm(a1 - a0)
    normal = np.cross(axis, place(30.0, -4.0, 15.0) - a0)
    normal /= np.linalg.norm(normal)
    parts.append((ellipsoid(centre, np.stack([axis, normal, np.cross(axis, normal)]),
                            np.array([27.0, 7.5, 15.0])), 14.0))  # fmt: skip
    return parts
