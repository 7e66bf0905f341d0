"""InterHand2.6M's own photos as a dataset of pictures: crops of them, labelled by fitted hands.

In: a dataset that `twohand build --source interhand26m` made, and the folder it was made of. Out:
one sample for each photo of a sample with both hands, cropped about the projected skins, with masks
of those skins. Which frames are annotated, by people or by machines, the dataset's own files say
(version 1.0 has both, H+M); the paper takes the interacting ones, so samples of one hand are left
out. Nothing but hands is known to be in the way, so `visible` and `hidden` know of hands alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.pipeline import UnitResult
from twohand500k.render.occlusion import bone_thickness
from twohand500k.render.picture import FINE, Pair, Picture, labelled, on_raster, seen_from
from twohand500k.render.raster import NOTHING, rasterise
from twohand500k.render.run import SHARD_SIZE, RenderPlan, open_to_picture
from twohand500k.render.stage import pair_of, pictured, stats_of
from twohand500k.render.view import View, crop_of
from twohand500k.shards import Dataset, Reject
from twohand500k.shards.schema import IMAGE_SIZE
from twohand500k.shards.slices import read_rows, slices
from twohand500k.sources.datasets import interhand26m
from twohand500k.sources.datasets.files import sha256_of_all
from twohand500k.sources.datasets.frames import Split

Array = np.ndarray

# The crop's side over the larger side of the projected skins' box.
MARGIN = 1.3
# Metres before the camera at which a hand can be seen.
_NEAREST = 0.05
REFUSED = "photo"


@dataclass(frozen=True, eq=False)
class Shot:
    """A photo of a sample: the row in its dataset, the file, which camera, and how that stands."""

    row: int
    file: Path
    camera: str
    view: interhand26m.View


@dataclass(frozen=True, eq=False)
class PhotoUnit:
    """Shots of a slice of the input dataset."""

    name: str
    shots: tuple[Shot, ...]
    inputs: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class PhotoStage:
    """What a worker does with a `PhotoUnit`: each photo cropped and labelled, or refused."""

    folder: Path
    hands: HandPair

    def __call__(self, unit: PhotoUnit) -> UnitResult:
        rows = np.unique([shot.row for shot in unit.shots])
        samples = read_rows(self.folder, rows, unit.inputs)
        drawn: list[Picture] = []
        names: list[str] = []
        shown: list[int] = []
        rejects: list[Reject] = []
        for shot in unit.shots:
            row = int(np.searchsorted(rows, shot.row))
            name = f"{samples.sample_id[row]}/camera{shot.camera}"
            seen = label_photo(self.hands, pair_of(samples, row), shot)
            if isinstance(seen, str):
                rejects.append(Reject(name, str(samples.source[row]), REFUSED, seen))
                continue
            drawn.append(seen)
            names.append(name)
            shown.append(row)
        out = pictured(samples, np.array(shown), names, drawn) if drawn else None
        return UnitResult(out, tuple(rejects), n_in=len(unit.shots), stats=stats_of(drawn))


def label_photo(hands: HandPair, pair: Pair, shot: Shot) -> Picture | str:
    """A photo's crop with the labels that fitted hands give it, or in words why there is none."""
    try:
        with Image.open(shot.file) as file:
            photo = file.convert("RGB")
    except OSError as error:
        return f"{shot.file.name} cannot be read: {error}"
    camera = View(shot.view.R, shot.view.t, shot.view.K)
    pose, transl, joints, skins = seen_from(hands, pair, camera)
    points = np.concatenate(list(skins.values()))
    if points[:, 2].min() < _NEAREST:
        return f"the hands lie behind camera {shot.camera}"
    view = View(camera.R, camera.t, crop_of(points, MARGIN, K=camera.K))
    image, inside = _cropped(photo, camera.K, view.K)
    faces = {side: hands[side].closed_faces for side in skins}
    first = dict(zip(skins, np.cumsum([0, *map(len, skins.values())])[:-1].tolist(), strict=True))
    xy, nearness = on_raster(view.K, points, FINE)
    face, nearest = rasterise(
        xy,
        nearness,
        np.concatenate([faces[s] + first[s] for s in skins]).astype(np.int32),
        (FINE * IMAGE_SIZE, FINE * IMAGE_SIZE),
    )
    owner = np.concatenate([np.full(len(faces[s]), s) for s in skins])
    label = np.where(face == NOTHING, -1, owner[face])
    label[~np.kron(inside, np.ones((FINE, FINE), dtype=bool))] = -1
    if not all((label == side).any() for side in skins):
        return f"{shot.file.name} does not show both hands"
    radii = {s: bone_thickness(hands[s], pair.betas[s]) for s in skins}
    mask, uv, visible, hidden = labelled(hands, view, skins, joints, radii, label, nearest)
    return Picture(image, mask, uv, visible, hidden, view, pose, transl, joints)


def _cropped(photo: Image.Image, K: Array, K_crop: Array) -> tuple[Array, Array]:
    """The crop (256, 256, 3) uint8 and where (256, 256) it lies inside the photo; black outside."""
    zoom = K[0, 0] / K_crop[0, 0]
    corner = K[:2, 2] - zoom * K_crop[:2, 2]
    box = (*map(float, corner), *map(float, corner + zoom * IMAGE_SIZE))
    # Reduced first where it shrinks, so that nothing flickers from pixel to pixel.
    shrink = max(1, int(zoom))
    small = photo.reduce(shrink)
    image = small.transform(
        (IMAGE_SIZE, IMAGE_SIZE), Image.Transform.EXTENT, tuple(c / shrink for c in box),
        Image.Resampling.BICUBIC,
    )  # fmt: skip
    at = corner[:, None] + zoom * (np.arange(IMAGE_SIZE) + 0.5)
    within = [(a >= 0) & (a < n) for a, n in zip(at, photo.size, strict=True)]
    return np.asarray(image), within[1][:, None] & within[0]


def plan_photos(
    folder: Path,
    images: Path,
    hands: HandPair,
    limit: int | None = None,
    shard_size: int = SHARD_SIZE,
    seed: int = 0,
) -> RenderPlan:
    """Find every photo of the dataset's pairs that is there, and cut them into work units.

    limit: only the first so many samples. Raises DataError as `plan_render`, for a dataset that
    was not built from InterHand2.6M, and where no photo is found.
    """
    dataset = open_to_picture(folder, hands)
    rows = np.arange(len(dataset))[:limit]
    others = set(dataset.array("source", rows)) - {interhand26m.NAME}
    if others:
        raise DataError(
            f"{folder} has samples of {sorted(others)[0]!r}: --photos shows those that "
            f"`twohand build --source {interhand26m.NAME}` made"
        )
    present: Array = np.all(dataset.array("present", rows), axis=1)
    shots = _shots(dataset, images, rows[present])
    if not shots:
        raise DataError(
            f"{images}: none of the photos that show the {int(present.sum())} pairs of {folder} "
            "is there; give the folder that has images/ beside annotations/"
        )
    camera = sha256_of_all(images, sorted(images.rglob("*camera.json"))).sha256
    units = tuple(
        PhotoUnit(f"photos of {cut.name}", tuple(part), {**cut.inputs, "cameras": camera})
        for cut in slices(dataset, shard_size, limit)
        if (part := [shot for row in cut.rows.tolist() for shot in shots.get(row, ())])
    )
    stage = PhotoStage(dataset.path.absolute(), hands)
    options = {"photos": interhand26m.NAME, "limit": limit, "shard_size": shard_size}
    n = sum(len(unit.shots) for unit in units)
    return RenderPlan(dataset, stage, units, n, options, hands, seed)


def _shots(dataset: Dataset, images: Path, rows: Array) -> dict[int, list[Shot]]:
    """The photos of each row that are there, in the order of their cameras."""
    moments: dict[Split, dict[tuple[int, int], int]] = {}
    takes, frames = (dataset.array(name, rows) for name in ("take", "frame"))
    for row, take, frame in zip(rows.tolist(), takes, frames.tolist(), strict=True):
        split, capture = interhand26m.place_of(str(take))
        moments.setdefault(split, {})[capture, frame] = row
    found: dict[int, list[Shot]] = {}
    for split, wanted in moments.items():
        views = interhand26m.cameras(images, split)
        for moment, shown in interhand26m.pictures(images, split, wanted).items():
            for picture in sorted(shown, key=lambda shot: shot.camera):
                view = views.get((moment[0], picture.camera))
                if view is None:
                    raise DataError(
                        f"{images}: camera.json knows no camera {picture.camera} of capture "
                        f"{moment[0]}, which {picture.file.name} was taken by"
                    )
                if picture.file.is_file():
                    row = wanted[moment]
                    found.setdefault(row, []).append(
                        Shot(row, picture.file.absolute(), picture.camera, view)
                    )
    return found
