"""What d = 2.5 may mean: neighbours per joint under each reading, and the maps side by side.

    python benchmarks/iah_neighbours.py --data IMAGES [--data IMAGES …] [--out PNG] [--pictures 500]

Equation 1 gives a joint's heatmap a share of the joints within its "d x d image adjacency", and the
paper does not say in what d = 2.5 is measured. Readings (`features.heatmaps.READINGS`): the
square's half side is d sigma = 5 cells of the 64-map, d = 2.5 cells, or d / 2. Printed for every
dataset: neighbours per joint, and the share of joints that have any. The picture: for some pictures
with many neighbours the heatmap of one fingertip under each reading, the largest of all 42 maps,
and the picture itself. The paper's Fig. 3c shows crowded maps: a peak with others around it.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from interaction_prior.features.heatmaps import READINGS, adjacency, adjacency_heatmaps
from twohand500k.pictures import contact_sheet, save_png
from twohand500k.shards import Dataset
from twohand500k.shards.schema import IMAGE_SIZE

_MAP = 64
_TIP, _SHOWN, _TILE = 8, 4, 192


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", action="append", required=True, type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pictures", type=int, default=500)
    args = parser.parse_args()
    print(f"{'dataset':24} {'pictures':>8}  " + "".join(f"{name:>26}" for name in READINGS))
    for folder in args.data:
        dataset = Dataset(folder)
        both = np.flatnonzero(dataset.array("present").all(axis=1))
        rows = both[np.linspace(0, len(both) - 1, min(args.pictures, len(both))).astype(int)]
        uv = torch.as_tensor(dataset.array("uv", np.unique(rows))) * (_MAP / IMAGE_SIZE)
        cells = []
        for reading in READINGS:
            near = adjacency(uv.flatten(1, 2), size=_MAP, reading=reading).sum(-1).float()
            cells.append(f"{near.mean():6.2f} a joint, {(near > 0).float().mean():4.0%} have any")
        print(f"{folder.name:24} {len(uv):8}  " + "".join(f"{cell:>26}" for cell in cells))
    if args.out:
        save_png(args.out, sheet(Dataset(args.data[0]), args.pictures))
        print(f"look at: {args.out}")


def sheet(dataset: Dataset, pictures: int) -> np.ndarray:
    """A row a picture: itself, the left index tip's map under each reading, all maps' largest."""
    rows = np.arange(min(pictures, len(dataset)))
    rows = rows[dataset.array("present", rows).all(axis=1)]
    uv = torch.as_tensor(dataset.array("uv", rows)) * (_MAP / IMAGE_SIZE)
    near = adjacency(uv.flatten(1, 2), size=_MAP).sum(-1)[:, 21 + _TIP]
    chosen = rows[near.argsort(descending=True, stable=True)[: 2 * _SHOWN : 2].numpy()]
    tiles, labels = [], []
    for row in chosen.tolist():
        joints = torch.as_tensor(dataset.array("uv", [row])).flatten(1, 2) * (_MAP / IMAGE_SIZE)
        tiles.append(enlarged(dataset.array("image", [row])[0]))
        labels.append("picture")
        for reading in READINGS:
            maps = adjacency_heatmaps(joints, size=_MAP, reading=reading)[0]
            tiles.append(enlarged(coloured(maps[21 + _TIP])))
            labels.append(f"left index tip\n{reading}")
        tiles.append(enlarged(coloured(adjacency_heatmaps(joints, size=_MAP)[0].amax(0))))
        labels.append("all 42, largest\nsigma")
    return contact_sheet(tiles, labels, columns=2 + len(READINGS))


def coloured(heatmap: torch.Tensor) -> np.ndarray:
    """A map as colours, its largest value white."""
    from matplotlib import colormaps

    values = (heatmap / heatmap.max()).numpy()
    return (255 * colormaps["magma"](values)[..., :3]).astype(np.uint8)


def enlarged(image: np.ndarray) -> np.ndarray:
    """A square picture on a tile, each pixel a block or sampled."""
    at = (np.arange(_TILE) * len(image)) // _TILE
    return image[at][:, at]


if __name__ == "__main__":
    main()
