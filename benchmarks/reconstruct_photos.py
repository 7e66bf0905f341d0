"""What a network makes of InterHand2.6M's own photos, as it comes out, beside their annotation.

    python benchmarks/reconstruct_photos.py RUN DIR --out FOLDER [--device cpu]

RUN: a run of train-recon. DIR: InterHand2.6M's annotations and images, or an extract of them; every
photo of a frame with both hands that is there is taken, none is left out. Each is reconstructed
twice: from the box around the annotated joints with the photo's intrinsics, as networks are
compared, and from the photo alone. Printed per hand, mm: joints from the wrist (`wrist`), from
joint 9 and scaled by the bone to it (`root9`, the paper's alignment on annotated joints, not on a
skin's), after the best similarity (`PA`); the orientation's error, degrees; then of the pair: tau,
the right wrist's place, and the median distance in the photo, px. Joints are the chain's, the
annotation's lie a few millimetres from any MANO fit of them, so 2 to 5 mm are no network.s fault.

FOLDER/sheet.png shows people's hands under the dataset's licence: do not publish it with yours.
"""

import argparse
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from interaction_prior.reconstruction import HandsInImage, Reconstructor
from twohand500k.cli.reconstruct_inputs import read_still
from twohand500k.cli.reconstruct_outputs import TILE, Found, fitted, overlay, skins_of
from twohand500k.conventions import JOINT_PARENTS, SIDES
from twohand500k.errors import DataError
from twohand500k.hand import HandPair, load_hands
from twohand500k.pictures import BONES, contact_sheet, save_png
from twohand500k.sources.datasets import read_dataset
from twohand500k.sources.datasets.interhand26m import cameras, pictures, place_of

_MIDDLE = 9


@dataclass(frozen=True, eq=False)
class Photo:
    """One photo of both hands. joints (2, 21, 3) m in its camera's frame; K (3, 3) px."""

    name: str
    image: np.ndarray
    K: np.ndarray
    joints: np.ndarray

    @property
    def uv(self) -> np.ndarray:
        p = self.joints @ self.K.T
        return p[..., :2] / p[..., 2:]

    @property
    def box(self) -> np.ndarray:
        uv = self.uv.reshape(-1, 2)
        return np.concatenate([np.nanmin(uv, 0), np.nanmax(uv, 0)])


def photos_of(folder: Path) -> list[Photo]:
    """Every photo of a frame with both hands that is there."""
    found = []
    for take in read_dataset("interhand26m", [folder]):
        split, capture = place_of(take.name)
        both = take.recorded.all(1) & np.isfinite(take.points).all((1, 2, 3))
        moments = {(capture, int(frame)) for frame in take.frames[both]}
        views = cameras(folder, split)
        for moment, shown in pictures(folder, split, moments).items():
            row = int(np.flatnonzero(take.frames == moment[1])[0])
            for picture in shown:
                if not picture.file.is_file():
                    continue
                view = views[capture, picture.camera]
                joints = take.points[row] @ view.R.T + view.t
                name = f"{take.name} {moment[1]} camera {picture.camera}"
                found.append(Photo(name, read_still(picture.file), view.K, joints))
    return found


def errors(found: HandsInImage, photo: Photo) -> dict[str, np.ndarray]:
    """Figures (2,) of both hands, and of the pair twice."""
    a = found.joints - found.joints[:, :1]
    b = photo.joints - photo.joints[:, :1]
    out = {"wrist": 1e3 * np.linalg.norm(a - b, axis=-1).mean(1)}
    bone = [np.linalg.norm(x[:, _MIDDLE], axis=-1)[:, None, None] for x in (a, b)]
    root = a - a[:, _MIDDLE, None]
    scaled = root * bone[1] / bone[0] - (b - b[:, _MIDDLE, None])
    out["root9"] = 1e3 * np.linalg.norm(scaled, axis=-1).mean(1)
    similar = [similarity(a[s], b[s]) for s in (0, 1)]
    out["PA"] = np.array([1e3 * off for off, _ in similar])
    out["turn_deg"] = np.array([turn for _, turn in similar])
    true_tau = photo.joints[1, 0] - photo.joints[0, 0]
    pair = {
        "tau": 1e3 * np.linalg.norm(found.tau - true_tau),
        "place": 1e3 * np.linalg.norm(found.joints[0, 0] - photo.joints[0, 0]),
        "px": np.median(np.linalg.norm(found.uv - photo.uv, axis=-1)),
    }
    return out | {key: np.full(2, value) for key, value in pair.items()}


def similarity(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Mean distance (m) of a (n, 3) to b after the best similarity, and its turn in degrees."""
    x, y = a - a.mean(0), b - b.mean(0)
    U, s, Vt = np.linalg.svd(x.T @ y)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))])
    R = (U * sign) @ Vt
    scale = (s * sign).sum() / (x**2).sum()
    turn = np.degrees(np.arccos(np.clip((np.trace(R) - 1) / 2, -1, 1)))
    return float(np.linalg.norm(scale * x @ R - y, axis=-1).mean()), float(turn)


def annotated(photo: Photo) -> np.ndarray:
    """The photo's part with its annotated joints, as a tile."""
    low, high = photo.box[:2], photo.box[2:]
    side = float((high - low).max()) * 1.3
    corner = (low + high - side) / 2
    extent = (*map(float, corner), *map(float, corner + side))
    tile = Image.fromarray(photo.image).transform(
        (TILE, TILE), Image.Transform.EXTENT, extent, Image.Resampling.BICUBIC
    )
    pen = ImageDraw.Draw(tile)
    for side_number, own in enumerate((photo.uv - corner) * TILE / side):
        colour = tuple(round(255 * c) for c in BONES[side_number])
        for joint, parent in enumerate(JOINT_PARENTS):
            if parent >= 0:
                pen.line([*map(float, own[parent]), *map(float, own[joint])], colour, 2)
    return np.asarray(tile)


def drawn(found: HandsInImage, photo: Photo, hands: HandPair) -> np.ndarray:
    """The command's own overlay."""
    values = {f.name: getattr(found, f.name) for f in fields(found)}
    size = (photo.image.shape[1], photo.image.shape[0])
    record = fitted(
        Found(name="photo", told={}, size=size, fit_error=np.full(2, np.nan), **values), hands
    )
    return overlay(photo.image, record, skins_of(record, hands), hands)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hand-model", default="open")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    hands = load_hands(options.hand_model)
    try:
        look = Reconstructor.load(options.run, hands=hands, device=options.device)
        photos = photos_of(options.folder)
    except DataError as error:
        raise SystemExit(f"{error}") from None
    if not photos:
        raise SystemExit(f"{options.folder}: no photo of a frame with both hands")
    sheets = []
    columns = ("wrist", "root9", "PA", "turn_deg", "tau", "place", "px")
    print(f"{'photo, hand':58} " + " ".join(f"{c:>8}" for c in columns))
    for photo in photos:
        for how, box, K in (("box, K", photo.box, photo.K), ("photo alone", None, None)):
            found = look.reconstruct(photo.image, box, K)
            told = errors(found, photo)
            for side, name in enumerate(SIDES):
                label = f"{photo.name}, {how}, {name}"
                print(f"{label:58} " + " ".join(f"{told[c][side]:8.1f}" for c in columns))
            sheet = drawn(found, photo, hands)
            truth = np.full((sheet.shape[0], TILE + 12, 3), 255, dtype=np.uint8)
            truth[6 : 6 + TILE, 6 : 6 + TILE] = annotated(photo)
            sheets.append(np.concatenate([truth, sheet], axis=1))
    labels = [f"{p.name}, {how}" for p in photos for how in ("annotated box and K", "photo alone")]
    # Captions may be of one line or two.
    height = max(sheet.shape[0] for sheet in sheets)
    sheets = [
        np.pad(s, ((0, height - len(s)), (0, 0), (0, 0)), constant_values=255) for s in sheets
    ]
    save_png(options.out / "sheet.png", contact_sheet(sheets, labels, columns=1))
    print(options.out / "sheet.png")


if __name__ == "__main__":
    main()
