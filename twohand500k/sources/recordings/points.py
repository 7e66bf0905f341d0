"""What a format's reader hands over: named points over time, in the file's own unit.

In: the bytes of one file. Out: `NamedPoints`, before anybody knows which point is which joint. The
helpers here (bytes, text, one block of numbers) are shared by the readers so that a broken file
gives the same kind of line whatever its format: which file, which line, what would work.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twohand500k.errors import DataError
from twohand500k.sources.take import Array, InputFile


@dataclass(frozen=True, eq=False)
class NamedPoints:
    """The points of one file.

    format: "bvh" | "c3d" | "trc" | "motive" | "csv" | "array" (joint maps name these).
    positions (T, N, 3) float64 in the file's unit, NaN = missing. frames (T,) int64, strictly
    increasing; timestamps (T,) s, NaN unknown; rate Hz, NaN unknown; unit as the file says it.
    """

    path: Path
    format: str
    names: tuple[str, ...]
    positions: Array
    frames: Array
    timestamps: Array
    rate: float
    unit: str | None
    file: InputFile
    notes: tuple[str, ...] = ()


def read_bytes(path: Path) -> tuple[bytes, InputFile]:
    """The bytes of a file and its sha256; DataError if it cannot be read or is empty."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if not data:
        raise DataError(f"{path}: the file is empty (0 bytes); give a recording")
    return data, InputFile(str(path), hashlib.sha256(data).hexdigest())


def decode(data: bytes, path: Path, what: str) -> str:
    """Text of a UTF-8, UTF-16 (byte-order mark) or Latin-1 file; refuses binary and blank ones."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            text = data.decode("utf-16")
        except UnicodeDecodeError:
            raise DataError(f"{path}: broken UTF-16 text; save the {what} as UTF-8") from None
    elif b"\0" in data[:65536]:
        raise DataError(f"{path}: binary data where {what} text was expected; is the suffix right?")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            # Latin-1 never fails; only names can hold non-ASCII letters, numbers are parsed
            # strictly.
            text = data.decode("latin-1")
    if not text.strip():
        raise DataError(
            f"{path}: holds no {what} text ({len(data)} bytes, all blank); export it again"
        )
    return text


def parse_block(
    rows: Sequence[str], width: int, separator: str | None, path: Path, first_line: int, what: str
) -> Array:
    """Rows of numbers as (T, width) float64; an empty cell is NaN.

    separator None means any whitespace (then no cell can be empty). Every row must hold `width`
    cells (empty ones may trail): a shorter row is a cut file and is refused.
    """
    values = None
    if separator is None:
        if all(len(row.split()) == width for row in rows):
            values = _fast(" ".join(rows).split(), len(rows) * width)
    else:
        tidy = [_without_extra(row, separator, width) for row in rows]
        if all(row.count(separator) == width - 1 for row in tidy):
            # Every empty cell becomes "nan"; twice, for neighbours share a separator.
            text = f"{separator}{separator.join(tidy)}{separator}"
            for _ in range(2):
                text = text.replace(separator * 2, f"{separator}nan{separator}")
            values = _fast(text[1:-1].split(separator), len(rows) * width)
    if values is not None:
        return values.reshape(len(rows), width)
    return _slow(rows, width, separator, path, first_line, what)


def _without_extra(row: str, separator: str, width: int) -> str:
    """A row without the empty cells that trail behind the last column."""
    extra = row.count(separator) - (width - 1)
    if extra > 0 and not row[-extra:].strip(separator):
        return row[:-extra]
    return row


def _fast(cells: list[str], count: int) -> Array | None:
    """Numbers of clean cells at numpy's speed; None if they are not clean."""
    try:
        values = np.array(cells, dtype=np.float64)
    except ValueError:
        return None
    return values if len(values) == count else None


def _slow(
    rows: Sequence[str], width: int, separator: str | None, path: Path, first_line: int, what: str
) -> Array:
    out = np.full((len(rows), width), np.nan)
    for r, row in enumerate(rows):
        line = first_line + r
        cells = row.split(separator) if separator else row.split()
        while len(cells) > width and not cells[-1].strip():
            cells.pop()
        if len(cells) != width:
            last = " (the last line: the file is cut)" if r == len(rows) - 1 else ""
            raise DataError(
                f"{path}: line {line} has {len(cells)} values where {what} needs {width}{last}; "
                "export it again, or delete that line if losing the frame is meant"
            )
        for c, cell in enumerate(cells):
            text = cell.strip()
            if not text:
                continue
            try:
                out[r, c] = float(text)
            except ValueError:
                raise DataError(
                    f"{path}: line {line}, column {c + 1}: {text[:30]!r} is not a number; "
                    "leave a missing value blank"
                ) from None
    return out


def cut_note(text: str) -> tuple[str, ...]:
    """A last line without its end may end inside its last number: nothing else shows it."""
    if text[-1] in "\r\n":
        return ()
    return ("the file does not end with a newline; its last number may be cut",)


def check_frames(frames: Array, path: Path) -> Array:
    """Frame numbers as int64, strictly increasing, or a DataError."""
    if not len(frames):
        raise DataError(f"{path}: holds no frames; give a recording with at least one")
    # Above 2^53 a float64 no longer tells whole numbers apart, and int64 would overflow.
    bad = ~(np.abs(frames) < 2**53) | (frames != np.round(frames))
    if bad.any():
        raise DataError(
            f"{path}: frame number {frames[bad][0]:g} is no whole number below 2^53; number the "
            "frames 0, 1, 2 …"
        )
    step = np.diff(frames)
    if (step <= 0).any():
        where = int(np.flatnonzero(step <= 0)[0])
        raise DataError(
            f"{path}: frame {frames[where]:.0f} is followed by frame {frames[where + 1]:.0f}; "
            "frame numbers must increase (sort or renumber them)"
        )
    return frames.astype(np.int64)


def check_unique(names: Sequence[str], path: Path) -> None:
    """DataError if a name stands twice: nobody could say which column is meant."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"{path}: the name {name!r} stands twice; rename one of the two")
        seen.add(name)
