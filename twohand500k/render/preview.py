"""A look at pictures: a contact sheet of some, each beside what is known of it.

In: a finished dataset of pictures. Out: `preview.png`: pairs of tiles, a picture as it is, and the
same with both hands' masks tinted and joints drawn, hollow where the picture does not show them.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from twohand500k.conventions import JOINT_PARENTS, LEFT, RIGHT
from twohand500k.pictures import BONES, contact_sheet, save_png
from twohand500k.shards import Dataset, Samples
from twohand500k.shards.schema import IMAGE_SIZE

Array = np.ndarray

_PAIRS_A_ROW = 4
_TINT = 0.35


def draw_preview(folder: Path, count: int) -> Path:
    """Draw `count` pictures, evenly over the dataset, into FOLDER/preview.png."""
    dataset = Dataset(folder)
    rows = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int))
    samples = dataset.samples(rows)
    assert samples.image is not None and samples.hidden is not None
    tiles, captions = [], []
    for row in range(len(samples)):
        tiles += [samples.image[row], labelled(samples, row)]
        hidden = " / ".join("-" if np.isnan(h) else f"{h:.0%}" for h in samples.hidden[row])
        # The end of an id tells pictures apart; the whole one is wider than a tile.
        captions += [f"…{str(samples.sample_id[row])[-28:]}", f"hidden, right / left: {hidden}"]
    sheet = contact_sheet(tiles, captions, columns=2 * min(_PAIRS_A_ROW, len(samples)))
    path = folder / "preview.png"
    save_png(path, sheet)
    return path


def labelled(samples: Samples, row: int) -> Array:
    """A picture with its labels drawn over it, (256, 256, 3) uint8."""
    assert samples.image is not None and samples.mask is not None
    assert samples.uv is not None and samples.visible is not None
    tinted = samples.image[row].astype(np.float64)
    scale = IMAGE_SIZE // samples.mask.shape[-1]
    colours = 255 * np.asarray(BONES)
    for side in (RIGHT, LEFT):
        share = np.kron(samples.mask[row, side] / 255.0, np.ones((scale, scale)))[..., None]
        tinted += _TINT * share * (colours[side] - tinted)
    tile = Image.fromarray(tinted.astype(np.uint8))
    pen = ImageDraw.Draw(tile)
    for side in np.flatnonzero(samples.present[row]).tolist():
        colour = tuple(int(c) for c in colours[side])
        uv = [(float(u), float(v)) for u, v in samples.uv[row, side]]
        for joint, parent in enumerate(JOINT_PARENTS):
            if parent >= 0:
                pen.line([*uv[parent], *uv[joint]], colour, 1)
        for (u, v), seen in zip(uv, samples.visible[row, side], strict=True):
            box = (u - 2.5, v - 2.5, u + 2.5, v + 2.5)
            pen.ellipse(box, fill="white" if seen else None, outline=colour)
    return np.asarray(tile)
