"""What a source is: the manifest that says its licence, its layout and its conventions.

In: manifests/sources/NAME.toml, one a source. Out: a `SourceManifest`, which `twohand info
--sources` prints and the source's reader follows. Facts about a dataset stand there, not in code.
"""

import tomllib
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any

from twohand500k.conventions import FRAMES, TIP_SETS

_HANDS = ("right", "left", "one a frame", "both")
_ANNOTATIONS = ("joints", "MANO", "MANO and joints", "poses")


@dataclass(frozen=True)
class SourceManifest:
    """One source, as its TOML file says it.

    license, citation, url, get: whose it is, where it lies, what to fetch from there.
    layout: the files below the folder that is given, one line each, "{split}" and the like for what
    varies. annotation: "joints", "MANO", "MANO and joints" or "poses" (drawn ones). unit, frame: of
    its numbers. joint_order: in words, or 21 indices: `openpose[k] = dataset[joint_order[k]]`.
    hands: which hands it holds. tips: the tip set of its joints. joints: how they were made, of
    MANO parameters ("kinematic" or "regressed") or apart from them ("measured").
    relative_to: what MANO's finger rotations are relative to, "flat" or "mean". left_shapedirs: on
    which left model betas were made. Both are empty without MANO; where nobody is sure, several are
    named, as of `joints`, and the dataset's own joints decide. agreement_mm: how far a MANO
    annotation may lie from the dataset's own joints, mean over a hand. estimated: joints that are
    worked out, not recorded, and carry little weight. splits: the dataset's own, by name.
    defects: what a user must know.
    """

    name: str
    title: str
    license: str
    citation: str
    url: str
    get: str
    layout: tuple[str, ...]
    annotation: str
    unit: str
    frame: str
    hands: str
    joint_order: str | tuple[int, ...] = ""
    tips: str = "smplx"
    joints: tuple[str, ...] = ("measured",)
    relative_to: tuple[str, ...] = ()
    left_shapedirs: tuple[str, ...] = ()
    agreement_mm: float = 0.0
    estimated: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    defects: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = f"manifest {self.name}"
        if self.frame not in FRAMES:
            raise ValueError(f"{where}: frame {self.frame!r} is none of {FRAMES}")
        if self.hands not in _HANDS:
            raise ValueError(f"{where}: hands {self.hands!r} is none of {_HANDS}")
        if self.annotation not in _ANNOTATIONS:
            raise ValueError(f"{where}: annotation {self.annotation!r} is none of {_ANNOTATIONS}")
        if self.tips not in TIP_SETS:
            raise ValueError(f"{where}: tips {self.tips!r} is none of {tuple(TIP_SETS)}")
        if ("MANO" in self.annotation) != bool(self.relative_to and self.left_shapedirs):
            raise ValueError(f"{where}: relative_to and left_shapedirs go with a MANO annotation")
        if isinstance(self.joint_order, tuple) and sorted(self.joint_order) != list(range(21)):
            raise ValueError(f"{where}: joint_order must be a permutation of 0..20")


@cache
def load_manifest(name: str) -> SourceManifest:
    """The shipped manifest of a source. Raises ValueError for a file that is not one."""
    folder = resources.files("twohand500k.manifests").joinpath("sources")
    return _manifest(tomllib.loads(folder.joinpath(f"{name}.toml").read_text("utf8")), name)


def list_manifests() -> list[SourceManifest]:
    """All shipped manifests, by name."""
    folder = resources.files("twohand500k.manifests").joinpath("sources")
    names = [item.name for item in folder.iterdir() if item.name.endswith(".toml")]
    return [load_manifest(name.removesuffix(".toml")) for name in sorted(names)]


def _manifest(table: dict[str, Any], name: str) -> SourceManifest:
    known = {f.name for f in fields(SourceManifest)}
    if strange := sorted(set(table) - known):
        raise ValueError(f"manifest {name}: unknown key {strange[0]!r}")
    if table.get("name") != name:
        raise ValueError(f"manifest {name}: calls itself {table.get('name')!r}")
    listed = {key: tuple(value) for key, value in table.items() if isinstance(value, list)}
    return SourceManifest(**(table | listed))
