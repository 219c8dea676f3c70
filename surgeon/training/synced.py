"""Batch norms that compute their statistics over the samples of all processes during a training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.torch_private import BatchNorm

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@contextlib.contextmanager
def synced_batch_norms(model: nn.Module, on: bool) -> Iterator[None]:
    """Make each batch norm of `model` use the samples of all processes.

    On a GPU this is torch's SyncBatchNorm. torch has no such class for the CPU, where a class of this module does it.
    The modules remain the same objects.

    Args:
        model: The network, changed in place and restored at exit.
        on: Whether to change anything.

    Yields:
        None.
    """
    changed: list[tuple[Any, type]] = []
    try:
        for module in model.modules() if on else ():
            if isinstance(module, BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
                changed.append((module, type(module)))
                # The class is changed, not the module: the optimizer and the record refer to these objects.
                if type(module) in PLAIN and next(iter(module.buffers()), torch.empty(0)).is_cuda:
                    module.__class__ = nn.SyncBatchNorm
                    # SyncBatchNorm reads it, and its constructor has not run.
                    module.__dict__["process_group"] = torch.distributed.group.WORLD
                else:
                    module.__class__ = _synced(type(module))
        yield
    finally:
        for module, cls in changed:
            module.__class__ = cls
            module.__dict__.pop("process_group", None)


def _synced(cls: type) -> type:
    return type(f"Synced{cls.__name__}", (_Synced, cls), {"activates": cls not in PLAIN})


class _Synced(BatchNorm):
    """Mixed into a batch norm's class; gradients flow through the statistics of all processes.

    activates: Whether the class includes an activation, as timm's do; one that surgery has split does not.
    """

    activates = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        axes = [a for a in range(x.dim()) if a != 1]
        # Sent along, as processes may have different numbers of samples.
        count = torch.tensor([x.numel() / x.shape[1]], dtype=torch.float64, device=x.device)
        # In double precision, since the variance is a difference of two large numbers below.
        wide = x.double()
        summed = _sum(torch.cat([wide.sum(axes), wide.square().sum(axes), count]))
        n, c = summed[-1], x.shape[1]
        mean = summed[:c] / n
        # Rounding may leave it just below 0.
        var = (summed[c : 2 * c] / n - mean.square()).clamp_min(0)
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
                weight = 1 / float(self.num_batches_tracked or 1) if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean.to(self.running_mean), weight)
                # The unbiased variance, which torch keeps too.
                self.running_var.lerp_((var * n / (n - 1).clamp_min(1)).to(self.running_var), weight)
        shape = [1, c] + [1] * (x.dim() - 2)
        out = ((wide - mean.view(shape)) * (var + self.eps).rsqrt().view(shape)).to(x.dtype)
        if self.weight is not None:
            out = out * self.weight.view(shape).to(x.dtype) + self.bias.view(shape).to(x.dtype)
        for more in ("drop", "act") if self.activates else ():
            out = getattr(self, more)(out) if hasattr(self, more) else out
        return out


def _sum(tensor: Tensor) -> Tensor:
    from torch.distributed.nn.functional import all_reduce

    return all_reduce(tensor)  # the sum over all processes, with a gradient
