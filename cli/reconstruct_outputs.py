"""What `twohand reconstruct` writes of a picture: its hands as JSON, as meshes, drawn over it.

Comes in: `Found`, numbers alone, so that a worker needs no torch. Goes out: OUT/NAME.glb (…),
OUT/NAME_overlay.png, and last OUT/NAME.json, whose presence says that the picture is done.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from twohand500k.conventions import JOINT_PARENTS, LEFT, RIGHT, SIDES
from twohand500k.drawn import DrawnPairs, fit_drawn
from twohand500k.errors import DataError
from twohand500k.export.content import whole_file
from twohand500k.export.meshes import mesh_bytes
from twohand500k.hand import HandPair
from twohand500k.pictures import (
    BACKDROP,
    BONES,
    SKIN,
    Camera,
    K_of_part,
    PhotoCamera,
    Surface,
    contact_sheet,
    render_meshes,
    save_png,
)
from twohand500k.shards.files import read_json, write_whole

Array = np.ndarray

FORMAT = 1
MESHES = ("glb", "obj", "ply")
# Up to here the renderer takes the coarser of its meshes, four times as fast.
TILE = 360
# The photo shows through the hands drawn over it.
_COVER = 0.85
# What a network is shown about a box (interaction_prior.reconstruction.crop.MARGIN).
_MARGIN = 1.35


@dataclass(frozen=True, eq=False)
class Found:
    """The hands of a picture; arrays as in `interaction_prior.reconstruction.HandsInImage`.

    fit_error (2,) m: what MANO parameters fall short of the network's joints or skin, NaN where it
    gave parameters. told: strings and numbers that go into the JSON as they are.
    """

    name: str
    told: Mapping[str, Any]
    size: tuple[int, int]
    pose: Array
    betas: Array
    transl: Array
    joints: Array
    vertices: Array | None
    tau: Array
    K: Array
    K_assumed: bool
    box: Array
    box_from: str
    peaks: Array
    peak_height: Array
    uv: Array
    off_px: float
    seen: Array
    fit_error: Array


@dataclass(frozen=True)
class Wanted:
    """Where to write what. made_by: what decides the numbers; a rerun compares it."""

    out: Path
    meshes: tuple[str, ...]
    overlay: bool
    made_by: Mapping[str, Any]

    def files(self, name: str) -> list[Path]:
        """All files of a picture, the JSON last."""
        files = [self.out / f"{name}.{kind}" for kind in self.meshes]
        files += [self.out / f"{name}_overlay.png"] * self.overlay
        return [*files, self.out / f"{name}.json"]

    def is_done(self, name: str, known: Mapping[str, Any]) -> bool:
        """Whether a picture's files are there. Raises DataError where they were made otherwise."""
        files = self.files(name)
        if not files[-1].exists():
            return False
        told = read_json(files[-1])
        before = told.get("made_by") if isinstance(told, dict) else None
        now = {**self.made_by, **known}
        if before != now:
            keys = [k for k in now if not isinstance(before, dict) or before.get(k) != now[k]]
            raise DataError(
                f"{files[-1]} was made with another {keys[0] if keys else 'command'}: give "
                "--overwrite, or choose another --out"
            )
        return all(file.exists() for file in files)


def write_found(
    found: Found, image: Array | None, known: Mapping[str, Any], wanted: Wanted, hands: HandPair
) -> Found:
    """Write the files of a picture; returns what was found, its parameters fitted where need be.

    image (H, W, 3) uint8, for the overlay. Raises DataError when the disk refuses.
    """
    found = fitted(found, hands)
    skins = skins_of(found, hands)
    for kind in wanted.meshes:
        with whole_file(wanted.out / f"{found.name}.{kind}", sync=False) as file:
            file.write(mesh_bytes(kind, skins, hands))
    if wanted.overlay:
        assert image is not None
        save_png(wanted.out / f"{found.name}_overlay.png", overlay(image, found, skins, hands))
    content = to_json(found, {**wanted.made_by, **known})
    write_whole(wanted.out / f"{found.name}.json", (json.dumps(content, indent=1) + "\n").encode())
    return found


def fitted(found: Found, hands: HandPair) -> Found:
    """With MANO parameters fitted to joints or skin, for networks that speak of these."""
    if np.isfinite(found.pose).all():
        return found
    wrist = found.joints[:, :1]
    points = (
        {"joints": (found.joints - wrist)[None]}
        if found.vertices is None
        else {"vertices": (found.vertices - wrist)[None]}
    )
    fit = fit_drawn(DrawnPairs(np.array([found.name]), found.tau[None], **points), hands)
    J0 = [hands[s].with_shape(fit.betas[0, s]).rest_joints[0] for s in (RIGHT, LEFT)]
    values = {f.name: getattr(found, f.name) for f in fields(Found)} | {
        "pose": fit.pose[0],
        "betas": fit.betas[0],
        "transl": fit.wrist[0] + wrist[:, 0] - np.stack(J0),
        "fit_error": fit.residual[0],
    }
    return Found(**values)


def skins_of(found: Found, hands: HandPair) -> Array:
    """Skins (2, V, 3) m before the camera."""
    if found.vertices is not None:
        return found.vertices
    return np.stack(
        [
            hands[s].with_shape(found.betas[s]).with_pose(found.pose[s], found.transl[s]).vertices
            for s in (RIGHT, LEFT)
        ]
    )


def to_json(found: Found, made_by: Mapping[str, Any]) -> dict[str, Any]:
    """What is written of a picture."""
    return {
        "format": FORMAT,
        **found.told,
        "width": found.size[0],
        "height": found.size[1],
        "units": "metres, radians, pixels; the first pixel's centre is (0.5, 0.5)",
        "frame": "camera: x right, y down, z forward; (u, v, 1) ~ K x",
        "K": _plain(found.K),
        "K_assumed": found.K_assumed,
        "box": _plain(found.box),
        "box_from": found.box_from,
        "hands": {
            side: {
                "pose": _plain(found.pose[s]),
                "betas": _plain(found.betas[s]),
                "transl": _plain(found.transl[s]),
                "joints": _plain(found.joints[s]),
                "uv": _plain(found.uv[s], 3),
                "peaks": _plain(found.peaks[s], 3),
                "peak_height": _plain(found.peak_height[s], 4),
                "seen": _plain(found.seen[s], 5),
                "fit_error": _plain(found.fit_error[s]),
            }
            for s, side in enumerate(SIDES)
        },
        "tau": _plain(found.tau),
        "off_px": round(found.off_px, 3),
        "made_by": dict(made_by),
    }


def _plain(values: Any, digits: int = 8) -> Any:
    """Numbers of JSON; what is not known is null."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim:
        return [_plain(value, digits) for value in array]
    return round(float(array), digits) if np.isfinite(array) else None


# The picture to look at


def overlay(image: Array, found: Found, skins: Array, hands: HandPair) -> Array:
    """The picture; the hands over what the network saw; peaks and joints; the hands from aside."""
    surfaces = [Surface(skins[s], hands[s].faces, SKIN[s]) for s in (RIGHT, LEFT)]
    corner, side = _square(found)
    near = _part(image, corner, side)
    aside = render_meshes(surfaces, _from_the_side(skins), (TILE, TILE), background=BACKDROP)
    distance = float(np.linalg.norm(found.joints.reshape(-1, 3).mean(0)))
    box = {"given": "box as given", "found": "box found by a first look"}
    said = "assumed" if found.K_assumed else "given"
    labels = [
        f"{box.get(found.box_from, 'no box: the whole picture')}\n"
        f"focal length {found.K[0, 0]:.0f} px, {said}",
        "the hands over it",
        f"peaks (rings) and placed joints\nmedian {found.off_px:.1f} px apart",
        f"from the side\n{100 * distance:.0f} cm from the camera"
        + (", K assumed" if found.K_assumed else ""),
    ]
    camera = PhotoCamera.of(K_of_part(found.K, corner, TILE / side))
    tiles = [
        _whole(image, corner, side),
        _covered(near, surfaces, camera),
        _joints_over(near, found, corner, TILE / side),
        aside,
    ]
    return contact_sheet(tiles, labels, columns=len(tiles))


def _square(found: Found) -> tuple[Array, float]:
    """Corner (2,) and side, px, of the square about the box that the network was shown, nearly."""
    low, high = found.box[:2], found.box[2:]
    margin = 1.0 if found.box_from == "whole picture" else _MARGIN
    side = float((high - low).max()) * margin
    return (low + high - side) / 2, side


def _part(image: Array, corner: Array, side: float) -> Array:
    """A square of the picture as a tile, black outside."""
    photo = Image.fromarray(image)
    x, y = map(float, corner)
    if side > 2 * TILE:
        # A picture much finer than the tile is made small by areas.
        box = (round(x), round(y), round(x + side), round(y + side))
        return np.asarray(photo.crop(box).resize((TILE, TILE), Image.Resampling.BOX))
    extent = (x, y, x + side, y + side)
    return np.asarray(
        photo.transform((TILE, TILE), Image.Transform.EXTENT, extent, Image.Resampling.BICUBIC)
    )


def _whole(image: Array, corner: Array, side: float) -> Array:
    """The picture in a tile, what was looked at in white."""
    height, width = image.shape[:2]
    scale = TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    photo = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    ends = np.clip(scale * np.array([corner, corner + side]), 0, np.array(size) - 1.0)
    ImageDraw.Draw(photo).rectangle(ends.ravel().tolist(), outline="white")
    tile = Image.new("RGB", (TILE, TILE), tuple(round(255 * c) for c in BACKDROP))
    tile.paste(photo, ((TILE - size[0]) // 2, (TILE - size[1]) // 2))
    return np.asarray(tile)


def _covered(photo: Array, surfaces: Sequence[Surface], camera: Camera) -> Array:
    """The hands over a tile."""
    drawn = render_meshes(surfaces, camera, (TILE, TILE), background=None)
    cover = _COVER * drawn[..., 3:] / 255.0
    return np.round(photo * (1 - cover) + drawn[..., :3] * cover).astype(np.uint8)


def _joints_over(photo: Array, found: Found, corner: Array, scale: float) -> Array:
    """Placed joints and bones over a tile, rings where the heatmaps have their peaks."""
    picture = Image.fromarray(photo)
    pen = ImageDraw.Draw(picture)
    for side in (RIGHT, LEFT):
        colour = tuple(round(255 * c) for c in BONES[side])
        joints = (found.uv[side] - corner) * scale
        for joint, parent in enumerate(JOINT_PARENTS):
            if parent >= 0:
                pen.line([*map(float, joints[parent]), *map(float, joints[joint])], colour, 2)
        for x, y in joints:
            pen.ellipse([x - 2, y - 2, x + 2, y + 2], fill=colour)
        peaks = (found.peaks[side] - corner) * scale
        for (x, y), sure in zip(peaks, found.peak_height[side], strict=True):
            if np.isfinite(x + y):
                # The surer, the more of its hand's colour is white.
                part = float(np.clip(sure, 0.0, 1.0))
                ring = tuple(round(c + part * (255 - c)) for c in colour)
                pen.ellipse([x - 4, y - 4, x + 4, y + 4], outline=ring)
    return np.asarray(picture)


def _from_the_side(skins: Array) -> Camera:
    """From the camera's right, 80 degrees round, its up kept."""
    angle = np.radians(80)
    # The camera's frame has y down; it looks along z, so towards the viewer is -z.
    return Camera.framing(
        skins.reshape(-1, 3), [np.sin(angle), -0.2, -np.cos(angle)], up=(0, -1, 0)
    )
