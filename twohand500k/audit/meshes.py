"""Vertices of hands: the judge on the meshes as they are given, and gates that need no joints.

In: skins of the hand model's topology (or of another, with the faces in the file). Out: `Facts`.
On the model's topology a mesh says more than joints do: which side it is of stands in the sign of
its volume, and whether the vertices are in the model's order in the lengths of its edges. Joints
(the model's regressor on the skin, its tip vertices) then go through the fit's gates for limits.
On another topology there are no joints: overlap, size and inside-out are what can be told.
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from typing import Final

import numpy as np

from twohand500k.audit.arrays import ONE_SHAPE, Meshes, bones_vary, unit_of_scales
from twohand500k.audit.facts import OK, Facts
from twohand500k.conventions import JOINT_NAMES, N_JOINTS, OPENPOSE_FROM_MANO21, SIDES
from twohand500k.errors import DataError
from twohand500k.hand import HandModel, HandPair
from twohand500k.hand.mesh import closed_faces, volume_cm3
from twohand500k.hand.rotations import mirror_points
from twohand500k.ik.hypotheses import nearest_unit
from twohand500k.ik.verdict import Reason, Thresholds
from twohand500k.physics.judge import (
    Judge,
    intersection_volume,
    mesh_distance,
    penetration_depth,
)
from twohand500k.sources.recordings.units import UNITS, unit_name
from twohand500k.sources.take import Landmark, Take, Unit

Array = np.ndarray

Log = Callable[[str], None]

VERTEX_ORDER: Final = "vertex_order"
# Spread of (edge / the template's edge), the median of |log|: posed hands of human shapes stay
# below 0.15, vertices in another order lie above 0.6.
_SPREAD = 0.35
_BATCH: Final = 64


@dataclass(frozen=True, eq=False)
class Skins:
    """Meshes in metres that passed or failed the gates. vertices (N, 2, V, 3) m; faces of right and
    left; known: they are the hand model's own topology; reason (N, 2), details by (row, side)."""

    vertices: Array
    faces: tuple[Array, Array]
    known: bool
    unit: Unit
    reason: Array
    detail: dict[tuple[int, int], str]
    notes: tuple[str, ...]


def gate(meshes: Meshes, hands: HandPair, declared_unit: str | None = None) -> Skins:
    """Which meshes are hands, of which side, in which unit.

    Raises DataError where the vertices are of another topology and the file has no faces, or where
    most of them are not in the order of the model's faces.
    """
    faces, known, notes = _topology(meshes, hands)
    scale, spread = _edges(meshes, hands, faces, known)
    unit = _unit(meshes, scale, declared_unit)
    vertices = meshes.vertices * unit.scale_to_m
    scale = scale * unit.scale_to_m
    reason, detail = np.where(meshes.there, OK, "").astype("<U24"), {}
    limits = Thresholds()
    whole: Array = np.asarray(np.isfinite(vertices).all(axis=(2, 3)))
    if known:
        _require_order(meshes, hands, spread[whole])
    for row, side in np.argwhere(meshes.there).tolist():
        why, said = "", ""
        if not whole[row, side]:
            n = int((~np.isfinite(vertices[row, side]).all(axis=-1)).sum())
            why, said = Reason.NOT_FINITE.value, f"{n} vertices are not finite"
        elif known and spread[row, side] > _SPREAD:
            why, said = VERTEX_ORDER, "edges are not those of the model's faces"
        elif not limits.scale_least <= scale[row, side] <= limits.scale_most:
            factor = scale[row, side]
            why = Reason.WRONG_UNITS.value
            said = f"{factor:.4g} times the size of a hand: {nearest_unit(factor)}?"
        elif _volume(vertices[row, side], faces[side]) < 0:
            why = Reason.MIRRORED.value if known else "inside_out"
            said = f"inside out as a {SIDES[side]} hand: a mirror image, or the other side's mesh"
        if why:
            reason[row, side], detail[row, side] = why, said
    return Skins(vertices, faces, known, unit, reason, detail, notes)


def _topology(meshes: Meshes, hands: HandPair) -> tuple[tuple[Array, Array], bool, tuple[str, ...]]:
    """Faces of both sides, whether they are the model's, and notes."""
    V = meshes.vertices.shape[2]
    own = (hands.right.faces, hands.left.faces)
    if meshes.faces is None:
        if len(hands.right.v_template) != V:
            raise DataError(
                f"{meshes.path}: {V} vertices a hand and no faces; the hand model "
                f"{hands.right.name!r} has {len(hands.right.v_template)}. Add the faces to the "
                ".npz (right_faces and left_faces, or faces)"
            )
        return own, True, ()
    if len(hands.right.v_template) == V:
        same = [_same_faces(meshes.faces[s], own[s]) for s in (0, 1)]
        if all(same):
            return own, True, ()
        turned = [_same_faces(meshes.faces[s][:, ::-1], own[s]) or same[s] for s in (0, 1)]
        if all(turned):
            sides = " and ".join(s for s, ok in zip(SIDES, same, strict=True) if not ok)
            note = f"the file's faces of the {sides} hand run the other way round; the model's used"
            return own, True, (note,)
    note = "a topology of its own: no joints, limits, regions or self-overlap can be told"
    return meshes.faces, False, (note,)


def _same_faces(a: Array, b: Array) -> bool:
    """Whether two lists hold the same faces, in any order and from any corner."""

    def canonical(faces: Array) -> Array:
        first = faces.argmin(axis=1)
        turned = np.stack([faces[np.arange(len(faces)), (first + k) % 3] for k in range(3)], 1)
        return turned[np.lexsort(turned.T)]

    return a.shape == b.shape and np.array_equal(canonical(a), canonical(np.asarray(b)))


def _edges(
    meshes: Meshes, hands: HandPair, faces: tuple[Array, Array], known: bool
) -> tuple[Array, Array]:
    """Size of every hand relative to the template, and the spread of its edges: (N, 2) each.

    On another topology: size by the root of the area, against the template's; no spread.
    """
    scale = np.full(meshes.there.shape, np.nan)
    spread = np.full(meshes.there.shape, np.nan)
    for side in (0, 1):
        model, skins = hands[side], meshes.vertices[:, side]
        ends = np.unique(np.sort(faces[side][:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
        for row in np.flatnonzero(np.isfinite(skins).all(axis=(1, 2))):
            if known:
                rest = _length(model.v_template, ends)
                with np.errstate(divide="ignore", invalid="ignore"):
                    ratio = _length(skins[row], ends) / rest
                scale[row, side] = np.median(ratio)
                with np.errstate(divide="ignore", invalid="ignore"):
                    spread[row, side] = np.median(np.abs(np.log(ratio / scale[row, side])))
            else:
                area = _area(skins[row], faces[side])
                scale[row, side] = np.sqrt(area / _area(model.v_template, model.faces))
    return scale, np.nan_to_num(spread, nan=np.inf) if known else spread


def _length(vertices: Array, ends: Array) -> Array:
    return np.linalg.norm(vertices[ends[:, 0]] - vertices[ends[:, 1]], axis=1)


def _area(vertices: Array, faces: Array) -> float:
    corner = vertices[faces]
    across = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    return 0.5 * float(np.linalg.norm(across, axis=1).sum())


def _require_order(meshes: Meshes, hands: HandPair, spread: Array) -> None:
    if len(spread) and (spread > _SPREAD).mean() > 0.5:
        raise DataError(
            f"{meshes.path}: the vertices are not in the order of the hand model "
            f"{hands.right.name!r}: give the model they were made with (--hand-model, a folder "
            "with MANO_RIGHT and MANO_LEFT), or the faces in the .npz"
        )


def _unit(meshes: Meshes, scale: Array, declared: str | None) -> Unit:
    said = declared or meshes.unit
    if said is None:
        return unit_of_scales(scale)
    name = unit_name(said)
    if name is None:
        raise DataError(f"{meshes.path}: unit {said!r} is unknown; use one of {', '.join(UNITS)}")
    return Unit(UNITS[name], "declared" if declared else "file", name)


def _volume(vertices: Array, faces: Array) -> float:
    """Signed volume of a mesh (its sign is what counts), cm3; wrist closed where it is open."""
    return float(volume_cm3(vertices, _closed(faces)))


def _closed(faces: Array) -> Array:
    try:
        return closed_faces(faces)
    except ValueError:  # closed already, or torn: then the judge says so
        return faces


def joints_of(vertices: Array, model: HandModel) -> Array:
    """21 joints (..., 21, 3) m of skins (..., V, 3) m: regressed, with the model's tip vertices."""
    chain = np.einsum("jv,...vc->...jc", model.J_regressor, vertices)
    tips = vertices[..., list(model.tip_vertex_ids), :]
    return np.concatenate([chain, tips], axis=-2)[..., OPENPOSE_FROM_MANO21, :]


def take_of(meshes: Meshes, skins: Skins, hands: HandPair) -> Take | None:
    """The joints of the hands that passed, as a take for the gates; None if there are none."""
    there = skins.reason == OK
    if not skins.known or not there.any():
        return None
    points = np.full((len(there), 2, N_JOINTS, 3), np.nan)
    for side in (0, 1):
        rows = there[:, side]
        points[rows, side] = joints_of(skins.vertices[rows, side], hands[side])
    rows = np.flatnonzero(there.any(axis=1))
    joints = list(range(N_JOINTS))
    return Take(
        name=meshes.path.stem,
        subject="",
        source="vertices",
        frame="world",
        sides=there.any(axis=0),
        landmarks=tuple(Landmark(JOINT_NAMES[j], j) for j in joints),
        points=points[rows],
        frames=meshes.frames[rows],
        timestamps=np.full(len(rows), np.nan),
        unit=skins.unit,
        files=(meshes.file,),
        recorded=there[rows],
        shape="subject" if bones_vary(points[rows], joints) < ONE_SHAPE else "frame",
    )


def facts_of_meshes(
    meshes: Meshes,
    skins: Skins,
    hands: HandPair,
    fitted: Facts | None,
    *,
    judge: bool = True,
    workers: int = 1,
    log: Log = lambda line: None,
) -> Facts:
    """Facts of all frames: gates, the meshes judged as given, and what the fit said of the joints.

    fitted: facts of the take that `take_of` makes. A pair of which both hands are inside out is
    judged in the mirror, which changes no overlap.
    """
    ids = np.array([f"vertices/{meshes.path.stem}/{frame:06d}" for frame in meshes.frames])
    names = np.full(len(ids), meshes.path.stem)
    facts = Facts.unknown(ids, names, meshes.frames, meshes.there, skins.reason)
    facts = replace(facts, detail=dict(skins.detail))
    if fitted is not None:
        facts = _with_fit(facts, fitted)
    if not judge:
        return facts
    flipped = np.isin(skins.reason, (Reason.MIRRORED.value, "inside_out"))
    usable = (skins.reason == OK) | flipped
    pairs = usable.all(axis=1) & (flipped[:, 0] == flipped[:, 1])
    rows = np.flatnonzero(pairs)
    log(f"judging {len(rows):,} pairs of meshes")
    vertices = skins.vertices.copy()
    both = pairs & flipped[:, 0]
    vertices[both] = mirror_points(vertices[both])
    batches = [vertices[rows[i : i + _BATCH]] for i in range(0, len(rows), _BATCH)]
    work = partial(_judge_batch, hands if skins.known else None, skins.faces)
    if workers == 1 or len(batches) < 4:
        parts = list(map(work, batches))
    else:
        with ProcessPoolExecutor(min(workers, len(batches)), get_context("spawn")) as pool:
            parts = list(pool.map(work, batches))
    if not parts:
        return facts
    numbers = np.concatenate(parts)
    columns = {name: getattr(facts, name).copy()
               for name in ("volume", "depth", "distance", "self_volume")}  # fmt: skip
    for k, name in enumerate(("volume", "depth", "distance")):
        columns[name][rows] = numbers[:, k]
    columns["self_volume"][rows] = numbers[:, 3:]
    return replace(facts, **columns)


def _judge_batch(hands: HandPair | None, faces: tuple[Array, Array], pairs: Array) -> Array:
    """(n, 5): volume, depth, distance, self volume right and left; NaN where unknown."""
    out = np.full((len(pairs), 5), np.nan)
    judge = None if hands is None else Judge.of(hands)
    closed = (_closed(faces[0]), _closed(faces[1]))
    for k, (right, left) in enumerate(pairs):
        if judge is not None:
            judged = judge.pair(right, left)
            out[k] = (judged.volume, judged.depth, judged.distance, *judged.self_volume)
            continue
        try:
            out[k, :3] = (
                intersection_volume(right, closed[0], left, closed[1]),
                penetration_depth(right, closed[0], left, closed[1]),
                mesh_distance(right, closed[0], left, closed[1]),
            )
        except ValueError:  # open or inside out: not known
            continue
    return out


def _with_fit(facts: Facts, fitted: Facts) -> Facts:
    """What the fit says of the hands that the mesh gates let through."""
    at = {int(frame): row for row, frame in enumerate(facts.frame)}
    columns = {name: getattr(facts, name).copy()
               for name in ("reason", "residual", "excess", "angle")}  # fmt: skip
    detail = dict(facts.detail)
    for k, side in np.argwhere(fitted.there).tolist():
        row = at[int(fitted.frame[k])]
        for name, column in columns.items():
            column[row, side] = getattr(fitted, name)[k, side]
        if (k, side) in fitted.detail:
            detail[row, side] = fitted.detail[k, side]
    return replace(facts, **columns, past=fitted.past, detail=detail)
