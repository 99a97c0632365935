"""Several workers that train as one: averaged gradients, BatchNorm over the whole batch, common decisions.

Data-parallel training as DistributedDataParallel does it (Li et al. 2020): equal weights in every worker, each a slice
of the batch, gradients averaged before each update. The averaging is called where a step needs it instead of wrapping
the networks: a GAN's step runs two of them, holds one still at a time and differentiates a gradient (WGAN-GP), which
the wrapper does not support. It works with gloo on CPUs and with nccl on GPUs, where each worker has its own device.
All workers hold slices of one size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fpray.models.gan import MinibatchDiscrimination


class _Sum(torch.autograd.Function):
    """The sum over the workers; each worker's gradient is the sum of all workers'."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return cast(Tensor, _Sum.apply(gradients[0]))


def mean_over_workers(value: Tensor) -> Tensor:
    """The mean of a tensor over the workers, differentiable; the tensor itself where there is one worker."""
    world = world_size()
    return value if world == 1 else cast(Tensor, _Sum.apply(value)) / world


def rows_of_workers(rows: Tensor) -> Tensor:
    """The rows (N, ...) of all workers, (world x N, ...) in the order of their ranks, differentiable."""
    world = world_size()
    if world == 1:
        return rows
    before, count = dist.get_rank(), len(rows)
    blocks = [torch.zeros_like(rows)] * before + [rows] + [torch.zeros_like(rows)] * (world - before - 1)
    gathered = cast(Tensor, _Sum.apply(torch.cat(blocks)))
    return gathered.view(world * count, *rows.shape[1:])


def world_size() -> int:
    """Number of workers that train together; 1 outside a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This worker's number among them; 0 outside a process group."""
    return dist.get_rank() if world_size() > 1 else 0


def own_rows(drawn: Tensor) -> Tensor:
    """This worker's rows (N, ...) of what every worker drew alike for the whole batch, (world x N, ...)."""
    count = len(drawn) // world_size()
    return drawn[rank() * count : (rank() + 1) * count]


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm whose mean and variance are the whole batch's, over all workers; on any backend, gloo included."""

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        if not self.training:
            return super().forward(maps)
        values = maps.float()
        mean = mean_over_workers(values.mean(dim=(0, 2, 3)))
        centred = values - mean[:, None, None]
        variance = mean_over_workers(centred.square().mean(dim=(0, 2, 3)))
        self._track(mean, variance, world_size() * maps.numel() // maps.shape[1])
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(maps.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """The running statistics, the variance without bias as in torch's own."""
        assert self.momentum is not None and self.running_mean is not None and self.running_var is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)


class _SharedMinibatchDiscrimination(MinibatchDiscrimination):
    """Minibatch discrimination against the pictures of all workers."""

    def everyone(self, rows: Tensor) -> Tensor:
        return rows_of_workers(rows)


def synchronise(network: nn.Module) -> nn.Module:
    """Make a network's batch statistics those of all workers, in place; its state dict keeps its names.

    With one worker nothing changes. The network must have no layer of its own kind beside BatchNorm2d and
    `MinibatchDiscrimination` that mixes pictures.
    """
    if world_size() > 1:
        for module in network.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = SyncedBatchNorm2d  # the same fields; the class only adds a forward pass
            elif type(module) is MinibatchDiscrimination:
                module.__class__ = _SharedMinibatchDiscrimination
    return network


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the workers, in one message; nothing with one worker."""
    if world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    means = (flat / world_size()).split([gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view(gradient.shape))


def average(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Numbers of one name each, averaged over the workers, as floats."""
    if not values:
        return {}
    flat = mean_over_workers(torch.stack([value.detach().float().reshape(()) for value in values.values()]))
    return dict(zip(values, flat.tolist(), strict=True))


def any_worker(stop: bool, device: torch.device) -> bool:
    """Whether any worker wants to stop: all get the same answer."""
    if world_size() == 1:
        return stop
    flag = torch.tensor(float(stop), device=device)
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag)
