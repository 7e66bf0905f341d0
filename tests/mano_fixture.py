"""MANO-shaped models made by our own code, and a writer of pickles as MANO's own files are.

The licensed files cannot be in the repository, so the loader is tested on pickles with the same
layout: protocol 2 as Python 2's cPickle wrote it, raw `str` bytes, class names of old numpy, scipy
and chumpy, `shapedirs` as a chumpy Select over a Ch of twice as many components. None of those
packages is needed to write them: the opcodes are laid down by hand.
"""

import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from twohand500k.conventions import MANO_CHAINS, MANO_PARENTS, N_VERTICES
from twohand500k.hand.model import HandModel, HandPair

_RING = 16
_RINGS = 48


def random_model(seed: int = 0) -> HandModel:
    """A right "hand" that is a tube with MANO's counts: valid as a model, nothing to look at.

    48 rings of 16, an apex, and 9 faces split to reach 778 vertices and 1538 faces; random shape
    and pose directions, weights to all 16 joints. For kinematics and loading, where only numbers
    matter; fitting is tried on the open hand.
    """
    rng = np.random.default_rng(seed)
    x = np.repeat(np.linspace(0.1, -0.09, _RINGS), _RING)
    angle = np.tile(2 * np.pi * np.arange(_RING) / _RING, _RINGS)
    points = np.stack([x, 0.02 * np.cos(angle), 0.04 * np.sin(angle)], axis=1)
    apex = len(points)
    points = np.concatenate([points, [[-0.1, 0.0, 0.0]]])
    ring, k = np.divmod(np.arange((_RINGS - 1) * _RING), _RING)
    a, b = ring * _RING + k, ring * _RING + (k + 1) % _RING
    end = (_RINGS - 1) * _RING + np.arange(_RING)
    faces = np.concatenate(
        [
            np.stack([a, b + _RING, b], axis=1),
            np.stack([a, a + _RING, b + _RING], axis=1),
            np.stack([end, np.full(_RING, apex), np.roll(end, -1)], axis=1),
        ]
    )
    for _ in range(N_VERTICES - len(points)):
        (p, q, r), faces = faces[0], faces[1:]
        new = len(points)
        points = np.concatenate([points, points[[p, q, r]].mean(axis=0, keepdims=True)])
        faces = np.concatenate([faces, [(p, q, new), (q, r, new), (r, p, new)]])

    joints = np.zeros((16, 3))
    joints[0] = (0.09, 0.005, 0.005)
    for chain, z in zip(MANO_CHAINS, (0.035, 0.025, 0.01, -0.01, -0.03), strict=True):
        for depth, joint in enumerate(chain):
            joints[joint] = (0.01 - 0.03 * depth, 0.002 * depth, z)
    distance_sq = np.sum((points[:, None] - joints) ** 2, axis=-1)
    near = np.exp(-distance_sq / 0.02**2) + 1e-4 * rng.random(distance_sq.shape)
    basis, _ = np.linalg.qr(rng.normal(size=(45, 45)))
    return HandModel(
        side="right",
        name="random",
        v_template=points + 0.0005 * rng.normal(size=points.shape),
        shapedirs=0.002 * rng.normal(size=(N_VERTICES, 3, 10)),
        posedirs=0.002 * rng.normal(size=(N_VERTICES, 3, 135)),
        J_regressor=(near / near.sum(axis=0)).T,
        weights=near / near.sum(axis=1, keepdims=True),
        faces=faces,
        hands_mean=0.2 * rng.normal(size=45),
        hands_components=basis,
        hands_coeffs=rng.normal(size=(20, 45)),
    )


def random_pair(seed: int = 0) -> HandPair:
    """The tube and its mirror image."""
    right = random_model(seed)
    return HandPair(right, right.mirrored())


def perturbed(model: HandModel, seed: int = 0) -> HandModel:
    """Another model of the same topology: other proportions, joints, shape space and correctives.

    The template is sheared by a few millimetres, the shape space is turned within itself, pose
    correctives are a third stronger: the same numbers make another hand on it.
    """
    rng = np.random.default_rng(seed)
    stretch = np.diag(1 + np.array([0.03, -0.04, 0.02])) + 0.01 * rng.normal(size=(3, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(10, 10)))
    return replace(
        model,
        name="perturbed",
        v_template=model.v_template @ stretch.T,
        shapedirs=np.einsum("ab,vbk,kl->val", stretch, model.shapedirs, turn),
        posedirs=1.3 * model.posedirs,
    )


@dataclass(frozen=True)
class Ref:
    """A class by its name, as the pickle's GLOBAL opcode has it."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """What REDUCE makes: function(*args), then BUILD with state."""

    function: Ref
    args: tuple[Any, ...]
    state: Any = None


@dataclass(frozen=True)
class Instance:
    """What NEWOBJ makes: a new-style class's instance, then BUILD with state."""

    cls: Ref
    state: Any


_RECONSTRUCT = Ref("numpy.core.multiarray", "_reconstruct")
_NDARRAY = Ref("numpy", "ndarray")
_DTYPE = Ref("numpy", "dtype")


def python2_pickle(value: Any) -> bytes:
    """The bytes cPickle.dumps(value, 2) of Python 2 would give; str and bytes become raw `str`."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value: Any) -> bytes:
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int | np.integer):
        return b"J" + struct.pack("<i", int(value))
    if isinstance(value, str):
        return _opcodes(value.encode("latin1"))
    if isinstance(value, bytes):
        if len(value) < 256:
            return b"U" + struct.pack("<B", len(value)) + value
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_opcodes, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(_opcodes, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(_opcodes(k) + _opcodes(v) for k, v in value.items()) + b"u"
    if isinstance(value, set):
        return _opcodes(Call(Ref("__builtin__", "set"), (sorted(value),)))
    if isinstance(value, Ref):
        return f"c{value.module}\n{value.name}\n".encode("latin1")
    if isinstance(value, Call):
        made = _opcodes(value.function) + _opcodes(value.args) + b"R"
        return made + (b"" if value.state is None else _opcodes(value.state) + b"b")
    if isinstance(value, Instance):
        return _opcodes(value.cls) + b")\x81" + _opcodes(value.state) + b"b"
    if isinstance(value, np.ndarray):
        kind = value.dtype.str.lstrip("<>|=")
        dtype = Call(_DTYPE, (kind, 0, 1), (3, "<", None, None, None, -1, -1, 0))
        state = (1, value.shape, dtype, False, value.tobytes())
        return _opcodes(Call(_RECONSTRUCT, (_NDARRAY, (0,), "b"), state))
    raise TypeError(type(value))


def sparse_columns(dense: np.ndarray) -> Instance:
    """scipy.sparse.csc.csc_matrix as scipy of the Python 2 years pickled it."""
    columns, rows = np.nonzero(dense.T)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=dense.shape[1]))])
    return Instance(
        Ref("scipy.sparse.csc", "csc_matrix"),
        {
            "_shape": dense.shape,
            "maxprint": 50,
            "data": dense[rows, columns],
            "indices": rows.astype(np.int32),
            "indptr": indptr.astype(np.int32),
        },
    )


def chumpy_select(shapedirs: np.ndarray) -> Instance:
    """shapedirs (V, 3, 10) as MANO holds them: the first ten of twenty, picked by flat index."""
    wide = np.concatenate([shapedirs, 7.0 + shapedirs], axis=2)
    picked = np.arange(wide.size).reshape(wide.shape)[:, :, : shapedirs.shape[2]]
    source = Instance(
        Ref("chumpy.ch", "Ch"),
        {"x": wide, "_dirty_vars": {"x"}, "_itr": None, "_depends_on_deps": {}},
    )
    return Instance(
        Ref("chumpy.reordering", "Select"),
        {
            "a": source,
            "idxs": picked.ravel(),
            "preferred_shape": shapedirs.shape,
            "_dirty_vars": {"a"},
        },
    )


def mano_dictionary(model: HandModel) -> dict[str, Any]:
    """A model's arrays in the types MANO's own pickle has them in."""
    parents = np.array(MANO_PARENTS).astype(np.uint32)
    dictionary = {
        "hands_components": model.hands_components,
        "f": model.faces.astype(np.uint32),
        "J_regressor": sparse_columns(model.J_regressor),
        "kintree_table": np.stack([parents, np.arange(16, dtype=np.uint32)]),
        "J": model.J_template,
        "weights": model.weights,
        "posedirs": model.posedirs,
        "hands_mean": model.hands_mean,
        "v_template": model.v_template,
        "shapedirs": chumpy_select(model.shapedirs),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }
    if model.hands_coeffs is not None:
        dictionary["hands_coeffs"] = model.hands_coeffs
    return dictionary


def write_mano_folder(folder: Path, pair: HandPair, *, left_defect: bool = True) -> Path:
    """MANO_RIGHT.pkl and MANO_LEFT.pkl; the left one with MANO's defect unless told otherwise."""
    left = pair.left
    if left_defect:
        left = replace(left, shapedirs=left.shapedirs * np.array([-1.0, 1.0, 1.0])[:, None])
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in (("RIGHT", pair.right), ("LEFT", left)):
        path = folder / f"MANO_{name}.pkl"
        path.write_bytes(python2_pickle(mano_dictionary(model)))
    return folder
