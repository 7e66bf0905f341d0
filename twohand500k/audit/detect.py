"""What is this? A path in; out comes how it is to be read, and a line that says why.

Told by what is on disk alone: the files that our own datasets have, the names of array entries and
their shapes, the layouts of the public sets, the suffixes of recordings. What fits two ways, or
none, is a `DataError` that names the declaration that settles it.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from twohand500k.conventions import N_VERTICES
from twohand500k.errors import DataError
from twohand500k.shards.files import INDEX, PLAN
from twohand500k.sources import SOURCES

Kind = Literal["dataset", "joints", "vertices", "source"]

DATASET: Final = "dataset"
VERTICES: Final = "vertices"
# What --source takes: every source, and the two things that are none.
AUDITED: Final = (DATASET, VERTICES, *(name for name in SOURCES if name != "synthetic"))

_RECORDINGS = (".bvh", ".c3d", ".trc", ".csv")
_ARRAYS = (".npy", ".npz")
_POSES = ("pose", "full_pose", "mano_pose", "hand_pose", "global_orient", "rot", "root_orient")
VERTEX_KEYS: Final = ("vertices", "verts", "v", "mesh", "skin")
# What only this dataset has, below the folder given.
_SIGNS: Final = {
    "interhand26m": ("annotations/*/InterHand2.6M_*_joint_3d.json",),
    "rhd": ("training/anno_training.pickle", "evaluation/anno_evaluation.pickle"),
    "freihand": ("*_xyz.json",),
    "stb": ("labels/B*_*.mat",),
    "lsmv": ("annotated_frames/data_*/*_joints.txt",),
    "h2o": ("subject*/*/*/cam4/hand_pose",),
    "ho3d/h2o3d": ("train/*/meta/*.pkl", "evaluation/*/meta/*.pkl"),
    "hic": ("IJCV16___Results_MANO___parms_for___joints21",),
    "quest": ("poses_right.json", "poses_left.json"),
}  # fmt: skip


@dataclass(frozen=True)
class Understood:
    """kind: what reads it. source: the source's name, "" for a dataset of ours. line: how it was
    understood, for people."""

    kind: Kind
    source: str
    line: str


def understand(path: Path, source: str | None) -> Understood:
    """How `path` is to be read. source: as declared with --source, None to find out.

    Raises DataError where there is nothing, nothing that is known, or where it fits two ways.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if source is not None:
        return _as(source, path, f"read as {source}, as declared")
    if path.is_file():
        return _file(path)
    if (path / INDEX).is_file() or (path / PLAN).is_file():
        return _as(DATASET, path, f"a dataset of this toolkit: it has {INDEX}")
    return _folder(path)


def _as(source: str, path: Path, line: str) -> Understood:
    if source == DATASET:
        return Understood("dataset", "", line)
    if source == VERTICES:
        return Understood("vertices", VERTICES, line)
    if source == "joints" and path.is_file():
        return Understood("joints", source, line)
    return Understood("source", source, line)


def _file(path: Path) -> Understood:
    suffix = path.suffix.lower()
    if path.name == INDEX:
        raise DataError(f"{path}: give the dataset's folder, {path.parent}")
    if suffix in _RECORDINGS:
        return _as("mocap", path, f"a recording ({suffix})")
    if suffix in _ARRAYS:
        source, why = _array_source(path)
        return _as(source, path, why)
    if suffix == ".json":
        raise DataError(f"{path}: a JSON file alone says not what it is; say --source, or give the "
                        "dataset's folder")  # fmt: skip
    raise DataError(
        f"{path}: {suffix or 'a file without suffix'} is not read; give "
        f"{', '.join((*_RECORDINGS, *_ARRAYS))}, or a folder with --source NAME"
    )


def _folder(path: Path) -> Understood:
    fits = [name for name, signs in _SIGNS.items() if any(next(path.glob(s), None) for s in signs)]
    if fits == ["ho3d/h2o3d"]:
        raise DataError(f"{path}: laid out as HO-3D and as H2O-3D are; say --source ho3d or h2o3d")
    if len(fits) > 1:
        raise DataError(f"{path}: looks like {' and '.join(fits)}; say --source with one of them")
    if fits:
        return _as(fits[0], path, f"laid out as {fits[0]}")
    files = [p for p in sorted(path.rglob("*")) if p.is_file()]
    recordings = [p for p in files if p.suffix.lower() in _RECORDINGS]
    arrays = [p for p in files if p.suffix.lower() in _ARRAYS]
    if recordings and arrays:
        raise DataError(
            f"{path}: holds recordings ({recordings[0].name}) and arrays ({arrays[0].name}); give "
            "one of the files, or say --source mocap, joints or mano"
        )
    if recordings:
        return _as("mocap", path, f"a folder of {len(recordings)} recordings")
    if arrays:
        found = {_array_source(p)[0]: p for p in arrays}
        if len(found) > 1:
            told = ", ".join(f"{p.name} is {name}" for name, p in sorted(found.items()))
            raise DataError(f"{path}: holds arrays of several kinds ({told}); give one file")
        (name,) = found
        if name == VERTICES:
            raise DataError(f"{path}: give one file of vertices, such as {arrays[0].name}")
        return _as(name, path, f"a folder of {len(arrays)} array files, each {name}")
    raise DataError(
        f"{path}: nothing here is known by its looks; say --source, one of {', '.join(AUDITED)}"
    )


def _array_source(path: Path) -> tuple[str, str]:
    """joints, mano or vertices, by the entries' names and shapes, and why. Nothing is loaded."""
    shapes = array_shapes(path)
    by_name = {name.lower(): shape for name, shape in shapes.items()}
    plain = {name.removeprefix("right_").removeprefix("left_") for name in by_name}
    vertices = [
        name
        for name, shape in shapes.items()
        if len(shape) >= 2 and shape[-1] == 3 and (shape[-2] == N_VERTICES or _says_vertices(name))
    ]
    poses = sorted(plain & set(_POSES))
    if vertices and poses:
        raise DataError(
            f"{path}: holds vertices ({vertices[0]}) and poses ({poses[0]}); say --source vertices "
            "or --source mano"
        )
    if vertices:
        return VERTICES, f"vertices of hand meshes: {vertices[0]} {shapes[vertices[0]]}"
    if poses:
        return "mano", f"MANO parameters: it has {poses[0]}"
    hands = {name: shape for name, shape in shapes.items() if len(shape) >= 2 and shape[-1] == 3}
    if not hands:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "nothing"
        raise DataError(
            f"{path}: holds {told}; an audit reads joints (N, 2, 21, 3), vertices (N, 2, "
            f"{N_VERTICES}, 3), or MANO's pose, betas and transl"
        )
    told = ", ".join(f"{name} {shape}" for name, shape in hands.items())
    return "joints", f"joints: {told}"


def _says_vertices(name: str) -> bool:
    plain = name.lower().removeprefix("right_").removeprefix("left_")
    return plain.removesuffix("_right").removesuffix("_left") in VERTEX_KEYS


def array_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of an .npy's array ("array") or of an .npz's entries, from their headers.

    Raises DataError for a file that is not one, or that holds pickled objects alone.
    """
    try:
        if path.suffix.lower() == ".npy":
            loaded = np.load(path, mmap_mode="r", allow_pickle=False)
            return {"array": loaded.shape}
        shapes = {}
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    version = np.lib.format.read_magic(member)
                    read = (
                        np.lib.format.read_array_header_1_0
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0
                    )
                    shapes[name.removesuffix(".npy")] = read(member)[0]
        return shapes
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, SyntaxError) as error:
        why = " ".join(str(error).split())[:90]
        raise DataError(
            f"{path}: not a readable array file ({why}); save plain numbers with numpy.savez"
        ) from None
