"""One array of numbers out of a MATLAB 5 file.

In: the path of a .mat file (saved with -v6 or -v7) and a variable's name. Out: the array. Own code,
because scipy 1.17's `loadmat` kills the interpreter on some files with one damaged byte; it
writes the test files and is the twin this is tested against. Layout: The MathWorks, "MAT-File
Format", level 5: a header of 128 bytes, then elements of a tag (type, length) and data, zipped or
not; a matrix is itself a row of elements: flags, dimensions, name, numbers.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from twohand500k.errors import DataError
from twohand500k.sources.take import Array

_HEADER = 128
_ENDIAN = {b"IM": "<", b"MI": ">"}
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
            13: "u8"}  # fmt: skip
# Array classes double to uint64; the others are cells, structures, text and sparse matrices.
_NUMERIC_CLASSES = range(6, 16)
_COMPLEX = 0x0800
_MAX_BYTES = 2**28


class _Broken(ValueError):
    """The bytes are not what the format says."""


def read_matlab_array(path: Path, name: str) -> Array:
    """The real numeric array called `name`, float64 in MATLAB's shape. Raises DataError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    endian = _ENDIAN.get(data[126:128])
    if data.startswith(b"MATLAB 7.3") or data[1:4] == b"HDF":
        raise DataError(f"{path}: saved as MATLAB 7.3; save it again with -v7")
    if len(data) < _HEADER or endian is None:
        raise DataError(f"{path}: not a whole .mat file of MATLAB 5; fetch it again")
    try:
        for kind, content in _elements(data[_HEADER:], endian):
            if kind == _COMPRESSED:
                kind, content = next(_elements(_unzipped(content), endian))
            if kind == _MATRIX and (found := _matrix(content, name, endian)) is not None:
                return found
    except (_Broken, StopIteration, zlib.error) as error:
        reason = str(error) or "it is cut"
        raise DataError(f"{path}: not a whole .mat file ({reason}); fetch it again") from None
    raise DataError(f"{path}: holds no {name}; it is not the file that was meant")


def _elements(data: bytes, endian: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of the elements that follow each other in `data`."""
    at = 0
    while at + 8 <= len(data):
        kind, length = struct.unpack_from(endian + "II", data, at)
        start, after = at + 8, at + 8 + -(-length // 8) * 8
        if kind >> 16:  # up to four bytes stand in the tag itself
            kind, length = kind & 0xFFFF, kind >> 16
            start, after = at + 4, at + 8
            if length > 4:
                raise _Broken("a small element of more than 4 bytes")
        elif kind == _COMPRESSED:  # the one kind without padding
            after = start + length
        if start + length > len(data):
            raise _Broken("it is cut")
        yield kind, data[start : start + length]
        at = after


def _unzipped(content: bytes) -> bytes:
    data = zlib.decompressobj().decompress(content, _MAX_BYTES)
    if len(data) >= _MAX_BYTES:
        raise _Broken("an array larger than any label file's")
    return data


def _matrix(content: bytes, name: str, endian: str) -> Array | None:
    """The array, or None if it is called otherwise."""
    parts = _elements(content, endian)
    kind, flags = next(parts)
    if kind != _UINT32 or len(flags) != 8:
        raise _Broken("an array without flags")
    word = struct.unpack(endian + "I", flags[:4])[0]
    kind, raw_shape = next(parts)
    if kind != _INT32 or len(raw_shape) % 4:
        raise _Broken("an array without dimensions")
    kind, raw_name = next(parts)
    if kind != _INT8:
        raise _Broken("an array without a name")
    if raw_name != name.encode("ascii"):
        return None
    if word & 0xFF not in _NUMERIC_CLASSES or word & _COMPLEX:
        raise _Broken(f"{name} is no array of real numbers")
    shape = tuple(int(n) for n in np.frombuffer(raw_shape, endian + "i4"))
    kind, raw = next(parts)
    if kind not in _NUMBERS:
        raise _Broken(f"{name} holds no numbers")
    dtype = np.dtype(endian + _NUMBERS[kind])
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(raw):
        raise _Broken(f"{name} has not the numbers that its dimensions {shape} need")
    return np.frombuffer(raw, dtype).astype(np.float64).reshape(shape, order="F")
