"""The words and numbers that every room of the house agrees on. Constants only; imports nothing.

Metres, radians, seconds. float32 on disk, float64 in solvers. `_mm`, `_cm3`, `_deg` appear only
in names of values at the edge. Axis of size 2 = sides, index 0 right, 1 left. Transforms read left
to right and cancel: ``p_world = T_world_wrist @ p_wrist``.
"""

from typing import Final, Literal

Side = Literal["right", "left"]
SIDES: Final[tuple[Side, Side]] = ("right", "left")
RIGHT: Final = 0
LEFT: Final = 1

FINGERS: Final = ("thumb", "index", "middle", "ring", "little")

# 21 joints, OpenPose order: wrist, then four per finger from the base to the tip.
JOINT_NAMES: Final = (
    "wrist",
    *(f"{finger}{k}" for finger in FINGERS for k in (1, 2, 3, 4)),
)
N_JOINTS: Final = 21
WRIST: Final = 0
TIP_JOINTS: Final = (4, 8, 12, 16, 20)
# The joint each of the 21 hangs on (-1 for the wrist).
JOINT_PARENTS: Final = (-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)

# MANO's 16 kinematic joints keep MANO's order: little comes before ring, the thumb last.
MANO_JOINT_NAMES: Final = (
    "wrist",
    *(f"{name}{k}" for name in ("index", "middle", "little", "ring", "thumb") for k in (1, 2, 3)),
)
N_MANO_JOINTS: Final = 16
MANO_PARENTS: Final = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
# MANO joints of each finger, base to tip, in FINGERS order.
MANO_CHAINS: Final = ((13, 14, 15), (1, 2, 3), (4, 5, 6), (10, 11, 12), (7, 8, 9))

# joints21[k] = concat(mano16, tips[thumb, index, middle, ring, little])[OPENPOSE_FROM_MANO21[k]]
OPENPOSE_FROM_MANO21: Final = (
    0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20,
)  # fmt: skip
# The MANO joint that carries each of the 21 (a tip is carried by its distal joint).
MANO_CARRIER: Final = (0, 13, 14, 15, 15, 1, 2, 3, 3, 4, 5, 6, 6, 10, 11, 12, 12, 7, 8, 9, 9)

N_BETAS: Final = 10
N_VERTICES: Final = 778
N_FACES: Final = 1538
WRIST_LOOP: Final = 16

# Fingertip vertices (thumb, index, middle, ring, little) as the field's packages choose them.
TIP_SETS: Final[dict[str, tuple[int, int, int, int, int]]] = {
    "smplx": (744, 320, 443, 554, 671),
    "manopth-right": (745, 317, 444, 556, 673),
    "manopth-left": (745, 317, 445, 556, 673),
    "intaghand": (745, 317, 444, 556, 673),
    "interhand26m": (745, 317, 445, 556, 673),
    "freihand": (744, 320, 443, 555, 672),
    "ho3d": (744, 333, 444, 555, 672),
}
DEFAULT_TIP_SET: Final = "smplx"

FRAMES: Final = ("world", "camera", "right wrist")
