"""The worst samples drawn: the points as they were given, the skins where there are any.

In: what an audit found and the evidence it kept. Out: for each finding a contact sheet. Red bones
and light skin are the right hand, blue and dark the left one; what is inside both hands is red.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from twohand500k.audit.facts import Facts
from twohand500k.audit.findings import OVERLAP, Finding, worst_line
from twohand500k.audit.meshes import Skins
from twohand500k.audit.run import AuditReport, Evidence
from twohand500k.hand import HandPair
from twohand500k.hand.mesh import volume_cm3
from twohand500k.pictures import (
    BACKDROP,
    BONES,
    SKIN,
    Camera,
    Skeleton,
    Surface,
    contact_sheet,
    draw_pair,
    pair_cameras,
    render_meshes,
    skeleton_edges,
)
from twohand500k.shards import Dataset

Array = np.ndarray

SIZE = (300, 280)
# Drawn at this reach, m, where the numbers are of another size.
_REACH = 0.2
_COLUMNS = 4
_CAPTION = 44
# Findings of which the hand is drawn by itself, from its side.
_ALONE = ("bent_backwards", "past_limit", "self_overlap")


@dataclass(frozen=True, eq=False)
class Scene:
    """One frame. skins: (V, 3) m or None of each side, faces theirs; points (2, K, 3), NaN not
    given; edges between them."""

    skins: tuple[Array | None, Array | None]
    faces: tuple[Array, Array]
    points: Array
    edges: Array


class Album:
    """Draws frames of one audit."""

    def __init__(self, facts: Facts, evidence: Evidence, hands: HandPair) -> None:
        self.facts, self.evidence, self.hands = facts, evidence, hands

    @cached_property
    def _rows(self) -> Mapping[str, int]:
        """Where each id stands in the dataset of the evidence."""
        if self.evidence.dataset is None:
            return {}
        ids = Dataset(self.evidence.dataset).array("sample_id").tolist()
        return {name: row for row, name in enumerate(ids)}

    def scene(self, row: int) -> Scene | None:
        """A frame of the facts; None where nothing of it can be drawn."""
        evidence = self.evidence
        if evidence.skins is not None:
            return _mesh_scene(evidence.skins, row)
        skins = self._fitted(str(self.facts.sample_id[row]))
        points, edges = np.full((2, 0, 3), np.nan), np.zeros((0, 2), dtype=np.int64)
        take = evidence.takes.get(str(self.facts.take[row]))
        if take is not None:
            at = np.flatnonzero(take.frames == self.facts.frame[row])
            if len(at):
                points = take.points[at[0]]
                points = np.where(np.isfinite(points).all(axis=-1, keepdims=True), points, np.nan)
                edges = skeleton_edges([mark.joint for mark in take.landmarks])
        if skins[0] is None and skins[1] is None and not np.isfinite(points).any():
            return None
        return Scene(skins, (self.hands.right.faces, self.hands.left.faces), points, edges)

    def _fitted(self, sample_id: str) -> tuple[Array | None, Array | None]:
        row = self._rows.get(sample_id)
        if row is None or self.evidence.dataset is None:
            return None, None
        one = Dataset(self.evidence.dataset).samples([row])
        right, left = (
            self.hands[s].with_shape(one.betas[0, s]).with_pose(one.pose[0, s], one.transl[0, s])
            .vertices if one.present[0, s] else None
            for s in (0, 1)
        )  # fmt: skip
        return right, left

    def picture(self, finding: Finding, k: int) -> np.ndarray | None:
        """The k-th worst of a finding, as fits it: an overlap where it is, a bent hand from its
        thumb's side, all else whole."""
        scene = self.scene(int(finding.rows[k]))
        if scene is None:
            return None
        if finding.name == OVERLAP:
            return self._overlap(scene)
        side = int(finding.sides[k])
        return _draw(scene, side if finding.name in _ALONE else -1)

    def _overlap(self, scene: Scene) -> np.ndarray:
        right, left = scene.skins
        known = scene.faces[0] is self.hands.right.faces
        if right is None or left is None or not known:
            return _draw(scene, -1)
        whole, _ = pair_cameras(self.hands, [(right, left)], SIZE[0] / SIZE[1])
        return draw_pair(self.hands, (right, left), whole, SIZE)


def sheet_of(album: Album, finding: Finding, count: int) -> np.ndarray | None:
    """Up to `count` of the worst of a finding side by side; None where none can be drawn."""
    tiles: list[np.ndarray] = []
    labels: list[str] = []
    drawn: set[int] = set()
    for k in range(min(finding.count, 3 * count)):
        if len(tiles) == count:
            break
        row = int(finding.rows[k])
        if row in drawn and finding.name not in _ALONE:
            continue  # both hands of a frame: one picture shows them
        drawn.add(row)
        picture = album.picture(finding, k)
        if picture is not None:
            line = worst_line(album.facts, finding, k)
            tiles.append(picture)
            labels.append(_caption(line))
    return contact_sheet(tiles, labels, columns=min(_COLUMNS, len(tiles))) if tiles else None


def _caption(line: Mapping[str, object]) -> str:
    side = f", {line['side']}" if line["side"] else ""
    where = f"{line['take']} {line['frame']}{side}" if line["frame"] != -1 else f"{line['id']}"
    said = str(line["detail"])
    return "\n".join(
        text if len(text) <= _CAPTION else text[: _CAPTION - 1] + "…"
        for text in ((where if len(where) <= _CAPTION else "…" + where[-_CAPTION + 1 :]), said)
    )


def _mesh_scene(skins: Skins, row: int) -> Scene | None:
    """Meshes as given; one with numbers missing cannot be drawn."""
    drawn: list[Array | None] = [None, None]
    for side in (0, 1):
        skin = skins.vertices[row, side]
        if np.isfinite(skin).all():
            drawn[side] = skin
    if drawn[0] is None and drawn[1] is None:
        return None
    # A mesh that is inside out is drawn from outside all the same.
    faces = [f if (skin := drawn[s]) is None or volume_cm3(skin, f) > 0 else f[:, ::-1]
             for s, f in enumerate(skins.faces)]  # fmt: skip
    return Scene((drawn[0], drawn[1]), (faces[0], faces[1]), np.full((2, 0, 3), np.nan),
                 np.zeros((0, 2), dtype=np.int64))  # fmt: skip


def _draw(scene: Scene, alone: int) -> np.ndarray:
    """A frame from where it spreads widest, fingers up; `alone`: that hand only, from its side."""
    sides = [s for s in (0, 1) if alone in (-1, s)]
    clouds = [
        np.concatenate([scene.points[s][np.isfinite(scene.points[s]).all(axis=1)],
                        *([] if (skin := scene.skins[s]) is None else [skin])])
        for s in sides
    ]  # fmt: skip
    everything = np.concatenate(clouds)
    if not len(everything):
        return np.full((SIZE[1], SIZE[0], 3), 240, dtype=np.uint8)
    middle = np.median(everything, axis=0)
    reach = max(float(np.ptp(cloud, axis=0).max()) for cloud in clouds if len(cloud))
    scale = 1.0 if 0.5 * _REACH < reach < 2 * _REACH else _REACH / max(reach, 1e-12)
    surfaces, skeletons, shown = [], [], []
    for side in sides:
        points = scale * (scene.points[side] - middle)
        skin = scene.skins[side]
        if skin is not None:
            skin = scale * (skin - middle)
            surfaces.append(Surface(skin, scene.faces[side], SKIN[side]))
            shown.append(skin)
        if np.isfinite(points).any():
            skeletons.append(Skeleton(points, scene.edges, BONES[side], 0.0018))
            shown.append(points[np.isfinite(points).all(axis=1)])
    cloud = np.concatenate(shown)
    camera = _camera(cloud, sideways=alone >= 0)
    return render_meshes(surfaces, camera, SIZE, skeletons=skeletons, background=BACKDROP)


def _camera(cloud: Array, sideways: bool) -> Camera:
    """Up is the way the points spread most; seen from where they spread least, or, sideways, from
    where they spread second, so that flexion shows."""
    axes = np.linalg.svd(cloud - cloud.mean(axis=0), full_matrices=False)[2]
    if len(axes) < 3:
        axes = np.eye(3)
    return Camera.framing(cloud, axes[1 if sideways else 2], up=axes[0], aspect=SIZE[0] / SIZE[1])


def album_of(report: AuditReport, hands: HandPair) -> Album:
    """The album of an audit."""
    return Album(report.facts, report.evidence, hands)
