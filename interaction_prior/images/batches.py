"""`ImageBatches`: the pictures a training step sees, as a function of the step's number alone.

As `data.Batches` for vectors: an order that is new each epoch, changes drawn from (seed, step), and
every process of a distributed run takes its own rows of the joint batch, so that N processes see
what one would have.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from interaction_prior.data.order import BLOCK, Order, generator_for
from interaction_prior.hands.rotations import matrix_from_axis_angle
from interaction_prior.images.augment import NONE, Augmentation, augmented, drawn
from interaction_prior.images.batch import ImageBatch
from interaction_prior.images.pictures import (
    MAP_STRIDE,
    Pictures,
    ResidentPictures,
    StreamedPictures,
)
from interaction_prior.images.read import ImagePairs
from twohand500k.shards.schema import IMAGE_SIZE

_AHEAD = 4


class LabelledImages:
    """A set of pictures with their labels on the device: ``images.batch(positions)``."""

    def __init__(self, images: ImagePairs, pictures: Pictures, device: torch.device) -> None:
        def on_device(array: object) -> Tensor:
            return torch.as_tensor(array).to(device)

        self.pictures, self.device = pictures, device
        self._uv = on_device(images.uv) * (pictures.size / (MAP_STRIDE * IMAGE_SIZE))
        self._visible = on_device(images.visible)
        self._hidden = on_device(images.hidden)
        self._pose = on_device(images.pairs.pose).float()
        self._betas = on_device(images.pairs.betas).float()
        self._tau = on_device(images.pairs.place).float()

    @staticmethod
    def opened(
        images: ImagePairs, size: int, device: torch.device, *, resident: bool
    ) -> "LabelledImages":
        """Pictures of `size` pixels, all read onto the device, or from the disk as asked for."""
        kind = ResidentPictures if resident else StreamedPictures
        return LabelledImages(images, kind(images, size, device), device)

    def __len__(self) -> int:
        return len(self._pose)

    @property
    def size(self) -> int:
        """S, the side of a picture in pixels."""
        return self.pictures.size

    def batch(self, index: Tensor) -> ImageBatch:
        """The pictures at positions (n,) as they are."""
        raw = self.pictures.gather(index)
        at = index.to(self.device, non_blocking=True)
        return ImageBatch(
            # Memory stays as it was, the channel last.
            image=raw.image.permute(0, 3, 1, 2).float() / 255.0,
            mask=raw.mask.float() / 255.0,
            uv=self._uv[at],
            visible=self._visible[at],
            rotations=matrix_from_axis_angle(self._pose[at]),
            betas=self._betas[at],
            tau=self._tau[at],
            hidden=self._hidden[at],
        )

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
        batch = self.images.batch(self._index(step))
        if self.augmentation == NONE:
            return batch
        generator = generator_for(self.seed, BLOCK, step, torch.device("cpu"))
        return augmented(batch, drawn(self.augmentation, self.size, generator)[self._own])

    def _index(self, step: int) -> Tensor:
        return self._order.positions(step * self.size, (step + 1) * self.size)[self._own]
