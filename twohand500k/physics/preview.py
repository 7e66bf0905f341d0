"""Pictures of repairs, as the paper's Fig. 5b: before, on the way, after.

In: a finished dataset with the group `repair`. Out: `preview.png`, a row a sample, and one larger
picture of each. What is inside both hands is drawn red, as if the skin were glass. Before and after
are what is stored; the states between are made again, from the stored before, as the repair made
them (in a smooth take without the frame before).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.hand import HandPair
from twohand500k.hand.measure import common_motion
from twohand500k.hand.rotations import Array
from twohand500k.physics.judge import Judge
from twohand500k.physics.repair import Repairer, RepairOptions
from twohand500k.physics.stage import REPAIRED, MakeRepairer, Repairs, joints_of, pair_input
from twohand500k.pictures import Camera, contact_sheet, draw_pair, pair_cameras, save_png
from twohand500k.pipeline import rng_for
from twohand500k.shards import Dataset, Samples

# A state on the way is shown where so much of the first overlap is left.
_LEFT_OF_IT = (0.6, 0.15)
# Width and height of a tile in a sample's own picture and in the sheet.
_LARGE, _SMALL = (384, 358), (300, 280)


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
    files: list[Path] = []
    for k, film in enumerate(films):
        whole, close = (
            [_picture(hands, moment, camera) for moment in film] for camera in _cameras(hands, film)
        )
        tiles += [_small(tile) for tile in (*whole, close[0], close[-1])]
        labels += [moment.caption for moment in film]
        labels += ["before, close up", "\n".join(["after, close up", *_contact(samples, k)])]
        files.append(_one_sample(folder, samples, k, film, [*whole, *close]))
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
    at = np.unique(np.round(share * max(len(rows) - 1, 0)).astype(int))
    return [int(row) for row in rows[at[at < len(rows)]]]


def _film(
    hands: HandPair, samples: Samples, row: int, repairer: Repairs, seed: int
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


def _picture(hands: HandPair, moment: Moment, camera: Camera) -> np.ndarray:
    return draw_pair(hands, moment.skins, camera, _LARGE)


def _small(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize(_SMALL, Image.Resampling.LANCZOS))


def _cameras(hands: HandPair, film: Sequence[Moment]) -> tuple[Camera, Camera]:
    """One view of both hands and one of their largest overlap."""
    return pair_cameras(hands, [moment.skins for moment in film], _LARGE[0] / _LARGE[1])


def _one_sample(
    folder: Path, samples: Samples, row: int, film: Sequence[Moment], tiles: Sequence[np.ndarray]
) -> Path:
    """One repair, larger: the hands above, their contact below."""
    captions = [moment.caption for moment in film]
    captions[-1] = "\n".join([captions[-1], *_contact(samples, row)])
    sheet = contact_sheet(
        tiles, [""] * len(film) + captions, columns=len(film), title=_heading(samples, row)
    )
    name = str(samples.sample_id[row]).replace("/", "_")
    return save_png(folder / "preview" / f"{name}.png", sheet, colours=256)


def _heading(samples: Samples, row: int) -> str:
    assert samples.displacement is not None
    moved = f"{1e3 * samples.displacement[row]:.2f} mm"
    return f"{samples.sample_id[row]}: joints moved {moved} on average"


def _contact(samples: Samples, row: int) -> list[str]:
    """Lines: the contact that was meant, and the nearest there is."""
    lines = []
    for word, (right, left) in (
        ("meant", samples.contact_intended[row]),
        ("is", samples.contact_realised[row]),
    ):
        if right:
            lines.append(f"{word}: {right} / {left}")
    return lines
