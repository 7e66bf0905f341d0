"""`Reconstructor`: pictures of two hands in, the hands out, placed before the camera.

    look = Reconstructor.load("runs/recon", device="cuda")
    found = look.reconstruct(image, box=(120, 80, 360, 300), K=K)     # HandsInImage
    many = look.reconstruct_many(images, boxes, Ks)

A view of each picture is resampled (`crop`), shown to the network, the heatmaps' peaks are found
(`peaks`) and the hands placed so that their joints project there (`placement`). Without a box the
whole picture is shown first, and what the network's masks take for hands there is the box of a
second look; a network without masks has the first look alone.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from interaction_prior.hands.rotations import axis_angle_from_matrix
from interaction_prior.reconstruction.crop import (
    MARGIN,
    SMALLEST,
    Crop,
    assumed_K,
    checked_box,
    checked_K,
    crop_around,
    shown,
)
from interaction_prior.reconstruction.hands_in_image import HandsInImage
from interaction_prior.reconstruction.network import Answer, Network
from interaction_prior.reconstruction.peaks import peaks_of
from interaction_prior.reconstruction.placement import place
from twohand500k.conventions import N_BETAS, N_JOINTS, N_MANO_JOINTS
from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.shards.files import sha256_of_file

Array = np.ndarray

BATCH = 16
# A first look finds hands where a cell is more likely a hand than not, and in so many of them.
_IS_HAND = 0.5
_FEWEST_CELLS = 4
# A box nearly as wide as the whole picture is not worth a second look.
_SAME = 0.9


@dataclass(frozen=True, eq=False)
class _Asked:
    """A picture with what is known of it."""

    image: Array
    K: Array
    K_assumed: bool
    box: Array
    box_from: str
    crop: Crop


class Reconstructor:
    """A network with its hand model, in use.

    name, sha256: of the file it was read from. history: how it was trained, as records of stages.
    """

    def __init__(
        self,
        network: Network,
        hands: HandPair,
        device: str | torch.device = "cpu",
        *,
        name: str = "",
        sha256: str = "",
        history: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.network, self.hands, self.device = network, hands, torch.device(device)
        self.name, self.sha256, self.history = name, sha256, tuple(history)

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        hands: str | Path | HandPair | None = None,
        device: str | torch.device = "cpu",
    ) -> "Reconstructor":
        """Of a run folder of `train-recon`, or its `recon.safetensors`.

        hands: the hand model it was trained on; without, the open hand. Raises DataError for runs
        of another kind, other hands, and variants without a heatmap for each joint, whose hands
        have no place in the picture.
        """
        # transformers takes seconds to import, and the geometry does without.
        from interaction_prior.reconstruction.trained import read_network

        network, pair, file, training = read_network(run, hands, torch.device(device))
        return cls(
            network, pair, device,
            name=run_name(run), sha256=sha256_of_file(file), history=history_of(training),
        )  # fmt: skip

    def reconstruct(
        self, image: Array, box: ArrayLike | None = None, K: ArrayLike | None = None
    ) -> HandsInImage:
        """The two hands of one picture; see `reconstruct_many`."""
        return self.reconstruct_many([image], [box], [K])[0]

    def reconstruct_many(
        self,
        images: Sequence[Array],
        boxes: Sequence[ArrayLike | None] | None = None,
        Ks: Sequence[ArrayLike | None] | None = None,
        *,
        batch: int = BATCH,
    ) -> list[HandsInImage]:
        """The two hands of each picture, in their order.

        images: (H, W, 3) uint8 sRGB, of any sizes; grey and RGBA ones are converted. boxes: x0, y0,
        x1, y1 px around the hands, None to look for them. Ks: (3, 3) px, None to assume them
        (`crop.assumed_K`). batch: views shown to the network at a time; it changes no result but
        the last bits. Raises DataError for what is no picture, box or K.
        """
        n = len(images)
        boxes, Ks = boxes or [None] * n, Ks or [None] * n
        if not len(boxes) == len(Ks) == n:
            raise ValueError(f"{n} pictures, {len(boxes)} boxes, {len(Ks)} intrinsics")
        asked = [_asked(*each) for each in zip(images, boxes, Ks, strict=True)]
        first = [k for k, one in enumerate(asked) if one.box_from != "given"]
        for part in _parts(first, batch):
            answer = self._answer([asked[k] for k in part])
            for row, k in enumerate(part):
                if answer.saliency is not None:
                    asked[k] = _looked_closer(asked[k], answer.saliency[row])
        found: list[HandsInImage] = []
        for part in _parts(range(n), batch):
            found += self._found([asked[k] for k in part])
        return found

    def _answer(self, asked: list[_Asked]) -> Answer:
        size = self.network.size
        with torch.inference_mode():
            views = [shown(one.image, one.crop, size, self.device) for one in asked]
            return self.network(torch.stack(views))

    def _found(self, asked: list[_Asked]) -> list[HandsInImage]:
        answer = self._answer(asked)
        m = answer.heatmaps.shape[-1]
        peaks = peaks_of(answer.heatmaps)
        tau = _numpy(answer.tau)
        # Both hands from the right wrist.
        offset = np.stack([np.zeros_like(tau), tau], axis=1)[:, :, None]
        joints = _numpy(answer.joints) + offset
        skins = None if answer.vertices is None else _numpy(answer.vertices) + offset
        half = np.array([one.crop.half for one in asked])
        uv, height = _numpy(peaks.uv), _numpy(peaks.height).clip(0.0)
        cell = 2.0 * half / m
        placed = place(
            joints.reshape(-1, 2 * N_JOINTS, 3),
            (uv - 0.5 * m) * cell[:, None, None],
            np.where(_numpy(peaks.cut_off) > 0, 0.0, height),
            cell,
        )
        # The camera of the whole picture, from the one that looks straight at the hands.
        R = np.stack([one.crop.R_camera_crop for one in asked])
        pose, betas = self._parameters(answer, R)
        joints = _turned(R, joints + placed.t[:, None, None])
        skins = None if skins is None else _turned(R, skins + placed.t[:, None, None])
        transl = joints[:, :, 0] - self._rest_wrists(betas)
        seen = np.full((len(asked), 2), np.nan)
        if answer.saliency is not None:
            seen = _numpy(answer.saliency).mean((-1, -2))
        found = []
        for k, one in enumerate(asked):
            at_peaks = one.crop.to_picture(uv[k], m).reshape(2, N_JOINTS, 2)
            projected = joints[k] @ one.K.T
            projected = projected[..., :2] / projected[..., 2:]
            off = np.linalg.norm(projected - at_peaks, axis=-1)
            found.append(
                HandsInImage(
                    pose=pose[k],
                    betas=betas[k],
                    transl=transl[k],
                    joints=joints[k],
                    vertices=None if skins is None else skins[k],
                    tau=joints[k, 1, 0] - joints[k, 0, 0],
                    K=one.K,
                    K_assumed=one.K_assumed,
                    box=one.box,
                    box_from=one.box_from,
                    peaks=at_peaks,
                    peak_height=height[k].reshape(2, N_JOINTS) / self.network.perfect_peak,
                    uv=projected,
                    off_px=_weighted_median(off.ravel(), height[k]),
                    seen=seen[k],
                )
            )
        return found

    def _parameters(self, answer: Answer, R: Array) -> tuple[Array, Array]:
        """Pose (B, 2, 16, 3) with the orientation turned by R (B, 3, 3), betas (B, 2, 10)."""
        n = len(R)
        if answer.rotations is None or answer.betas is None:
            return np.full((n, 2, N_MANO_JOINTS, 3), np.nan), np.full((n, 2, N_BETAS), np.nan)
        local = answer.rotations.double().cpu()
        turned = torch.from_numpy(R)[:, None] @ local[:, :, 0]
        local = torch.cat([turned[:, :, None], local[:, :, 1:]], dim=2)
        return axis_angle_from_matrix(local).numpy(), _numpy(answer.betas)

    def _rest_wrists(self, betas: Array) -> Array:
        """J0 (B, 2, 3) m of shapes (B, 2, 10)."""
        rest = [self.hands[s].with_shape(betas[:, s]).rest_joints[:, 0] for s in (0, 1)]
        return np.stack(rest, axis=1)


def as_rgb(image: ArrayLike) -> Array:
    """A picture as (H, W, 3) uint8: grey is repeated, alpha laid over white. DataError else."""
    picture = np.asarray(image)
    if picture.dtype != np.uint8:
        raise DataError(f"a picture is uint8, sRGB 0 to 255, got {picture.dtype}")
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.ndim != 3 or picture.shape[2] not in (1, 2, 3, 4):
        raise DataError(f"a picture is (H, W, 3), got shape {np.shape(image)}")
    if min(picture.shape[:2]) < SMALLEST:
        raise DataError(
            f"a picture of {picture.shape[1]} x {picture.shape[0]} pixels is too small to show "
            f"hands: at least {SMALLEST} along each side"
        )
    if picture.shape[2] in (2, 4):
        alpha = picture[..., -1:].astype(np.uint16)
        over = picture[..., :-1] * alpha + 255 * (255 - alpha)
        picture = ((over + 127) // 255).astype(np.uint8)
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture


def _asked(image: ArrayLike, box: ArrayLike | None, K: ArrayLike | None) -> _Asked:
    picture = as_rgb(image)
    height, width = picture.shape[:2]
    k = assumed_K(width, height) if K is None else checked_K(K)
    if box is None:
        whole = np.array([0.0, 0.0, width, height])
        return _Asked(picture, k, K is None, whole, "whole picture", crop_around(whole, k, 1.0))
    given = checked_box(box, width, height)
    return _Asked(picture, k, K is None, given, "given", crop_around(given, k))


def _looked_closer(one: _Asked, saliency: torch.Tensor) -> _Asked:
    """With a box around what the first look's masks (2, m, m) take for hands, if that is much
    smaller than the picture; as it was otherwise."""
    m = saliency.shape[-1]
    hand = _numpy(saliency.amax(0)) > _IS_HAND
    if hand.sum() < _FEWEST_CELLS:
        return one
    rows, columns = np.nonzero(hand)
    low = np.array([columns.min(), rows.min()], dtype=np.float64)
    high = np.array([columns.max(), rows.max()]) + 1.0
    if (high - low).max() * MARGIN > _SAME * m:
        return one
    corners = np.array([low, [low[0], high[1]], high, [high[0], low[1]]])
    uv = one.crop.to_picture(corners, m)
    height, width = one.image.shape[:2]
    box = np.concatenate([uv.min(0), uv.max(0)])
    box = np.clip(box, 0.0, [width, height, width, height])
    if (box[2:] - box[:2]).max() < SMALLEST:
        return one
    return _Asked(one.image, one.K, one.K_assumed, box, "found", crop_around(box, one.K))


def _parts(rows: Sequence[int], size: int) -> list[list[int]]:
    return [list(rows[first : first + size]) for first in range(0, len(rows), size)]


def _numpy(tensor: torch.Tensor) -> Array:
    return np.asarray(tensor.detach().double().cpu().numpy())


def _turned(R: Array, points: Array) -> Array:
    """R (B, 3, 3) applied to points (B, ..., 3)."""
    return np.asarray(np.einsum("bij,b...j->b...i", R, points))


def _weighted_median(values: Array, weight: Array) -> float:
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    if total[-1] <= 0:
        return float(np.median(values))
    return float(values[order][np.searchsorted(total, 0.5 * total[-1])])


def run_name(run: str | Path) -> str:
    """What a network is called: its run folder, or the file where that has another name."""
    path = Path(run).resolve()
    name = (
        path.stem
        if path.suffix and path.stem != "recon"
        else (path.parent.name if path.suffix else path.name)
    )
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "network"


def history_of(training: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """How a network was trained, as a stage that the hands it finds went through."""
    if not training:
        return ()
    chosen = dict(training.get("options") or {})
    record = {
        "stage": "train-recon",
        "version": (training.get("versions") or {}).get("twohand500k", ""),
        "seed": chosen.get("seed", 0),
        "options": chosen | {"data": training.get("data", [])},
        "inputs": {"data": training["data_sha256"]} if "data_sha256" in training else {},
    }
    return (record,)
