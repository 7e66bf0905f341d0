"""Could two arms of one body hold two hands so? A table of relative wrist poses.

Comes in: `physics_assets/arms.toml`, a body's lengths and its joints' ranges. Goes out: `TwoArms`,
one bit for every cell of (rotation of the left wrist's frame in the right one's) x (direction from
the right wrist to the left one, seen from halfway between the two frames, so that a mirrored person
can do what a person can). The bit says whether enough ways were found to hold two hands so in front
of the body. A second table counts the ways of arms at ease (upper arm, forearm and wrist in the
middle of their ranges): how comfortable a pose is.

The ways are drawn: two wrists in front of the body, each elbow anywhere on its circle, forearm and
wrist turned anywhere in their ranges. Dropped are elbows and forearms in the trunk, arms through
arms, hands through hands or forearms, all as thick segments. The left arm is the right
one in the mirror.

Wrist frames are MANO's (global rotation, pose entry 0): at rest the right hand's forearm lies
towards +x, its fingers towards -x, its back +y, its thumb +z; the left one is mirrored in x.
Body frame: x to the body's right, y up, -z ahead, origin between the shoulders; metres.

A cell is about 22 degrees wide both ways, so what is 20 degrees beyond the possible may pass. The
tables ask nothing about how far apart the wrists are. They are shipped, and made anew (minutes) by
`python -c "from twohand500k.splice.arms import write_table; write_table()"`.
"""

import base64
import json
import tomllib
import zlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from twohand500k.errors import DataError
from twohand500k.hand.capsules import one_segment_distance
from twohand500k.hand.rotations import Array

# Cells along a face's edge: rotations lie on four cubes (the largest component of the quaternion),
# directions on six squares (the largest component of the vector).
_ROTATION, _DIRECTION = 8, 4
_CELLS = (4 * _ROTATION**3, 6 * _DIRECTION**2)
# A cell is reachable if it got this part of an even share of the drawn ways: less are the far ends
# of every range at once. More would refuse palm in palm with the fingers pointing opposite ways.
_SHARE = 0.2
_SAMPLES = 2_000_000
# Comfort is kept in so many steps; full comfort is this many even shares of the ways drawn at ease.
_STEPS, _EASE = 15, 2.0
_FILE = "arms_table.json"


class _Body(NamedTuple):
    """`arms.toml` in metres and radians; ranges are (least, most)."""

    half_breadth: float
    upper_arm: float
    forearm: float
    palm: float
    trunk: Array  # half breadth, half depth
    middle: Array  # (3, 2) x, y, z of the middle between the wrists
    apart: Array
    elbow: Array
    shoulder: Array  # turn of the upper arm about itself
    horizontal: Array
    extension: float
    elevation: float
    rotation: Array  # of the forearm
    flexion: Array
    abduction: Array
    thick_upper_arm: float
    thick_forearm: float
    thick_hand: float


@dataclass(frozen=True, eq=False)
class TwoArms:
    """Which relative poses of two wrists two arms can hold.

    cells (2048, 96) bool: rotation x direction. `one_reachable` looks them up in compiled code.
    comfort (2048, 96) uint8, 0 to 15: how many of the ways of arms at ease lead there; see
    `one_comfort`.
    """

    cells: np.ndarray
    comfort: np.ndarray

    @staticmethod
    def table(seed: int | None = None, samples: int = _SAMPLES) -> "TwoArms":
        """The shipped table; with a seed, one made anew from so many possible drawn poses."""
        if seed is None:
            return _shipped()
        rng = np.random.default_rng(seed)
        free = _ways(_body(), rng, samples)
        eased = _ways(_at_ease(_body()), rng, samples)
        comfort = np.minimum(np.rint(_STEPS * eased / _EASE), _STEPS).astype(np.uint8)
        return TwoArms(free >= _SHARE, comfort)

    def reachable(self, R_right_left: ArrayLike, t_right_left: ArrayLike) -> np.ndarray:
        """Whether two arms can hold the hands so, (N,) bool.

        R_right_left (N, 3, 3): the left wrist's frame in the right one's; t_right_left (N, 3) m:
        wrist_left - wrist_right in the right wrist's frame. A pose with NaN is not reachable.
        """
        R, t = np.asarray(R_right_left, dtype=np.float64), np.asarray(t_right_left, np.float64)
        if R.ndim != 3 or R.shape[1:] != (3, 3) or t.shape != (len(R), 3):
            raise ValueError(f"want R (N, 3, 3) and t (N, 3), not {R.shape} and {t.shape}")
        return _all_reachable(self.cells, np.ascontiguousarray(R), np.ascontiguousarray(t))


@njit(cache=True, error_model="numpy")
def one_reachable(cells: np.ndarray, R: Array, t: Array) -> bool:
    """`TwoArms.reachable` of one pose, R (3, 3) and t (3,), for callers that are compiled."""
    q, middle = np.empty(4), np.empty(3)
    _middle_frame(R, t, q, middle)
    if not np.isfinite(q.sum() + middle.sum()):
        return False
    return cells[_rotation_cell(q), _direction_cell(middle)]


@njit(cache=True, error_model="numpy")
def one_comfort(comfort: np.ndarray, R: Array, t: Array) -> float:
    """How comfortably two arms hold one pose, 0 to 1; R (3, 3) and t (3,), finite."""
    q, middle = np.empty(4), np.empty(3)
    _middle_frame(R, t, q, middle)
    return comfort[_rotation_cell(q), _direction_cell(middle)] / _STEPS


@njit(cache=True, error_model="numpy")
def _middle_frame(R: Array, t: Array, q: Array, middle: Array) -> None:
    """The quaternion (4,), w first and not negative, of R, and t in the frame halfway between.

    Halfway, the mirrored person's pose is the same numbers but for signs: R' = M R^T M and
    t' = -M R^T t, with M the mirror, have x of the quaternion and y, z of the direction negated.
    """
    # Four times the squares; from the largest of them the others follow safely (Shepperd 1978).
    q[0] = 1.0 + R[0, 0] + R[1, 1] + R[2, 2]
    q[1] = 1.0 + R[0, 0] - R[1, 1] - R[2, 2]
    q[2] = 1.0 - R[0, 0] + R[1, 1] - R[2, 2]
    q[3] = 1.0 - R[0, 0] - R[1, 1] + R[2, 2]
    largest = int(np.argmax(q))
    if largest == 0:
        q[1], q[2], q[3] = R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]
    elif largest == 1:
        q[0], q[2], q[3] = R[2, 1] - R[1, 2], R[0, 1] + R[1, 0], R[0, 2] + R[2, 0]
    elif largest == 2:
        q[0], q[1], q[3] = R[0, 2] - R[2, 0], R[0, 1] + R[1, 0], R[1, 2] + R[2, 1]
    else:
        q[0], q[1], q[2] = R[1, 0] - R[0, 1], R[0, 2] + R[2, 0], R[1, 2] + R[2, 1]
    q /= np.copysign(np.sqrt(q[0] ** 2 + q[1] ** 2 + q[2] ** 2 + q[3] ** 2), q[0])
    # Half of the rotation, backwards: w' : v' = 1 + w : -v.
    size = np.sqrt(2.0 + 2.0 * q[0])
    w, x, y, z = (1.0 + q[0]) / size, -q[1] / size, -q[2] / size, -q[3] / size
    a, b, c = y * t[2] - z * t[1], z * t[0] - x * t[2], x * t[1] - y * t[0]
    middle[0] = t[0] + 2.0 * (w * a + y * c - z * b)
    middle[1] = t[1] + 2.0 * (w * b + z * a - x * c)
    middle[2] = t[2] + 2.0 * (w * c + x * b - y * a)


@njit(cache=True, error_model="numpy")
def _rotation_cell(q: Array) -> int:
    """Which of 2048 cells a quaternion (4,) lies in: its place on the hypercube; q and -q alike."""
    cell = face = int(np.argmax(np.abs(q)))
    for k in range(4):
        if k != face:
            cell = cell * _ROTATION + _slot(q[k] / q[face], _ROTATION)
    return cell


@njit(cache=True, error_model="numpy")
def _direction_cell(t: Array) -> int:
    """Which of 96 cells the direction of t (3,) lies in: its place on the cube."""
    face = int(np.argmax(np.abs(t)))
    size = max(abs(t[face]), 1e-300)
    cell = 2 * face + (1 if t[face] > 0.0 else 0)
    for k in range(3):
        if k != face:
            cell = cell * _DIRECTION + _slot(t[k] / size, _DIRECTION)
    return cell


@njit(cache=True, error_model="numpy")
def _slot(ratio: float, slots: int) -> int:
    """Which of equal angles between -45 and 45 degrees a tangent in -1..1 lies in."""
    at = int(np.floor((np.arctan(ratio) / (np.pi / 2) + 0.5) * slots))
    return min(max(at, 0), slots - 1)


@njit(cache=True, error_model="numpy")
def _all_reachable(cells: np.ndarray, R: Array, t: Array) -> np.ndarray:
    out = np.empty(len(R), dtype=np.bool_)
    for n in range(len(R)):
        out[n] = one_reachable(cells, R[n], t[n])
    return out


@njit(cache=True, error_model="numpy")
def _draw_ways(body: _Body, draws: Array, most: int, count: np.ndarray) -> int:
    """Count the cells of at most `most` possible ways, drawn by numbers (N, 14) in 0..1."""
    found = 0
    wrist, elbow, knuckle = np.empty((2, 3)), np.empty((2, 3)), np.empty((2, 3))
    R = np.empty((2, 3, 3))
    R_right_left, t_right_left = np.empty((3, 3)), np.empty(3)
    q, middle = np.empty(4), np.empty(3)
    for n in range(len(draws)):
        u = draws[n]
        z = 2.0 * u[3] - 1.0
        ring = np.sqrt(1.0 - z * z)
        half = 0.5 * _between(body.apart, u[5])
        way = np.array([ring * np.cos(2 * np.pi * u[4]), ring * np.sin(2 * np.pi * u[4]), z])
        for r in range(3):
            between = _between(body.middle[r], u[r])
            wrist[0, r], wrist[1, r] = between - half * way[r], between + half * way[r]
        wrist[1, 0] = -wrist[1, 0]  # the left arm in the mirror
        possible = True
        for side in range(2):
            possible = possible and _arm(
                body, wrist[side], u[6 + 4 * side : 10 + 4 * side], elbow[side], R[side]
            )
        if not possible:
            continue
        wrist[1, 0], elbow[1, 0] = -wrist[1, 0], -elbow[1, 0]
        for r in range(3):
            for c in range(3):
                if (r == 0) != (c == 0):
                    R[1, r, c] = -R[1, r, c]
        for r in range(3):
            knuckle[0, r] = wrist[0, r] - body.palm * R[0, r, 0]
            knuckle[1, r] = wrist[1, r] + body.palm * R[1, r, 0]
        if not _apart(body, wrist, elbow, knuckle):
            continue
        for r in range(3):
            t_right_left[r] = 0.0
            for k in range(3):
                t_right_left[r] += R[0, k, r] * (wrist[1, k] - wrist[0, k])
            for c in range(3):
                R_right_left[r, c] = 0.0
                for k in range(3):
                    R_right_left[r, c] += R[0, k, r] * R[1, k, c]
        _middle_frame(R_right_left, t_right_left, q, middle)
        count[_rotation_cell(q), _direction_cell(middle)] += 1
        # The mirrored person can do so as well.
        q[1], middle[1], middle[2] = -q[1], -middle[1], -middle[2]
        count[_rotation_cell(q), _direction_cell(middle)] += 1
        found += 1
        if found == most:
            break
    return found


@njit(cache=True, error_model="numpy")
def _arm(body: _Body, wrist: Array, u: Array, elbow: Array, R: Array) -> bool:
    """The right arm to a wrist (3,): elbow (3,) and wrist frame (3, 3), written into the last two.

    u (4,) in 0..1: swivel, forearm's rotation, two numbers for the wrist's ellipse. False if the
    wrist is out of reach or the arm runs through the trunk.
    """
    to = wrist.copy()
    to[0] -= body.half_breadth
    d = np.sqrt(to[0] ** 2 + to[1] ** 2 + to[2] ** 2)
    a, b = body.upper_arm, body.forearm
    cos_inner = (a * a + b * b - d * d) / (2.0 * a * b)
    # At least a degree short of straight: a straight arm has no elbow plane.
    if cos_inner < -0.99985 or cos_inner > -np.cos(body.elbow[1]):
        return False
    to /= d
    # The elbow's circle about the line from shoulder to wrist, from where it hangs down.
    down = -to * -to[1]
    down[1] -= 1.0
    size = np.sqrt(down[0] ** 2 + down[1] ** 2 + down[2] ** 2)
    if size < 1e-6:
        return False
    down /= size
    out = _cross(down, to)
    swivel = 2 * np.pi * u[0]
    along = (a * a + d * d - b * b) / (2.0 * d)
    radius = np.sqrt(max(a * a - along * along, 0.0))
    upper, fore = np.empty(3), np.empty(3)
    for r in range(3):
        elbow[r] = along * to[r] + radius * (np.cos(swivel) * down[r] + np.sin(swivel) * out[r])
        upper[r] = elbow[r] / a
    elbow[0] += body.half_breadth
    for r in range(3):
        fore[r] = (wrist[r] - elbow[r]) / b
    if not _shoulder(body, upper, fore):
        return False
    for k in range(5):
        if _in_trunk(body, elbow + 0.25 * k * (wrist - elbow)):
            return False
    # Halfway between pronation and supination the thumb lies on the elbow's inner side.
    inner = upper[0] * fore[0] + upper[1] * fore[1] + upper[2] * fore[2]
    thumb = -upper + inner * fore
    thumb /= np.sqrt(thumb[0] ** 2 + thumb[1] ** 2 + thumb[2] ** 2)
    back = _cross(fore, thumb)
    turn = _between(body.rotation, u[1])
    # Anywhere in the ellipse of the wrist's ranges.
    reach, bearing = np.sqrt(u[2]), 2.0 * np.pi * u[3]
    flexion, abduction = reach * np.cos(bearing), reach * np.sin(bearing)
    flexion *= body.flexion[1] if flexion > 0.0 else -body.flexion[0]
    abduction *= body.abduction[1] if abduction > 0.0 else -body.abduction[0]
    ct, st = np.cos(turn), np.sin(turn)
    cf, sf = np.cos(flexion), np.sin(flexion)
    ca, sa = np.cos(abduction), np.sin(abduction)
    for r in range(3):
        # Supination turns the thumb about the forearm's direction, away from the body's middle.
        x, z = -fore[r], ct * thumb[r] + st * back[r]
        y = ct * back[r] - st * thumb[r]
        # Flexion about z, then abduction about y.
        x, y = cf * x + sf * y, cf * y - sf * x
        R[r, 0], R[r, 1], R[r, 2] = ca * x - sa * z, y, sa * x + ca * z
    return True


@njit(cache=True, error_model="numpy")
def _shoulder(body: _Body, upper: Array, fore: Array) -> bool:
    """Whether a right shoulder lets the upper arm (3,) point so with its forearm (3,) there."""
    # Turned the shortest way with the upper arm, what pointed ahead points here (Rodrigues about
    # the horizontal axis) and what pointed to the left here.
    scale = 1.0 - upper[1]
    if scale < 1e-6 or np.arccos(-upper[1]) > body.elevation:
        return False
    ahead, left = np.empty(3), np.empty(3)
    ahead[0] = left[2] = upper[0] * upper[2] / scale
    ahead[1], ahead[2] = -upper[2], upper[2] ** 2 / scale - 1.0
    left[0], left[1] = upper[0] ** 2 / scale - 1.0, -upper[0]
    inwards = np.arctan2(
        fore[0] * left[0] + fore[1] * left[1] + fore[2] * left[2],
        fore[0] * ahead[0] + fore[1] * ahead[1] + fore[2] * ahead[2],
    )
    if inwards < body.shoulder[0] or inwards > body.shoulder[1]:
        return False
    horizontal = np.arctan2(-upper[2], upper[0])
    if body.horizontal[0] <= horizontal <= body.horizontal[1]:
        return True
    return np.arccos(-upper[1]) <= body.extension


@njit(cache=True, error_model="numpy")
def _in_trunk(body: _Body, p: Array) -> bool:
    """Whether a point (3,) lies in the trunk, which ends at the shoulders' height."""
    return p[1] < 0.0 and (p[0] / body.trunk[0]) ** 2 + (p[2] / body.trunk[1]) ** 2 < 1.0


@njit(cache=True, error_model="numpy")
def _apart(body: _Body, wrist: Array, elbow: Array, knuckle: Array) -> bool:
    """Whether two arms and palms, thick segments with ends (2, 3), keep clear of each other."""
    upper, fore, hand = body.thick_upper_arm, body.thick_forearm, body.thick_hand
    shoulder = np.zeros((2, 3))
    shoulder[0, 0], shoulder[1, 0] = body.half_breadth, -body.half_breadth
    if one_segment_distance(shoulder[0], elbow[0], shoulder[1], elbow[1]) < upper + upper:
        return False
    if one_segment_distance(wrist[0], knuckle[0], wrist[1], knuckle[1]) < hand + hand:
        return False
    if one_segment_distance(wrist[0], elbow[0], wrist[1], elbow[1]) < fore + fore:
        return False
    for side in range(2):
        other = 1 - side
        if one_segment_distance(wrist[side], elbow[side], shoulder[other], elbow[other]) < (
            fore + upper
        ):
            return False
        if one_segment_distance(wrist[side], elbow[side], wrist[other], knuckle[other]) < (
            fore + hand
        ):
            return False
    return True


@njit(cache=True, error_model="numpy")
def _between(band: Array, u: float) -> float:
    return band[0] + u * (band[1] - band[0])


@njit(cache=True, error_model="numpy")
def _cross(a: Array, b: Array) -> Array:
    return np.array([
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ])  # fmt: skip


def _asset(name: str) -> str:
    return resources.files("twohand500k.physics_assets").joinpath(name).read_text("utf8")


def _body() -> _Body:
    """physics_assets/arms.toml in radians."""
    table = tomllib.loads(_asset("arms.toml"))
    body, wrists, flesh = table["body"], table["wrists"], table["flesh"]
    forward = wrists["forward"]
    return _Body(
        half_breadth=body["shoulder_half_breadth"],
        upper_arm=body["upper_arm"],
        forearm=body["forearm"],
        palm=body["palm"],
        trunk=np.array([body["trunk_half_breadth"], body["trunk_half_depth"]]),
        middle=np.array([wrists["right"], wrists["up"], [-forward[1], -forward[0]]]),
        apart=np.array(wrists["apart"]),
        elbow=np.radians(table["elbow"]["flexion"]),
        shoulder=np.radians(table["shoulder"]["rotation"]),
        horizontal=np.radians(table["shoulder"]["horizontal"]),
        extension=np.radians(table["shoulder"]["extension"]),
        elevation=np.radians(table["shoulder"]["elevation"]),
        rotation=np.radians(table["forearm"]["rotation"]),
        flexion=np.radians(table["wrist"]["flexion"]),
        abduction=np.radians(table["wrist"]["abduction"]),
        thick_upper_arm=flesh["upper_arm"],
        thick_forearm=flesh["forearm"],
        thick_hand=flesh["hand"],
    )


def _at_ease(body: _Body) -> _Body:
    """The same body with its ranges cut to what people keep to without effort."""
    ease = tomllib.loads(_asset("arms.toml"))["ease"]
    middle = body.middle.copy()
    middle[1] = ease["up"]
    return body._replace(
        middle=middle,
        elevation=np.radians(ease["elevation"]),
        rotation=ease["forearm"] * body.rotation,
        flexion=ease["wrist"] * body.flexion,
        abduction=ease["wrist"] * body.abduction,
    )


def _ways(body: _Body, rng: np.random.Generator, samples: int) -> np.ndarray:
    """How often so many possible drawn poses came to each cell, in even shares."""
    count = np.zeros(_CELLS, dtype=np.int32)
    left = samples
    while left > 0:
        left -= _draw_ways(body, rng.uniform(size=(65536, 14)), left, count)
    return count / (2 * samples / count.size)


@cache
def _shipped() -> TwoArms:
    """The table that comes with the toolkit. Raises DataError if arms.toml has changed since."""
    record = json.loads(_asset(_FILE))
    if record["checksum"] != _checksum():
        raise DataError(
            f"{_FILE} was not made from this arms.toml: "
            "twohand500k.splice.arms.write_table() makes it anew"
        )
    bits, comfort = (
        np.frombuffer(zlib.decompress(base64.b64decode(record[name])), dtype=np.uint8)
        for name in ("cells", "comfort")
    )
    cells = np.unpackbits(bits, count=_CELLS[0] * _CELLS[1]).reshape(_CELLS).astype(bool)
    return TwoArms(cells, comfort.reshape(_CELLS))


def _checksum() -> int:
    return zlib.crc32(_asset("arms.toml").replace("\r\n", "\n").encode())


def _write(path: Path, arms: TwoArms, seed: int, samples: int) -> None:
    def packed(bits: np.ndarray) -> str:
        return base64.b64encode(zlib.compress(bits.tobytes(), 9)).decode()

    record = {
        "seed": seed,
        "samples": samples,
        "checksum": _checksum(),
        "cells": packed(np.packbits(arms.cells)),
        "comfort": packed(arms.comfort),
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")


def write_table(samples: int = _SAMPLES) -> None:
    """Make the shipped table anew, into the installed package; some minutes."""
    with resources.as_file(resources.files("twohand500k.physics_assets")) as folder:
        _write(folder / _FILE, TwoArms.table(seed=0, samples=samples), 0, samples)
