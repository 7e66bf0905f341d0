"""Do fitted hands cover the hands in the photo? InterHand2.6M frames, seen by their own cameras.

    python benchmarks/interhand_overlay.py DIR --out PNG [--hand-model open] [--frames 8]

DIR holds InterHand2.6M's annotations and images, or an extract of them. Its frames are built (from
joints with the open hand, from the MANO annotation with MANO's files), and the hands of each are
drawn over a photo through the dataset's camera: the photo, the skin over it, the recorded joints
(rings, white) and the fitted ones (dots, red right, blue left). Printed per hand: the mean distance
of fitted from recorded joints, the worst joint, and the mean distance in the photo; then the mean
over the hands for every joint. The picture shows people's hands under the dataset's licence: do not
publish it with anything of yours.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from twohand500k.conventions import JOINT_NAMES, JOINT_PARENTS, SIDES, TIP_SETS
from twohand500k.errors import DataError
from twohand500k.hand import HandPair, load_hands
from twohand500k.ik import build_takes
from twohand500k.pictures import (
    BONES,
    SKIN,
    K_of_part,
    PhotoCamera,
    Surface,
    contact_sheet,
    render_meshes,
    save_png,
)
from twohand500k.shards import Dataset, Samples
from twohand500k.sources.datasets import read_dataset
from twohand500k.sources.datasets.interhand26m import (
    Picture,
    View,
    cameras,
    pictures,
    place_of,
)
from twohand500k.sources.take import Take

TILE = 420


def project(points: np.ndarray, view: View, K: np.ndarray) -> np.ndarray:
    """World points (..., 3) m to pixels (..., 2)."""
    seen = (points @ view.R.T + view.t) @ K.T
    return seen[..., :2] / seen[..., 2:]


def crop_around(uv: np.ndarray, margin: float = 0.25) -> tuple[np.ndarray, float]:
    """Upper left corner and width, in pixels, of a square around points (n, 2)."""
    low, high = np.nanmin(uv, axis=0), np.nanmax(uv, axis=0)
    width = float((high - low).max() * (1 + 2 * margin))
    return (low + high - width) / 2, width


def row_of(
    hands: HandPair, sample: Samples, take: Take, picture: Picture, view: View
) -> tuple[list[np.ndarray], list[str], list[np.ndarray]]:
    """Three tiles of one frame, what is printed of its hands, the distance (21,) m of each."""
    there = np.flatnonzero(sample.present[0])
    skins, fitted, lines, gaps = [], {}, [], []
    frame = int(np.flatnonzero(take.frames == sample.frame[0])[0])
    for side in there.tolist():
        model = hands[side].with_tips(TIP_SETS[take.tips])
        posed = model.with_shape(sample.betas[0, side].astype(float)).with_pose(
            sample.pose[0, side].astype(float), sample.transl[0, side].astype(float)
        )
        skins.append(Surface(posed.vertices, model.faces, SKIN[side]))
        fitted[side] = posed.joints
        off = np.linalg.norm(posed.joints - take.points[frame, side], axis=1)
        gaps.append(off)
        pixels = np.linalg.norm(
            project(posed.joints, view, view.K) - project(take.points[frame, side], view, view.K),
            axis=1,
        )
        worst = int(np.nanargmax(off))
        lines.append(
            f"{take.name} {sample.frame[0]} {SIDES[side]:5}  mean {1e3 * np.nanmean(off):5.2f} mm  "
            f"worst {1e3 * off[worst]:5.2f} mm ({JOINT_NAMES[worst]})  "
            f"in the photo {np.nanmean(pixels):4.1f} px"
        )
    everything = np.concatenate([skin.vertices for skin in skins])
    corner, width = crop_around(project(everything, view, view.K))
    scale = TILE / width
    K = K_of_part(view.K, corner, scale)
    box = (*corner, *(corner + width))
    photo = np.asarray(
        Image.open(picture.file).convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS, box)
        if _inside(box, picture)
        else Image.open(picture.file)
        .convert("RGB")
        .transform((TILE, TILE), Image.Transform.EXTENT, box, Image.Resampling.BICUBIC)
    )
    drawn = render_meshes(skins, PhotoCamera.of(K, view.R, view.t), (TILE, TILE), background=None)
    alpha = drawn[..., 3:] / 255.0
    covered = photo * (1 - 0.85 * alpha) + drawn[..., :3] * 0.85 * alpha
    faint = photo * (1 - 0.35 * alpha) + drawn[..., :3] * 0.35 * alpha
    joints = Image.fromarray(faint.astype(np.uint8))
    pen = ImageDraw.Draw(joints)
    for side, own in fitted.items():
        colour = tuple(int(255 * c) for c in BONES[side])
        now, was = project(own, view, K), project(take.points[frame, side], view, K)
        for joint, parent in enumerate(JOINT_PARENTS):
            if parent >= 0:
                pen.line([*map(float, now[parent]), *map(float, now[joint])], colour, 1)
        for x, y in now:
            pen.ellipse([x - 2, y - 2, x + 2, y + 2], fill=colour)
        for x, y in was[np.isfinite(was).all(axis=1)]:
            pen.ellipse([x - 4, y - 4, x + 4, y + 4], outline="white")
    return [photo, covered.astype(np.uint8), np.asarray(joints)], lines, gaps


def _inside(box: tuple[float, ...], picture: Picture) -> bool:
    return min(box[:2]) >= 0 and box[2] <= picture.width and box[3] <= picture.height


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hand-model", default="open")
    parser.add_argument("--frames", type=int, default=8, help="at most so many are drawn")
    options = parser.parse_args()
    hands = load_hands(options.hand_model)
    try:
        takes = {take.name: take for take in read_dataset("interhand26m", [options.folder])}
    except DataError as error:
        raise SystemExit(f"{error}") from None
    with tempfile.TemporaryDirectory() as work:
        build_takes(list(takes.values()), hands, Path(work) / "built", progress=False)
        dataset = Dataset(Path(work) / "built")
        tiles, labels, gaps = [], [], []
        chosen = np.unique(np.linspace(0, len(dataset) - 1, options.frames).astype(int))
        for row in chosen:
            sample = dataset.samples([int(row)])
            take = takes[str(sample.take[0])]
            split, capture = place_of(take.name)
            moment = (capture, int(sample.frame[0]))
            shown = [
                p
                for p in pictures(options.folder, split, {moment}).get(moment, [])
                if p.file.is_file()
            ]
            if not shown:
                print(f"{take.name} {moment[1]}: none of its images is there")
                continue
            view = cameras(options.folder, split)[capture, shown[0].camera]
            some, lines, off = row_of(hands, sample, take, shown[0], view)
            print("\n".join(lines))
            tiles += some
            gaps += off
            error = " / ".join(f"{1e3 * e:.2f}" for e in sample.fit_error[0] if np.isfinite(e))
            labels += [f"{take.name}\nframe {moment[1]}", f"{error} mm", "recorded and fitted"]
    if not tiles:
        raise SystemExit(f"{options.folder}: no image of a frame that was built")
    means = zip(JOINT_NAMES, 1e3 * np.nanmean(gaps, axis=0), strict=True)
    print("mm by joint:", ", ".join(f"{name} {mean:.1f}" for name, mean in means))
    save_png(options.out, contact_sheet(tiles, labels, columns=6 if len(tiles) > 6 else 3))
    print(options.out)


if __name__ == "__main__":
    main()
