"""Meshes, a file a sample: OBJ (two groups), GLB (two nodes), PLY (a property says the hand).

Metres, in the dataset's frame of space. PLY and GLB hold the skin's float32 as it is; OBJ is
rounded to a micrometre. `right_hand` is group or node 0, `left_hand` 1. With `closed` the wrist is
capped, by faces alone: vertex numbers stay MANO's.
"""

import io
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from twohand500k.errors import DataError
from twohand500k.export.content import Array, Arrays, Digest, Source, skins, whole_file
from twohand500k.hand import HandPair

NAMES = ("obj", "glb", "ply")
_HANDS = ("right_hand", "left_hand")
# Skins in memory at once.
_CHUNK = 512


def order(source: Source) -> Iterator[Array]:
    """Rows, some hundred at a time."""
    for rows in source.by_shard():
        for first in range(0, len(rows), _CHUNK):
            yield rows[first : first + _CHUNK]


def arrays(kind: str, source: Source, rows: Array) -> Arrays:
    """Skins (n, 2, V, 3), an absent hand's zero: float32 m, of OBJ in whole micrometres."""
    samples = source.samples(rows)
    skin = np.nan_to_num(skins(source, samples))
    if kind == "obj":
        skin = np.round(1e6 * skin.astype(np.float64)).astype(np.int64)
    return {
        "file": np.array([file_name(i, kind) for i in samples.sample_id.tolist()]),
        "present": samples.present,
        "vertices": skin,
    }


def file_name(sample_id: str, kind: str) -> str:
    """The file of a sample; ids differ in more than what a file name cannot hold."""
    return re.sub(r"[^A-Za-z0-9._+-]", "_", sample_id) + f".{kind}"


def write(kind: str, source: Source, folder: Path, digest: Digest) -> None:
    """A file a sample. Raises DataError if two ids would be one file."""
    encode = _ENCODE[kind]
    written: set[str] = set()
    faces = [
        m.closed_faces if source.closed else m.faces
        for m in (source.hands.right, source.hands.left)
    ]
    for rows in order(source):
        chunk = arrays(kind, source, rows)
        digest.add(chunk)
        for name, present, skin in zip(
            chunk["file"].tolist(), chunk["present"], chunk["vertices"], strict=True
        ):
            if name.lower() in written:
                raise DataError(f"two samples would be written to {name}: their ids are too alike")
            written.add(name.lower())
            hands = [(_HANDS[s], skin[s], np.asarray(faces[s])) for s in (0, 1) if present[s]]
            with whole_file(folder / name, sync=False) as file:
                file.write(encode(hands))


def mesh_bytes(kind: str, skin: Array, hands: HandPair, *, closed: bool = False) -> bytes:
    """One file's content, of a pair of skins (2, V, 3) in metres."""
    points = (
        np.round(1e6 * np.asarray(skin)).astype(np.int64)
        if kind == "obj"
        else (np.asarray(skin, dtype=np.float32))
    )
    models = (hands.right, hands.left)
    faces = [np.asarray(m.closed_faces if closed else m.faces) for m in models]
    return _ENCODE[kind]([(_HANDS[s], points[s], faces[s]) for s in (0, 1)])


def read(kind: str, folder: Path, names: list[str]) -> Iterator[Arrays]:
    """The arrays of each file, in the order of `names`. Raises DataError."""
    for name in names:
        path = folder / name
        try:
            hands = _DECODE[kind](path.read_bytes())
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise DataError(f"{path} cannot be read as {kind.upper()}: {error!r}") from error
        n = max((len(v) for v in hands.values()), default=0)
        skin = np.zeros((1, 2, n, 3), dtype=np.int64 if kind == "obj" else np.float32)
        for side, hand in enumerate(_HANDS):
            if hand in hands:
                skin[0, side] = hands[hand]
        present = np.array([[hand in hands for hand in _HANDS]])
        yield {"file": np.array([name]), "present": present, "vertices": skin}


Hands = list[tuple[str, Array, Array]]


def _obj(hands: Hands) -> bytes:
    lines, first = ["# metres; twohand500k"], 1
    for name, skin, faces in hands:
        lines.append(f"o {name}\ng {name}")
        lines += [f"v {x / 1e6:.6f} {y / 1e6:.6f} {z / 1e6:.6f}" for x, y, z in skin.tolist()]
        lines += [f"f {a} {b} {c}" for a, b, c in (faces + first).tolist()]
        first += len(skin)
    return ("\n".join(lines) + "\n").encode()


def _from_obj(content: bytes) -> dict[str, Array]:
    hands: dict[str, list[list[float]]] = {}
    points: list[list[float]] = []
    for line in content.decode().splitlines():
        if line.startswith("o "):
            points = hands.setdefault(line[2:].strip(), [])
        elif line.startswith("v "):
            points.append([float(x) for x in line.split()[1:4]])
    return {name: np.round(1e6 * np.array(p)).astype(np.int64) for name, p in hands.items()}


def _glb(hands: Hands) -> bytes:
    trimesh = _trimesh()
    scene = trimesh.Scene()
    for name, skin, faces in hands:
        mesh = trimesh.Trimesh(skin, faces, process=False, validate=False)
        scene.add_geometry(mesh, node_name=name, geom_name=name)
    content: bytes = scene.export(file_type="glb")
    return content


def _from_glb(content: bytes) -> dict[str, Array]:
    scene = _trimesh().load_scene(io.BytesIO(content), file_type="glb", process=False)
    return {name: np.asarray(g.vertices, dtype=np.float32) for name, g in scene.geometry.items()}


_PLY_VERTEX = np.dtype([("p", "<f4", 3), ("hand", "u1")])
_PLY_FACE = np.dtype([("n", "u1"), ("i", "<i4", 3)])


def _ply(hands: Hands) -> bytes:
    vertices, faces, first = [], [], 0
    for name, skin, triangles in hands:
        block = np.zeros(len(skin), dtype=_PLY_VERTEX)
        block["p"], block["hand"] = skin, _HANDS.index(name)
        vertices.append(block)
        face = np.zeros(len(triangles), dtype=_PLY_FACE)
        face["n"], face["i"] = 3, triangles + first
        faces.append(face)
        first += len(skin)
    head = [
        "ply", "format binary_little_endian 1.0", "comment metres; hand 0 right, 1 left",
        f"element vertex {first}", "property float x", "property float y", "property float z",
        "property uchar hand", f"element face {sum(map(len, faces))}",
        "property list uchar int vertex_indices", "end_header",
    ]  # fmt: skip
    blocks = [block.tobytes() for block in (*vertices, *faces)]
    return ("\n".join(head) + "\n").encode() + b"".join(blocks)


def _from_ply(content: bytes) -> dict[str, Array]:
    head, _, body = content.partition(b"end_header\n")
    count = re.search(rb"element vertex (\d+)", head)
    if count is None:
        raise ValueError("no vertices declared")
    vertices = np.frombuffer(body, dtype=_PLY_VERTEX, count=int(count[1]))
    return {
        name: vertices["p"][vertices["hand"] == side]
        for side, name in enumerate(_HANDS)
        if (vertices["hand"] == side).any()
    }


_ENCODE: dict[str, Callable[[Hands], bytes]] = {"obj": _obj, "glb": _glb, "ply": _ply}
_DECODE: dict[str, Callable[[bytes], dict[str, Array]]] = {
    "obj": _from_obj, "glb": _from_glb, "ply": _from_ply,
}  # fmt: skip


def _trimesh() -> Any:
    try:
        import trimesh
    except ImportError as error:
        raise DataError(
            f'GLB needs trimesh ({error}): pip install "twohand500k[export]"'
        ) from error
    return trimesh


def arrays_of(kind: str) -> Callable[[Source, Array], Arrays]:
    """`arrays` of one kind."""
    return partial(arrays, kind)
