"""The worst samples drawn: the points as they were given, the skins where there are any.

In: what an audit found and the evidence it kept. Out: pictures of each finding's worst. Red bones
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
# Frames of a take no farther apart than this are one moment.
_NEAR = 10
_LOOKED_AT = 400
# Findings of which the hand is drawn by itself, and those seen from its side.
_ALONE = ("bent_backwards", "past_limit", "self_overlap")
_FROM_THE_SIDE = ("bent_backwards", "past_limit")


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
        alone = side if finding.name in _ALONE else -1
        return _draw(scene, alone, sideways=finding.name in _FROM_THE_SIDE)

    def _overlap(self, scene: Scene) -> np.ndarray:
        right, left = scene.skins
        known = scene.faces[0] is self.hands.right.faces
        if right is None or left is None or not known:
            return _draw(scene, -1)
        whole, _ = pair_cameras(self.hands, [(right, left)], SIZE[0] / SIZE[1])
        return draw_pair(self.hands, (right, left), whole, SIZE)


def pictures_of(album: Album, finding: Finding, count: int) -> list[tuple[str, np.ndarray]]:
    """Up to `count` of the worst of a finding, each with its caption.

    Frames next to one already drawn look the same and are passed over, while others are left.
    """
    chosen: list[int] = []
    near: list[int] = []
    for k in range(min(finding.count, _LOOKED_AT)):
        if len(chosen) == count:
            break
        if not any(_alike(album.facts, finding, k, c) for c in chosen):
            chosen.append(k)
        elif finding.rows[k] not in finding.rows[chosen]:
            near.append(k)
    drawn: list[tuple[str, np.ndarray]] = []
    for k in [*chosen, *near]:
        if len(drawn) == count:
            break
        picture = album.picture(finding, k)
        if picture is not None:
            drawn.append((_caption(worst_line(album.facts, finding, k)), picture))
    return drawn


def _alike(facts: Facts, finding: Finding, k: int, other: int) -> bool:
    """Whether two of a finding would make about the same picture."""
    a, b = int(finding.rows[k]), int(finding.rows[other])
    if a == b:
        return finding.name not in _ALONE
    near = abs(int(facts.frame[a]) - int(facts.frame[b])) <= _NEAR
    return bool(near and facts.frame[a] >= 0 and facts.take[a] == facts.take[b])


def _caption(line: Mapping[str, object]) -> str:
    side = f", {line['side']}" if line["side"] else ""
    where = f"{line['take']} {line['frame']}{side}" if line["frame"] != -1 else f"{line['id']}"
    return f"{where}: {line['detail']}" if line["detail"] else where


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


def _draw(scene: Scene, alone: int, sideways: bool = False) -> np.ndarray:
    """A frame from where it spreads widest, fingers up, or sideways; `alone`: that hand only."""
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
    camera = _camera(cloud, sideways)
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
