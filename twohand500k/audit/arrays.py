"""Plain arrays of hands as they stand in the file: nothing cleaned, nothing dropped.

In: an .npy or .npz of joints, or of vertices. Out: a `Take`, or `Meshes`. The build's reader takes
zeros and far points for missing, as a recording has them; here a broken number is what is looked
for, so every one of them stays and is found by the gates.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from twohand500k.audit.detect import VERTEX_KEYS
from twohand500k.conventions import N_VERTICES, SIDES, WRIST
from twohand500k.errors import DataError
from twohand500k.hand import HandModel
from twohand500k.ik.hypotheses import DistanceCheck
from twohand500k.sources.recordings.arrays import read_arrays
from twohand500k.sources.recordings.joint_map import choose_map, load_map, side_of
from twohand500k.sources.recordings.points import read_bytes
from twohand500k.sources.recordings.units import UNITS, unit_name
from twohand500k.sources.take import InputFile, Take, Unit

Array = np.ndarray

# Bones that vary by more than this from frame to frame (median over bones of sd / mean) are not
# one person's: each frame gets its own shape.
ONE_SHAPE: Final = 0.02


def read_joints(path: Path, model: HandModel, declared: Mapping[str, Any]) -> Take:
    """Joints of one file as a take named by it.

    model: whose size tells the unit where none is declared. declared: map, unit, side, subject,
    coordinates, as the source `joints` has them. Raises DataError for what are no joints.
    """
    found = read_arrays(path)
    chosen = load_map(declared.get("map") or "openpose21")
    _, hands = choose_map(chosen, found.format, found.names, path)
    side = declared.get("side")
    named = {hand.slot or side or side_of(path.stem): hand for hand in hands if not hand.missing}
    if "" in named:
        raise DataError(
            f"{path}: one hand, and neither its names nor the file's say which; say --side, or "
            "save (N, 2, 21, 3) right first"
        )
    keep = range(len(chosen.entries))
    raw = np.full((len(found.frames), 2, len(keep), 3), np.nan)
    for name, hand in named.items():
        if side in (None, name):
            raw[:, SIDES.index(name)] = hand.points(chosen, found.positions, keep)
    landmarks = tuple(chosen.entries[e].landmark for e in keep)
    joints = [mark.joint for mark in landmarks]
    sides = np.array([name in named and side in (None, name) for name in SIDES])
    unit = _unit(path, raw[:, sides], joints, model, declared.get("unit") or found.unit,
                 "declared" if declared.get("unit") else "file")  # fmt: skip
    raw = raw * unit.scale_to_m
    notes = [f"numbers taken as {unit.name} ({unit.how})"]
    if (declared.get("coordinates") or chosen.coordinates) == "left-handed":
        raw[..., 0] *= -1
        notes.append("left-handed coordinates: x negated")
    seen: Array = np.asarray(~np.isnan(raw).all(axis=(2, 3)))
    shape = "subject" if bones_vary(raw, joints) < ONE_SHAPE else "frame"
    if shape == "frame":
        notes.append("bone lengths vary from frame to frame: a shape for every hand")
    return Take(
        name=path.stem,
        subject=declared.get("subject") or "",
        source="joints",
        frame=chosen.frame,
        sides=sides,
        landmarks=landmarks,
        points=raw,
        frames=found.frames,
        timestamps=found.timestamps,
        unit=unit,
        files=(found.file,),
        notes=tuple(notes),
        # A hand of which a frame shows nothing is not in it; a frame that shows none is missed.
        recorded=np.where(seen.any(axis=1, keepdims=True), seen, sides) & sides,
        shape=shape,  # type: ignore[arg-type]
    )


def _unit(
    path: Path, raw: Array, joints: list[int], model: HandModel, said: str | None, how: str
) -> Unit:
    """The unit declared, else the one that makes the middle hand human; metres where none does."""
    if said is not None:
        name = unit_name(said)
        if name is None:
            raise DataError(f"{path}: unit {said!r} is unknown; use one of {', '.join(UNITS)}")
        return Unit(UNITS[name], how, name)  # type: ignore[arg-type]
    scales = DistanceCheck.of(model, joints).scale(raw.reshape(-1, *raw.shape[2:]))
    return unit_of_scales(scales)


def unit_of_scales(scales: Array) -> Unit:
    """The unit in which most hands, `scales` (H,) times the template as metres, are human.

    Metres where no unit makes a hand of the middle one.
    """
    scales = scales[np.isfinite(scales)]
    middle = float(np.median(scales)) if len(scales) else np.nan
    fits = [name for name, m in UNITS.items() if 0.5 <= middle * m <= 1.6]
    best = min(fits, key=lambda name: abs(np.log(middle * UNITS[name])), default="m")
    return Unit(UNITS[best], "inferred", best)


def bones_vary(points: Array, joints: list[int]) -> float:
    """How much bone lengths vary over frames: sd / mean, the middle one of palm and fingers.

    points (T, 2, K, 3). 0 where there are fewer than three frames.
    """
    at = {joint: k for k, joint in enumerate(joints)}
    pairs = [(at[j], at[j + 1]) for f in range(5) for j in range(4 * f + 1, 4 * f + 4)
             if j in at and j + 1 in at]  # fmt: skip
    if len(points) < 3 or not pairs:
        return 0.0
    a, b = np.array(pairs).T
    with np.errstate(all="ignore"):
        length = np.linalg.norm(points[:, :, a] - points[:, :, b], axis=-1)
        length = np.where(np.isfinite(length), length, np.nan).reshape(len(points), -1)
        length = length[:, np.isfinite(length).any(axis=0)]
        if not length.shape[1]:
            return 0.0
        # Robust: a few broken frames do not make a recording many people's.
        low, middle, high = np.nanpercentile(length, [16, 50, 84], axis=0)
        return float(np.nanmedian(0.5 * (high - low) / middle))


def wrists_at_origin(take: Take) -> bool:
    """Whether both hands are given relative to their own wrist: their places are then lost."""
    at = next((k for k, m in enumerate(take.landmarks) if m.joint == WRIST), None)
    if at is None or not take.sides.all():
        return False
    wrist = take.points[:, :, at]
    return bool(np.isfinite(wrist).any() and np.nanmax(np.abs(wrist), initial=0.0) < 1e-6)


@dataclass(frozen=True, eq=False)
class Meshes:
    """Skins of N frames. vertices (N, 2, V, 3) in the file's unit, NaN where a hand is absent.

    faces: of right and left where the file has them, else None. frames (N,) numbers.
    """

    path: Path
    vertices: Array
    faces: tuple[Array, Array] | None
    frames: Array
    unit: str | None
    file: InputFile

    @property
    def there(self) -> Array:
        """Hands of which the file has any number (N, 2) bool."""
        return np.asarray(~np.isnan(self.vertices).all(axis=(2, 3)))

    def rows(self, which: slice) -> "Meshes":
        """The same for some frames."""
        return replace(self, vertices=self.vertices[which], frames=self.frames[which])


def read_vertices(path: Path, side: str | None = None) -> Meshes:
    """Vertices of one .npy or .npz file.

    An array (N, 2, V, 3) right first or (N, V, 3) of one hand, called vertices, verts, v, mesh or
    skin; or the same with right and left in the name. side: of one hand whose name says none.
    Raises DataError for anything else.
    """
    data, file = read_bytes(path)
    loaded = np.load(io.BytesIO(data), allow_pickle=False)
    arrays = {"vertices": loaded} if isinstance(loaded, np.ndarray) else dict(loaded.items())
    by_name = {name.lower(): value for name, value in arrays.items()}
    per_side: list[Array | None] = [None, None]
    for k, name in enumerate(SIDES):
        keys = [f"{name}_{key}" for key in VERTEX_KEYS] + [f"{key}_{name}" for key in VERTEX_KEYS]
        keys.append(name)
        per_side[k] = next((_skins(by_name[key], path) for key in keys if key in by_name), None)
    if per_side[0] is None and per_side[1] is None:
        key = next((key for key in VERTEX_KEYS if key in by_name), None)
        if key is None:
            key = next((k for k, v in by_name.items() if v.ndim > 2 and v.shape[-2] == N_VERTICES),
                       None)  # fmt: skip
        if key is None:
            raise DataError(f"{path}: holds no vertices; name the array 'vertices'")
        both = by_name[key]
        if both.ndim == 4 and both.shape[1] == 2:
            per_side = [_skins(both[:, k], path) for k in (0, 1)]
        else:
            said = side or side_of(path.stem)
            if said not in SIDES:
                raise DataError(f"{path}: {key} {both.shape} is one hand's; say --side, or save "
                                "(N, 2, V, 3) right first")  # fmt: skip
            per_side[SIDES.index(said)] = _skins(both, path)
    given = [skins for skins in per_side if skins is not None]
    if len({skins.shape for skins in given}) != 1:
        raise DataError(f"{path}: right and left have different shapes")
    N, V = given[0].shape[:2]
    vertices = np.full((N, 2, V, 3), np.nan)
    for k, skins in enumerate(per_side):
        if skins is not None:
            vertices[:, k] = skins
    unit = str(by_name["unit"].item()) if "unit" in by_name and by_name["unit"].size == 1 else None
    frames = by_name.get("frames", np.arange(N))
    if frames.shape != (N,) or frames.dtype.kind not in "iu":
        frames = np.arange(N)
    return Meshes(path, vertices, _faces(by_name, V, path), frames.astype(np.int64), unit, file)


def _skins(array: Array, path: Path) -> Array:
    if array.dtype.kind not in "fiu":
        raise DataError(f"{path}: its vertices are {array.dtype}, not numbers")
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[-1] != 3 or not len(array):
        raise DataError(f"{path}: vertices of a hand must be (N, V, 3), got {array.shape}")
    return np.asarray(array, dtype=np.float64)


def _faces(arrays: Mapping[str, Array], n_vertices: int, path: Path) -> tuple[Array, Array] | None:
    """Faces of right and left (F, 3) that the file brings along, or None."""
    both = next((arrays[key] for key in ("faces", "f") if key in arrays), None)
    each = []
    for name in SIDES:
        keys = (f"{name}_faces", f"faces_{name}", f"f_{name}", f"{name}_f")
        own = next((arrays[key] for key in keys if key in arrays), both)
        if own is None:
            return None
        if own.ndim != 2 or own.shape[1] != 3 or own.dtype.kind not in "iu":
            raise DataError(f"{path}: faces must be whole numbers (F, 3), got {own.shape}")
        if own.min(initial=0) < 0 or own.max(initial=0) >= n_vertices:
            raise DataError(f"{path}: its faces name vertices beyond {n_vertices}")
        each.append(own.astype(np.int64))
    return each[0], each[1]
