"""`Batches`: what each training step sees, as a function of the step's number alone.

Rows of vectors are drawn from the whole set in an order that is new each epoch, mirrored with
sides swapped half the time, turned by one rotation for both hands, and normalised; the noise of the
posterior comes along. All of it is drawn for many steps at once, a *block* of about 2,048 rows,
from a generator seeded by (seed, block number): small steps cost no small calls, and a run that is
resumed at any step sees what it would have seen.

Every process of a distributed run draws the joint batch and takes its own rows of it, so that N
processes see exactly what one would have.

The set lies on the device (`ResidentRows`) when it fits, otherwise in a file on disk from which a
thread reads ahead (`StreamedRows`): the same batches either way.
"""

import math
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from interaction_prior.data.order import BLOCK, Order, generator_for
from interaction_prior.hands.rotations import random_rotations
from interaction_prior.representations import Normalisation, Representation

# One random rotation for both hands: drawn evenly from all of them, or none.
Rotation = Literal["uniform", "none"]
ROTATIONS: tuple[Rotation, ...] = get_args(Rotation)

_BLOCK_ROWS = 2048


class Rows(Protocol):
    """Where raw vectors (N, D) lie."""

    def __len__(self) -> int: ...

    def gather(self, index: Tensor) -> Tensor:
        """Rows (n, D) on the device, for positions (n,) on the CPU."""
        ...

    def ahead(self, index: Tensor) -> None:
        """Said before `gather`: these will be asked for next."""
        ...


class ResidentRows:
    """All vectors on the device."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def gather(self, index: Tensor) -> Tensor:
        return self.x[index.to(self.x.device, non_blocking=True)]

    def ahead(self, index: Tensor) -> None:
        pass


class StreamedRows:
    """Vectors in a file on this machine's disk, read one block ahead by a thread.

    Made from parts that arrive one after another, so the set never has to lie in memory. The file
    is in `folder` (the system's temporary one by default) and gone with the object.
    """

    def __init__(
        self, parts: Iterator[Tensor], n: int, dim: int, device: torch.device, folder: Path | None
    ) -> None:
        handle, name = tempfile.mkstemp(prefix="interaction-prior-", suffix=".rows", dir=folder)
        os.close(handle)
        self.device = device
        self._rows = np.memmap(name, dtype=np.float32, mode="w+", shape=(n, dim))
        # Unlinked at once: the disk space is given back however the process ends.
        os.unlink(name)
        at = 0
        for part in parts:
            self._rows[at : at + len(part)] = part.cpu().numpy()
            at += len(part)
        if at != n:
            raise ValueError(f"{at} rows came for a set of {n}")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="rows-ahead")
        self._pending: tuple[Tensor, Future[Tensor]] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def gather(self, index: Tensor) -> Tensor:
        pending, self._pending = self._pending, None
        if pending is not None and torch.equal(pending[0], index):
            rows = pending[1].result()
        else:
            rows = self._read(index)
        return rows.to(self.device, non_blocking=True)

    def ahead(self, index: Tensor) -> None:
        self._pending = index, self._reader.submit(self._read, index)

    def _read(self, index: Tensor) -> Tensor:
        # Sorted: the disk is read forwards.
        order = torch.argsort(index)
        out = torch.empty(len(index), self._rows.shape[1])
        out[order] = torch.from_numpy(self._rows[index[order].numpy()])
        return out.pin_memory() if self.device.type == "cuda" else out


@dataclass(frozen=True)
class Draw:
    """How batches are drawn. batch: rows of a step over all processes; latents: d_z of the noise.

    swap: mirror half of the pairs, sides swapped. rotation: of the whole pair.
    """

    batch: int
    latents: int
    seed: int
    rotation: Rotation = "uniform"
    swap: bool = True


class Batches:
    """``for x, noise in batches.from_step(k)``: normalised rows (b, D) and noise (b, d_z).

    weights (N,): how often each row is drawn relative to the others; without, every row comes once
    an epoch. rank, processes: which rows of the joint batch are this process's.
    """

    def __init__(
        self,
        rows: Rows,
        representation: Representation,
        normalisation: Normalisation,
        draw: Draw,
        *,
        device: torch.device,
        weights: Tensor | None = None,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        if draw.batch % processes:
            raise ValueError(f"a batch of {draw.batch} does not divide among {processes} processes")
        self.rows, self.representation, self.draw = rows, representation, draw
        self.normalisation = normalisation.to(device)
        self.device = device
        share = draw.batch // processes
        self._own = slice(rank * share, (rank + 1) * share)
        self.block_steps = max(1, _BLOCK_ROWS // draw.batch)
        self._order = Order(len(rows), draw.seed, weights)

    @property
    def steps_per_epoch(self) -> float:
        """Steps in which as many rows come by as the set has."""
        return len(self.rows) / self.draw.batch

    def from_step(self, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of steps `step`, step + 1, … without end."""
        block = step // self.block_steps
        skip = step % self.block_steps
        index = self._index(block)
        while True:
            x, noise = self._block(block, index)
            block += 1
            index = self._index(block)
            self.rows.ahead(index)
            for k in range(skip, self.block_steps):
                yield x[k], noise[k]
            skip = 0

    def _block(self, number: int, index: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (steps, b, D) and noise (steps, b, d_z) of a block of steps."""
        generator = generator_for(self.draw.seed, BLOCK, number, self.device)
        shape = (self.block_steps, self.draw.batch)
        n = math.prod(shape)
        noise = torch.randn(*shape, self.draw.latents, generator=generator, device=self.device)[
            :, self._own
        ]
        swapped = torch.rand(n, 1, generator=generator, device=self.device) < 0.5
        Q = random_rotations(n, generator) if self.draw.rotation == "uniform" else None

        def own(joint: Tensor) -> Tensor:
            return joint.unflatten(0, shape)[:, self._own].flatten(0, 1)

        x = self.rows.gather(own(index))
        if self.draw.swap:
            x = torch.where(own(swapped), self.representation.mirrored(x), x)
        if Q is not None:
            x = self.representation.turned(x, own(Q))
        return self.normalisation.applied(x).unflatten(0, (self.block_steps, -1)), noise

    def _index(self, block: int) -> Tensor:
        """Positions (steps * batch,) of a block's rows in the set."""
        width = self.block_steps * self.draw.batch
        return self._order.positions(block * width, (block + 1) * width)


def augmented(x: Tensor, representation: Representation, draw: Draw, number: int) -> Tensor:
    """Raw vectors (n, D) mirrored and turned once as in training: the same for the same number."""
    generator = generator_for(draw.seed, BLOCK, -1 - number, x.device)
    swapped = torch.rand(len(x), 1, generator=generator, device=x.device) < 0.5
    if draw.swap:
        x = torch.where(swapped, representation.mirrored(x), x)
    if draw.rotation == "uniform":
        x = representation.turned(x, random_rotations(len(x), generator))
    return x
