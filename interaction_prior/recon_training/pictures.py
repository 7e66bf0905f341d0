"""What a network sees and says of a few held-out pictures, as one image to look at.

A row a picture: the picture with its true joints; a heatmap of each hand, the true one and the
predicted one; both masks, true and predicted; and the decoded joints over the picture. The network
predicts no place in the picture: the decoded joints are put where they fit the peaks of the
predicted heatmaps best, without perspective (a scale and a shift, least squares, each joint weighed
by its peak). Right hands red, left hands blue.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from twohand500k.conventions import JOINT_NAMES, LEFT, N_JOINTS, RIGHT

RIGHT_COLOUR, LEFT_COLOUR = "#e8432e", "#3b7de0"
_COLOURS = (RIGHT_COLOUR, LEFT_COLOUR)
# The joints whose heatmaps are shown: fingertips lie among others', their maps are the test.
SHOWN = ((RIGHT, 8), (LEFT, 8))
_BONES = tuple(
    (0 if k % 4 == 1 else k - 1, k) for k in range(1, N_JOINTS)
)  # wrist to knuckle, knuckle to tip


@dataclass(frozen=True, eq=False)
class Predicted:
    """n pictures and what was made of them, numpy.

    image (n, S, S, 3) 0..1; uv (n, 2, 21, 2) true joints in cells of the m-map. heatmaps,
    true_heatmaps (n, 42, m, m), or (n, 1, m, m) where all joints share one, or None without.
    saliency, mask (n, 2, m, m). joints (n, 2, 21, 3) m, both hands in the camera's frame, decoded,
    the origin anywhere; None before there are any.
    """

    image: np.ndarray
    uv: np.ndarray
    heatmaps: np.ndarray | None
    true_heatmaps: np.ndarray | None
    saliency: np.ndarray | None
    mask: np.ndarray
    joints: np.ndarray | None


def draw_predictions(path: Path, p: Predicted, title: str) -> None:
    """Write the picture."""
    n, m = len(p.image), p.mask.shape[-1]
    columns = 4 + 2 * len(SHOWN)
    figure = Figure(figsize=(1.9 * columns, 1.95 * n + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(n, columns, squeeze=False)
    for k in range(n):
        row = iter(axes[k])
        _picture(next(row), p.image[k], m)
        _skeletons(axes[k][0], p.uv[k])
        _title(axes[k][0], "true joints", k)
        for side, joint in SHOWN:
            name = f"{'right' if side == RIGHT else 'left'} {JOINT_NAMES[joint]}"
            top = None
            for said, maps in (("true", p.true_heatmaps), ("predicted", p.heatmaps)):
                axis = next(row)
                if maps is None:
                    _nothing(axis)
                else:
                    one = maps[k, side * N_JOINTS + joint if maps.shape[1] > 1 else 0]
                    top = top or float(one.max())
                    axis.imshow(one, vmin=0, vmax=top, cmap="magma", extent=(0, m, m, 0))
                _title(axis, f"{name}, {said}", k)
        for said, masks in (("true masks", p.mask), ("predicted masks", p.saliency)):
            axis = next(row)
            if masks is None:
                _nothing(axis)
            else:
                red, blue = (np.clip(masks[k, s], 0, 1) for s in (RIGHT, LEFT))
                axis.imshow(np.stack([red, 0.3 * (red + blue), blue], -1).clip(0, 1),
                            extent=(0, m, m, 0))  # fmt: skip
            _title(axis, said, k)
        axis = next(row)
        _picture(axis, p.image[k], m)
        if p.joints is None:
            _title(axis, "(no joints yet)", k)
        else:
            maps = None if p.heatmaps is None or p.heatmaps.shape[1] == 1 else p.heatmaps[k]
            _skeletons(axis, placed(p.joints[k], maps, p.uv[k]))
            # Without maps of the joints there are no peaks to place them by.
            _title(axis, "decoded, " + ("at true joints" if maps is None else "at peaks"), k)
    figure.suptitle(title, fontsize=10)
    temporary = path.with_name(f".{path.name}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(temporary, dpi=80, format="png")
    temporary.replace(path)


def placed(joints: np.ndarray, heatmaps: np.ndarray | None, uv: np.ndarray) -> np.ndarray:
    """Joints (2, 21, 3) as points (2, 21, 2) of the map: scaled and shifted onto the peaks.

    heatmaps (42, m, m); None: onto uv (2, 21, 2), the true joints.
    """
    target, weight = uv.reshape(-1, 2), np.ones(2 * N_JOINTS)
    if heatmaps is not None:
        size = heatmaps.shape[-1]
        flat = heatmaps.reshape(len(heatmaps), -1)
        at = flat.argmax(1)
        target = np.stack([at % size, at // size], axis=-1) + 0.5
        weight = np.clip(flat.max(1), 1e-3, None)
    xy = joints.reshape(-1, 3)[:, :2]
    share = (weight / weight.sum())[:, None]
    centre, middle = (share * xy).sum(0), (share * target).sum(0)
    scale = (share * (xy - centre) * (target - middle)).sum() / (share * (xy - centre) ** 2).sum()
    return (scale * (xy - centre) + middle).reshape(2, N_JOINTS, 2)


def _picture(axis: Axes, image: np.ndarray, m: int) -> None:
    axis.imshow(image.clip(0, 1), extent=(0, m, m, 0))
    axis.set_xlim(0, m)
    axis.set_ylim(m, 0)


def _skeletons(axis: Axes, uv: np.ndarray) -> None:
    for side, colour in enumerate(_COLOURS):
        for a, b in _BONES:
            axis.plot(*uv[side, [a, b]].T, color=colour, lw=1.2)
        axis.plot(*uv[side].T, ".", color="white", ms=1.5)


def _nothing(axis: Axes) -> None:
    axis.text(0.5, 0.5, "none", transform=axis.transAxes, ha="center", color="#888888")


def _title(axis: Axes, text: str, row: int) -> None:
    axis.set_axis_off()
    if row == 0:
        axis.set_title(text, fontsize=7)
