"""C3D: labelled 3D points in the binary format of c3d.org.

In: one C3D file. Out: `NamedPoints`, unlabelled points (``*7``) dropped, points of negative
residual missing. The bytes are read here: ezc3d, the twin of this reader in the tests, answers a
cut file with fewer frames and hangs or crashes the interpreter on some damaged ones, and no such
file may stop a build. Format: the C3D File Format User Guide, c3d.org.
"""

import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twohand500k.errors import DataError
from twohand500k.sources.recordings.points import NamedPoints, check_unique, read_bytes
from twohand500k.sources.take import Array

_BLOCK = 512
_INTEL, _DEC, _MIPS = 84, 85, 86
_NAME = re.compile(r"[A-Z0-9_. -]+")
_Parameters = dict[str, tuple]


@dataclass(frozen=True)
class _Layout:
    """Where the points lie: start of the data in bytes, per frame so many points and analogs."""

    processor: int
    start: int
    n_points: int
    n_analog: int
    n_frames: int
    first_frame: int
    scale: float  # negative: the numbers are floats


def read_c3d(path: Path) -> NamedPoints:
    """Read one C3D file; DataError on anything that is not a whole one."""
    data, file = read_bytes(path)
    layout, parameters = _layout(data, path)
    positions = _points(data, layout)
    labels = _labels(parameters, path)
    labels += [f"*{i}" for i in range(len(labels), layout.n_points)]
    keep = [i for i in range(layout.n_points) if labels[i] and not labels[i].startswith("*")]
    if not keep:
        raise DataError(f"{path}: none of its {layout.n_points} points has a label; label them")
    names = tuple(labels[i] for i in keep)
    check_unique(names, path)
    rate = _number(parameters, "POINT:RATE", 0.0, path)
    frames = np.arange(layout.n_frames, dtype=np.int64) + layout.first_frame
    timed = rate > 0
    dropped = layout.n_points - len(keep)
    return NamedPoints(
        path=path,
        format="c3d",
        names=names,
        positions=positions[:, keep],
        frames=frames,
        timestamps=(frames - frames[0]) / rate if timed else np.full(len(frames), np.nan),
        rate=rate if timed else float("nan"),
        unit=str((*parameters.get("POINT:UNITS", ()), "")[0]).strip() or None,
        file=file,
        notes=(f"{dropped} unlabelled points dropped",) if dropped else (),
    )


def _numbers(parameters: _Parameters, key: str, path: Path) -> tuple[float, ...]:
    """The values of a parameter that must be finite numbers; () if it is not there."""
    values = parameters.get(key, ())
    for value in values:
        if isinstance(value, str) or not math.isfinite(value):
            raise DataError(f"{path}: {key} is {value!r}, not a number; export it again")
    return values


def _number(parameters: _Parameters, key: str, default: float, path: Path) -> float:
    return (*_numbers(parameters, key, path), default)[0]


def _labels(parameters: _Parameters, path: Path) -> list[str]:
    """POINT:LABELS, LABELS2, LABELS3 … in one list (a C3D string table holds 255)."""
    if "POINT:LABELS" not in parameters:
        raise DataError(f"{path}: has no POINT:LABELS; export it with labels")
    labels: list[str] = []
    k = 1
    while (key := "POINT:LABELS" if k == 1 else f"POINT:LABELS{k}") in parameters:
        labels += [str(label).strip() for label in parameters[key]]
        k += 1
    return labels


def _layout(data: bytes, path: Path) -> tuple[_Layout, _Parameters]:
    """Header and parameters, if the file is long enough for the frames they announce."""
    if len(data) < 2 or data[1] != 0x50:
        raise DataError(f"{path}: not a C3D file (its second byte is not 0x50)")
    cut = DataError(f"{path}: is cut ({len(data)} bytes); export it again")
    section = (data[0] - 1) * _BLOCK
    if section < _BLOCK or section + 4 > len(data):
        raise cut
    processor = data[section + 3]
    if processor not in (_INTEL, _DEC, _MIPS):
        raise DataError(f"{path}: not a C3D file (processor type {processor}); export it again")
    order = ">" if processor == _MIPS else "<"
    n_points, n_analog, first, last = struct.unpack(order + "4H", data[2:10])
    start = (struct.unpack(order + "H", data[16:18])[0] - 1) * _BLOCK
    scale = float(_floats(data[12:16], processor)[0])
    parameters = _read_parameters(data, section, start, processor, path)
    used = int(_number(parameters, "POINT:USED", n_points, path))
    if used != n_points:
        raise DataError(
            f"{path}: its header says {n_points} points and POINT:USED says {used} (a broken "
            "file); export it again"
        )
    n_frames = max(last - first + 1, 0)
    # 16 bits count no further than 65,535 frames; longer takes say so in the parameters.
    begin, end = (
        sum(
            (int(v) & 0xFFFF) << (16 * i) for i, v in enumerate(_numbers(parameters, key, path)[:2])
        )
        for key in ("TRIAL:ACTUAL_START_FIELD", "TRIAL:ACTUAL_END_FIELD")
    )
    if end >= begin > 0 and end - begin + 1 > n_frames:
        n_frames, first = end - begin + 1, begin
    elif last == 0xFFFF:
        n_frames = max(n_frames, int(_number(parameters, "POINT:FRAMES", 0, path)) & 0xFFFF)
    if n_points == 0 or n_frames == 0:
        raise DataError(f"{path}: holds {n_points} points and {n_frames} frames; nothing to read")
    if not np.isfinite(scale) or scale == 0:
        raise DataError(f"{path}: its scale factor is {scale}; export it again")
    need = start + n_frames * (4 * n_points + n_analog) * (4 if scale < 0 else 2)
    if len(data) < need:
        raise DataError(
            f"{path}: declares {n_frames} frames of {n_points} points, which need {need} bytes, "
            f"and has {len(data)} (a cut file); export it again"
        )
    return _Layout(processor, start, n_points, n_analog, n_frames, first, scale), parameters


def _read_parameters(data: bytes, start: int, end: int, processor: int, path: Path) -> _Parameters:
    """Values of all parameters by GROUP:NAME, following the chain of records."""
    broken = DataError(f"{path}: its parameter section is broken; export it again")
    if not start + 4 < end <= len(data):
        raise broken
    order = ">" if processor == _MIPS else "<"
    groups: dict[int, str] = {}
    found: list[tuple[int, str, tuple]] = []
    at = start + 4
    while at + 2 <= end:
        length, group = struct.unpack("bb", data[at : at + 2])
        if length == 0:
            break
        body = at + 2 + abs(length) + 2
        if group == 0 or body > end:
            raise broken
        name = data[at + 2 : body - 2].decode("latin-1").upper()
        step = struct.unpack(order + "H", data[body - 2 : body])[0]
        following = body - 2 + step
        if not _NAME.fullmatch(name) or (step and not body <= following <= end):
            raise broken
        if group < 0:
            groups[-group] = name
        else:
            values = _values(data[body : following if step else end], processor)
            if values is None:
                raise broken
            found.append((group, name, values))
        if step == 0:
            break
        at = following
    return {f"{groups.get(group, '?')}:{name}": values for group, name, values in found}


def _values(body: bytes, processor: int) -> tuple | None:
    """The values of one parameter record; texts are its rows. None if it does not fit."""
    if len(body) < 2:
        return None
    kind, n_dims = struct.unpack("bB", body[:2])
    dims = list(body[2 : 2 + n_dims])
    count = int(np.prod(dims, dtype=np.int64)) if dims else 1
    raw = body[2 + n_dims : 2 + n_dims + count * abs(kind)]
    if kind not in (-1, 1, 2, 4) or len(dims) != n_dims or len(raw) != count * abs(kind):
        return None
    if kind == -1:
        width = dims[0] if dims else 1
        text = raw.decode("latin-1")
        return tuple(text[i : i + width].rstrip() for i in range(0, len(text), max(width, 1)))
    if kind == 4:
        return tuple(_floats(raw, processor).tolist())
    dtype = "b" if kind == 1 else (">i2" if processor == _MIPS else "<i2")
    return tuple(np.frombuffer(raw, dtype).tolist())


def _floats(raw: bytes, processor: int) -> Array:
    """32-bit floats of an Intel, MIPS (big endian) or DEC (words swapped, four times) machine."""
    if processor == _MIPS:
        return np.frombuffer(raw, ">f4")
    if processor == _DEC:
        return np.frombuffer(raw, "<u2").reshape(-1, 2)[:, ::-1].copy().view("<f4").ravel() / 4
    return np.frombuffer(raw, "<f4")


def _points(data: bytes, layout: _Layout) -> Array:
    """Points (T, N, 3) float64 in the file's unit, NaN where the residual is negative."""
    width = 4 * layout.n_points + layout.n_analog
    word = 4 if layout.scale < 0 else 2
    raw = data[layout.start : layout.start + layout.n_frames * width * word]
    if layout.scale < 0:
        values = _floats(raw, layout.processor)
    else:
        values = np.frombuffer(raw, ">i2" if layout.processor == _MIPS else "<i2")
    block = values.reshape(layout.n_frames, width)[:, : 4 * layout.n_points]
    with np.errstate(invalid="ignore"):  # a signalling NaN is a missing point like any other
        block = block.reshape(layout.n_frames, layout.n_points, 4).astype(np.float64)
    points = block[..., :3] * (1.0 if layout.scale < 0 else layout.scale)
    points[~(block[..., 3] >= 0)] = np.nan
    return points
