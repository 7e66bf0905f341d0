"""`ImageBatches`: the pictures a training step sees, as a function of the step's number alone.

As `data.Batches` for vectors: an order that is new each epoch, changes drawn from (seed, step), and
every process of a distributed run takes its own rows of the joint batch, so that N processes see
what one would have.
"""

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from interaction_prior.data.order import BLOCK, Order, generator_for
from interaction_prior.hands.rotations import matrix_from_axis_angle
from interaction_prior.images.augment import (
    NONE,
    Augmentation,
    augmented,
    drawn,
    resampled,
)
from interaction_prior.images.batch import ImageBatch
from interaction_prior.images.pictures import (
    MAP_STRIDE,
    Pictures,
    ResidentPictures,
    StreamedPictures,
)
from interaction_prior.images.read import ImagePairs
from interaction_prior.images.view import straight_views
from twohand500k.shards.schema import IMAGE_SIZE

# In which camera's frame orientation and tau are, and which camera shows the pictures.
Orientation = Literal["view", "camera"]
ORIENTATIONS: tuple[Orientation, ...] = get_args(Orientation)

_AHEAD = 4


class LabelledImages:
    """A set of pictures with their labels on the device: ``images.batch(positions)``.

    orientation "view": each crop as a camera sees it that looks straight at it, labels in that
    camera's frame (`view`). "camera": crops as they are, labels in the frame of the camera that
    took the whole picture.
    """

    def __init__(
        self,
        images: ImagePairs,
        pictures: Pictures,
        device: torch.device,
        orientation: Orientation = "view",
    ) -> None:
        def on_device(array: object) -> Tensor:
            return torch.as_tensor(array).to(device, torch.float32)

        self.pictures, self.device = pictures, device
        uv, tau = images.uv / IMAGE_SIZE, images.pairs.place
        self._R: Tensor | None = None
        self._back: Tensor | None = None
        if orientation == "view":
            views = straight_views(images.K)
            uv = _through(views.H, 2.0 * uv - 1.0) / 2.0 + 0.5
            tau = np.einsum("nij,nj->ni", views.R, tau)
            self._R, self._back = on_device(views.R), on_device(np.linalg.inv(views.H))
        self._uv = on_device(uv) * (pictures.size // MAP_STRIDE)
        inside = ((uv >= 0) & (uv <= 1)).all(-1)
        self._visible = torch.as_tensor(images.visible & inside).to(device)
        self._hidden = on_device(images.hidden)
        self._pose = on_device(images.pairs.pose)
        self._betas = on_device(images.pairs.betas)
        self._tau = on_device(tau)

    @staticmethod
    def opened(
        images: ImagePairs,
        size: int,
        device: torch.device,
        *,
        resident: bool,
        orientation: Orientation = "view",
    ) -> "LabelledImages":
        """Pictures of `size` pixels, all read onto the device, or from the disk as asked for."""
        kind = ResidentPictures if resident else StreamedPictures
        return LabelledImages(images, kind(images, size, device), device, orientation)

    def __len__(self) -> int:
        return len(self._pose)

    @property
    def size(self) -> int:
        """S, the side of a picture in pixels."""
        return self.pictures.size

    def batch(self, index: Tensor) -> ImageBatch:
        """The pictures at positions (n,)."""
        batch, back = self.unsampled(index)
        return batch if back is None else resampled(batch, back)

    def unsampled(self, index: Tensor) -> tuple[ImageBatch, Tensor | None]:
        """The same with pixels as they are stored, and where they are to be taken from.

        For `augmented`, which takes them from there with all else it does.
        """
        raw = self.pictures.gather(index)
        at = index.to(self.device, non_blocking=True)
        rotations = matrix_from_axis_angle(self._pose[at])
        if self._R is not None:
            rotations[:, :, 0] = self._R[at][:, None] @ rotations[:, :, 0]
        batch = ImageBatch(
            # Memory stays as it was, the channel last.
            image=raw.image.permute(0, 3, 1, 2).float() / 255.0,
            mask=raw.mask.float() / 255.0,
            uv=self._uv[at],
            visible=self._visible[at],
            rotations=rotations,
            betas=self._betas[at],
            tau=self._tau[at],
            hidden=self._hidden[at],
        )
        return batch, None if self._back is None else self._back[at]

    def in_order(self, size: int) -> Iterator[ImageBatch]:
        """All pictures as they are, `size` at a time."""
        parts = torch.arange(len(self)).split(size)
        for part, after in zip(parts, [*parts[1:], None], strict=True):
            if after is not None:
                self.pictures.ahead(after)
            yield self.batch(part)


class ImageBatches:
    """``for batch in batches.from_step(k)``: `ImageBatch`es of a process's share of the batch."""

    def __init__(
        self,
        images: LabelledImages,
        augmentation: Augmentation,
        *,
        batch: int,
        seed: int,
        weights: Tensor | None = None,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        if batch % processes:
            raise ValueError(f"a batch of {batch} does not divide among {processes} processes")
        self.images, self.augmentation, self.size, self.seed = images, augmentation, batch, seed
        share = batch // processes
        self._own = slice(rank * share, (rank + 1) * share)
        self._order = Order(len(images), seed, weights)

    def from_step(self, step: int) -> Iterator[ImageBatch]:
        """Batches of steps `step`, step + 1, … without end."""
        for ahead in range(step, step + _AHEAD):
            self.images.pictures.ahead(self._index(ahead))
        while True:
            batch = self.at(step)
            self.images.pictures.ahead(self._index(step + _AHEAD))
            yield batch
            step += 1

    def at(self, step: int) -> ImageBatch:
        """The batch of one step."""
        index = self._index(step)
        if self.augmentation == NONE:
            return self.images.batch(index)
        batch, back = self.images.unsampled(index)
        generator = generator_for(self.seed, BLOCK, step, torch.device("cpu"))
        change = drawn(self.augmentation, self.size, generator)[self._own]
        return augmented(batch, change, back)

    def _index(self, step: int) -> Tensor:
        return self._order.positions(step * self.size, (step + 1) * self.size)[self._own]


def _through(H: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, ..., 2) through homographies H (N, 3, 3)."""
    ones = np.ones((*points.shape[:-1], 1))
    moved = np.einsum("nij,n...j->n...i", H, np.concatenate([points, ones], axis=-1))
    return moved[..., :2] / moved[..., 2:]
