"""Joint maps: which of a recording's names is which joint.

In: a TOML file, ours in manifests/joint_maps or anybody's, and the names a file holds. Out: for
each hand the columns of its landmarks. Names are compared without case, separators or a `prefix:`,
so ``mixamorig:LeftHandIndex1``, ``LeftHandIndex1`` and ``left_hand_index_1`` are one name. In a
map, ``{side}`` stands for the side; a file that holds one hand may leave it out.

What a map may say is told in docs/sources.md.
"""

import difflib
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from twohand500k.conventions import FRAMES, JOINT_NAMES, MANO_JOINT_NAMES, SIDES
from twohand500k.errors import DataError
from twohand500k.sources.recordings.units import UNITS
from twohand500k.sources.take import SURFACES, Array, Landmark

# Where names do not say the side, the slot is "".
SLOTS = (*SIDES, "")
COORDINATES = ("right-handed", "left-handed")
_SIDE_WORDS = {
    **dict.fromkeys(("right", "r", "rh", "rhand", "righthand"), "right"),
    **dict.fromkeys(("left", "l", "lh", "lhand", "lefthand"), "left"),
}
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_MAP_TYPES: tuple[tuple[tuple[str, ...], type, str], ...] = (
    (("title", "unit", "frame", "coordinates", "license", "citation", "url"), str, "a text"),
    (("sides", "joints", "markers"), dict, "a table"),
    (("auto",), bool, "true or false"),
    (("count",), int, "a whole number"),
    (("order",), list, "a list of 21 joint numbers"),
)
_MAP_KEYS = {
    "name", "title", "formats", "unit", "frame", "coordinates", "sides", "optional", "count",
    "order", "evidence", "auto", "joints", "markers", "license", "citation", "url", "defects",
    "notes",
}  # fmt: skip


@dataclass(frozen=True)
class MapEntry:
    """One landmark and the names it may have, in order of preference.

    towards, at: the point lies that share of the way from the named point to another one.
    """

    landmark: Landmark
    names: tuple[str, ...]
    required: bool = True
    towards: str | None = None
    at: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class JointMap:
    """A map as read from its TOML file.

    n_joints: arrays of exactly that many joints, else 0. coordinates: "left-handed" where the
    source's axes are (Unity, Unreal, DirectX); read as they stand, its hands would be mirrored.
    """

    name: str
    title: str
    formats: tuple[str, ...]
    entries: tuple[MapEntry, ...]
    side_words: dict[str, tuple[str, ...]]
    unit: str | None = None
    frame: str = "world"
    coordinates: str = "right-handed"
    evidence: tuple[str, ...] = ()
    auto: bool = True
    n_joints: int = 0
    license: str = ""
    citation: str = ""
    url: str = ""
    defects: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hand:
    """The columns of one hand: per entry of the map (column, column it leans towards), or None."""

    slot: str
    columns: tuple[tuple[int, int] | None, ...]
    missing: tuple[str, ...]

    @property
    def n_found(self) -> int:
        return sum(column is not None for column in self.columns)

    def points(self, joint_map: JointMap, positions: Array, keep: Sequence[int]) -> Array:
        """Positions (T, len(keep), 3) of the chosen entries, NaN where this hand lacks one."""
        out = np.full((len(positions), len(keep), 3), np.nan)
        for k, e in enumerate(keep):
            columns, at = self.columns[e], joint_map.entries[e].at
            if columns is not None:
                here, there = columns
                out[:, k] = positions[:, here]
                if at:
                    out[:, k] += at * (positions[:, there] - positions[:, here])
        return out


def side_of(text: str) -> str:
    """ "right" or "left" if a name says exactly one of them, else "": words, camel case, L/R."""
    said = {_SIDE_WORDS[w.lower()] for w in _WORD.findall(text) if w.lower() in _SIDE_WORDS}
    return said.pop() if len(said) == 1 else ""


def without_side(text: str) -> str:
    """A name without the words that say its side."""
    kept = _WORD.sub(lambda m: "" if m[0].lower() in _SIDE_WORDS else m[0], text)
    return re.sub(r"([\s_.-])[\s_.-]+", r"\1", kept).strip(" _.-")


def plain_name(name: str) -> str:
    """A name as it is compared: no case, no separators, no prefix; a prefix's side is kept."""
    prefix, _, rest = name.rpartition(":")
    side = side_of(prefix) if prefix and not side_of(rest) else ""
    return side + re.sub(r"[^a-z0-9]", "", rest.lower())


def subject_of(names: Sequence[str]) -> tuple[str, ...]:
    """The `subject:` prefixes of names, without those that only name a hand or a rig."""
    prefixes = {name.rpartition(":")[0] for name in names} - {""}
    return tuple(sorted(p for p in prefixes if not side_of(p) and not p.startswith("mixamorig")))


def match(joint_map: JointMap, names: Sequence[str], path: Path) -> list[Hand]:
    """The hands (right, left, or one without a side) of which the map finds any point."""
    index: dict[str, list[int]] = {}
    for column, name in enumerate(names):
        index.setdefault(plain_name(name), []).append(column)
    if joint_map.n_joints and not _counts(joint_map, index):
        return []
    hands = []
    for slot in SLOTS:
        words = joint_map.side_words[slot] if slot else ("",)
        best = max((_hand(joint_map, slot, word, index) for word in words), key=lambda h: h.n_found)
        if best.n_found:
            _refuse_twins(best, index, names, path)
            hands.append(best)
    return hands


def _counts(joint_map: JointMap, index: dict[str, list[int]]) -> bool:
    """Whether the numbered joints are exactly 0 .. n-1 on each side that has any."""
    counts = {
        slot: sum(bool(re.fullmatch(rf"{slot}\d+", plain)) for plain in index) for slot in SLOTS
    }
    return all(count in (0, joint_map.n_joints) for count in counts.values())


def _hand(joint_map: JointMap, slot: str, word: str, index: dict[str, list[int]]) -> Hand:
    def find(pattern: str) -> int | None:
        # A name without {side} cannot tell two hands apart: it counts only where no side is said.
        if slot and "{side}" not in pattern:
            return None
        found = index.get(plain_name(pattern.replace("{side}", word)))
        return found[0] if found else None

    columns: list[tuple[int, int] | None] = []
    missing: list[str] = []
    for entry in joint_map.entries:
        here = next((c for n in entry.names if (c := find(n)) is not None), None)
        there = here if entry.towards is None else find(entry.towards)
        columns.append(None if here is None or there is None else (here, there))
        if columns[-1] is None and entry.required:
            wanted = entry.names[0] if here is None else str(entry.towards)
            missing.append(wanted.replace("{side}", word))
    return Hand(slot, tuple(columns), tuple(missing))


def _refuse_twins(
    hand: Hand, index: dict[str, list[int]], names: Sequence[str], path: Path
) -> None:
    used = {c for pair in hand.columns if pair for c in pair}
    for columns in index.values():
        if len(columns) > 1 and columns[0] in used:
            twins = ", ".join(repr(names[c]) for c in columns[:3])
            subjects = subject_of([names[c] for c in columns])
            cure = f"choose a subject ({', '.join(subjects)})" if subjects else "rename all but one"
            raise DataError(f"{path}: {twins} read as one name; {cure}")


def choose_map(
    joint_map: JointMap | None, format: str, names: Sequence[str], path: Path
) -> tuple[JointMap, list[Hand]]:
    """The map that fits a file, and its hands; DataError if none does, or two equally.

    joint_map: the one asked for; it must then fit. A hand fits when no required name is missing.
    """
    if joint_map is not None:
        hands = match(joint_map, names, path)
        if not any(not hand.missing for hand in hands):
            raise DataError(_no_fit(joint_map, hands, names, path))
        return joint_map, hands
    tried = [(m, match(m, names, path)) for m in list_maps() if m.auto and format in m.formats]
    plain = {plain_name(name) for name in names}
    fits = []
    for candidate, hands in tried:
        whole = [hand for hand in hands if not hand.missing]
        if whole:
            hits = sum(
                plain_name(name.replace("{side}", word)) in plain
                for name in candidate.evidence
                for words in (*candidate.side_words.values(), ("",))
                for word in words
            )
            fits.append((sum(h.n_found for h in whole), hits, candidate, hands))
    if not fits:
        raise DataError(_none_fits(tried, names, path))
    fits.sort(key=lambda fit: (-fit[0], -fit[1], fit[2].name))
    best = fits[0]
    ties = [fit for fit in fits[1:] if fit[:2] == best[:2]]
    for other in ties:
        if _meaning(other[2], other[3]) != _meaning(best[2], best[3]):
            rivals = ", ".join(sorted({best[2].name, *(fit[2].name for fit in ties)}))
            raise DataError(f"{path}: its names fit several joint maps ({rivals}); name one as map")
    return best[2], best[3]


def _meaning(joint_map: JointMap, hands: list[Hand]) -> list[Any]:
    """What a match says, so that two maps that say the same are no ambiguity."""
    return [
        (hand.slot, entry.landmark.joint, entry.landmark.kind, column, entry.at)
        for hand in hands
        for entry, column in zip(joint_map.entries, hand.columns, strict=True)
        if column is not None
    ]


def _no_fit(joint_map: JointMap, hands: list[Hand], names: Sequence[str], path: Path) -> str:
    numbered = f"arrays of exactly {joint_map.n_joints} joints" if joint_map.n_joints else ""
    best = min(hands, key=lambda h: len(h.missing), default=None)
    missing = (
        best.missing
        if best
        else tuple(
            e.names[0].replace("{side}", joint_map.side_words["right"][0])
            for e in joint_map.entries
            if e.required
        )
    )
    if numbered and not best:
        return (
            f"{path}: the joint map {joint_map.name!r} reads {numbered}, this one names "
            f"{len(names)} points; for two hands give (T, 2, J, 3), right first"
        )
    return (
        f"{path}: the joint map {joint_map.name!r} wants {_closest(missing, names)}; the file has "
        f"{_some(names)}; correct the map's names, or mark those joints as optional"
    )


def _none_fits(tried: list[tuple[JointMap, list[Hand]]], names: Sequence[str], path: Path) -> str:
    text = f"{path}: no joint map fits its {len(names)} names ({_some(names)})"
    near = [(h, m) for m, hands in tried for h in hands]
    if near:
        hand, nearest = max(near, key=lambda pair: pair[0].n_found - len(pair[0].missing))
        text += f"; nearest is {nearest.name!r}, which lacks {_closest(hand.missing, names)}"
    return (
        text
        + "; give a map of your own (docs/sources.md), or the name of one of: "
        + ", ".join(m.name for m in list_maps())
    )


def _closest(wanted: Sequence[str], names: Sequence[str], most: int = 3) -> str:
    plain = {plain_name(name): name for name in names}
    parts = []
    for want in wanted[:most]:
        near = difflib.get_close_matches(plain_name(want), plain, n=1, cutoff=0.6)
        parts.append(f"{want!r}" + (f" (closest: {plain[near[0]]!r})" if near else ""))
    more = f" and {len(wanted) - most} more" if len(wanted) > most else ""
    return ", ".join(parts) + more


def _some(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


# ---------------------------------------------------------------------------------------- loading


@cache
def list_maps() -> tuple[JointMap, ...]:
    """The maps that come with the toolkit, by name."""
    folder = resources.files("twohand500k.manifests").joinpath("joint_maps")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return tuple(_parse(file.read_text("utf8"), file.name) for file in files)


def load_map(which: str | Path | JointMap) -> JointMap:
    """A map by the name of a shipped one or the path of a TOML file; DataError if there is none."""
    if isinstance(which, JointMap):
        return which
    for joint_map in list_maps():
        if joint_map.name == str(which):
            return joint_map
    path = Path(which)
    if not path.is_file():
        names = ", ".join(m.name for m in list_maps())
        raise DataError(
            f"joint map {str(which)!r}: no such file, and no map of that name ({names})"
        )
    try:
        return _parse(path.read_text("utf8"), str(path))
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error})") from None


def _parse(text: str, where: str) -> JointMap:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{where}: not valid TOML: {error}") from None

    def wrong(what: str) -> DataError:
        return DataError(f"{where}: {what}; docs/sources.md shows a whole map")

    if unknown := set(data) - _MAP_KEYS:
        raise wrong(f"unknown key {sorted(unknown)[0]!r}; a map has {', '.join(sorted(_MAP_KEYS))}")
    if not isinstance(data.get("name"), str):
        raise wrong("a map needs a name")
    for keys, kind, what in _MAP_TYPES:
        for key in keys:
            if key in data and not isinstance(data[key], kind):
                raise wrong(f"{key} {data[key]!r} should be {what}")
    unit = data.get("unit")
    if unit is not None and unit not in UNITS:
        raise wrong(f"unit {unit!r} is not one of {', '.join(UNITS)}")
    for key, choices in (("frame", FRAMES), ("coordinates", COORDINATES)):
        if data.get(key, choices[0]) not in choices:
            raise wrong(f"{key} {data[key]!r} is not one of {', '.join(choices)}")
    words: dict[str, tuple[str, ...]] = {
        side: _strings(data.get("sides", {}).get(side, [side, side[0]]), wrong) for side in SIDES
    }
    optional = set(_strings(data.get("optional", []), wrong))
    entries: list[MapEntry] = []
    n_joints = 0
    if order := data.get("order"):
        if len(order) != len(JOINT_NAMES) or not all(type(i) is int for i in order):
            raise wrong("order must be 21 joint numbers, in OpenPose order")
        n_joints = data.get("count", len(JOINT_NAMES))
        for joint, number in enumerate(order):
            if 0 <= number < n_joints:
                landmark = Landmark(JOINT_NAMES[joint], joint)
                entries.append(MapEntry(landmark, (f"{{side}}{number}", f"{number}")))
            elif number != -1:
                raise wrong(f"order names joint {number} of {n_joints} (-1: not recorded)")
    else:
        for joint_name, value in data.get("joints", {}).items():
            if joint_name not in JOINT_NAMES:
                near = difflib.get_close_matches(joint_name, JOINT_NAMES, n=1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                raise wrong(f"{joint_name!r} is no joint{hint}; they are {', '.join(JOINT_NAMES)}")
            entries.append(_entry(joint_name, joint_name, value, joint_name in optional, wrong))
    for marker, value in data.get("markers", {}).items():
        if not isinstance(value, dict) or value.get("joint") not in JOINT_NAMES:
            raise wrong(f"marker {marker!r} needs a joint, one of {', '.join(JOINT_NAMES)}")
        entries.append(_entry(marker, value["joint"], value, marker in optional, wrong))
    if not entries:
        raise wrong("a map needs [joints] or [markers]")
    if unknown := optional - {e.landmark.name for e in entries}:
        raise wrong(f"optional names {sorted(unknown)[0]!r}, which the map does not have")
    return JointMap(
        name=data["name"],
        title=data.get("title", data["name"]),
        formats=_strings(
            data.get("formats", ["bvh", "c3d", "trc", "motive", "csv", "array"]), wrong
        ),
        entries=tuple(entries),
        side_words=words,
        unit=unit,
        frame=data.get("frame", "world"),
        coordinates=data.get("coordinates", COORDINATES[0]),
        evidence=_strings(data.get("evidence", []), wrong),
        auto=data.get("auto", True),
        n_joints=n_joints,
        license=data.get("license", ""),
        citation=data.get("citation", ""),
        url=data.get("url", ""),
        defects=_strings(data.get("defects", []), wrong),
        notes=_strings(data.get("notes", []), wrong),
    )


def _strings(value: Any, wrong: Any) -> tuple[str, ...]:
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise wrong(f"{value!r} should be a text or a list of texts")
    return tuple(value)


def _entry(name: str, joint: str, value: Any, optional: bool, wrong: Any) -> MapEntry:
    table = value if isinstance(value, dict) else {"names": value}
    known = {"names", "joint", "surface", "carrier", "weight", "towards", "at", "optional", "note"}
    if unknown := set(table) - known:
        raise wrong(
            f"{name}: unknown key {sorted(unknown)[0]!r}; known are {', '.join(sorted(known))}"
        )
    names = _strings(table.get("names", name), wrong)
    surface = table.get("surface")
    if surface is not None and surface not in SURFACES:
        raise wrong(f"{name}: surface {surface!r} is not one of {', '.join(SURFACES)}")
    if (surface is None) == ("joint" in table):
        raise wrong(f"{name}: a marker needs both joint and surface, a joint neither")
    carrier = table.get("carrier")
    if carrier is not None and carrier not in MANO_JOINT_NAMES:
        raise wrong(f"{name}: carrier {carrier!r} is not one of {', '.join(MANO_JOINT_NAMES)}")
    towards, at = table.get("towards"), table.get("at", 0.0)
    share = isinstance(at, int | float) and 0 <= at <= 1
    if not share or (towards is None) == bool(at) or not isinstance(towards, str | None):
        raise wrong(f"{name}: towards needs a name, and at, a share between 0 and 1")
    try:
        landmark = Landmark(
            name=name,
            joint=JOINT_NAMES.index(joint),
            kind="joint" if surface is None else "marker",
            weight=float(table.get("weight", 1.0)),
            surface=surface,
            carrier=-1 if carrier is None else MANO_JOINT_NAMES.index(carrier),
        )
    except (TypeError, ValueError) as error:
        raise wrong(str(error)) from None
    required = not (optional or table.get("optional", False))
    return MapEntry(landmark, names, required, towards, float(at), table.get("note", ""))
