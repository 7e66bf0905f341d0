"""Every length, breadth and depth the open hand is built from, with its source. Millimetres."""

from typing import Final

from twohand500k.conventions import FINGERS

# Skeleton: metacarpal (thumb only), phalanges base to tip, soft tissue beyond the last bone.
BONES_MM: Final[dict[str, tuple[float, float, float, float]]] = {
    "thumb": (46.2, 31.6, 21.7, 5.7),
    "index": (39.8, 22.4, 15.8, 3.8),
    "middle": (44.6, 26.3, 17.4, 4.0),
    "ring": (41.4, 25.7, 17.3, 4.0),
    "little": (32.7, 18.1, 16.0, 3.7),
}

# Breadth and depth at the PIP and DIP joint (thumb: MCP and IP), full, not half.
BREADTH_MM: Final[dict[str, tuple[float, float]]] = {
    "thumb": (22.5, 21.5),
    "index": (20.0, 17.6),
    "middle": (20.2, 17.8),
    "ring": (18.9, 16.7),
    "little": (16.8, 15.0),
}
DEPTH_MM: Final[dict[str, tuple[float, float]]] = {
    "thumb": (21.5, 17.5),
    "index": (18.4, 14.8),
    "middle": (18.8, 15.2),
    "ring": (17.7, 14.4),
    "little": (15.6, 12.8),
}

# Knuckles (MCP) and the thumb's carpometacarpal joint from the wrist joint: distal, dorsal, radial.
KNUCKLE_MM: Final[dict[str, tuple[float, float, float]]] = {
    "thumb": (23.0, -9.0, 23.0),
    "index": (92.5, 1.0, 25.7),
    "middle": (94.0, 3.0, 3.0),
    "ring": (88.0, 1.5, -17.6),
    "little": (79.5, -2.0, -36.4),
}
# Direction of each ray at rest: towards the thumb's side, towards the palm. Degrees.
SPREAD_DEG: Final = {"thumb": 40.0, "index": 7.0, "middle": 0.5, "ring": -7.0, "little": -17.0}
SLOPE_DEG: Final = {"thumb": 15.0, "index": 2.0, "middle": 3.0, "ring": 2.5, "little": 1.0}

WRIST_BREADTH_MM: Final = 58.0
WRIST_DEPTH_MM: Final = 40.0
STUMP_MM: Final = 14.0  # skin kept proximal of the wrist joint

assert set(BONES_MM) == set(FINGERS)
