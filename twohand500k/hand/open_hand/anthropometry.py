"""Every length, breadth and depth the open hand is built from, with its source. Millimetres.

The hand is the mean of an equal mix of women and men. Sources, by the key used below:

BURYANOV  A. Buryanov, V. Kotiuk, Proportions of hand segments, Int. J. Morphol. 28(3):755-758,
          2010, Table I: radiographs of 66 adults. Read in three independent quotations that agree
          (one prints 32.57 for the little finger's first phalanx, two 32.74); paper not seen.
ANSUR2    C. Gordon et al., 2012 Anthropometric Survey of U.S. Army Personnel, NATICK/TR-15/007:
          1986 women, 4082 men. Statistics others computed from the public data; report not seen.
GREINER   T. Greiner, Hand anthropometry of U.S. Army personnel, NATICK/TR-92/011, 1991: means of
          1003 men, as quoted twice; report not seen. Breadths and girths are carried to our hand
          by the ratio of hand breadths, lengths by the ratio of hand lengths.
NIOSH     Glove survey of U.S. workers (855 men, 88 women), stacks.cdc.gov/view/cdc/201534, Table 2,
          as quoted; report not seen.
KHAZRI    Khazri et al., PLoS ONE 17(8) e0273840, 2022, data recomputed by others, as quoted.
AIST      Hand data of 530 Japanese adults, airc.aist.go.jp/dhrt/hand, as quoted.
OURS      no figure found; the reason stands beside it.
"""

from typing import Final

# ANSUR2: women 181.1 and 78.2, men 193.3 and 88.3.
HAND_LENGTH_MM: Final = 187.2
HAND_BREADTH_MM: Final = 83.3

# GREINER: tip of the middle finger to the wrist crease, and hand breadth, of his men.
_GREINER_LENGTH, _GREINER_BREADTH = 194.5, 90.4
_LENGTH_RATIO: Final = HAND_LENGTH_MM / _GREINER_LENGTH
_BREADTH_RATIO: Final = HAND_BREADTH_MM / _GREINER_BREADTH

# BURYANOV. Thumb: metacarpal, two phalanges, soft tip. Fingers: three phalanges, soft tip.
BONES_MM: Final[dict[str, tuple[float, float, float, float]]] = {
    "thumb": (46.22, 31.57, 21.67, 5.67),
    "index": (39.78, 22.38, 15.82, 3.84),
    "middle": (44.63, 26.33, 17.40, 3.95),
    "ring": (41.37, 25.65, 17.30, 3.95),
    "little": (32.74, 18.11, 15.96, 3.73),
}

# GREINER, breadth and girth at the PIP and the DIP joint; thumb at the IP joint only. The index
# finger's DIP breadth is not in the quotation: the middle finger's, by the ratio of their girths.
# The thumb's MCP: OURS, 3 % more than its IP, as the skin shows no waist there.
_JOINT_BREADTH: Final = {
    "thumb": (24.7, 24.0),
    "index": (23.0, 19.7),
    "middle": (22.5, 19.8),
    "ring": (21.4, 18.5),
    "little": (19.2, 17.4),
}
_JOINT_GIRTH: Final = {
    "thumb": (76.0, 72.3),
    "index": (68.4, 57.4),
    "middle": (69.6, 57.8),
    "ring": (64.9, 53.8),
    "little": (57.8, 49.2),
}


def _ellipse_depth(breadth: float, girth: float) -> float:
    """Depth of the ellipse of this breadth and circumference, pi sqrt((b^2 + d^2) / 2)."""
    return float((2 * (girth / 3.14159265) ** 2 - breadth**2) ** 0.5)


# Full breadth and depth at PIP and DIP (thumb: MCP and IP) of our hand.
BREADTH_MM: Final[dict[str, tuple[float, float]]] = {
    name: (_BREADTH_RATIO * first, _BREADTH_RATIO * second)
    for name, (first, second) in _JOINT_BREADTH.items()
}
DEPTH_MM: Final[dict[str, tuple[float, float]]] = {
    name: (
        _BREADTH_RATIO * _ellipse_depth(_JOINT_BREADTH[name][0], girths[0]),
        _BREADTH_RATIO * _ellipse_depth(_JOINT_BREADTH[name][1], girths[1]),
    )
    for name, girths in _JOINT_GIRTH.items()
}

# GREINER: height of the webs above the wrist crease, from the thumb's to the little finger's.
WEB_MM: Final = tuple(_LENGTH_RATIO * height for height in (69.1, 110.4, 109.9, 96.6))

# Knuckles and the thumb's carpometacarpal joint, from the wrist joint: distal, dorsal, radial.
# Distal: HAND_LENGTH less BURYANOV's middle finger gives 94 for the middle one; the others by their
# metacarpals (BURYANOV 68.1, 64.6, 58.0, 53.7, each from its own carpal bone). Radial: HAND_BREADTH
# less the flesh beside the outer knuckles, shared out as the fingers' breadths. Dorsal: OURS, the
# transverse arch as anatomy atlases draw it. Thumb: 0.12 hand lengths distal and 0.24 hand breadths
# radial of the wrist's middle, which puts its tip near GREINER's distance from the wrist crease.
KNUCKLE_MM: Final[dict[str, tuple[float, float, float]]] = {
    "thumb": (22.5, -9.0, 22.0),
    "index": (92.5, 1.0, 25.3),
    "middle": (94.3, 3.0, 3.0),
    "ring": (88.0, 1.5, -17.6),
    "little": (79.5, -2.0, -35.8),
}

# Direction of each ray at rest: towards the thumb's side, and towards the palm. Degrees. OURS:
# spread so far that the webs have room; fingers side by side are 7 to 10 degrees away.
SPREAD_DEG: Final = {"thumb": 40.0, "index": 7.3, "middle": 0.5, "ring": -7.0, "little": -17.5}
SLOPE_DEG: Final = {"thumb": 15.0, "index": 2.0, "middle": 3.0, "ring": 2.5, "little": 1.0}

# GREINER 65.8 for the breadth; the depth from ANSUR2's girth (women 154.8, men 175.9) about a
# rounded rectangle of that breadth.
WRIST_BREADTH_MM: Final = _BREADTH_RATIO * 65.8
WRIST_DEPTH_MM: Final = 38.0
# Thickness at the third metacarpal: AIST, women 27.8 and men 32.1.
PALM_DEPTH_MM: Final = 29.9
STUMP_MM: Final = 14.0  # skin kept proximal of the wrist joint: OURS, about as much as MANO keeps

# One standard deviation of the shape coefficients, relative. Mixed = both sexes together.
# Hand length, mixed: sqrt((10.1^2 + 9.9^2) / 2 + 6.1^2) = 11.7 of 187.2 (ANSUR2).
SD_SIZE: Final = 0.0625
# Hand breadth, mixed 6.5 of 83.3 (ANSUR2); what length leaves at r = 0.78 (KHAZRI).
SD_PALM_BREADTH: Final = 0.049
# Finger against palm length at equal hand length: 5.6 % and 5.3 % at r = 0.52 (NIOSH).
SD_FINGERS, SD_PALM_LENGTH = 0.0311, 0.0224
# Finger breadth 6.5 % (NIOSH); OURS: what size leaves, at r = 0.6. The palm's depth likewise.
SD_GIRTH, SD_THICKNESS = 0.052, 0.06
# Length of one digit: thumb 6.2, little 6.8 % (NIOSH); OURS: what the other coefficients leave, at
# r = 0.75. Index against ring: their ratio varies by about 3.3 % (the 2D:4D ratio; a figure quoted
# everywhere, source not checked), half to each.
SD_THUMB, SD_LITTLE, SD_INDEX, SD_RING = 0.043, 0.043, 0.0165, 0.0165
# Single bones vary by 7 to 14 % (BURYANOV: thumb's metacarpal 8.5, its phalanges 9.9 and 7.4, the
# index finger's 12.4, 11.2 and 14.3), far more than whole digits. OURS: how much of that is
# contrast within a digit; the signs keep the digit's length.
SD_THUMB_METACARPAL, SD_THUMB_FIRST, SD_THUMB_LAST = 0.03, 0.07, 0.05
SD_FIRST_PHALANX, SD_MIDDLE_PHALANX, SD_LAST_PHALANX = 0.015, 0.055, 0.075
# OURS: slope of the knuckle row; no figure found.
SD_KNUCKLE_SLOPE: Final = 0.06
