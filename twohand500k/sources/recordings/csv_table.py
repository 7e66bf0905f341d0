"""CSV: OptiTrack Motive's export, and plain columns named ``point_x, point_y, point_z``.

In: one CSV file. Out: `NamedPoints`; a blank cell is a point that was not seen. Motive's layout
(first cell "Format Version") says its unit and names bones, rigid bodies and markers in rows of
their own; only positions are read, rotations are not needed. In a plain file the header row alone
says what is what; columns that form no x, y, z triple are left out and noted.
"""

import csv
import re
from pathlib import Path

import numpy as np

from twohand500k.errors import DataError
from twohand500k.sources.recordings.points import (
    NamedPoints,
    check_frames,
    check_unique,
    cut_note,
    decode,
    parse_block,
    read_bytes,
)
from twohand500k.sources.take import InputFile

_AXIS = re.compile(r"^(?P<name>.*?)[\s_.:\-\[(/]*(?P<axis>[xyzXYZ])[\])]?$")
_FRAME_NAMES = ("frame", "frame#", "frameid", "framenumber", "framenr", "frameindex")
# name of a time column -> its seconds
_TIME_NAMES = {
    "time": 1.0,
    "times": 1.0,
    "timesec": 1.0,
    "timesecs": 1.0,
    "timeseconds": 1.0,
    "timestamp": 1.0,
    "timestamps": 1.0,
    "seconds": 1.0,
    "timems": 1e-3,
    "timestampms": 1e-3,
    "timemilliseconds": 1e-3,
    "elapsedtimeinmilliseconds": 1e-3,
}
# What a Motive position column may belong to; markers first, so that names stay with the markers.
_MOTIVE_KINDS = ("marker", "bone", "rigid body", "bone marker", "rigid body marker")


def read_csv(path: Path) -> NamedPoints:
    """Read one CSV file of either layout; DataError on anything that is not a whole one."""
    data, file = read_bytes(path)
    text = decode(data, path, "CSV")
    lines = text.splitlines()
    first = lines[0].lstrip()
    if first.replace('"', "").lower().startswith("format version"):
        return _motive(lines, path, file, cut_note(text))
    return _plain(lines, path, file, cut_note(text))


def _cells(line: str, separator: str, path: Path, number: int) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error as error:
        raise DataError(
            f"{path}: line {number}: no row of cells ({error}); export it again"
        ) from None


def _body(lines: list[str], start: int) -> list[str]:
    """Data rows without the blank lines at the end."""
    end = len(lines)
    while end > start and not lines[end - 1].strip():
        end -= 1
    return [line.replace('"', "") for line in lines[start:end]]


def _motive(lines: list[str], path: Path, file: InputFile, notes: tuple[str, ...]) -> NamedPoints:
    meta = _cells(lines[0], ",", path, 1)
    header = dict(zip(meta[::2], meta[1::2], strict=False))
    rows: dict[str, list[str]] = {}
    axis_row = -1
    before: list[str] = []
    for number, line in enumerate(lines[1:12], start=1):
        cells = _cells(line, ",", path, number + 1)
        if not any(cells):
            continue
        if cells[0].lower() == "frame":
            axis_row, rows["axis"] = number, cells
            break
        label = next((cell.lower() for cell in cells[:2] if cell), "")
        if label in ("type", "name", "id", "parent"):
            rows[label] = cells
        before = cells
    if axis_row < 0 or not {"type", "name"} <= set(rows):
        raise DataError(
            f"{path}: Motive's rows Type, Name and Frame are not in its first 12 lines; export it "
            "with the header on"
        )
    if header.get("Coordinate Space", "Global").lower() not in ("global", ""):
        raise DataError(
            f"{path}: coordinates are {header['Coordinate Space']!r}; export it from Motive with "
            "Global coordinates"
        )
    rows["quantity"] = before
    names, columns = _motive_columns(rows, path)
    body = _body(lines, axis_row + 1)
    declared = header.get("Total Exported Frames", "")
    if declared.isdigit() and int(declared) != len(body):
        raise DataError(
            f"{path}: declares {declared} exported frames and holds {len(body)} (a cut or edited "
            "file); export it again, or correct Total Exported Frames on line 1 if it is meant"
        )
    table = parse_block(body, len(rows["axis"]), ",", path, axis_row + 2, "the header")
    try:
        rate = float(header.get("Export Frame Rate") or header.get("Capture Frame Rate") or "nan")
    except ValueError:
        rate = float("nan")
    return NamedPoints(
        path=path,
        format="motive",
        names=names,
        positions=table[:, columns].reshape(len(table), -1, 3),
        frames=check_frames(table[:, 0], path),
        timestamps=table[:, 1],
        rate=rate,
        unit=header.get("Length Units") or None,
        file=file,
        notes=notes,
    )


def _motive_columns(rows: dict[str, list[str]], path: Path) -> tuple[tuple[str, ...], list[int]]:
    """Names of the points and the columns of their x, y, z, from Motive's header rows."""

    def cell(row: str, c: int) -> str:
        return rows[row][c] if c < len(rows[row]) else ""

    found: dict[tuple[str, str], dict[str, int]] = {}
    for c in range(2, len(rows["axis"])):
        kind, name, axis = cell("type", c).lower(), cell("name", c), cell("axis", c).lower()
        if cell("quantity", c).lower() != "position" or axis not in ("x", "y", "z"):
            continue
        if kind not in _MOTIVE_KINDS or not name or re.match(r"(?i)unlabeled|\*", name):
            continue
        columns = found.setdefault((kind, name), {})
        if axis in columns:
            raise DataError(
                f"{path}: {kind} {name!r} has two {axis} positions; rename one of the two"
            )
        columns[axis] = c
    names: list[str] = []
    columns_out: list[int] = []
    for kind, name in found:
        if len(found[kind, name]) != 3:
            raise DataError(f"{path}: {kind} {name!r} lacks a position axis; export it again")
        others = [k for k in _MOTIVE_KINDS if k != kind and (k, name) in found]
        # One name for a bone and a marker: the more basic kind keeps it, the other says what it is.
        shadowed = any(_MOTIVE_KINDS.index(k) < _MOTIVE_KINDS.index(kind) for k in others)
        names.append(f"{name} ({kind})" if shadowed else name)
        columns_out += [found[kind, name][axis] for axis in "xyz"]
    if not names:
        raise DataError(
            f"{path}: has no labelled positions; export bones or markers with positions"
        )
    check_unique(names, path)
    return tuple(names), columns_out


def _plain(lines: list[str], path: Path, file: InputFile, notes: tuple[str, ...]) -> NamedPoints:
    head = 0
    while head < len(lines) and (not lines[head].strip() or lines[head].lstrip().startswith("#")):
        head += 1
    if head == len(lines):
        raise DataError(f"{path}: has no header row; give columns named like right_index1_x")
    separator = max(",;\t", key=lines[head].count)
    header = _cells(lines[head], separator, path, head + 1)
    check_unique([name for name in header if name], path)
    axes: dict[str, dict[str, int]] = {}
    frame_column = time_column = -1
    time_scale = 1.0
    for c, title in enumerate(header):
        key = re.sub(r"[^a-z#]", "", title.lower())
        if key in _FRAME_NAMES and frame_column < 0:
            frame_column = c
        elif key in _TIME_NAMES and time_column < 0:
            time_column, time_scale = c, _TIME_NAMES[key]
        elif (match := _AXIS.match(title)) and match["name"]:
            axes.setdefault(match["name"], {})[match["axis"].lower()] = c
    names = tuple(name for name, columns in axes.items() if len(columns) == 3)
    if not names:
        raise DataError(
            f"{path}: line {head + 1}: no columns named like right_index1_x, right_index1_y, "
            f"right_index1_z; it has {', '.join(header[:6])[:80]} …"
        )
    used = {c for name in names for c in axes[name].values()} | {frame_column, time_column}
    left_out = [title for c, title in enumerate(header) if c not in used and title]
    if left_out:
        notes = (f"columns not used: {_some(left_out)}", *notes)
    body = _body(lines, head + 1)
    if separator == ";":
        body = [row.replace(",", ".") for row in body]  # decimal comma
    if not body:
        raise DataError(f"{path}: holds a header and no frames; give a recording with at least one")
    if left_out:
        # Columns nobody reads may hold anything (a label, "n/a"): blank them before parsing.
        body = _blank_unused(body, len(header), used, separator)
    table = parse_block(body, len(header), separator, path, head + 2, "the header")
    frames = table[:, frame_column] if frame_column >= 0 else np.arange(float(len(table)))
    columns = [axes[name][axis] for name in names for axis in "xyz"]
    timestamps = (
        table[:, time_column] * time_scale if time_column >= 0 else np.full(len(table), np.nan)
    )
    steps = np.diff(timestamps)
    return NamedPoints(
        path=path,
        format="csv",
        names=names,
        positions=table[:, columns].reshape(len(table), -1, 3),
        frames=check_frames(frames, path),
        timestamps=timestamps,
        rate=1.0 / float(np.median(steps)) if len(steps) and np.median(steps) > 0 else float("nan"),
        unit=None,
        file=file,
        notes=notes,
    )


def _blank_unused(body: list[str], width: int, used: set[int], separator: str) -> list[str]:
    out = []
    for row in body:
        cells = row.split(separator)
        if len(cells) == width:
            row = separator.join(x if c in used else "" for c, x in enumerate(cells))
        out.append(row)
    return out


def _some(names: list[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
