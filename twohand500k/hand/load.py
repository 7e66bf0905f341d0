"""Hand models from disk: the open hand, or a folder with MANO's files.

Comes in: "open" or a folder holding MANO_RIGHT and MANO_LEFT, each .pkl (as licensed) or .npz (as
`HandModel.save` writes it). Goes out: a checked `HandPair`. Nothing in a file is run (`pickles`).

MANO_LEFT's shapedirs repeat the right hand's x instead of its mirror image (smplx issue 48), so a
beta that makes the right hand longer makes the left one crooked. That is found by comparing the
two files and put right on load; the model's notes say so. Data annotated with the files as they
are (H2O, DexYCB, ARCTIC) needs ``left_shapedirs="as is"``.
"""

import functools
import logging
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np

from twohand500k.conventions import (
    DEFAULT_TIP_SET,
    MANO_PARENTS,
    N_BETAS,
    N_FACES,
    N_MANO_JOINTS,
    N_VERTICES,
    SIDES,
    TIP_SETS,
    WRIST_LOOP,
    Side,
)
from twohand500k.errors import DataError
from twohand500k.hand.mesh import volume_cm3, wrist_loop
from twohand500k.hand.model import HandModel, HandPair
from twohand500k.pickles import read_pickle

log = logging.getLogger(__name__)

LeftShapedirs = Literal["mirrored", "as is"]

_FINGER_ROTATIONS = 3 * (N_MANO_JOINTS - 1)
_SHAPES: dict[str, tuple[int, ...]] = {
    "v_template": (N_VERTICES, 3),
    "shapedirs": (N_VERTICES, 3, N_BETAS),
    "posedirs": (N_VERTICES, 3, 9 * (N_MANO_JOINTS - 1)),
    "J_regressor": (N_MANO_JOINTS, N_VERTICES),
    "weights": (N_VERTICES, N_MANO_JOINTS),
    "f": (N_FACES, 3),
    "kintree_table": (2, N_MANO_JOINTS),
    "hands_mean": (_FINGER_ROTATIONS,),
    "hands_components": (_FINGER_ROTATIONS, _FINGER_ROTATIONS),
}
# An archive that unpacks to more than this is not a hand (MANO unpacks to 4 MB).
_MAX_UNPACKED = 2**30


def load_hands(
    where: str | Path = "open", *, left_shapedirs: LeftShapedirs = "mirrored"
) -> HandPair:
    """Both hands of one model.

    where: "open" for the open hand that comes with this package, else a folder with MANO_RIGHT and
    MANO_LEFT (.npz or .pkl; .npz first), directly or in its `mano/`, as smplx users lay it out.
    left_shapedirs: "mirrored" puts MANO_LEFT's known defect right, "as is" keeps the file's.
    Raises `DataError`, in one line, for a missing, broken, hostile or wrong file.
    """
    if str(where) == "open":
        return _open_hands()
    folder = Path(where).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"hand model '{where}': no such folder; give \"open\" or a folder with MANO_RIGHT.pkl "
            "and MANO_LEFT.pkl (or .npz)"
        )
    right, left = (load_model(_find(folder, side), side) for side in SIDES)
    return HandPair(right, _checked_left(right, left, left_shapedirs))


@functools.cache
def _open_hands() -> HandPair:
    with resources.as_file(resources.files("twohand500k.hand") / "open_hand.npz") as path:
        right = load_model(path, "right", name="open")
    return HandPair(right, right.mirrored())


def _find(folder: Path, side: Side) -> Path:
    names = [f"MANO_{side.upper()}{ext}" for ext in (".npz", ".pkl")]
    for place in (folder, folder / "mano"):
        for name in names:
            if (place / name).is_file():
                return place / name
    raise DataError(
        f"{folder}: holds no {names[1]} or {names[0]}, nor does its mano/; the files come from "
        "mano.is.tue.mpg.de (registration), or use --hand-model open"
    )


def load_model(path: Path, side: Side, name: str = "mano") -> HandModel:
    """One side's model from one .npz or .pkl file, checked. Raises `DataError`.

    name: what the model is called if the file does not say.
    """
    read = _read_npz if path.suffix == ".npz" else read_pickle
    content = read(path)
    missing = [key for key in _SHAPES if key not in content]
    if missing:
        raise DataError(f"{path}: not a MANO file, it lacks {', '.join(missing)}")
    arrays = {key: _checked(path, key, content[key]()) for key in _SHAPES}
    model = HandModel(
        side=side,
        name=_text(content, "name", name),
        v_template=arrays["v_template"],
        shapedirs=arrays["shapedirs"],
        posedirs=arrays["posedirs"],
        J_regressor=arrays["J_regressor"],
        weights=arrays["weights"],
        faces=arrays["f"].astype(np.int64),
        hands_mean=arrays["hands_mean"],
        hands_components=arrays["hands_components"],
        tip_vertex_ids=_tips(path, content),
        hands_coeffs=_coeffs(path, content),
        notes=tuple(str(note) for note in content["notes"]()) if "notes" in content else (),
    )
    declared = _text(content, "side", side)
    if declared != side:
        raise DataError(f"{path}: declares itself a {declared} hand, a {side} one was expected")
    _check_model(path, model, arrays["kintree_table"])
    if volume_cm3(model.v_template, model.closed_faces) < 0:
        note = "faces turned over: the file winds them inward"
        log.info("%s: %s", path, note)
        model = replace(model, faces=model.faces[:, ::-1].copy(), notes=(*model.notes, note))
    return model


def _read_npz(path: Path) -> dict[str, Callable[[], Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _MAX_UNPACKED:
                raise DataError(f"{path}: unpacks to more than a hand model can hold; refused")
        with np.load(path, allow_pickle=False) as archive:
            content = {key: archive[key] for key in archive.files}
    except DataError:
        raise
    except Exception as error:
        # zipfile, zlib and numpy raise many types for broken bytes; none of them is ours.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not a whole .npz of plain arrays ({reason})") from None
    return {key: (lambda value=value: value) for key, value in content.items()}  # type: ignore[misc]


def _checked(path: Path, key: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if key == "hands_mean":
        array = array.ravel()
    if array.shape != _SHAPES[key]:
        raise DataError(f"{path}: '{key}' is {array.shape}, a MANO file has {_SHAPES[key]}")
    if array.dtype.kind not in "fiu":
        raise DataError(f"{path}: '{key}' holds {array.dtype}, not numbers")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise DataError(f"{path}: '{key}' holds NaN or infinite numbers")
    return array


def _text(content: dict[str, Callable[[], Any]], key: str, default: str) -> str:
    return str(content[key]()) if key in content else default


def _tips(path: Path, content: dict[str, Callable[[], Any]]) -> tuple[int, int, int, int, int]:
    if "tip_vertex_ids" not in content:
        return TIP_SETS[DEFAULT_TIP_SET]
    ids = np.asarray(content["tip_vertex_ids"]())
    if ids.shape != (5,) or ids.dtype.kind not in "iu" or ids.min() < 0 or ids.max() >= N_VERTICES:
        raise DataError(f"{path}: 'tip_vertex_ids' must be five vertex ids below {N_VERTICES}")
    thumb, index, middle, ring, little = (int(i) for i in ids)
    return thumb, index, middle, ring, little


def _coeffs(path: Path, content: dict[str, Callable[[], Any]]) -> np.ndarray | None:
    if "hands_coeffs" not in content:
        return None
    coeffs = np.asarray(content["hands_coeffs"]())
    if coeffs.ndim != 2 or coeffs.shape[1] != _FINGER_ROTATIONS or coeffs.dtype.kind != "f":
        raise DataError(f"{path}: 'hands_coeffs' is {coeffs.shape}, a MANO file has (n, 45)")
    return coeffs.astype(np.float64)


def _check_model(path: Path, model: HandModel, kintree: np.ndarray) -> None:
    """What the arrays of a right or left hand must satisfy together."""
    if tuple(kintree[0, 1:].astype(int)) != MANO_PARENTS[1:]:
        raise DataError(f"{path}: 'kintree_table' is not MANO's joint tree")
    # Skinning weights are normalised; the regressor was only pulled towards a sum of one when it
    # was learned (non-negative least squares), so it is held to it loosely.
    for key, allowed in (("weights", 1e-3), ("J_regressor", 0.05)):
        sums = getattr(model, key).sum(axis=1)
        worst = int(np.argmax(np.abs(sums - 1)))
        if abs(sums[worst] - 1) > allowed:
            raise DataError(f"{path}: '{key}' row {worst} sums to {sums[worst]:.6g}, not to 1")
    if model.weights.min() < -1e-6:
        raise DataError(f"{path}: 'weights' has negative entries")
    if model.faces.min() < 0 or model.faces.max() >= N_VERTICES:
        raise DataError(f"{path}: 'f' names vertices that do not exist")
    try:
        loop = wrist_loop(model.faces)
    except ValueError as error:
        raise DataError(f"{path}: 'f' is not a hand's skin: {error}") from None
    if len(loop) != WRIST_LOOP:
        raise DataError(f"{path}: the wrist loop has {len(loop)} vertices, MANO's has {WRIST_LOOP}")
    volume = float(volume_cm3(model.v_template, model.closed_faces))
    if not 50 < abs(volume) < 2000:
        raise DataError(
            f"{path}: the closed template has {abs(volume):.4g} cm3, a hand has 200 to 500: "
            "its vertices are not in metres"
        )
    # MANO's rest frame: a right hand's fingers point to -x, a left one's to +x.
    reach = model.v_template[list(model.tip_vertex_ids[1:]), 0].mean() - model.J_template[0, 0]
    if (reach < 0) != (model.side == "right"):
        raise DataError(
            f"{path}: its fingers point to {'-' if reach < 0 else '+'}x, so it is not a "
            f"{model.side} hand in MANO's rest frame; are the two files swapped?"
        )


def _checked_left(right: HandModel, left: HandModel, wanted: LeftShapedirs) -> HandModel:
    """The left model with its shapedirs' known defect put right, or noted as kept."""
    right_x, left_x = right.shapedirs[:, 0], left.shapedirs[:, 0]
    scale = np.linalg.norm(right_x)
    as_mirror = np.linalg.norm(left_x + right_x) / scale if scale else 0.0
    as_copy = np.linalg.norm(left_x - right_x) / scale if scale else np.inf
    # A mirrored file gives 0 and 2, a defective one 2 and 0; anything between is another model.
    if as_copy < 0.1 < as_mirror:
        if wanted == "as is":
            note = "left shapedirs repeat the right hand's x (smplx issue 48), kept as in the file"
            log.warning("%s: %s", left.name, note)
            return replace(left, notes=(*left.notes, note))
        note = "left shapedirs' x negated: the file repeats the right hand's (smplx issue 48)"
        log.info("%s: %s", left.name, note)
        flip = np.array([-1.0, 1.0, 1.0])[:, None]
        return replace(left, shapedirs=left.shapedirs * flip, notes=(*left.notes, note))
    if as_mirror >= 0.1:
        log.warning("%s: left and right shapedirs are neither mirrored nor equal in x", left.name)
    return left
