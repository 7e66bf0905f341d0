"""The samples that the report shows in 3D: posed skins, turned to face the reader, packed small.

In: what was gathered of the datasets, the hand pair they were made for. Out: `Scene` records and
the bytes the page's viewer reads. Only posed vertices leave, never a hand model's own arrays.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.hand import HandPair
from twohand500k.hand.measure import common_motion
from twohand500k.hand.rotations import Array
from twohand500k.physics.stage import joints_of
from twohand500k.report.gather import DatasetFacts
from twohand500k.shards import Dataset, Samples

_LEVELS: Final = 65535


@dataclass(frozen=True, eq=False)
class Scene:
    """One sample to look at.

    dataset: its place among the datasets; row: its position there; place: its index into the
    facts' features, -1 where it was thinned or has one hand. skins (2, V, 3) m, NaN where the hand
    is absent; before: the same before the repair, moved onto it, or None. facts: what is told.
    """

    dataset: int
    row: int
    place: int
    skins: Array
    before: Array | None
    facts: dict[str, Any]


def pick_rows(facts: DatasetFacts, count: int, rng: np.random.Generator) -> np.ndarray:
    """Positions (at most count,) of a dataset drawn at random, pairs where there are any."""
    rows = facts.rows if len(facts.rows) else np.arange(facts.n)
    return np.sort(rng.choice(rows, size=min(count, len(rows)), replace=False))


def various_rows(facts: DatasetFacts, count: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of touching pairs that differ most: each the farthest from those already chosen.

    Chosen from 400 drawn at random that touch and hardly overlap, where that is known.
    """
    good = (facts.contact_distance_mm <= 2.0) & (facts.volume_cm3 <= 0.1)
    places = np.flatnonzero(good) if good.any() else np.arange(len(facts.rows))
    places = rng.choice(places, size=min(400, len(places)), replace=False)
    if not len(places):
        return pick_rows(facts, count, rng)
    features = facts.features[places]
    chosen = [int(np.linalg.norm(features - features.mean(axis=0), axis=1).argmin())]
    nearest = np.full(len(places), np.inf)
    while len(chosen) < min(count, len(places)):
        nearest = np.minimum(nearest, np.linalg.norm(features - features[chosen[-1]], axis=1))
        chosen.append(int(nearest.argmax()))
    return facts.rows[places[chosen]]


def scenes_of(
    hands: HandPair, number: int, facts: DatasetFacts, rows: Sequence[int] | np.ndarray
) -> list[Scene]:
    """Scenes of the rows of one dataset, the `number`-th."""
    if not len(rows):
        return []
    dataset = Dataset(facts.folder)
    samples = dataset.samples(np.asarray(rows))
    places = np.searchsorted(facts.rows, rows) if len(facts.rows) else np.zeros(len(rows), int)
    scenes = []
    for k, row in enumerate(rows):
        place = int(min(places[k], max(len(facts.rows) - 1, 0)))
        known = len(facts.rows) > 0 and facts.rows[place] == row
        after, before = _skins(hands, samples, k)
        scenes.append(
            Scene(
                number,
                int(row),
                place if known else -1,
                after,
                before,
                _told(samples, k),
            )
        )
    return scenes


def pack(scenes: Sequence[Scene], points: Sequence[Any]) -> tuple[list[dict[str, Any]], str]:
    """What the page's viewer reads: a line per scene, and all vertices as base64 of uint16.

    points: each scene's place on the page's map ([x, y] or None). A scene's line says where its
    vertices begin (`at`, in vertices), which hands it has, and metres per level.
    """
    lines: list[dict[str, Any]] = []
    blocks: list[np.ndarray] = []
    at = 0
    for scene, point in zip(scenes, points, strict=True):
        states = [scene.skins] if scene.before is None else [scene.skins, scene.before]
        stacked = np.stack(states)
        low = np.nanmin(stacked, axis=(0, 1, 2))
        span = float((np.nanmax(stacked, axis=(0, 1, 2)) - low).max())
        levels = np.round(np.nan_to_num((stacked - low) / span) * _LEVELS).astype("<u2")
        present = [bool(np.isfinite(scene.skins[s]).all()) for s in (RIGHT, LEFT)]
        box = stacked[np.isfinite(stacked).all(axis=-1)] - low
        middle = (box.min(axis=0) + box.max(axis=0)) / 2
        lines.append(
            {
                "dataset": scene.dataset,
                "at": at,
                "before": scene.before is not None,
                "present": present,
                "unit": span / _LEVELS,
                "middle": [round(float(x), 5) for x in middle],
                "half": [round(float(x), 5) for x in np.ptp(box, axis=0) / 2],
                "reach": round(float(np.linalg.norm(box - middle, axis=-1).max()), 5),
                "point": point,
            } | scene.facts
        )  # fmt: skip
        blocks.append(levels.reshape(-1))
        at += len(states) * 2 * stacked.shape[2]
    packed = np.concatenate(blocks) if blocks else np.zeros(0, "<u2")
    return lines, base64.b64encode(packed.tobytes()).decode()


def _skins(hands: HandPair, samples: Samples, k: int) -> tuple[Array, Array | None]:
    """Both skins (2, V, 3) as they are and as they were, turned to face the reader."""
    betas = samples.betas[k]

    def posed(pose: Array, transl: Array) -> Array:
        return np.stack(
            [
                hands[s].with_shape(betas[s]).with_pose(pose[s], transl[s]).vertices
                if samples.present[k, s]
                else np.full((hands[s].v_template.shape[0], 3), np.nan)
                for s in (RIGHT, LEFT)
            ]
        )

    after = posed(samples.pose[k], samples.transl[k])
    before = None
    if samples.pose_before is not None and samples.present[k].all():
        assert samples.transl_before is not None
        was, now = (
            joints_of(hands, p[None], betas[None], t[None])[0]
            for p, t in (
                (samples.pose_before[k], samples.transl_before[k]),
                (samples.pose[k], samples.transl[k]),
            )
        )
        R, t = common_motion(was, now)
        before = posed(samples.pose_before[k], samples.transl_before[k]) @ R.T + t
    facing = _facing(after, samples.joints[k, :, 0])
    return after @ facing.T, None if before is None else before @ facing.T


def _facing(skins: Array, wrists: Array) -> Array:
    """Rotation (3, 3), rows right, up, towards the viewer: wrists below, hands spread wide."""
    points = skins[np.isfinite(skins).all(axis=-1)]
    middle = points.mean(axis=0)
    _, _, axes = np.linalg.svd(points - middle, full_matrices=False)
    up = middle - np.nanmean(wrists, axis=0)
    back = axes[2] + 0.3 * axes[1]
    back = back - (back @ up) * up / max(float(up @ up), 1e-12) * 0.85
    back /= np.linalg.norm(back)
    right = np.cross(up, back)
    if np.linalg.norm(right) < 1e-6:
        right = np.cross(axes[0], back)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(back, right), back])


def _told(samples: Samples, k: int) -> dict[str, Any]:
    """What stands beside the picture; None is not known."""

    def number(value: Any, scale: float) -> float | None:
        return float(f"{scale * float(value):.4g}") if np.isfinite(value) else None

    told: dict[str, Any] = {
        "id": str(samples.sample_id[k]),
        "source": str(samples.source[k]),
        "volume": number(samples.penetration_volume[k], 1e6),
        "depth": number(samples.penetration_depth[k], 1e3),
        "distance": number(samples.contact_distance[k], 1e3),
        "contact": [str(name) for name in samples.contact_realised[k]],
    }
    if samples.volume_before is not None and samples.depth_before is not None:
        assert samples.displacement is not None and samples.repair_verdict is not None
        told |= {
            "volume_before": number(samples.volume_before[k], 1e6),
            "depth_before": number(samples.depth_before[k], 1e3),
            "displacement": number(samples.displacement[k], 1e3),
            "verdict": str(samples.repair_verdict[k]),
        }
    return told
