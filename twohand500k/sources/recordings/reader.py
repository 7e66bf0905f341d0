"""From paths to takes: find the files, their format, which of them belong together, whose hand.

In: files or folders. Out: `Take`s in metres. A recording kept as two files, one a hand, told apart
by their names (leftHand.bvh and rightHand.bvh; x_left.trc and x_right.trc), is one take. Everything
assumed on the way stands in the take's notes; what cannot be known stops with one line.
"""

import re
import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from twohand500k.conventions import SIDES, Side
from twohand500k.errors import DataError
from twohand500k.sources.recordings.arrays import read_arrays
from twohand500k.sources.recordings.bvh import read_bvh
from twohand500k.sources.recordings.c3d import read_c3d
from twohand500k.sources.recordings.csv_table import read_csv
from twohand500k.sources.recordings.joint_map import (
    COORDINATES,
    Hand,
    JointMap,
    choose_map,
    load_map,
    side_of,
    subject_of,
    without_side,
)
from twohand500k.sources.recordings.points import NamedPoints
from twohand500k.sources.recordings.trc import read_trc
from twohand500k.sources.recordings.units import UNITS, find_unit, unit_name
from twohand500k.sources.take import Array, Landmark, Take

_READERS = {
    ".bvh": read_bvh,
    ".c3d": read_c3d,
    ".trc": read_trc,
    ".csv": read_csv,
    ".npy": read_arrays,
    ".npz": read_arrays,
}
# A point this far from the middle of its hand, or from the origin, is no point of the hand.
_FARTHEST_IN_HAND_M = 0.5
_FARTHEST_M = 100.0
# A file found in a folder that names fewer points than this is no hand's, and is left out.
_FEWEST_POINTS = 6


@dataclass(frozen=True, eq=False)
class _Part:
    """One file with its map found: which hands it holds, sides known."""

    points: NamedPoints
    joint_map: JointMap
    hands: dict[Side, Hand]
    subject: str
    notes: tuple[str, ...]


def read_takes(
    paths: str | Path | Iterable[str | Path],
    map: str | Path | JointMap | None = None,
    unit: str | None = None,
    side: Side | None = None,
    subject: str | None = None,
    coordinates: str | None = None,
) -> list[Take]:
    """Read recordings of one or two hands.

    paths: a file, several, or folders (searched through for .bvh .c3d .trc .csv .npy .npz).
    map: the name of a shipped joint map or a TOML file; left out, the map that fits is found.
    unit: "m", "dm", "cm", "mm" or "inch", over what the file or the map says.
    side: the hand meant by a file that does not say; of a recording that does, only that hand.
    coordinates: "left-handed" for axes such as Unity's, over what the map says: x is negated, as
        hands read from them unchanged would be mirror images. "right-handed" leaves them.
    subject: whose hands, where a file holds several (`subject:marker`); else it names the subject.

    Raises DataError, one line, for what cannot be read as hands.
    """
    if unit is not None and unit_name(unit) is None:
        raise DataError(f"unit {unit!r} is unknown; use one of {', '.join(UNITS)}")
    unit = unit_name(unit) if unit is not None else None
    if side is not None and side not in SIDES:
        raise DataError(f"side {side!r} is unknown; use right or left")
    if coordinates is not None and coordinates not in COORDINATES:
        raise DataError(f"coordinates {coordinates!r}: use one of {', '.join(COORDINATES)}")
    joint_map = None if map is None else load_map(map)
    takes = []
    files = _files([paths] if isinstance(paths, str | Path) else list(paths))
    handless: list[Path] = []
    for group in _groups(list(files)):
        points = [_READERS[path.suffix.lower()](path) for path in group]
        if files[group[0]] and all(len(p.names) < _FEWEST_POINTS for p in points):
            handless += group  # an object's motion beside the hands', as in ManipNet's folders
            continue
        parts = [_read_part(p, joint_map, side, subject) for p in points]
        parts = [part for part in parts if part.hands]
        sides = [s for part in parts for s in part.hands]
        if len(parts) == 2 and len(set(sides)) < len(sides):
            # Both files hold the same hand: they are two recordings, not two halves of one.
            takes += [_take([part], unit, coordinates) for part in parts]
        elif parts:
            takes.append(_take(parts, unit, coordinates))
    if not takes:
        path = next(iter(files))
        if handless:
            raise DataError(f"{path}: names too few points for a hand, and so do the others")
        raise DataError(f"{path}: holds no {side} hand; its names say the other side")
    notes = tuple(f"{path.name} beside it holds no hand and was left out" for path in handless)
    _refuse_twins(takes)
    return [replace(take, notes=take.notes + notes) for take in takes]


def _files(paths: Sequence[str | Path]) -> dict[Path, bool]:
    """The files, each once, and whether it was found in a folder rather than named."""
    found: dict[Path, tuple[Path, bool]] = {}
    if not paths:
        raise DataError("no input given; name a recording or a folder of recordings")
    for path in (Path(p) for p in paths):
        if path.is_dir():
            inside = sorted(
                p for p in path.rglob("*") if p.suffix.lower() in _READERS and p.is_file()
            )
            if not inside:
                raise DataError(f"{path}: no recordings inside ({' '.join(_READERS)})")
            for file in inside:
                found.setdefault(file.resolve(), (file, True))
        elif not path.exists():
            raise DataError(f"{path}: no such file or folder")
        elif path.suffix.lower() not in _READERS:
            raise DataError(
                f"{path}: {path.suffix or 'a file without suffix'} is not read; give "
                f"{', '.join(_READERS)}"
            )
        else:
            first, _ = found.get(path.resolve(), (path, False))
            found[path.resolve()] = (first, False)
    return dict(found.values())


def _groups(files: list[Path]) -> list[list[Path]]:
    """Files of one recording together: a right and a left one whose names differ only in that."""
    groups: dict[tuple[str, str, str], list[Path]] = {}
    for path in files:
        parent = path.parent.resolve()
        if side_of(path.stem):
            key = (str(parent), without_side(path.stem).lower(), path.suffix.lower())
        elif side_of(parent.name):
            folder = parent.parent / without_side(parent.name)
            key = (f"{folder}/", path.stem.lower(), path.suffix.lower())
        else:
            key = (str(parent / path.name), "", "")
        groups.setdefault(key, []).append(path)
    out = []
    for group in groups.values():
        sides = [_file_side(path) for path in group]
        if sorted(sides) == sorted(SIDES):
            out.append([path for _, path in sorted(zip(sides, group, strict=True), reverse=True)])
        elif set(sides) == set(SIDES):
            names = ", ".join(map(str, group))
            raise DataError(
                f"{names}: which of them are one recording's two hands? Rename the rest"
            )
        else:
            out += [[path] for path in group]
    return out


def _file_side(path: Path) -> str:
    return side_of(path.stem) or side_of(path.parent.resolve().name)


def _read_part(
    points: NamedPoints, joint_map: JointMap | None, side: Side | None, subject: str | None
) -> _Part:
    path = points.path
    if subject is not None:
        points = _only_subject(points, subject)
    notes: tuple[str, ...] = ()
    chosen, hands = choose_map(joint_map, points.format, points.names, path)
    whole: dict[Side, Hand] = {}
    for hand in hands:
        named = hand.slot or _file_side(path) or (side or "")
        required = sum(entry.required for entry in chosen.entries)
        if hand.missing and side is not None and named not in ("", side):
            continue
        if hand.missing and 2 * (required - len(hand.missing)) < required:
            # A wrist alone, as of a body without fingers on that side, is no hand.
            notes += (f"the {named or 'other'} hand has {hand.n_found} points and was left out",)
            continue
        if hand.missing:
            raise DataError(
                f"{path}: its {named or 'hand'} lacks {', '.join(hand.missing[:4])}, which joint "
                f"map {chosen.name!r} needs; mark them as optional in a map of your own, or read "
                "one side only"
            )
        if not named:
            raise DataError(
                f"{path}: neither its names nor the file's say which hand it is; give a side, or "
                "put right or left into the file's name"
            )
        if side is not None and named != side:
            notes += (f"the {named} hand was left out as asked",)
            continue
        key: Side = "right" if named == "right" else "left"
        if key in whole:
            raise DataError(f"{path}: holds the {named} hand twice, once without saying the side")
        whole[key] = hand
    subjects = subject_of(
        [points.names[c] for h in whole.values() for pair in h.columns if pair for c in pair]
    )
    named_subject = subject or (subjects[0] if len(subjects) == 1 else "")
    return _Part(points, chosen, whole, named_subject, notes)


def _only_subject(points: NamedPoints, subject: str) -> NamedPoints:
    """The points of one subject, if the names say subjects at all."""
    subjects = subject_of(points.names)
    if not subjects:
        return points
    if subject not in subjects:
        raise DataError(
            f"{points.path}: no subject {subject!r}; its names say {', '.join(subjects)}"
        )
    keep = [i for i, name in enumerate(points.names) if name.rpartition(":")[0] == subject]
    names = tuple(points.names[i] for i in keep)
    return replace(points, names=names, positions=points.positions[:, keep])


def _take(parts: list[_Part], unit: str | None, coordinates: str | None) -> Take:
    """One take from the file or the two files of a recording."""
    first = parts[0]
    where = " and ".join(str(part.points.path) for part in parts)
    joint_map = first.joint_map
    notes = [note for part in parts for note in (*part.points.notes, *part.notes)]
    if len(parts) == 2:
        if parts[1].joint_map.name != joint_map.name:
            raise DataError(
                f"{where}: joint maps {joint_map.name!r} and {parts[1].joint_map.name!r} for one "
                "recording; give them as two"
            )
        _check_pair(parts, where)
    # Names may repeat over the two files' notes.
    notes = list(dict.fromkeys(notes))
    frames = first.points.frames
    if len(parts) == 2:
        frames = np.intersect1d(frames, parts[1].points.frames)
        if not len(frames):
            raise DataError(f"{where}: share no frame number; are they one recording?")
        if any(len(part.points.frames) != len(frames) for part in parts):
            counts = " and ".join(
                f"{next(iter(part.hands))} {len(part.points.frames)}" for part in parts
            )
            notes.append(f"frames: {counts}; the {len(frames)} common ones are kept")
    found = [
        any(h.columns[e] is not None for part in parts for h in part.hands.values())
        for e in range(len(joint_map.entries))
    ]
    keep = [e for e, has in enumerate(found) if has]
    raw = np.full((len(frames), 2, len(keep), 3), np.nan)
    for part in parts:
        rows = np.searchsorted(part.points.frames, frames)
        for name, hand in part.hands.items():
            raw[:, SIDES.index(name)] = hand.points(joint_map, part.points.positions[rows], keep)
    timestamps = first.points.timestamps[np.searchsorted(first.points.frames, frames)]
    sides = np.array([any(name in part.hands for part in parts) for name in SIDES])
    raw, cleaned = _clean(raw, sides, first.points.format)
    notes += cleaned
    landmarks = tuple(joint_map.entries[e].landmark for e in keep)
    raw, landmarks, sides, dropped = _drop_unseen(raw, landmarks, sides, where)
    notes += dropped
    in_file = first.points.unit
    declared = unit or (None if in_file and unit_name(in_file) else joint_map.unit)
    found_unit, unit_notes = find_unit(raw, landmarks, declared, in_file, where)
    raw *= found_unit.scale_to_m
    if (coordinates or joint_map.coordinates) == "left-handed":
        raw[..., 0] *= -1
        notes.append("left-handed coordinates: x negated")
    notes += [*unit_notes, *_drop_absurd(raw), *_wrist_notes(raw, landmarks, sides, where)]
    notes += [entry.note for e, entry in enumerate(joint_map.entries) if e in keep and entry.note]
    return Take(
        name=_take_name([part.points.path for part in parts]),
        subject=first.subject,
        source=joint_map.name,
        frame=joint_map.frame,
        sides=sides,
        landmarks=landmarks,
        points=raw,
        frames=frames,
        timestamps=timestamps,
        unit=found_unit,
        files=tuple(part.points.file for part in parts),
        notes=(*notes, *joint_map.notes),
    )


def _check_pair(parts: list[_Part], where: str) -> None:
    """The two files of one recording must agree in rate, unit and time."""
    a, b = (part.points for part in parts)
    if np.isfinite(a.rate) and np.isfinite(b.rate) and abs(a.rate - b.rate) > 0.01 * a.rate:
        raise DataError(f"{where}: {a.rate:.4g} and {b.rate:.4g} frames/s; resample one of the two")
    units = [unit_name(p.unit) if p.unit else None for p in (a, b)]
    if units[0] != units[1]:
        raise DataError(f"{where}: units {a.unit} and {b.unit}; export the two in one unit")
    common, in_a, in_b = np.intersect1d(a.frames, b.frames, return_indices=True)
    if len(common):
        apart = float(np.nanmax(np.abs(a.timestamps[in_a] - b.timestamps[in_b]), initial=0.0))
        if np.isfinite(a.rate) and apart > 0.5 / a.rate:
            raise DataError(
                f"{where}: equal frame numbers lie up to {apart:.3g} s apart in time; are they one "
                "recording? Renumber the frames of one of the two"
            )


def _clean(raw: Array, sides: Array, format: str) -> tuple[Array, list[str]]:
    """Missing points as NaN: infinite numbers, half points, and zeros that stand for nothing."""
    notes = []
    with np.errstate(invalid="ignore"):
        infinite = np.isinf(raw).any(axis=-1)
    raw[~np.isfinite(raw).all(axis=-1)] = np.nan
    if infinite.any():
        notes.append(f"{int(infinite.sum())} points with infinite coordinates are missing points")
    zero = (raw == 0).all(axis=-1)
    # A point at the origin all the time is one (a wrist the others are relative to); one that is
    # there now and then, or with its whole hand, was not seen.
    seen = np.isfinite(raw).all(axis=-1)
    always = (zero | ~seen).all(axis=0, keepdims=True)
    whole = (zero | ~seen).all(axis=-1, keepdims=True)
    lost = zero & (~always | whole)
    if lost.any():
        raw[lost] = np.nan
        notes.append(f"{int(lost.sum())} points at exactly (0, 0, 0) are missing points")
    return raw, notes


def _drop_unseen(
    raw: Array, landmarks: tuple[Landmark, ...], sides: Array, where: str
) -> tuple[Array, tuple[Landmark, ...], Array, list[str]]:
    """Without landmarks that no frame shows; a side never seen is not recorded."""
    seen = np.isfinite(raw[..., 0])
    notes = []
    sides = sides.copy()
    for s, name in enumerate(SIDES):
        if sides[s] and not seen[:, s].any():
            sides[s] = False
            notes.append(f"the {name} hand is not seen in any frame")
    if not sides.any():
        raise DataError(f"{where}: no point of any hand is seen in any of its {len(raw)} frames")
    ever = seen.any(axis=(0, 1))
    if not ever.all():
        names = ", ".join(m.name for m, e in zip(landmarks, ever, strict=True) if not e)
        notes.append(f"never seen and left out: {names}")
        raw = np.ascontiguousarray(raw[:, :, ever])
        landmarks = tuple(m for m, e in zip(landmarks, ever, strict=True) if e)
    return raw, landmarks, sides, notes


def _drop_absurd(points: Array) -> list[str]:
    """Set points in metres that no hand could have to NaN, in place; say how many."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a hand without points has no median
        middle = np.nanmedian(points, axis=2, keepdims=True)
        far = np.linalg.norm(points - middle, axis=-1) > _FARTHEST_IN_HAND_M
        far |= np.abs(points).max(axis=-1) > _FARTHEST_M
    if not far.any():
        return []
    points[far] = np.nan
    return [f"{int(far.sum())} points farther than 0.5 m from their hand are missing points"]


def _wrist_notes(
    points: Array, landmarks: tuple[Landmark, ...], sides: Array, where: str
) -> list[str]:
    """A wrist that never moves means coordinates relative to it: then two hands have no place."""
    wrist = next((k for k, m in enumerate(landmarks) if m.joint == 0 and m.kind == "joint"), None)
    if wrist is None:
        return []
    at = points[:, :, wrist]
    still = [
        bool(sides[s])
        and np.isfinite(at[:, s]).all(axis=-1).sum() > 0
        and np.nanmax(np.abs(at[:, s])) < 1e-6
        for s in range(2)
    ]
    if all(still):
        raise DataError(
            f"{where}: both wrists lie at the origin, so where the hands are to each other is lost;"
            " give world coordinates, or read one side at a time"
        )
    if any(still):
        return ["the wrist lies at the origin in every frame: coordinates relative to the wrist"]
    return []


def _take_name(paths: list[Path]) -> str:
    """A take's name, from its own files alone: sample ids and splits hang on it.

    One file: its stem. Two: the stem without the side. Where a stem says nothing but the side
    (leftHand.bvh), the folder's name stands in for it, or before it if there is one file.
    """
    path, pair = paths[0], len(paths) == 2
    name = without_side(path.stem) if pair else path.stem
    plain = re.sub(r"[\W_]", "", without_side(path.stem).lower())
    if side_of(path.stem) and plain in ("", "hand", "hands"):
        folder = path.parent.resolve().name
        name = folder if pair else f"{folder}-{path.stem}"
    name = unicodedata.normalize("NFC", name)  # macOS and Linux spell one accented name apart
    if not name or any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        raise DataError(
            f"{str(path)!r}: its name is no text a take can be called by; rename the file"
        )
    return name


def _refuse_twins(takes: list[Take]) -> None:
    """No two takes of one name: a name that told them apart would depend on what else is read."""
    first: dict[str, Take] = {}
    for take in takes:
        twin = first.setdefault(take.name, take)
        if twin is not take:
            one, other = (" and ".join(f.path for f in t.files) for t in (twin, take))
            raise DataError(
                f"{one}; {other}: both would be the take {take.name!r}; rename the files of one of "
                "the two, or build them apart"
            )
