"""Two-hand recordings made by our own code, and writers of every format `sources` reads.

Nothing here is taken from a recording: a hand is built from the bone lengths of Buchholz et al.
(1992) and flexed by sines.
"""

import struct
from pathlib import Path

import ezc3d
import numpy as np
from scipy.spatial.transform import Rotation

from twohand500k.conventions import FINGERS, JOINT_NAMES, JOINT_PARENTS, SIDES

HAND_LENGTH_M = 0.185
_LENGTHS = {  # shares of hand length: base from the wrist, then the phalanges
    "thumb": (0.13, 0.251, 0.196, 0.158),
    "index": (0.463, 0.245, 0.143, 0.097),
    "middle": (0.446, 0.266, 0.170, 0.108),
    "ring": (0.421, 0.244, 0.165, 0.107),
    "little": (0.414, 0.204, 0.117, 0.093),
}
_SPLAY_DEG = {"thumb": 40.0, "index": 13.0, "middle": 0.0, "ring": -12.0, "little": -25.0}


def two_hands(n_frames: int = 40, hand_length: float = HAND_LENGTH_M, seed: int = 0) -> np.ndarray:
    """Joints (T, 2, 21, 3) in metres, a right and a left hand flexing side by side."""
    rng = np.random.default_rng(seed)
    out = np.empty((n_frames, 2, 21, 3))
    time = np.linspace(0, 2 * np.pi, n_frames, endpoint=False)
    for side in range(2):
        local = np.zeros((n_frames, 21, 3))
        for f, finger in enumerate(FINGERS):
            angle = np.deg2rad(_SPLAY_DEG[finger])
            along = np.array([np.cos(angle), 0.0, np.sin(angle)])
            flex = 0.4 + 0.3 * np.sin(time + rng.uniform(0, 6))
            point = np.zeros((n_frames, 3))
            for k, share in enumerate(_LENGTHS[finger]):
                bend = (flex * k)[:, None]
                step = along * np.cos(bend) + np.array([0.0, -1.0, 0.0]) * np.sin(bend)
                point = point + share * hand_length * step
                local[:, 1 + 4 * f + k] = point
        turn = Rotation.from_rotvec(np.outer(0.3 * np.sin(time), rng.normal(size=3)))
        world = np.einsum("tab,tjb->tja", turn.as_matrix(), local)
        if side == 1:
            world = world * [-1, 1, 1]
        place = np.array([-0.3 if side == 0 else 0.3, 1.1, 0.2]) + 0.05 * np.outer(
            np.sin(time), [1.0, 0.5, 0.2]
        )
        out[:, side] = world + place[:, None]
    return out


def named(joints: np.ndarray, pattern: str = "{side}_{joint}") -> dict[str, np.ndarray]:
    """Joints (T, 2, 21, 3) as {name: (T, 3)}."""
    return {
        pattern.format(side=side, joint=joint): joints[:, s, j]
        for s, side in enumerate(SIDES)
        for j, joint in enumerate(JOINT_NAMES)
    }


def cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.9g}"


def write_csv(path: Path, points: dict[str, np.ndarray], fps: float = 100.0, **extra) -> Path:
    """Plain columns name_x, name_y, name_z; extra columns as given."""
    n = len(next(iter(points.values())))
    lines = [",".join(["frame", "time_s", *(f"{k}_{a}" for k in points for a in "xyz"), *extra])]
    for t in range(n):
        row = [str(t), f"{t / fps:.6f}"]
        row += [cell(v) for p in points.values() for v in p[t]]
        lines.append(",".join(row + [str(column[t]) for column in extra.values()]))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_trc(
    path: Path, points: dict[str, np.ndarray], unit: str = "mm", fps: float = 100.0,
    first_frame: int = 1, newline: str = "\n", opensim: bool = False,
) -> Path:  # fmt: skip
    """TRC; opensim: a blank line below the header, tabs at the ends of lines."""
    n, tail = len(next(iter(points.values()))), "\t" if opensim else ""
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{path.name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{fps}\t{fps}\t{n}\t{len(points)}\t{unit}\t{fps}\t1\t{n}",
        "Frame#\tTime\t" + "\t\t\t".join(points) + "\t\t" + tail,
        "\t\t" + "\t".join(f"{a}{i + 1}" for i in range(len(points)) for a in "XYZ") + tail,
    ]
    lines += [""] if opensim else []
    for t in range(n):
        values = "\t".join(cell(v) for p in points.values() for v in p[t])
        lines.append(f"{t + first_frame}\t{t / fps:.6f}\t{values}{tail}")
    path.write_bytes((newline.join(lines) + newline).encode())
    return path


def write_motive(
    path: Path, points: dict[str, np.ndarray], unit: str = "Meters", kind: str = "Bone",
    fps: float = 120.0, space: str = "Global",
) -> Path:  # fmt: skip
    """Motive's layout with a quaternion before each position, as it exports bones."""
    n = len(next(iter(points.values())))
    meta = (
        f"Format Version,1.23,Take Name,made,Capture Frame Rate,{fps},Export Frame Rate,{fps},"
        f"Total Exported Frames,{n},Rotation Type,Quaternion,Length Units,{unit},"
        f"Coordinate Space,{space}"
    )
    names = [name for name in points for _ in range(7)]
    lines = [
        meta,
        "",
        ",Type," + ",".join([kind] * len(names)),
        ",Name," + ",".join(names),
        ",ID," + ",".join(["0"] * len(names)),
        ",," + ",".join(q for _ in points for q in ["Rotation"] * 4 + ["Position"] * 3),
        "Frame,Time (Seconds)," + ",".join(a for _ in points for a in "XYZWXYZ"),
    ]
    for t in range(n):
        cells = []
        for p in points.values():
            lost = np.isnan(p[t]).any()
            cells += [""] * 7 if lost else ["0", "0", "0", "1", *(cell(v) for v in p[t])]
        lines.append(f"{t},{t / fps:.6f}," + ",".join(cells))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_c3d(
    path: Path, points: dict[str, np.ndarray], unit: str = "mm", fps: float = 100.0
) -> Path:
    """C3D; a NaN point gets residual -1."""
    data = np.stack([p.T for p in points.values()], axis=1)  # (3, N, T)
    lost = np.isnan(data).any(axis=0)
    c3d = ezc3d.c3d()
    c3d["parameters"]["POINT"]["UNITS"]["value"] = [unit]
    c3d["parameters"]["POINT"]["RATE"]["value"] = [fps]
    c3d["parameters"]["POINT"]["LABELS"]["value"] = tuple(points)
    c3d["data"]["points"] = np.concatenate([np.where(lost, 0.0, data), np.ones((1, *lost.shape))])
    c3d["data"]["meta_points"]["residuals"] = np.where(lost, -1.0, 0.0)[None]
    c3d["data"]["meta_points"]["camera_masks"] = np.zeros((7, *lost.shape), dtype=bool)
    c3d.write(str(path))
    return path


def reencode_c3d(path: Path, processor: str, integers: bool, scale: float) -> None:
    """Rewrite a C3D of `write_c3d` as another machine would have stored it."""
    data = bytearray(path.read_bytes())
    section = (data[0] - 1) * 512
    n_points, n_analog, first, last = struct.unpack("<4H", data[2:10])
    start = (struct.unpack("<H", data[16:18])[0] - 1) * 512
    assert n_analog == 0
    floats = np.frombuffer(bytes(data[start:]), "<f4")[: (last - first + 1) * n_points * 4]
    end = ">" if processor == "mips" else "<"

    def encoded(values: np.ndarray) -> bytes:
        values = np.asarray(values, dtype="<f4")
        if processor == "mips":
            return values.astype(">f4").tobytes()
        if processor == "dec":
            return (values * 4).astype("<f4").view("<u2").reshape(-1, 2)[:, ::-1].tobytes()
        return values.tobytes()

    points = floats.reshape(-1, 4).copy()
    lost = points[:, 3] < 0
    if integers:
        points[:, :3] = np.round(points[:, :3] / scale)
        points[lost] = [0, 0, 0, -1]
        body = points.astype(f"{end}i2").tobytes()
    else:
        body = encoded(points)
    data[section + 3] = {"intel": 84, "dec": 85, "mips": 86}[processor]
    data[2:10] = struct.pack(end + "4H", n_points, 0, first, last)
    data[12:16] = encoded(np.array([scale if integers else -1.0]))
    data[16:18] = struct.pack(end + "H", start // 512 + 1)
    at = section + 4
    while (length := struct.unpack("b", data[at : at + 1])[0]) != 0:
        group = struct.unpack("b", data[at + 1 : at + 2])[0]
        body_at = at + 2 + abs(length) + 2
        name = bytes(data[at + 2 : body_at - 2])
        (step,) = struct.unpack("<H", data[body_at - 2 : body_at])
        data[body_at - 2 : body_at] = struct.pack(end + "H", step)
        if group > 0:
            kind, n_dims = struct.unpack("bB", data[body_at : body_at + 2])
            first_value = body_at + 2 + n_dims
            count = int(np.prod(list(data[body_at + 2 : first_value]), dtype=int))
            raw = bytes(data[first_value : first_value + count * abs(kind)])
            if kind == 2:
                raw = np.frombuffer(raw, "<i2").astype(f"{end}i2").tobytes()
            elif kind == 4:
                values = np.frombuffer(raw, "<f4")
                # ezc3d takes the kind of numbers from POINT:SCALE, not from the header.
                values = np.array([scale]) if name == b"SCALE" and integers and count else values
                raw = encoded(values)
            data[first_value : first_value + len(raw)] = raw
        if step == 0:
            break
        at = body_at - 2 + step
    path.write_bytes(bytes(data[:start]) + body)


def write_bvh(
    path: Path, points: dict[str, np.ndarray], parents: list[int], fps: float = 60.0, seed: int = 0
) -> Path:  # fmt: skip
    """BVH whose every joint carries position channels and a random rotation in a random order.

    points {name: (T, 3)} in hierarchy order, parents[i] < i, -1 for the one root. Every leaf gets
    a zero-length End Site.
    """
    rng = np.random.default_rng(seed)
    names, n = list(points), len(next(iter(points.values())))
    P = np.stack(list(points.values()), axis=1)
    orders = ["".join(rng.permutation(list("XYZ"))) for _ in names]
    angles = rng.uniform(-180, 180, (n, len(names), 3))
    R_world: list[np.ndarray] = []
    columns = []
    for j, parent in enumerate(parents):
        local = Rotation.from_euler(orders[j], angles[:, j], degrees=True).as_matrix()
        step = P[:, j] - (P[:, parent] if parent >= 0 else 0.0)
        if parent >= 0:
            step = np.einsum("tba,tb->ta", R_world[parent], step)
            R_world.append(R_world[parent] @ local)
        else:
            R_world.append(local)
        columns += [step, angles[:, j]]
    children: dict[int, list[int]] = {}
    for j, parent in enumerate(parents):
        children.setdefault(parent, []).append(j)
    text: list[str] = ["HIERARCHY"]
    order: list[int] = []

    def emit(j: int, depth: int) -> None:
        pad = "\t" * depth
        order.append(j)
        offset = np.median(columns[2 * j], axis=0)
        text.append(f"{pad}{'ROOT' if depth == 0 else 'JOINT'} {names[j]}")
        text.append(pad + "{")
        text.append(f"{pad}\tOFFSET {offset[0]:.9g} {offset[1]:.9g} {offset[2]:.9g}")
        rotations = " ".join(f"{a}rotation" for a in orders[j])
        text.append(f"{pad}\tCHANNELS 6 Xposition Yposition Zposition {rotations}")
        for child in children.get(j, []):
            emit(child, depth + 1)
        if j not in children:
            text.extend([f"{pad}\tEnd Site", pad + "\t{", f"{pad}\t\tOFFSET 0 0 0", pad + "\t}"])
        text.append(pad + "}")

    emit(0, 0)
    text += ["MOTION", f"Frames: {n}", f"Frame Time: {1 / fps:.9f}"]
    rows = np.concatenate([columns[2 * j + k] for j in order for k in (0, 1)], axis=1)
    text += [" ".join(f"{v:.9g}" for v in row) for row in rows]
    path.write_text("\n".join(text) + "\n")
    return path


def hand_tree(joints: np.ndarray, side: int) -> tuple[dict[str, np.ndarray], list[int]]:
    """One hand (T, 2, 21, 3) as the points and parents `write_bvh` takes, Mixamo's names."""
    finger = {"little": "Pinky"}
    points = {}
    for j, name in enumerate(JOINT_NAMES):
        prefix = f"mixamorig:{SIDES[side].capitalize()}Hand"
        base = name.rstrip("1234")
        bone = "" if j == 0 else finger.get(base, base.capitalize()) + name[len(base) :]
        points[prefix + bone] = joints[:, side, j]
    return points, list(JOINT_PARENTS)
