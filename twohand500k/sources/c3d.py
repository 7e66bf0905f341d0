"""C3D: labelled 3D points, read with ezc3d.

In: one C3D file. Out: `NamedPoints`, unlabelled points (``*7``) dropped, points of negative
residual missing. ezc3d answers a cut file with fewer frames, and some broken ones with a crash of
the interpreter, so the header and the chain of parameters are checked here before it sees the file.
"""

import struct
from pathlib import Path

import ezc3d
import numpy as np

from twohand500k.errors import DataError
from twohand500k.sources.points import NamedPoints, check_unique, read_bytes

_BLOCK = 512


def read_c3d(path: Path) -> NamedPoints:
    """Read one C3D file; DataError on anything that is not a whole one."""
    data, file = read_bytes(path)
    n_points, declared, first_frame = _check(data, path)
    try:
        c3d = ezc3d.c3d(str(path))
    except (OSError, RuntimeError, ValueError, IndexError) as error:
        raise DataError(f"{path}: not a readable C3D file ({error}); export it again") from None
    point = c3d["parameters"].get("POINT", {})
    xyz = np.moveaxis(np.asarray(c3d["data"]["points"], dtype=np.float64)[:3], 0, -1)
    positions = np.ascontiguousarray(np.moveaxis(xyz, 0, 1))
    if positions.shape[:2] != (declared, n_points):
        raise DataError(
            f"{path}: declares {declared} frames of {n_points} points and holds "
            f"{positions.shape[0]} of {positions.shape[1]} (a cut file); export it again"
        )
    residuals = np.asarray(c3d["data"]["meta_points"]["residuals"])[0].T
    positions[~(residuals >= 0)] = np.nan
    labels = _labels(point, path)
    if len(labels) < n_points:
        labels += [f"*{i}" for i in range(len(labels), n_points)]
    keep = [i for i, label in enumerate(labels[:n_points]) if label and not label.startswith("*")]
    if not keep:
        raise DataError(f"{path}: none of its {n_points} points has a label; label them first")
    names = tuple(labels[i] for i in keep)
    check_unique(names, path)
    rate = float(_first(point, "RATE", 0.0))
    frames = np.arange(declared, dtype=np.int64) + first_frame
    dropped = n_points - len(keep)
    return NamedPoints(
        path=path,
        format="c3d",
        names=names,
        positions=positions[:, keep],
        frames=frames,
        timestamps=(frames - first_frame) / rate if rate > 0 else np.full(declared, np.nan),
        rate=rate if rate > 0 else float("nan"),
        unit=str(_first(point, "UNITS", "")).strip() or None,
        file=file,
        notes=(f"{dropped} unlabelled points dropped",) if dropped else (),
    )


def _first(group: dict, name: str, default: "str | float") -> "str | float":
    values = group.get(name, {}).get("value", ())
    return values[0] if len(values) else default


def _labels(point: dict, path: Path) -> list[str]:
    """POINT:LABELS, LABELS2, LABELS3 … in one list (a C3D string table holds 255)."""
    if "LABELS" not in point:
        raise DataError(f"{path}: has no POINT:LABELS; export it with labels")
    labels: list[str] = []
    k = 1
    while (name := "LABELS" if k == 1 else f"LABELS{k}") in point:
        labels += [str(label).strip() for label in point[name]["value"]]
        k += 1
    return labels


def _check(data: bytes, path: Path) -> tuple[int, int, int]:
    """Points, frames and first frame as the header says, if the file is long enough for them."""
    cut = f"{path}: is cut ({len(data)} bytes); export it again"
    if len(data) < 2 * _BLOCK or data[1] != 0x50:
        raise DataError(
            f"{path}: not a C3D file (the second byte is not 0x50)" if data[1:2] != b"\x50" else cut
        )
    parameters = (data[0] - 1) * _BLOCK
    if parameters < _BLOCK or parameters + 4 > len(data):
        raise DataError(cut)
    processor = data[parameters + 3]
    if processor not in (84, 85, 86):
        raise DataError(f"{path}: not a C3D file (processor type {processor}); export it again")
    order = ">" if processor == 86 else "<"
    n_points, n_analog, first, last = struct.unpack(order + "4H", data[2:10])
    scale_raw = data[12:16]
    # A DEC float has its two 16-bit words swapped; only the sign is needed, and that bit moves too.
    sign_byte = {84: scale_raw[3], 85: scale_raw[1], 86: scale_raw[0]}[processor]
    word = 4 if sign_byte & 0x80 else 2
    start = (struct.unpack(order + "H", data[16:18])[0] - 1) * _BLOCK
    found = _walk_parameters(data, parameters, start, order, path)
    n_frames = max(last - first + 1, 0)
    # 16 bits count no further than 65,535 frames; longer takes say so in the parameters.
    if "TRIAL:ACTUAL_START_FIELD" in found and "TRIAL:ACTUAL_END_FIELD" in found:
        begin, end = (
            sum(v << (16 * i) for i, v in enumerate(found[f"TRIAL:ACTUAL_{k}_FIELD"][:2]))
            for k in ("START", "END")
        )
        if end >= begin and end - begin + 1 > n_frames:
            n_frames, first = end - begin + 1, begin
    elif last == 0xFFFF and "POINT:FRAMES" in found:
        n_frames = max(n_frames, found["POINT:FRAMES"][0])
    if n_points == 0 or n_frames == 0:
        raise DataError(f"{path}: holds {n_points} points and {n_frames} frames; nothing to read")
    need = start + n_frames * (4 * n_points + n_analog) * word
    if start < parameters or len(data) < need:
        raise DataError(
            f"{path}: declares {n_frames} frames of {n_points} points, which need {need} bytes, "
            f"and has {len(data)} (a cut file); export it again"
        )
    return n_points, n_frames, first


def _walk_parameters(
    data: bytes, start: int, end: int, order: str, path: Path
) -> dict[str, tuple[int, ...]]:
    """Follow the chain of groups and parameters; the 16-bit integers among them, by GROUP:NAME."""
    broken = DataError(f"{path}: its parameter section is broken; export it again")
    if not start + 4 < end <= len(data):
        raise broken
    groups: dict[int, str] = {}
    numbers: list[tuple[int, str, tuple[int, ...]]] = []
    at = start + 4
    while True:
        if at + 2 > end:
            raise broken
        length, group = struct.unpack("bb", data[at : at + 2])
        if length == 0:
            break
        name_end = at + 2 + abs(length)
        if name_end + 2 > end:
            raise broken
        name = data[at + 2 : name_end].decode("latin-1").upper()
        (step,) = struct.unpack(order + "h", data[name_end : name_end + 2])
        after = name_end + step
        if step < 0 or after > end:
            raise broken
        if group < 0:
            groups[-group] = name
        elif group > 0:
            body = name_end + 2
            if body + 2 > end:
                raise broken
            kind, n_dims = struct.unpack("bB", data[body : body + 2])
            dims = data[body + 2 : body + 2 + n_dims]
            size = abs(kind) * int(np.prod(list(dims), dtype=np.int64)) if n_dims else abs(kind)
            values = body + 2 + n_dims
            if kind not in (-1, 1, 2, 4) or n_dims > 7 or values + size > (after if step else end):
                raise broken
            if kind == 2:
                raw = struct.unpack(f"{order}{size // 2}H", data[values : values + size])
                numbers.append((group, name, raw))
        else:
            raise broken
        if step == 0:
            break
        at = after
    return {f"{groups.get(g, '?')}:{name}": v for g, name, v in numbers if v}
