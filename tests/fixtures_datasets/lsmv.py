"""A tiny LSMV: one text file a frame, 22 lines NAME x y z in mm, a right hand, and what lies by."""

from pathlib import Path

import numpy as np

from fixtures_datasets.common import PosedHands

# The lines in the order the sensor's script wrote them, with the OpenPose joint each is.
LINES = [
    (f"{finger}_{knuckle}", 4 * number + place)
    for finger, number in (("F4", 1), ("F3", 2), ("F1", 4), ("F2", 3), ("TH", 0))
    for knuckle, place in (("KNU1_A", 2), ("KNU1_B", 1), ("KNU2_A", 3), ("KNU3_A", 4))
]


def write_lsmv(folder: Path, hands: PosedHands, recording: int = 1, first: int = 0) -> Path:
    """One recording; frames are numbered from `first`. Palm: near the knuckles, as the sensor's."""
    here = folder / "annotated_frames" / f"data_{recording}"
    here.mkdir(parents=True, exist_ok=True)
    for number, joints in enumerate(1e3 * hands.joints[:, 0], start=first):
        palm = joints[9] + 0.2 * (joints[0] - joints[9]) + 0.1 * (joints[17] - joints[5])
        normal = np.cross(joints[5] - joints[0], joints[17] - joints[0])
        rows = [(name, joints[joint]) for name, joint in LINES]
        rows += [("PALM_POSITION", palm), ("PALM_NORMAL", normal / np.linalg.norm(normal))]
        text = "".join(f"{name} {x:.6f} {y:.6f} {z:.6f}\n" for name, (x, y, z) in rows)
        (here / f"{number}_joints.txt").write_text(text)
        (here / f"{number}_jointsCam_1.txt").write_text("F4_KNU1_A 100.0 100.0\n")
        (here / f"{number}_bbox_1.txt").write_text("TOP 1\n")
    return here
