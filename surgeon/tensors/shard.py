"""Which samples of a batch that several processes share are this process's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Shard:
    """This process's part of a batch that several processes share.

    Layers that have one draw random numbers for the whole batch, from a stream that all processes share, and
    use their own part; statistics of the batch are taken over all of it. So several processes compute what
    one would.

    Attributes:
        offset: Index of this process's first sample.
        total: Number of samples of all processes.
        group: A group of torch.distributed, or None for all processes.
    """

    offset: int
    total: int
    group: Any = None

    def take(self, drawn: Tensor, n: int) -> Tensor:
        """Return this process's part of a tensor.

        Args:
            drawn: (total, ...).
            n: Number of this process's samples.

        Returns:
            (n, ...).
        """
        return drawn[self.offset : self.offset + n]

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes, a collective call.

        Args:
            tensor: The tensor, of the same shape on each process.

        Returns:
            A new tensor.
        """
        out = tensor.clone()
        torch.distributed.all_reduce(out, group=self.group)
        return out

    def std(self, h: Tensor) -> Tensor:
        """Return the population standard deviation over all processes, in float64; a collective call.

        Args:
            h: (n, ...), this process's part.

        Returns:
            A scalar in the dtype of `h`.
        """
        wide = h.double()
        count, total = self.sum(torch.stack([wide.new_tensor(h.numel()), wide.sum()])).unbind()
        # In two rounds: from sums of squares alone, digits are lost where the mean is large.
        squares = self.sum((wide - total / count).square().sum())
        return (squares / count).sqrt().to(h.dtype)


def gather_shard(n: int, device: torch.device, group: Any = None) -> Shard:
    """Find this process's shard by asking the other processes, a collective call.

    Args:
        n: Number of this process's samples.
        device: Device for the exchange.
        group: A group of torch.distributed, or None for all processes.

    Returns:
        The shard.
    """
    size, rank = torch.distributed.get_world_size(group), torch.distributed.get_rank(group)
    counts = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(size)]
    torch.distributed.all_gather(counts, torch.tensor([n], device=device), group=group)
    sizes = [int(c) for c in counts]
    return Shard(sum(sizes[:rank]), sum(sizes), group)


def gather_labels(labels: Tensor, shard: Shard) -> Tensor:
    """Return the labels of all processes' samples, a collective call.

    Args:
        labels: (n,), this process's labels.
        shard: Its part of the batch.

    Returns:
        (total,).
    """
    # A sum of zeros and own labels, since all_gather takes parts of one length alone.
    whole = labels.new_zeros(shard.total)
    whole[shard.offset : shard.offset + len(labels)] = labels
    return shard.sum(whole)
