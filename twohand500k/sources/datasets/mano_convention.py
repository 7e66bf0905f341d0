"""What the numbers of a plain MANO file mean, as somebody must declare it.

In: TOML files beside an .npz and entries of the .npz itself. Out: a `Convention`, checked, or a
`DataError` that lists what is still to be said. Flat or mean hand, transl or wrist, with or without
the left fix: each leaves numbers that look right, so none of them has a default.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal, cast, get_args

from twohand500k.conventions import (
    FRAMES,
    N_JOINTS,
    N_MANO_JOINTS,
    OPENPOSE_FROM_MANO21,
    SIDES,
    TIP_SETS,
    Side,
)
from twohand500k.errors import DataError
from twohand500k.sources.datasets.files import sha256_of
from twohand500k.sources.datasets.frames import Split
from twohand500k.sources.take import Array, InputFile, LeftShapedirs, PoseMean

FILE = "convention.toml"
SCALE = {"m": 1.0, "cm": 0.01, "mm": 0.001}
# Rows of a file's 16 rotations for MANO's joints; "openpose": wrist, thumb, index, ..., little.
_POSE_ORDERS = {
    "mano": tuple(range(N_MANO_JOINTS)),
    "openpose": (0, 4, 5, 6, 7, 8, 9, 13, 14, 15, 10, 11, 12, 1, 2, 3),
}
_JOINT_ORDERS = {"openpose": tuple(range(N_JOINTS)), "mano": OPENPOSE_FROM_MANO21}


@dataclass(frozen=True)
class Convention:
    """What numbers in a file mean. The first four have no default: nobody can guess them.

    relative_to: finger rotations relative to the "flat" hand (flat_hand_mean=True) or to MANO's
    "mean" pose. translation: "transl", added after posing as smplx does, or the "wrist" position.
    unit: "m", "cm" or "mm", of translations and joints. frame: "world", "camera", "right wrist".
    left_shapedirs: the left model's, needed with a left hand: "mirrored" (with the fix), "as
    shipped", "negated". hand: whose arrays without a side in their names are.
    pose_order: "mano", "openpose" (thumb first) or 16 indices, `mano[k] = file[pose_order[k]]`.
    joint_order: "openpose", "mano" (16, then five tips) or 21 indices, `openpose[k] = file[...]`.
    joints: how the file's joints were made, "kinematic", "regressed" or "measured". tips: of them.
    agreement_mm: parameters farther than this from the file's joints are refused.
    subject, split: for the dataset, where known.
    """

    relative_to: PoseMean
    translation: Literal["transl", "wrist"]
    unit: Literal["m", "cm", "mm"]
    frame: str
    left_shapedirs: LeftShapedirs | Literal[""] = ""
    hand: Side | Literal[""] = ""
    pose_order: str | tuple[int, ...] = "mano"
    joint_order: str | tuple[int, ...] = "openpose"
    joints: Literal["kinematic", "regressed", "measured"] = "kinematic"
    tips: str = "smplx"
    agreement_mm: float = 2.0
    subject: str = ""
    split: Split = ""

    def __post_init__(self) -> None:
        for name, allowed in (
            ("relative_to", get_args(PoseMean)),
            ("translation", ("transl", "wrist")),
            ("unit", tuple(SCALE)),
            ("frame", FRAMES),
            ("left_shapedirs", ("", *get_args(LeftShapedirs))),
            ("hand", ("", *SIDES)),
            ("joints", ("kinematic", "regressed", "measured")),
            ("tips", tuple(TIP_SETS)),
            ("split", get_args(Split)),
        ):
            if getattr(self, name) not in allowed:
                said = ", ".join(repr(value) for value in allowed)
                raise DataError(f"{name} = {getattr(self, name)!r} is none of {said}")
        for name, named, count in (
            ("pose_order", _POSE_ORDERS, N_MANO_JOINTS),
            ("joint_order", _JOINT_ORDERS, N_JOINTS),
        ):
            value = getattr(self, name)
            if value not in named and (
                isinstance(value, str) or sorted(value) != list(range(count))
            ):
                raise DataError(f"{name} is none of {', '.join(named)} and no order of {count}")
        if not (isinstance(self.agreement_mm, int | float) and self.agreement_mm > 0):
            raise DataError(f"agreement_mm = {self.agreement_mm!r} is not a length in mm")

    @property
    def pose_rows(self) -> list[int]:
        """Rows of the file's 16 rotations, in MANO's order."""
        order = self.pose_order
        return list(_POSE_ORDERS[order] if isinstance(order, str) else order)

    @property
    def joint_rows(self) -> list[int]:
        """Rows of the file's 21 joints, in OpenPose order."""
        order = self.joint_order
        return list(_JOINT_ORDERS[order] if isinstance(order, str) else order)


def load_convention(path: Path) -> Convention:
    """A convention from a TOML file. Raises DataError for one that says too little or nonsense."""
    return _convention(_toml(path), str(path))


def declared(
    path: Path, root: Path, arrays: Mapping[str, Array]
) -> tuple[Convention, list[InputFile]]:
    """The convention declared for a file, and the TOML files that say it."""
    above = [place for place in (path.parent, *path.parents) if place.is_relative_to(root)]
    candidates = [place / FILE for place in dict.fromkeys(reversed(above))]
    tables = [p for p in (*candidates, path.with_suffix(".toml")) if p.is_file()]
    said: dict[str, Any] = {}
    for table in tables:
        said |= _toml(table)
    said |= _said_by(path, arrays)
    return _convention(said, str(path)), [sha256_of(table) for table in tables]


def _said_by(path: Path, arrays: Mapping[str, Array]) -> dict[str, Any]:
    """What the .npz itself declares; `joints` there are the joints, not how they were made."""
    names = {field.name for field in fields(Convention)} - {"joints"}
    said = {key: arrays[key].tolist() for key in names & set(arrays)}
    if "flat_hand_mean" in arrays:
        # smplx's name for it.
        flat = "flat" if bool(arrays["flat_hand_mean"].all()) else "mean"
        if said.setdefault("relative_to", flat) != flat:
            raise DataError(f"{path}: relative_to and flat_hand_mean contradict each other")
    return said


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: not TOML ({' '.join(str(error).split())})") from None


def _convention(said: Mapping[str, Any], where: str) -> Convention:
    known = {field.name: field for field in fields(Convention)}
    if strange := sorted(set(said) - set(known)):
        raise DataError(f"{where}: {strange[0]!r} is no convention; known are {', '.join(known)}")
    needed = [name for name, f in known.items() if f.default is MISSING and name not in said]
    if needed:
        raise undeclared(where, needed)
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in said.items()}
    try:
        return Convention(**cast(dict[str, Any], values))
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    except TypeError:
        raise DataError(f"{where}: a convention is a word, not a table") from None


def undeclared(where: str, names: Sequence[str]) -> DataError:
    examples = {
        "relative_to": 'relative_to = "flat" or "mean"',
        "translation": 'translation = "transl" or "wrist"',
        "unit": 'unit = "m", "cm" or "mm"',
        "frame": 'frame = "world", "camera" or "right wrist"',
        "left_shapedirs": 'left_shapedirs = "mirrored", "as shipped" or "negated"',
        "hand": 'hand = "right" or "left"',
    }
    said = "; ".join(examples[name] for name in names)
    return DataError(f"{where}: declare in a {FILE} beside it: {said}")
