"""Print the open hand's gates, and what its pose correctives gain over plain linear skinning.

    python benchmarks/open_hand_gates.py [--picture FILE]

Exits with 1 where a gate does not hold.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from twohand500k.hand import load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.mesh import self_intersections, volume_cm3
from twohand500k.hand.open_hand.gates import (
    POSES,
    gates,
    knuckle_depth_mm,
    one_finger_sweep,
    one_joint_sweep,
    posed_vertices,
)


def main() -> int:
    """Print both tables, draw the picture if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", type=Path, help="also draw rest, fist and pinch to this PNG")
    picture = parser.parse_args().picture
    hand = load_hands("open").right
    table = gates(hand)
    for gate in table:
        print(
            f"{'ok  ' if gate.holds else 'FAIL'} {gate.name:<36} {gate.value:<28} need {gate.need}"
        )

    linear = replace(hand, posedirs=np.zeros_like(hand.posedirs))
    anatomy = Anatomy.of(hand)
    print(f"\n{'what posedirs gain':<44}{'rest':>8}{'linear':>8}{'ours':>8}")
    for name, finger, k, deg in (
        ("index knuckle (MCP) bent 90, skin depth mm", 1, 0, 90),
        ("middle PIP bent 100, skin depth mm", 2, 1, 100),
        ("little DIP bent 80, skin depth mm", 4, 2, 80),
    ):
        depths = [
            knuckle_depth_mm(model, anatomy, finger, k, angle)
            for model, angle in ((hand, 0.0), (linear, deg), (hand, deg))
        ]
        print(f"{name:<44}" + "".join(f"{depth:8.1f}" for depth in depths))
    volumes = [
        float(volume_cm3(posed_vertices(model, anatomy, POSES[pose]), hand.closed_faces))
        for model, pose in ((hand, "rest"), (linear, "fist"), (hand, "fist"))
    ]
    print(f"{'volume in the fist, cm3':<44}" + "".join(f"{v:8.1f}" for v in volumes))
    sweep = [angles for source in (one_joint_sweep(), one_finger_sweep()) for _, angles in source]
    cuts = [
        sum(len(self_intersections(posed_vertices(m, anatomy, a), m.faces)) for a in sweep)
        for m in (linear, hand)
    ]
    print(f"{'cutting pairs over both sweeps':<44}{0:8d}" + "".join(f"{n:8d}" for n in cuts))
    if picture:
        draw(picture)
    return 0 if all(gate.holds for gate in table) else 1


VIEWS = {
    "palm": (0.0, -1.0, 0.0),
    "back": (0.0, 1.0, 0.0),
    "thumb's side": (0.1, -0.35, 1.0),
    "finger ends": (-1.0, -0.45, 0.5),
}


def draw(path: Path) -> None:
    """Rest, fist and pinch from four sides."""
    from twohand500k.pictures import SKIN, Camera, Surface, contact_sheet, render_meshes, save_png

    hand = load_hands("open").right
    anatomy = Anatomy.of(hand)
    tiles, labels = [], []
    for name in ("rest", "fist", "pinch"):
        vertices = posed_vertices(hand, anatomy, POSES[name])
        for view, seen_from in VIEWS.items():
            up = (0.0, 1.0, 0.0) if view == "finger ends" else (-1.0, 0.0, 0.0)
            camera = Camera.framing(vertices, seen_from, up=up)
            tiles.append(
                render_meshes([Surface(vertices, hand.faces, SKIN[0])], camera, (300, 300))
            )
            labels.append(f"{name}, {view}")
    save_png(path, contact_sheet(tiles, labels, columns=len(VIEWS)), colours=128)


if __name__ == "__main__":
    sys.exit(main())
