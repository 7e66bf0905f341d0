"""Read a pickle without letting it run anything.

Comes in: the path of a pickle, a MANO model (Python 2, protocol 2, naming chumpy and scipy classes
of ten years ago) or a dataset's annotations. Goes out: its dictionary of plain numpy arrays,
strings and numbers.

A pickle is a program that calls whatever it names. Here it may name only the entries of
`_ALLOWED`, and each of those is an inert record of ours that keeps its arguments and does nothing:
not even numpy's or scipy's own constructors see the file's bytes before they were checked. So
chumpy need not exist, names that moved between numpy and scipy versions do not matter, and a name
that is not in the list ends the reading with a `DataError` that says which.
"""

import math
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from twohand500k.errors import DataError

# MANO's files have 4 MB; the largest annotation file known, RHD's training set, about 110 MB.
_MAX_BYTES = 256 * 2**20
_MAX_ELEMENTS = 2**28


class _Refused(pickle.UnpicklingError):
    """The pickle asked for something that only a program, not data, would ask for."""


class _Sealed(type):
    """Classes the pickle can name but not change (its BUILD opcode could set attributes)."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise _Refused(f"the file tries to change {cls.__name__}")


class _Record(metaclass=_Sealed):
    """An object of the file: what it was made with and what state it was given. Nothing runs."""

    __slots__ = ("args", "state")
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any) -> "_Record":
        self = object.__new__(cls)
        self.args, self.state = args, None
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Dtype(_Record):
    """numpy.dtype(typestring, align, copy)."""


class _ArrayType(_Record):
    """numpy.ndarray, only as the first argument of `_Array`."""


class _Array(_Record):
    """numpy's _reconstruct(type, shape, dtype); state (version, shape, dtype, fortran, bytes)."""


class _Buffer(_Record):
    """numpy's _frombuffer(bytes, dtype, shape, order): arrays under pickle protocol 5."""


class _Scalar(_Record):
    """numpy's scalar(dtype, bytes)."""


class _SparseColumns(_Record):
    """scipy.sparse.csc_matrix; state {data, indices, indptr, _shape or shape}."""


class _Ch(_Record):
    """chumpy.ch.Ch; state {x: array}."""


class _Select(_Record):
    """chumpy.reordering.Select; state {a, idxs, preferred_shape}: a.ravel()[idxs] reshaped."""


class _Encode(metaclass=_Sealed):
    """_codecs.encode(text, "latin1"): how Python 3 writes bytes into an old-protocol pickle."""

    def __new__(cls, text: object = "", encoding: object = "latin1") -> Any:
        if not isinstance(text, str) or encoding != "latin1":
            raise _Refused("the file encodes something else than latin1 text")
        return text.encode("latin1")


class _Object(_Record):
    """object, only as the second argument of `_Reconstructor`."""


class _Reconstructor(metaclass=_Sealed):
    """copy_reg._reconstructor(class, object, None): a new instance under protocols 0 and 1."""

    def __new__(cls, target: object, base: object, state: object) -> Any:
        if not isinstance(target, _Sealed) or base is not _Object or state is not None:
            raise _Refused("the file rebuilds an object in an unusual way")
        return target()


class _EmptyBytes(metaclass=_Sealed):
    """bytes(): how Python 3 writes empty bytes into an old-protocol pickle."""

    def __new__(cls) -> Any:
        return b""


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _ArrayType,
    **{
        (f"numpy.{core}.{module}", name): record
        for core in ("core", "_core")
        for module, name, record in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _Scalar),
            ("numeric", "_frombuffer", _Buffer),
        )
    },
    ("scipy.sparse", "csc_matrix"): _SparseColumns,
    ("scipy.sparse.csc", "csc_matrix"): _SparseColumns,
    ("scipy.sparse._csc", "csc_matrix"): _SparseColumns,
    ("chumpy.ch", "Ch"): _Ch,
    ("chumpy", "Ch"): _Ch,
    ("chumpy.reordering", "Select"): _Select,
    ("_codecs", "encode"): _Encode,
    ("copy_reg", "_reconstructor"): _Reconstructor,
    ("__builtin__", "object"): _Object,
    ("__builtin__", "bytes"): _EmptyBytes,
    # chumpy's objects carry a set of "dirty" attribute names.
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _Refused(
                f"the file asks for {module}.{name}, which numbers do not need; it may be hostile"
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("the file refers to objects outside itself")


def read_pickle(path: Path) -> dict[Any, Callable[[], Any]]:
    """The top-level dictionary of a pickle, key to a function that gives the plain value.

    Values come out as numpy arrays, str, int, float, bytes, None or dictionaries of them; they are
    converted when called for, so that a key nobody wants cannot spoil the file, nor one bad frame
    the others. Raises `DataError` in one line for a file that is not a pickle, is cut short, is not
    a dictionary, or names anything off the list.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise DataError(f"{path}: {size} bytes is too large; {_MAX_BYTES} are read at the most")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        _check_memo(data)
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="latin1").load()
    except _Refused as error:
        raise DataError(f"{path}: refused: {error}") from None
    except UnicodeDecodeError:
        raise DataError(
            f"{path}: a text pickle (protocol 0) is not read; save it again with protocol 2"
        ) from None
    except Exception as error:
        # Broken bytes surface as almost any exception type; nothing of ours runs inside load().
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not a whole pickle ({reason}); fetch the file again") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}, not a dictionary")
    return {
        key: (lambda key=key, value=value: _converted(path, key, value))  # type: ignore[misc]
        for key, value in content.items()
        if isinstance(key, str | int)
    }


def _check_memo(data: bytes) -> None:
    """Refuse a memo index beyond the file's length: the C unpickler allocates that much."""
    for opcode, arg, _ in pickletools.genops(data):
        if opcode.name in ("LONG_BINPUT", "PUT") and arg is not None and int(arg) > len(data):
            raise _Refused("a memo index larger than the file")


def _converted(path: Path, key: str, value: Any) -> Any:
    try:
        return _plain(value)
    except (_Refused, ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: '{key}' is malformed: {reason}") from None


def _plain(value: Any) -> Any:
    """The numpy array or plain value that a record stands for."""
    if isinstance(value, _Array):
        _, shape, dtype, fortran, raw = value.state
        return _array(raw, dtype, shape, "F" if fortran else "C")
    if isinstance(value, _Buffer):
        raw, dtype, shape, order = value.args
        return _array(raw, dtype, shape, order)
    if isinstance(value, _Scalar):
        dtype, raw = value.args
        return _array(raw, dtype, (), "C")[()]
    if isinstance(value, _SparseColumns):
        return _dense(value.state)
    if isinstance(value, _Ch):
        return _plain(value.state["x"])
    if isinstance(value, _Select):
        source = np.asarray(_plain(value.state["a"]))
        ids = np.asarray(_plain(value.state["idxs"]))
        return source.ravel()[ids].reshape(_shape(value.state["preferred_shape"]))
    if isinstance(value, _Record):
        raise _Refused(f"a bare {type(value).__name__.lstrip('_')}")
    if value is None or isinstance(value, str | bytes | int | float):
        return value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if isinstance(key, str | int)}
    if isinstance(value, list | tuple):
        return np.asarray([_plain(item) for item in value])
    raise _Refused(f"a {type(value).__name__}")


def _array(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or not isinstance(dtype.args[0], str):
        raise _Refused("an array without a dtype")
    # State of a dtype: (version, byte order, subdtype, field names, fields, ...).
    byte_order, *structure = dtype.state[1:5] if dtype.state else ("<",)
    if any(part is not None for part in structure):
        raise _Refused("a structured array")
    kind = dtype.args[0].lstrip("<>|=")
    if byte_order not in ("<", ">", "|", "=") or not re.fullmatch(r"[fiu][1248]|b1", kind):
        raise _Refused(f"an array of type '{dtype.args[0]}'; only numbers are read")
    if isinstance(raw, str):
        raw = raw.encode("latin1")  # a Python 2 string
    if not isinstance(raw, bytes | bytearray) or order not in ("C", "F"):
        raise _Refused("an array without its bytes")
    flat = np.frombuffer(bytes(raw), dtype=np.dtype(byte_order.replace("|", "<") + kind))
    native = flat.astype(flat.dtype.newbyteorder("="))
    return native.reshape(_shape(shape), order=order)


def _shape(value: Any) -> tuple[int, ...]:
    shape = tuple(int(_plain(n)) for n in value)
    if any(n < 0 for n in shape) or math.prod(shape) > _MAX_ELEMENTS:
        raise _Refused(f"an array of shape {shape}")
    return shape


def _dense(state: dict[str, Any]) -> np.ndarray:
    rows, columns = _shape(state["_shape"] if "_shape" in state else state["shape"])
    data, indices, indptr = (np.asarray(_plain(state[k])) for k in ("data", "indices", "indptr"))
    if rows * columns > _MAX_ELEMENTS:
        raise _Refused(f"a matrix of shape {(rows, columns)}")
    if (
        indptr.shape != (columns + 1,)
        or indptr[0] != 0
        or indptr[-1] != len(data)
        or len(indices) != len(data)
        or np.any(np.diff(indptr) < 0)
        or (len(indices) and not (indices.min() >= 0 and indices.max() < rows))
    ):
        raise _Refused("a sparse matrix whose indices do not fit its shape")
    dense = np.zeros((rows, columns))
    # Entries given twice add up, as in scipy.
    np.add.at(dense, (indices, np.repeat(np.arange(columns), np.diff(indptr))), data)
    return dense
