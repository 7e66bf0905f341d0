"""What the open hand must hold, measured on any `HandModel`: used by the tests and by
`benchmarks/open_hand_gates.py`.

Angles are degrees of flexion, abduction, twist in the frames of `twohand500k.hand.anatomy`, so
that "flexed by 90 degrees" means here what it means everywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from twohand500k.conventions import FINGERS, MANO_CHAINS, N_MANO_JOINTS, TIP_SETS
from twohand500k.hand.anatomy import ABDUCTION, FLEXION, Anatomy
from twohand500k.hand.mesh import self_intersections, volume_cm3
from twohand500k.hand.model import HandModel
from twohand500k.hand.open_hand import anthropometry
from twohand500k.hand.rotations import Array

LIMITS_DEG = (90.0, 100.0, 80.0)  # base, middle and end joint of a finger
THUMB_LIMITS_DEG = (45.0, 60.0, 80.0)

_Joint = tuple[float, float, float]


def _hand(**digits: tuple[_Joint, float, float]) -> Array:
    """Angles (15, 3) degrees from (flexion, abduction, twist) of the base and two flexions."""
    angles = np.zeros((N_MANO_JOINTS - 1, 3))
    for name, (base, middle, end) in digits.items():
        first, second, third = MANO_CHAINS[FINGERS.index(name)]
        angles[first - 1] = base
        angles[second - 1, FLEXION] = middle
        angles[third - 1, FLEXION] = end
    return angles


POSES: dict[str, Array] = {
    "rest": _hand(),
    "fist": _hand(
        thumb=((31.0, 23.0, -45.0), 47.0, 8.0),
        index=((73.0, -3.0, 0.0), 100.0, 50.0),
        middle=((77.0, 0.0, 0.0), 100.0, 50.0),
        ring=((80.0, -1.0, 0.0), 100.0, 48.0),
        little=((81.0, -3.0, 0.0), 92.0, 44.0),
    ),
    "pinch": _hand(
        thumb=((23.0, 4.0, -28.0), 15.0, 17.0),
        index=((31.0, 0.0, 0.0), 56.0, 35.0),
        middle=((24.0, 0.0, 0.0), 30.0, 16.0),
        ring=((20.0, 0.0, 0.0), 28.0, 14.0),
        little=((18.0, 0.0, 0.0), 26.0, 12.0),
    ),
    "opposition": _hand(thumb=((25.0, 35.0, -20.0), 20.0, 15.0)),
}


@dataclass(frozen=True)
class Gate:
    """One line of the table: what was measured, what is needed, whether it holds."""

    name: str
    value: str
    need: str
    holds: bool


def posed_vertices(model: HandModel, anatomy: Anatomy, angles_deg: Array) -> Array:
    """Skin (V, 3) m at angles (15, 3) in degrees."""
    pose = anatomy.pose_from_angles(np.radians(angles_deg))
    return model.with_shape().with_pose(pose).vertices


def one_joint_sweep() -> Iterator[tuple[str, Array]]:
    """Every joint of every digit flexed alone, in thirds of its limit and to the limit."""
    for finger, name in enumerate(FINGERS):
        for k, joint in enumerate(MANO_CHAINS[finger]):
            limit = (LIMITS_DEG if finger else THUMB_LIMITS_DEG)[k]
            for share in (1 / 3, 2 / 3, 5 / 6, 1.0):
                angles = np.zeros((N_MANO_JOINTS - 1, 3))
                angles[joint - 1, FLEXION] = share * limit
                yield f"{name}{k + 1} {share * limit:.0f}", angles


def one_finger_sweep() -> Iterator[tuple[str, Array]]:
    """Every finger closed alone, its three joints together, in steps up to their limits."""
    for finger, name in enumerate(FINGERS[1:], start=1):
        for share in (1 / 3, 2 / 3, 0.9, 1.0):
            angles = np.zeros((N_MANO_JOINTS - 1, 3))
            for joint, limit in zip(MANO_CHAINS[finger], LIMITS_DEG, strict=True):
                angles[joint - 1, FLEXION] = share * limit
            yield f"{name} {share:.0%}", angles


def triangle_quality(model: HandModel) -> tuple[float, float]:
    """Smallest angle (degrees) and shortest edge (mm) at rest."""
    corners = model.v_template[model.faces]
    edges = corners[:, [1, 2, 0]] - corners
    length = np.linalg.norm(edges, axis=-1)
    cosine = -np.sum(edges * edges[:, [2, 0, 1]], axis=-1) / (length * length[:, [2, 0, 1]])
    return float(np.degrees(np.arccos(cosine.max()))), float(length.min() * 1e3)


def hand_length_mm(model: HandModel) -> float:
    """From the wrist joint to the tip of the middle finger, along the hand."""
    return float((model.J_template[0, 0] - model.v_template[:, 0].min()) * 1e3)


def hand_breadth_mm(model: HandModel) -> float:
    """Across the knuckles, without the thumb, square to the middle metacarpal."""
    knuckles = model.J_template[[1, 4, 10, 7]]
    along = knuckles[1] - model.J_template[0]
    across = np.cross(along, [0.0, 1.0, 0.0])
    across /= np.linalg.norm(across)
    along /= np.linalg.norm(along)
    thumb = model.weights[:, list(MANO_CHAINS[0])].sum(axis=1)
    ends = []
    for knuckle in (knuckles[0], knuckles[3]):
        beside = (np.abs((model.v_template - knuckle) @ along) < 0.006) & (thumb < 0.1)
        ends.append(model.v_template[beside] @ across)
    side = np.concatenate(ends)
    return float((side.max() - side.min()) * 1e3)


def tip_misses_mm(model: HandModel) -> float:
    """Furthest any package's tip vertex lies from the apex of the finger it names, mm."""
    apex = model.v_template[list(TIP_SETS["smplx"])]
    return float(
        max(
            np.linalg.norm(model.v_template[list(ids)] - apex, axis=1).max()
            for ids in TIP_SETS.values()
        )
        * 1e3
    )


def knuckle_depth_mm(model: HandModel, anatomy: Anatomy, finger: int, k: int, deg: float) -> float:
    """Least distance from a joint, flexed alone by `deg`, to the skin on its dorsal side, mm."""
    joint = MANO_CHAINS[finger][k]
    angles = np.zeros((N_MANO_JOINTS - 1, 3))
    angles[joint - 1, FLEXION] = deg
    centre = model.J_template[joint]
    dorsal = anatomy.A[joint - 1][:, ABDUCTION]
    twist = anatomy.A[joint - 1][:, 2]
    arm = model.v_template - centre
    height, along = arm @ dorsal, arm @ twist
    sideways = np.linalg.norm(arm - height[:, None] * dorsal - along[:, None] * twist, axis=1)
    over = (height > 0.004) & (np.abs(along) < 0.006) & (sideways < 0.006)
    vertices = posed_vertices(model, anatomy, angles)
    return float(np.linalg.norm(vertices[over] - centre, axis=1).min() * 1e3)


def gates(model: HandModel) -> list[Gate]:
    """Every gate of the open hand."""
    anatomy = Anatomy.of(model)
    faces = model.faces
    angle, edge = triangle_quality(model)
    length, breadth = hand_length_mm(model), hand_breadth_mm(model)
    volume = float(volume_cm3(model.v_template, model.closed_faces))
    tip_ids = list(TIP_SETS["smplx"])
    ends = [chain[2] for chain in MANO_CHAINS]
    tip_share = float(model.weights[tip_ids, ends].min())
    rows = [
        Gate("smallest triangle angle", f"{angle:.1f} deg", ">= 15", angle >= 15),
        Gate("shortest edge", f"{edge:.2f} mm", ">= 1.5", edge >= 1.5),
        _near("hand length", length, anthropometry.HAND_LENGTH_MM, 11.7),
        _near("hand breadth", breadth, anthropometry.HAND_BREADTH_MM, 6.5),
        Gate("closed volume", f"{volume:.0f} cm3", "250 to 450", 250 < volume < 450),
        Gate(
            "most weights on a vertex",
            f"{int((model.weights > 0).sum(axis=1).max())}",
            "<= 4",
            bool((model.weights > 0).sum(axis=1).max() <= 4),
        ),
        Gate("tips carried by the last joint", f"{tip_share:.3f}", "1", tip_share == 1.0),
        Gate(
            "posedirs at the tips",
            f"{np.abs(model.posedirs[tip_ids]).max() * 1e3:.3f} mm",
            "0",
            bool(np.abs(model.posedirs[tip_ids]).max() == 0),
        ),
        Gate(
            "other packages' tips to the apex",
            f"{tip_misses_mm(model):.1f} mm",
            "<= 9",
            tip_misses_mm(model) <= 9,
        ),
    ]
    for name, angles in POSES.items():
        cuts = len(self_intersections(posed_vertices(model, anatomy, angles), faces))
        rows.append(Gate(f"self-intersections, {name}", f"{cuts} pairs", "0", cuts == 0))
    joint_cuts: dict[str, int] = {}
    for name, angles in one_joint_sweep():
        if n := len(self_intersections(posed_vertices(model, anatomy, angles), faces)):
            joint_cuts[name] = n
    rows.append(_cut_gate("self-intersections, one joint alone", joint_cuts))
    folds: dict[str, int] = {}
    pressed: dict[str, int] = {}
    for name, angles in one_finger_sweep():
        pairs = self_intersections(posed_vertices(model, anatomy, angles), faces)
        touching = fingertip_on_palm(model, pairs)
        if (~touching).any():
            folds[name] = int((~touching).sum())
        if touching.any():
            pressed[name] = int(touching.sum())
    rows.append(_cut_gate("self-intersections, one finger alone", folds))
    # A finger whose three joints all stand at their limits presses its tip into the palm. That is
    # flesh, not a fold of the skin; no rigid palm can give way to it.
    text = ", ".join(f"{name}: {n}" for name, n in pressed.items()) or "none"
    rows.append(Gate("fingertip pressed into the palm", text, "only at 100 %", all(
        name.endswith("100%") for name in pressed)))  # fmt: skip
    return rows


def fingertip_on_palm(model: HandModel, pairs: np.ndarray) -> np.ndarray:
    """Which pairs (n, 2) of cutting faces are an end segment against the palm, (n,) bool."""
    carrier = model.weights.argmax(axis=1)
    end = np.isin(carrier, [chain[2] for chain in MANO_CHAINS])[model.faces].all(axis=1)
    palm = (carrier == 0)[model.faces].any(axis=1)
    one, two = pairs[:, 0], pairs[:, 1]
    return np.asarray((end[one] & palm[two]) | (end[two] & palm[one]), dtype=bool)


def _near(name: str, value_mm: float, mean_mm: float, sd_mm: float) -> Gate:
    """Within half a standard deviation of the population's mean (ANSUR2, both sexes mixed)."""
    need = f"{mean_mm:.1f} +- {sd_mm / 2:.1f}"
    return Gate(name, f"{value_mm:.1f} mm", need, abs(value_mm - mean_mm) <= sd_mm / 2)


def _cut_gate(name: str, cuts: dict[str, int]) -> Gate:
    text = ", ".join(f"{pose}: {n}" for pose, n in cuts.items()) or "none"
    return Gate(name, text, "none", not cuts)
