"""The training set as vectors: on the device where it fits, else in a file read ahead.

Comes in: `Pairs`. Goes out: `Rows` for `Batches`, made a few thousand pairs at a time, so the
vectors of a streamed set never lie in memory together; and a sample of them as training will meet
them. Both ways give the same numbers to the last bit.
"""

import contextlib
import dataclasses
import itertools
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from interaction_prior.data import Batches, Pairs, ResidentRows, StreamedRows
from interaction_prior.data.batches import Rows
from interaction_prior.hands import HandLayer
from interaction_prior.representations import Normalisation, Representation
from interaction_prior.training.options import Resident, TrainOptions
from twohand500k.errors import DataError

_CHUNK = 4096
# Rows that figures of the whole set are taken over at a time.
_WIDE_BATCH = 2048
# A resident set leaves room for all else.
_SHARE_OF_MEMORY = 0.6
# Numbers that fits are made on, at most: 128 MiB.
_FIT_NUMBERS = 1 << 25
_FIT_ROWS = 8192


def vectors(
    pairs: Pairs, representation: Representation, layer: HandLayer, device: torch.device
) -> Iterator[Tensor]:
    """Raw vectors (n, D) of pairs on the device, chunk by chunk. layer: on that device."""
    for start in range(0, len(pairs), _CHUNK):
        part = slice(start, start + _CHUNK)
        arrays = (pairs.pose[part], pairs.betas[part], pairs.place[part])
        pose, betas, place = (torch.as_tensor(a, dtype=torch.float32).to(device) for a in arrays)
        yield representation.vectors(layer, pose, betas, place)


def set_bytes(pairs: int, representation: Representation) -> int:
    """Bytes of the whole set as vectors."""
    return 4 * pairs * representation.dim


def is_resident(choice: Resident, n_bytes: int, device: torch.device) -> bool:
    """Whether a set of that size is to lie on the device."""
    if choice != "auto":
        return choice == "yes"
    free = free_memory(device)
    return free is None or n_bytes <= _SHARE_OF_MEMORY * free


def free_memory(device: torch.device) -> int | None:
    """Free bytes of the device, or of this machine for the CPU; None where nothing tells."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        found.append(1024 * int(line.split()[1]))
    # A container may be allowed less than the machine has; "max" is no number.
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        allowed = int((group / "memory.max").read_text())
        found.append(allowed - int((group / "memory.current").read_text()))
    return min(found, default=None)


def make_rows(
    pairs: Pairs,
    representation: Representation,
    layer: HandLayer,
    device: torch.device,
    *,
    resident: bool,
) -> Rows:
    """The set's vectors on the device, or in a file in the temporary folder ($TMPDIR).

    Raises DataError where that folder has no room.
    """
    parts = vectors(pairs, representation, layer, device)
    if resident:
        x = torch.empty(len(pairs), representation.dim, device=device)
        at = 0
        for part in parts:
            x[at : at + len(part)] = part
            at += len(part)
        return ResidentRows(x)
    needed = set_bytes(len(pairs), representation)
    folder = Path(os.environ.get("TMPDIR") or tempfile.gettempdir())
    # A mapped file on a full disk kills the process: asked before.
    if (free := shutil.disk_usage(folder).free) < needed:
        raise DataError(
            f"the set as {representation} takes {needed:,} bytes, {folder} has {free:,} free: set "
            "TMPDIR to a folder with room, or keep the set in memory (--resident yes)"
        )
    return StreamedRows(parts, len(pairs), representation.dim, device, folder)


def row_weights(pairs: Pairs, dataset_weights: tuple[float, ...]) -> Tensor | None:
    """How often each pair is drawn (N,), so that each dataset gets its share; None: all alike."""
    if not dataset_weights:
        return None
    counts = np.bincount(pairs.dataset, minlength=len(dataset_weights))
    each = np.asarray(dataset_weights) / np.maximum(counts, 1)
    return torch.from_numpy(each[pairs.dataset])


def wide_batches(
    rows: Rows,
    options: TrainOptions,
    normalisation: Normalisation,
    device: torch.device,
    weights: Tensor | None,
    least: int,
    purpose: int,
) -> Iterator[Tensor]:
    """Vectors (2048, D) drawn as training draws them, at least `least` of them.

    purpose: another draw for each use, none of them training's own.
    """
    seed = options.seed + (purpose << 32)
    draw = dataclasses.replace(options.draw, batch=_WIDE_BATCH, seed=seed)
    batches = Batches(
        rows, options.representation, normalisation, draw, device=device, weights=weights
    )
    for x, _ in itertools.islice(batches.from_step(0), math.ceil(least / _WIDE_BATCH)):
        yield x


def typical_vectors(
    rows: Rows, options: TrainOptions, device: torch.device, weights: Tensor | None
) -> Tensor:
    """Raw vectors (n, D) drawn, mirrored and turned as in training: what fits are made on.

    As many as the set has, at least 8,192, at most what 2^25 numbers hold.
    """
    dim = options.representation.dim
    identity = Normalisation(torch.zeros(dim), torch.ones(dim))
    n = min(max(len(rows), _FIT_ROWS), _FIT_NUMBERS // dim)
    return torch.cat(list(wide_batches(rows, options, identity, device, weights, n, purpose=1)))
