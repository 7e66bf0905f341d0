"""BVH: a hierarchy of joints and one row of channels a frame, to joint positions.

In: one BVH file. Out: `NamedPoints`, the position of every joint and of every end site that has a
length (an end site is called ``<joint>.end``). Channels may come in any order and number per joint;
rotations are multiplied in the order the channels are listed, as BVH means it. The unit is not in
the file.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twohand500k.errors import DataError
from twohand500k.sources.recordings.points import (
    NamedPoints,
    check_unique,
    cut_note,
    decode,
    parse_block,
    read_bytes,
)
from twohand500k.sources.take import Array

_AXES = {"x": 0, "y": 1, "z": 2}


@dataclass
class _Joint:
    name: str
    parent: int
    line: int
    offset: Array | None = None
    channels: tuple[tuple[str, int], ...] = ()  # ("position" | "rotation", axis)


def read_bvh(path: Path) -> NamedPoints:
    """Read one BVH file; DataError on anything that is not a whole one."""
    data, file = read_bytes(path)
    text = decode(data, path, "BVH")
    lines = text.splitlines()
    joints, motion_line = _hierarchy(lines, path)
    n_frames, frame_time, values = _motion(lines, motion_line, joints, path)
    positions, notes = _forward(joints, values)
    # An end site of no length says nothing about where the finger ends: it is left out.
    keep = [
        j
        for j, joint in enumerate(joints)
        if not joint.name.endswith(".end") or np.linalg.norm(_offset(joint)) > 0
    ]
    if len(keep) < len(joints):
        notes += (f"{len(joints) - len(keep)} end sites have zero length and are no points",)
    names = tuple(joints[j].name for j in keep)
    check_unique(names, path)
    frames = np.arange(n_frames, dtype=np.int64)
    timed = frame_time > 0
    return NamedPoints(
        path=path,
        format="bvh",
        names=names,
        positions=positions[:, keep],
        frames=frames,
        timestamps=frames * frame_time if timed else np.full(n_frames, np.nan),
        rate=1.0 / frame_time if timed else float("nan"),
        unit=None,
        file=file,
        notes=notes + cut_note(text),
    )


def _offset(joint: _Joint) -> Array:
    assert joint.offset is not None
    return joint.offset


def _hierarchy(lines: list[str], path: Path) -> tuple[list[_Joint], int]:
    """The joints in file order and the number of lines up to and including MOTION."""
    joints: list[_Joint] = []
    stack: list[int] = []
    current = -1
    started = False
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        key = words[0].upper()
        if not started:
            if key != "HIERARCHY":
                raise DataError(f"{path}: line {number}: a BVH file starts with HIERARCHY")
            started = True
        elif key in ("ROOT", "JOINT", "END"):
            parent = stack[-1] if stack else -1
            if key == "END" and parent < 0:
                raise DataError(f"{path}: line {number}: an End Site hangs on no joint")
            if key != "END" and len(words) < 2:
                raise DataError(f"{path}: line {number}: {key} without a name")
            name = f"{joints[parent].name}.end" if key == "END" else " ".join(words[1:])
            current = len(joints)
            joints.append(_Joint(name, parent, number))
        elif key == "{":
            if current < 0:
                raise DataError(f"{path}: line {number}: '{{' before any joint")
            stack.append(current)
        elif key == "}":
            if not stack:
                raise DataError(f"{path}: line {number}: '}}' closes nothing")
            stack.pop()
        elif key == "OFFSET" and current >= 0:
            joints[current].offset = _numbers(words[1:], 3, path, number)
        elif key == "CHANNELS" and current >= 0:
            joints[current].channels = _channels(words, path, number)
        elif key == "MOTION":
            if stack:
                raise DataError(
                    f"{path}: line {number}: MOTION inside joint {joints[stack[-1]].name!r} "
                    f"(opened on line {joints[stack[-1]].line}); a '}}' is missing"
                )
            if not joints:
                raise DataError(f"{path}: line {number}: MOTION without any joint")
            for joint in joints:
                if joint.offset is None:
                    raise DataError(f"{path}: line {joint.line}: {joint.name} has no OFFSET")
            return joints, number
        else:
            raise DataError(f"{path}: line {number}: {words[0][:30]!r} is no BVH keyword")
    raise DataError(
        f"{path}: ends after {len(lines)} lines without a MOTION section (the file is cut, or it "
        "is no BVH); export it again"
    )


def _numbers(words: list[str], count: int, path: Path, number: int) -> Array:
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        values = np.zeros(0)
    if len(values) != count or not np.isfinite(values).all():
        got = " ".join(words)[:40]
        raise DataError(f"{path}: line {number}: needs {count} numbers, got {got!r}")
    return values


def _channels(words: list[str], path: Path, number: int) -> tuple[tuple[str, int], ...]:
    try:
        count = int(words[1])
    except (IndexError, ValueError):
        count = -1
    if count != len(words) - 2:
        told = " ".join(words[1:2]) or "nothing"
        raise DataError(
            f"{path}: line {number}: CHANNELS announces {told} and lists {max(len(words) - 2, 0)}"
        )
    out = []
    for word in words[2:]:
        axis, kind = _AXES.get(word[:1].lower()), word[1:].lower()
        if axis is None or kind not in ("position", "rotation"):
            raise DataError(
                f"{path}: line {number}: {word[:30]!r} is no channel (Xposition, Yrotation …)"
            )
        out.append((kind, axis))
    return tuple(out)


def _motion(
    lines: list[str], start: int, joints: list[_Joint], path: Path
) -> tuple[int, float, Array]:
    """Number of frames, frame time in s (0 unknown) and channel values (T, C)."""
    declared: int | None = None
    frame_time = 0.0
    row = start
    while row < len(lines):
        words = lines[row].split(":")
        key = words[0].strip().lower()
        if key == "frames" and len(words) == 2:
            declared = int(_numbers(words[1].split(), 1, path, row + 1)[0])
        elif key == "frame time" and len(words) == 2:
            frame_time = float(_numbers(words[1].split(), 1, path, row + 1)[0])
        elif key:
            break
        row += 1
    if declared is None:
        raise DataError(f"{path}: no 'Frames:' line after MOTION (line {start}); export it again")
    block = lines[row:]
    while block and not block[-1].strip():
        block.pop()
    if len(block) != declared:
        raise DataError(
            f"{path}: declares {declared} frames and holds {len(block)} "
            "(a cut or edited file); export it again, or correct the 'Frames:' line if it is meant"
        )
    if declared == 0:
        raise DataError(f"{path}: holds no frames; give a recording with at least one")
    width = sum(len(joint.channels) for joint in joints)
    return declared, frame_time, parse_block(block, width, None, path, row + 1, "the hierarchy")


def _forward(joints: list[_Joint], values: Array) -> tuple[Array, tuple[str, ...]]:
    """Positions (T, J, 3) of all joints, frames vectorised, and what was assumed.

    A joint's position channels stand in place of its OFFSET (as MotionBuilder, Blender and Axis
    Neuron write them). Some exporters write them relative to OFFSET instead: below the root, values
    near zero beside an OFFSET that is not are read so, and noted.
    """
    n_frames = len(values)
    positions = np.empty((n_frames, len(joints), 3))
    R_world: list[Array | None] = []
    relative: list[str] = []
    column = 0
    parents = {joint.parent for joint in joints}
    for j, joint in enumerate(joints):
        step = np.broadcast_to(_offset(joint), (n_frames, 3)).copy()
        local: Array | None = None
        moved = [
            (axis, column + i) for i, (k, axis) in enumerate(joint.channels) if k == "position"
        ]
        if moved:
            axes, columns = (list(x) for x in zip(*moved, strict=True))
            shift, rest = values[:, columns], step[:, axes]
            adds = np.median(np.abs(shift).sum(1)) < 0.1 * np.abs(rest[0]).sum()
            if joint.parent >= 0 and adds:
                relative.append(joint.name)
                step[:, axes] += shift
            else:
                step[:, axes] = shift
        for kind, axis in joint.channels:
            if kind == "rotation" and j in parents:
                local = _turn(local, axis, np.deg2rad(values[:, column]))
            column += 1
        R_parent = R_world[joint.parent] if joint.parent >= 0 else None
        if R_parent is not None:
            step = np.einsum("tab,tb->ta", R_parent, step)
        positions[:, j] = step if joint.parent < 0 else positions[:, joint.parent] + step
        if R_parent is not None and local is not None:
            local = R_parent @ local
        R_world.append(R_parent if local is None else local)
    notes = (f"position channels of {', '.join(relative)} read as relative to OFFSET",)
    return positions, notes if relative else ()


def _turn(R: Array | None, axis: int, angle: Array) -> Array:
    """R (T, 3, 3) times the rotation about a coordinate axis: only two columns change."""
    with np.errstate(invalid="ignore"):  # an infinite angle leaves its points missing
        c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    out = np.broadcast_to(np.eye(3), (len(angle), 3, 3)).copy() if R is None else R
    j, k = (axis + 1) % 3, (axis + 2) % 3
    left, right = out[:, :, j].copy(), out[:, :, k].copy()
    out[:, :, j] = left * c + right * s
    out[:, :, k] = right * c - left * s
    return out
