"""Units: how long is one, told by the size of the hand.

In: points of a hand in an unknown or declared unit. Out: a `Unit`, always checked against human
size. A hand is measured by the median, over its segments, of (median length over frames) / (that
segment's share of hand length). The shares are after Buchholz, Armstrong and Goldstein (1992, from
memory, not checked against the paper),
"Anthropometric data for describing the kinematics of the human hand", Ergonomics 35(3):261-273.
Recordings place joints differently, and skin markers lie off them, so the measure is good to about
a third: enough to tell units apart, which differ by 2.54 at least.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from twohand500k.conventions import JOINT_PARENTS, SIDES
from twohand500k.errors import DataError
from twohand500k.sources.take import Array, Landmark, Unit

UNITS = {"m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001, "inch": 0.0254}
_SPELLINGS = {
    "m": ("meter", "meters", "metre", "metres"),
    "dm": ("decimeter", "decimeters", "decimetre", "decimetres"),
    "cm": ("centimeter", "centimeters", "centimetre", "centimetres"),
    "mm": ("millimeter", "millimeters", "millimetre", "millimetres"),
    "inch": ("in", "inches", '"'),
}
# Length of the segment that ends in each of the 21 joints, as a share of hand length (wrist to
# tip of the middle finger): CMC/MCP from the wrist, then the phalanges.
_SHARES = (
    np.nan,
    0.118, 0.251, 0.196, 0.158,
    0.463, 0.245, 0.143, 0.097,
    0.446, 0.266, 0.170, 0.108,
    0.421, 0.244, 0.165, 0.107,
    0.414, 0.204, 0.117, 0.093,
)  # fmt: skip
# Inference takes the one unit that puts the hand here; the limits lie 2.54 apart so that cm and
# inch cannot both fit. What is declared or read from a file has more room.
_INFERRED_M = (0.100, 0.254)
_POSSIBLE_M = (0.080, 0.300)
_FEWEST_SEGMENTS = 3


@dataclass(frozen=True)
class HandSize:
    """hand_length: in the points' unit, NaN if nothing could be measured. per_side (2,) the same.

    proportioned: whether the segments are in the proportions of a hand at all.
    """

    hand_length: float
    per_side: tuple[float, float]
    n_segments: int
    proportioned: bool


def unit_name(text: str) -> str | None:
    """A unit's short name from any spelling of it, or None."""
    word = text.strip().lower()
    for name, spellings in _SPELLINGS.items():
        if word == name or word in spellings:
            return name
    return None


def segments(landmarks: tuple[Landmark, ...]) -> list[tuple[int, int, float]]:
    """Pairs of landmarks along the fingers, (near, far, share of hand length), base first.

    Markers count along a finger, where both ends are shifted alike, not from the wrist.
    """
    at = {landmark.joint: k for k, landmark in reversed(list(enumerate(landmarks)))}
    out = []
    for joint, k in at.items():
        share, parent = 0.0, joint
        while parent != -1:
            share += _SHARES[parent] if parent else 0.0
            parent = JOINT_PARENTS[parent]
            if parent in at:
                break
        if parent == -1 or joint == 0:
            continue
        near = at[parent]
        markers = "marker" in (landmarks[k].kind, landmarks[near].kind)
        if not (parent == 0 and markers):
            out.append((near, k, share))
    return sorted(out, key=lambda s: (landmarks[s[1]].joint, s[0]))


def measure(points: Array, landmarks: tuple[Landmark, ...]) -> HandSize:
    """Hand length of points (T, 2, K, 3), any unit, NaN = missing."""
    lengths: list[list[float]] = [[], []]
    # A few thousand frames give the median as well as all of them.
    sample = points[:: max(1, len(points) // 2000)]
    for near, far, share in segments(landmarks):
        distance = np.linalg.norm(sample[:, :, far] - sample[:, :, near], axis=-1)
        direct = JOINT_PARENTS[landmarks[far].joint] == landmarks[near].joint
        for side in range(2):
            seen = distance[np.isfinite(distance[:, side]), side]
            if len(seen):
                # A chord over several bones shortens as the finger bends: take its longest.
                length = np.median(seen) if direct else np.quantile(seen, 0.9)
                lengths[side].append(float(length) / share)
    both = np.array(lengths[0] + lengths[1])
    if len(both) < _FEWEST_SEGMENTS or not np.median(both) > 0:
        return HandSize(float("nan"), (float("nan"), float("nan")), len(both), True)
    middle = float(np.median(both))
    within = np.mean((both > middle / 2.5) & (both < middle * 2.5))
    right, left = (float(np.median(side)) if side else float("nan") for side in lengths)
    return HandSize(middle, (right, left), len(both), bool(within >= 0.75))


def find_unit(
    points: Array,
    landmarks: tuple[Landmark, ...],
    declared: str | None,
    in_file: str | None,
    where: str,
) -> tuple[Unit, tuple[str, ...]]:
    """The unit of points (T, 2, K, 3), and notes; DataError if it cannot be a hand's.

    declared: by the user or the map, a name in `UNITS`; in_file: what the file says, any spelling.
    """
    size = measure(points, landmarks)
    length = size.hand_length
    right, left = size.per_side
    if np.isfinite(right) and np.isfinite(left) and not 1 / 1.6 < right / left < 1.6:
        raise DataError(
            f"{where}: the {SIDES[0]} hand is {right:.4g} long and the {SIDES[1]} one {left:.4g}; "
            "are the two in one unit?"
        )
    if not size.proportioned:
        raise DataError(
            f"{where}: the segments between its joints are not in a hand's proportions; is the "
            "joint map or the joint order the right one?"
        )
    fitting = [
        name for name, scale in UNITS.items() if _INFERRED_M[0] <= length * scale < _INFERRED_M[1]
    ]
    notes: tuple[str, ...] = ()
    told = unit_name(in_file) if in_file else None
    if in_file and told is None:
        notes = (f"the file's unit {in_file!r} is unknown and was not used",)
    name = declared or told
    how: Literal["declared", "file"] = "declared" if declared else "file"
    if name is None:
        if not fitting:
            what = f"measures {length:.4g}" if np.isfinite(length) else "cannot be measured"
            raise DataError(
                f"{where}: says no unit, and its hand {what}, which is no hand's length in "
                f"{', '.join(UNITS)}; declare the unit, or check the joint map"
            )
        return Unit(UNITS[fitting[0]], "inferred", fitting[0]), notes
    scale = UNITS[name]
    if not np.isfinite(length):
        return Unit(scale, how, name), (*notes, "the unit could not be checked against hand size")
    if not _POSSIBLE_M[0] <= length * scale <= _POSSIBLE_M[1]:
        cure = (
            f"{fitting[0]} would make it {length * UNITS[fitting[0]] * 1e3:.0f} mm"
            if fitting
            else ("no known unit would fit; check the joint map")
        )
        raise DataError(
            f"{where}: in {name} ({how}) its hand is {length * scale * 1e3:.4g} mm long; {cure}"
        )
    return Unit(scale, how, name), notes
