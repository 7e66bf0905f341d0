"""Pictures of repairs, as the paper's Fig. 5b: before, on the way, after.

In: a finished dataset with the group `repair`. Out: `preview.png`, a row a sample, and one larger
picture of each. What is inside both hands is drawn red, as if the skin were glass. Before and after
are what is stored; the states between are made again, from the stored before, as the repair made
them (in a smooth take without the frame before).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import manifold3d
import numpy as np

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.hand import HandPair
from twohand500k.hand.measure import common_motion
from twohand500k.hand.rotations import Array
from twohand500k.physics.judge import Judge
from twohand500k.physics.repair import Repairer, RepairOptions
from twohand500k.physics.stage import REPAIRED, MakeRepairer, joints_of, pair_input
from twohand500k.pipeline import rng_for
from twohand500k.report import (
    BACKDROP,
    SKIN,
    Camera,
    Surface,
    contact_sheet,
    render_meshes,
    save_png,
)
from twohand500k.shards import Dataset, Samples

_RED = (0.93, 0.10, 0.12)
_SHINES_THROUGH = 0.8
# A state on the way is shown where so much of the first overlap is left.
_LEFT_OF_IT = (0.6, 0.15)
_CLOSE_UP = 0.026  # metres from the contact to the edge of the picture
_UPRIGHT = 0.35


@dataclass(frozen=True, eq=False)
class Moment:
    """One state of a pair: the two skins (V, 3), m3 inside both, m deep, and what it is."""

    name: str
    skins: tuple[Array, Array]
    volume: float
    depth: float

    @property
    def caption(self) -> str:
        return f"{self.name}\n{1e6 * self.volume:.3g} cm³, {1e3 * self.depth:.2g} mm deep"


def draw_repairs(
    hands: HandPair,
    folder: Path,
    count: int,
    options: RepairOptions,
    seed: int,
    make: MakeRepairer = Repairer,
) -> list[Path]:
    """Draw `count` repairs of a finished dataset into its folder; the files, the sheet first.

    Nothing is drawn where nothing was repaired. Raises DataError when the disk refuses.
    """
    dataset = Dataset(folder)
    rows = pick_repairs(dataset, count)
    if not rows:
        return []
    samples = dataset.samples(rows)
    repairer = make(hands, options)
    try:
        films = [_film(hands, samples, k, repairer, seed) for k in range(len(samples))]
    finally:
        repairer.close()
    tiles: list[np.ndarray] = []
    labels: list[str] = []
    files = []
    for k, film in enumerate(films):
        whole, close = _cameras(film, samples.joints[k])
        tiles += [_picture(hands, moment, whole, (300, 280)) for moment in film]
        tiles += [_picture(hands, film[j], close, (300, 280)) for j in (0, -1)]
        labels += [moment.caption for moment in film]
        labels += ["before, close up", "after, close up\n" + _contact(samples, k)]
        files.append(_one_sample(hands, folder, samples, k, film, (whole, close)))
    sheet = contact_sheet(
        tiles,
        labels,
        columns=len(films[0]) + 2,
        row_labels=[_heading(samples, k) for k in range(len(films))],
    )
    return [save_png(folder / "preview.png", sheet, colours=256), *files]


def pick_repairs(dataset: Dataset, count: int) -> list[int]:
    """Positions of at most `count` repaired samples, the most moved first, down to the median.

    Spread over the displacements, closer together towards the largest.
    """
    displacement = dataset.array("displacement")
    rows = np.flatnonzero(dataset.array("repair_verdict") == REPAIRED)
    rows = rows[np.argsort(-displacement[rows], kind="stable")]
    share = 0.5 * np.linspace(0, 1, count) ** 2 if count > 1 else np.array([0.5])
    at = np.unique(np.round(share * (len(rows) - 1)).astype(int)) if len(rows) else []
    return [int(rows[k]) for k in at]


def _film(
    hands: HandPair, samples: Samples, row: int, repairer: "Repairer | object", seed: int
) -> list[Moment]:
    """Before, two states on the way, after; all moved onto the first one's place."""
    judge = Judge.of(hands)
    betas = samples.betas[row]
    pair = pair_input(samples, row, before=True)
    rng = rng_for(seed, str(samples.sample_id[row]))
    states = repairer.repair(pair, rng, record=True).during
    assert samples.volume_before is not None and samples.depth_before is not None

    def skins(pose: Array, transl: Array) -> tuple[Array, Array]:
        before, now = (
            joints_of(hands, p[None], betas[None], t[None])[0]
            for p, t in ((pair.pose, pair.transl), (pose, transl))
        )
        R, t = common_motion(now, before)
        right, left = (
            hands[s].with_shape(betas[s]).with_pose(pose[s], transl[s]).vertices @ R.T + t
            for s in (RIGHT, LEFT)
        )
        return right, left

    first = Moment(
        "before",
        skins(pair.pose, pair.transl),
        float(samples.volume_before[row]),
        float(samples.depth_before[row]),
    )
    way = []
    for pose, transl in states:
        seen = skins(pose, transl)
        judged = judge.pair(*seen)
        way.append(Moment("during", seen, judged.volume, judged.depth))
    last = Moment(
        "after",
        skins(samples.pose[row], samples.transl[row]),
        float(samples.penetration_volume[row]),
        float(samples.penetration_depth[row]),
    )
    return [first, *_on_the_way(first, way or [last]), last]


def _on_the_way(first: Moment, way: Sequence[Moment]) -> list[Moment]:
    """The states in which the overlap has fallen to the shares of `_LEFT_OF_IT`, in order."""
    chosen, k = [], 0
    for share in _LEFT_OF_IT:
        while k < len(way) - 1 and way[k].volume > share * first.volume:
            k += 1
        chosen.append(way[k])
        k = min(k + 1, len(way) - 1)
    return chosen


def _overlap(hands: HandPair, skins: tuple[Array, Array]) -> "tuple[Array, np.ndarray] | None":
    """The surface of what is inside both hands, for the eye alone; None if there is nothing."""
    solids = [
        manifold3d.Manifold(
            manifold3d.Mesh(
                np.ascontiguousarray(skin, dtype=np.float32),
                np.ascontiguousarray(hands[side].closed_faces, dtype=np.uint32),
            )
        )
        for side, skin in enumerate(skins)
    ]
    mesh = (solids[RIGHT] ^ solids[LEFT]).to_mesh()
    if not len(mesh.tri_verts):
        return None
    return np.asarray(mesh.vert_properties, dtype=np.float64)[:, :3], np.asarray(mesh.tri_verts)


def _picture(hands: HandPair, moment: Moment, camera: Camera, size: tuple[int, int]) -> np.ndarray:
    surfaces = [Surface(moment.skins[s], hands[s].faces, SKIN[s]) for s in (RIGHT, LEFT)]
    picture = render_meshes(surfaces, camera, size, background=BACKDROP)
    overlap = _overlap(hands, moment.skins)
    if overlap is None:
        return picture
    red = render_meshes([Surface(*overlap, _RED, cap=False)], camera, size, background=None).astype(
        np.float64
    )
    cover = _SHINES_THROUGH * red[..., 3:] / 255
    return np.round(red[..., :3] * cover + picture * (1 - cover)).astype(np.uint8)


def _cameras(film: Sequence[Moment], joints: Array) -> tuple[Camera, Camera]:
    """One view of both hands and one of their contact, from where least lies before it.

    The direction is one of two hundred: few points of the skins between viewer and contact, the
    hands spread wide, seen neither from their fingertips nor along their arms.
    """
    first = film[0]
    points = np.concatenate(first.skins)
    contact = _contact_point(first)
    wrists = joints[:, 0].mean(axis=0) * 0 + np.stack(
        [skin[-16:].mean(axis=0) for skin in first.skins]
    ).mean(axis=0)
    up = points.mean(axis=0) - wrists
    up /= max(float(np.linalg.norm(up)), 1e-9)
    around = points - contact
    best, best_score = np.array([0.0, 0.0, 1.0]), -np.inf
    for direction in _sphere(200):
        ahead = around @ direction
        aside = np.linalg.norm(around - ahead[:, None] * direction, axis=1)
        hidden = np.count_nonzero((aside < 0.010) & (ahead > 0.010))
        flat = points - points.mean(axis=0)
        flat = flat - (flat @ direction)[:, None] * direction
        spread = np.sqrt(np.linalg.svd(flat.T @ flat / len(flat), compute_uv=False)[:2].prod())
        score = spread / 0.002 - 0.06 * hidden - abs(direction @ up) / _UPRIGHT
        if score > best_score:
            best, best_score = direction, score
    everything = np.concatenate([skin for moment in film for skin in moment.skins])
    corners = contact + _CLOSE_UP * np.concatenate([np.eye(3), -np.eye(3)])
    return (
        Camera.framing(everything, best, up=up, aspect=300 / 280),
        Camera.framing(corners, best, up=up, fov_deg=5.0, aspect=300 / 280, margin=1.0),
    )


def _contact_point(moment: Moment) -> Array:
    """Where the hands meet: amid the pairs of skin points that are nearest to each other."""
    right, left = moment.skins
    distance = np.linalg.norm(right[:, None] - left[None], axis=-1)
    near = np.argwhere(distance <= np.partition(distance.ravel(), 30)[30])
    return (right[near[:, 0]].mean(axis=0) + left[near[:, 1]].mean(axis=0)) / 2


def _sphere(count: int) -> Array:
    """Directions (count, 3) spread evenly: a Fibonacci spiral."""
    k = np.arange(count) + 0.5
    z = 1 - 2 * k / count
    turn = np.pi * (1 + 5**0.5) * k
    ring = np.sqrt(1 - z**2)
    return np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=1)


def _one_sample(
    hands: HandPair,
    folder: Path,
    samples: Samples,
    row: int,
    film: Sequence[Moment],
    cameras: tuple[Camera, Camera],
) -> Path:
    """One repair, larger: the hands above, their contact below."""
    tiles = [_picture(hands, moment, camera, (440, 410)) for camera in cameras for moment in film]
    labels = ["" for _ in film] + [moment.caption for moment in film]
    labels[-1] += "" if not _contact(samples, row) else f"\n{_contact(samples, row)}"
    sheet = contact_sheet(tiles, labels, columns=len(film), title=_heading(samples, row))
    name = str(samples.sample_id[row]).replace("/", "_")
    return save_png(folder / "preview" / f"{name}.png", sheet, colours=256)


def _heading(samples: Samples, row: int) -> str:
    assert samples.displacement is not None
    return f"{samples.sample_id[row]}: joints moved {1e3 * samples.displacement[row]:.2f} mm"


def _contact(samples: Samples, row: int) -> str:
    meant, found = samples.contact_intended[row], samples.contact_realised[row]
    if meant[0]:
        return f"meant {meant[0]} / {meant[1]}, is {found[0]} / {found[1]}"
    return f"{found[0]} / {found[1]}" if found[0] else ""
