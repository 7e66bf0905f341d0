"""`Processes`: this process's place among those that `torchrun` started; alone without it.

All of them draw the joint batch and take their own rows of it (`data.Batches`), and average their
gradients, so N processes compute what one would have. The first one alone writes.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor


@dataclass(frozen=True)
class Processes:
    """rank 0 .. size - 1; the device of this one."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Each tensor becomes its mean over the processes, in one exchange."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        torch.distributed.all_reduce(flat)
        flat /= self.size
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process. All must ask together."""
        if self.size == 1:
            return flag
        raised = torch.tensor(float(flag), device=self.device)
        torch.distributed.all_reduce(raised)
        return bool(raised.item() > 0)

    def from_first(self, value: Any) -> Any:
        """The first process's value, in every one."""
        if self.size == 1:
            return value
        box = [value]
        torch.distributed.broadcast_object_list(box, device=self.device)
        return box[0]


def rank() -> int:
    """This process's rank as `torchrun` says it, 0 alone."""
    return int(os.environ.get("RANK", "0"))


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Join the processes of `torchrun`: over gloo on CPUs, NCCL on GPUs, one each."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield Processes(0, 1, device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(rank(), int(os.environ["WORLD_SIZE"]), device)
    finally:
        torch.distributed.destroy_process_group()
