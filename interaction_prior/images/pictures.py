"""Where pictures lie while a network trains: on the device, or in their shards, read ahead.

Comes in: `ImagePairs`. Goes out: pictures (n, S, S, 3) and masks (n, 2, S/4, S/4), uint8, on the
device, for positions in the set. S below 256 is made by averaging areas as they are read, so a
resident set of smaller pictures takes that much less memory. Both ways give the same bytes.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from interaction_prior.images.read import ImagePairs
from twohand500k.errors import DataError
from twohand500k.shards.schema import IMAGE_SIZE, MASK_SIZE

MAP_STRIDE = IMAGE_SIZE // MASK_SIZE
_CHUNK = 512
# Batches that are read while one is trained on.
_AHEAD = 4


@dataclass(frozen=True, eq=False)
class Raw:
    """Pictures (n, S, S, 3) and masks (n, 2, m, m) as uint8."""

    image: Tensor
    mask: Tensor


class Pictures(Protocol):
    """Where pictures lie."""

    size: int

    def gather(self, index: Tensor) -> Raw:
        """On the device, for positions (n,) on the CPU."""
        ...

    def ahead(self, index: Tensor) -> None:
        """Said before `gather`: these will be asked for next, in the order in which it is said."""
        ...


def check_size(size: int) -> None:
    """Raises DataError for a picture that areas of 256 pixels do not divide into."""
    if size < MAP_STRIDE or IMAGE_SIZE % size:
        raise DataError(
            f"pictures of {size} pixels cannot be made of {IMAGE_SIZE} by averaging areas: choose "
            "256, 128 or 64"
        )


def picture_bytes(n: int, size: int) -> int:
    """What n pictures and their masks take."""
    return n * (3 * size**2 + 2 * (size // MAP_STRIDE) ** 2)


class ResidentPictures:
    """All of them on the device; `told` hears how many are read, now and then."""

    def __init__(
        self,
        images: ImagePairs,
        size: int,
        device: torch.device,
        told: Callable[[int], None] = lambda done: None,
    ) -> None:
        check_size(size)
        self.size = size
        n, m = len(images), size // MAP_STRIDE
        self._image = torch.empty(n, size, size, 3, dtype=torch.uint8, device=device)
        self._mask = torch.empty(n, 2, m, m, dtype=torch.uint8, device=device)
        for start in range(0, n, _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, n))
            image, mask = read_pictures(images, rows, size)
            self._image[start : start + len(rows)] = torch.from_numpy(image).to(device)
            self._mask[start : start + len(rows)] = torch.from_numpy(mask).to(device)
            told(start + len(rows))

    def gather(self, index: Tensor) -> Raw:
        index = index.to(self._image.device, non_blocking=True)
        return Raw(self._image[index], self._mask[index])

    def ahead(self, index: Tensor) -> None:
        pass


class StreamedPictures:
    """Read from the shards by a thread, a few batches ahead."""

    def __init__(self, images: ImagePairs, size: int, device: torch.device) -> None:
        check_size(size)
        self.size, self._images, self._device = size, images, device
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="pictures-ahead")
        self._pending: deque[tuple[Tensor, Future[Raw]]] = deque(maxlen=_AHEAD)

    def gather(self, index: Tensor) -> Raw:
        raw = None
        while raw is None and self._pending:
            asked, future = self._pending.popleft()
            raw = future.result() if torch.equal(asked, index) else None
        raw = raw or self._read(index)
        return Raw(*(t.to(self._device, non_blocking=True) for t in (raw.image, raw.mask)))

    def ahead(self, index: Tensor) -> None:
        self._pending.append((index, self._reader.submit(self._read, index)))

    def _read(self, index: Tensor) -> Raw:
        arrays = read_pictures(self._images, index.numpy(), self.size)
        tensors = (torch.from_numpy(array) for array in arrays)
        if self._device.type == "cuda":
            tensors = (tensor.pin_memory() for tensor in tensors)
        return Raw(*tensors)


def read_pictures(images: ImagePairs, rows: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (n, S, S, 3) and masks (n, 2, S/4, S/4), uint8, at positions `rows`, from disk."""
    m = size // MAP_STRIDE
    image = np.empty((len(rows), size, size, 3), dtype=np.uint8)
    mask = np.empty((len(rows), 2, m, m), dtype=np.uint8)
    for number, dataset in enumerate(images.datasets):
        here = np.flatnonzero(images.pairs.dataset[rows] == number)
        if len(here):
            at = images.row[rows[here]]
            image[here] = area_average(dataset.array("image", at), (1, 2), size)
            mask[here] = area_average(dataset.array("mask", at), (2, 3), m)
    return image, mask


def area_average(pixels: np.ndarray, axes: tuple[int, int], size: int) -> np.ndarray:
    """uint8 pixels averaged over squares along two neighbouring axes, down to `size`; rounded."""
    k = pixels.shape[axes[0]] // size
    if k == 1:
        return pixels
    # Sums of strided views: numpy's own sum over short axes takes ten times as long.
    total: np.ndarray | None = None
    for i in range(k):
        for j in range(k):
            every = [slice(None)] * pixels.ndim
            every[axes[0]], every[axes[1]] = slice(i, None, k), slice(j, None, k)
            part = pixels[tuple(every)]
            if total is None:
                # 16 bits hold 256 pixels of 255.
                total = part.astype(np.uint16)
            else:
                total += part
    assert total is not None
    return ((total + k * k // 2) // (k * k)).astype(np.uint8)
