"""TRC: a table of named markers, tab separated, as OpenSim, Cortex and Motive write it.

In: one TRC file. Out: `NamedPoints`; a blank cell is a marker that was not seen. The unit is in the
header.
"""

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


def read_trc(path: Path) -> NamedPoints:
    """Read one TRC file; DataError on anything that is not a whole one."""
    data, file = read_bytes(path)
    text = decode(data, path, "TRC")
    lines = text.splitlines()
    if not lines[0].strip().lower().startswith("pathfiletype"):
        raise DataError(f"{path}: line 1: a TRC file starts with PathFileType")
    if len(lines) < 5:
        raise DataError(f"{path}: ends in its header after {len(lines)} lines (the file is cut)")
    header = _header(lines, path)
    names = _names(lines[3], path)
    first = 5
    while first < len(lines) and not lines[first].strip():
        first += 1
    rows = lines[first:]
    while rows and not rows[-1].strip():
        rows.pop()
    for key, found in (("NumFrames", len(rows)), ("NumMarkers", len(names))):
        told = _count(header, key, path)
        if told is not None and told != found:
            what = "frames" if key == "NumFrames" else "marker names"
            raise DataError(
                f"{path}: declares {told} {what} and holds {found} (a cut or edited file); export "
                f"it again, or correct {key} on line 3 if it is meant"
            )
    table = parse_block(
        [row.rstrip("\r\n") for row in rows],
        2 + 3 * len(names),
        "\t",
        path,
        first + 1,
        "the header",
    )
    frames = check_frames(table[:, 0], path)
    rate = _number(header.get("DataRate"))
    return NamedPoints(
        path=path,
        format="trc",
        names=names,
        positions=table[:, 2:].reshape(len(table), -1, 3),
        frames=frames,
        timestamps=table[:, 1],
        rate=rate if np.isfinite(rate) and rate > 0 else float("nan"),
        unit=header.get("Units") or None,
        file=file,
        notes=cut_note(text),
    )


def _header(lines: list[str], path: Path) -> dict[str, str]:
    """Line 2 names the fields of line 3."""
    keys = [key.strip() for key in lines[1].split("\t")]
    values = [value.strip() for value in lines[2].split("\t")]
    if "DataRate" not in keys or len(values) < len([k for k in keys if k]):
        raise DataError(
            f"{path}: lines 2 and 3 should be the names (DataRate, NumFrames, Units …) and as many "
            "values, tab separated"
        )
    return dict(zip(keys, values, strict=False))


def _names(line: str, path: Path) -> tuple[str, ...]:
    """Marker names: every third cell of line 4 after Frame# and Time."""
    cells = [cell.strip() for cell in line.split("\t")]
    if len(cells) < 3 or not cells[0].lower().startswith("frame"):
        raise DataError(
            f"{path}: line 4 should read Frame#, Time and the marker names, tab separated"
        )
    names = cells[2:]
    while names and not names[-1]:
        names.pop()
    # Names stand over their X column, two blanks follow; a few writers leave no blanks.
    names = names[::3] if len(names) > 1 and not any(names[1::3] + names[2::3]) else names
    if not names or not all(names):
        raise DataError(f"{path}: line 4: marker names must stand over every third column")
    check_unique(names, path)
    return tuple(names)


def _count(header: dict[str, str], key: str, path: Path) -> int | None:
    value = _number(header.get(key))
    if key in header and not np.isfinite(value):
        raise DataError(f"{path}: line 3: {key} is {header[key]!r}, not a number")
    return int(value) if np.isfinite(value) else None


def _number(text: str | None) -> float:
    try:
        return float(text) if text else float("nan")
    except ValueError:
        return float("nan")
