"""Which samples of a batch that several processes share are this process's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Shard:
    """This process holds the samples from `offset` on of a batch of `total`; `group` is torch.distributed's.

    Layers that have one draw their random numbers for the whole batch, from a stream that all processes share,
    and take their own part; what they measure of the batch they measure of all of it. So several processes do
    what one would.
    """

    offset: int
    total: int
    group: Any = None

    def take(self, drawn: Tensor, n: int) -> Tensor:
        """The part of `drawn` (total, ...) that belongs to this process's n samples."""
        return drawn[self.offset : self.offset + n]

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of `tensor` over all processes; a new tensor."""
        out = tensor.clone()
        torch.distributed.all_reduce(out, group=self.group)
        return out

    def std(self, h: Tensor) -> Tensor:
        """The population standard deviation of all processes' h, from sums in float64."""
        wide = h.double()
        count, total = self.sum(torch.stack([wide.new_tensor(h.numel()), wide.sum()])).unbind()
        squares = self.sum((wide - total / count).square().sum())
        return (squares / count).sqrt().to(h.dtype)


def gather_shard(n: int, device: torch.device, group: Any = None) -> Shard:
    """The shard of a process with n samples, found out by asking the others (a collective call)."""
    size, rank = torch.distributed.get_world_size(group), torch.distributed.get_rank(group)
    counts = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(size)]
    torch.distributed.all_gather(counts, torch.tensor([n], device=device), group=group)
    sizes = [int(c) for c in counts]
    return Shard(sum(sizes[:rank]), sum(sizes), group)


def gather_labels(labels: Tensor, shard: Shard) -> Tensor:
    """The labels (total,) of all processes' samples (a collective call)."""
    whole = labels.new_zeros(shard.total)
    whole[shard.offset : shard.offset + len(labels)] = labels
    return shard.sum(whole)
