"""Batch normalisation over all processes of a run, so that N of them compute what one would.

torch's own `SyncBatchNorm` does this on GPUs and refuses CPUs; there the sums are exchanged here.
"""

from typing import cast

import torch
import torch.distributed
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from interaction_prior.training.distributed import Processes


def joint_batch_norm(network: nn.Module, processes: Processes) -> nn.Module:
    """The network, its batch normalisation over the joint batch; as it was for one process."""
    if processes.size == 1:
        return network
    if processes.device.type == "cuda":
        return cast(nn.Module, nn.SyncBatchNorm.convert_sync_batchnorm(network))
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            # Same parameters, same buffers, same names: another forward pass.
            module.__class__ = _JointBatchNorm
    return network


class _JointBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with mean and variance of the joint batch; processes' shares are equal."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        processes = torch.distributed.get_world_size()
        n = x.numel() // x.shape[1] * processes
        sums = torch.stack([x.sum((0, 2, 3)), x.square().sum((0, 2, 3))])
        mean, square = all_reduce(sums) / n
        variance = (square - mean.square()).clamp_min(0.0)
        with torch.no_grad():
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
            share = self.momentum if self.momentum is not None else 0.1
            if self.running_mean is not None and self.running_var is not None:
                self.running_mean.lerp_(mean, share)
                self.running_var.lerp_(variance * n / (n - 1), share)
        scale = (variance + self.eps).rsqrt() * self.weight
        offset = self.bias - mean * scale
        return x * scale[:, None, None] + offset[:, None, None]
