"""NPY and NPZ: plain arrays of joints.

In: one file. Out: `NamedPoints` whose names are the joint's number, with ``right``/``left`` before
it where the array says the side. An .npy holds (T, J, 3) or (J, 3) of one hand, or (T, 2, J, 3),
right first. An .npz holds `joints` of such a shape, or `right` and/or `left` of shape (T, J, 3);
beside them, if wanted, `fps` (Hz), `timestamps` (T,) s, `frames` (T,), `unit` ("m", "mm" …) and
`names` (J,). Pickled objects are refused.
"""

import io
import zipfile
from pathlib import Path

import numpy as np

from twohand500k.conventions import SIDES
from twohand500k.errors import DataError
from twohand500k.sources.recordings.points import (
    NamedPoints,
    check_frames,
    check_unique,
    read_bytes,
)
from twohand500k.sources.take import Array

_JOINT_KEYS = ("joints", "joints3d", "keypoints", "keypoints3d", "xyz")


def read_arrays(path: Path) -> NamedPoints:
    """Read one .npy or .npz file; DataError on anything else."""
    data, file = read_bytes(path)
    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        arrays = {"joints": loaded} if isinstance(loaded, np.ndarray) else dict(loaded.items())
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, SyntaxError) as error:
        why = "holds pickled objects" if "allow_pickle" in str(error) else str(error)[:80]
        raise DataError(
            f"{path}: not a readable array file ({why}); save plain number arrays with np.save or "
            "np.savez"
        ) from None
    except Exception as error:
        # numpy parses the header of a broken .npy with ast, tokenize and zlib, each of which has
        # exceptions of its own.
        raise DataError(
            f"{path}: not a readable array file ({type(error).__name__}); write it again"
        ) from None
    prefixes, joints = _joints(arrays, path)
    n_frames, n_hands, n_joints = joints.shape[:3]
    names = _names(arrays, n_joints, path)
    rate = _scalar(arrays, "fps", path)
    frames = check_frames(_vector(arrays, "frames", n_frames, path, np.arange(n_frames)), path)
    no_time = frames / rate if rate > 0 else np.full(n_frames, np.nan)
    return NamedPoints(
        path=path,
        format="array",
        names=tuple(f"{prefix}{name}" for prefix in prefixes for name in names),
        positions=joints.reshape(n_frames, n_hands * n_joints, 3),
        frames=frames,
        timestamps=_vector(arrays, "timestamps", n_frames, path, no_time),
        rate=rate if rate > 0 else float("nan"),
        unit=_unit(arrays, path),
        file=file,
    )


def _joints(arrays: dict[str, Array], path: Path) -> tuple[tuple[str, ...], Array]:
    """Side prefixes and joints (T, hands, J, 3) float64."""
    by_name = {key.lower(): value for key, value in arrays.items()}
    sides = [side for side in SIDES if side in by_name]
    if sides:
        hands = [_numeric(by_name[side], path, side) for side in sides]
        if any(hand.ndim != 3 for hand in hands) or len({hand.shape for hand in hands}) != 1:
            shapes = ", ".join(f"{s} {h.shape}" for s, h in zip(sides, hands, strict=True))
            raise DataError(f"{path}: {shapes}; right and left must both be (T, J, 3)")
        return tuple(sides), _checked(np.stack(hands, axis=1), path)
    key = next((key for key in _JOINT_KEYS if key in by_name), None)
    if key is None and len(by_name) == 1:
        key = next(iter(by_name))
    if key is None:
        raise DataError(
            f"{path}: holds {', '.join(sorted(arrays)) or 'nothing'}; name the array 'joints', or "
            "'right' and 'left'"
        )
    joints = _numeric(by_name[key], path, key)
    if joints.ndim == 2:
        joints = joints[None]
    if joints.ndim == 4 and joints.shape[1] == 2:
        return SIDES, _checked(joints, path)
    if joints.ndim == 4 and joints.shape[1] == 1:
        joints = joints[:, 0]
    if joints.ndim != 3:
        raise DataError(
            f"{path}: {key} has shape {joints.shape}; give (T, J, 3), or (T, 2, J, 3) right first"
        )
    return ("",), _checked(joints[:, None], path)


def _checked(joints: Array, path: Path) -> Array:
    if joints.shape[-1] != 3 or joints.shape[-2] < 1:
        raise DataError(f"{path}: joints must end in (J, 3), got {joints.shape}")
    if not len(joints):
        raise DataError(f"{path}: holds no frames; give a recording with at least one")
    return joints


def _numeric(array: Array, path: Path, key: str) -> Array:
    if array.dtype.kind not in "fiu":
        raise DataError(f"{path}: {key} holds {array.dtype}, not real numbers")
    return array.astype(np.float64)


def _names(arrays: dict[str, Array], n_joints: int, path: Path) -> tuple[str, ...]:
    if "names" not in arrays:
        return tuple(str(j) for j in range(n_joints))
    names = tuple(str(name) for name in np.atleast_1d(arrays["names"]))
    if len(names) != n_joints:
        raise DataError(f"{path}: {len(names)} names for {n_joints} joints")
    check_unique(names, path)
    return names


def _unit(arrays: dict[str, Array], path: Path) -> str | None:
    key = "unit" if "unit" in arrays else "units"
    if key not in arrays:
        return None
    if arrays[key].size != 1:
        raise DataError(f'{path}: {key} holds {arrays[key].size} values; give one, such as "mm"')
    return str(arrays[key].item())


def _scalar(arrays: dict[str, Array], key: str, path: Path) -> float:
    if key not in arrays:
        return 0.0
    value = np.asarray(arrays[key])
    if value.size != 1 or value.dtype.kind not in "fiu" or not 0 < value.item() < np.inf:
        raise DataError(f"{path}: {key} must be one positive number")
    return float(value.item())


def _vector(arrays: dict[str, Array], key: str, n_frames: int, path: Path, default: Array) -> Array:
    if key not in arrays:
        return np.asarray(default, dtype=np.float64)
    value = np.asarray(arrays[key])
    if value.shape != (n_frames,) or value.dtype.kind not in "fiu":
        raise DataError(f"{path}: {key} must be {n_frames} numbers, one a frame, got {value.shape}")
    return value.astype(np.float64)
