"""Statistics of batch norms, measured anew for weights that no batch has gone through, such as averaged ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from surgeon.kept_modes import modes_kept
from surgeon.torch_private import BatchNorm


@torch.no_grad()
def update_norms(network: nn.Module, batches: Iterable[Tensor], inputs: Callable[[Tensor], Tensor]) -> None:
    """Replace the statistics of a network's batch norms by the mean of those of batches (Izmailov et al. 2018).

    Here: unlike torch's `update_bn`, only batch norms are in training mode, so that the activations are those of the
    evaluation, without noise and dropout, and nothing is drawn. Norms that no batch reaches keep their statistics.

    Args:
        network: The network, changed in place; its modes are kept.
        batches: Images (n, C, H, W) in [0, 1].
        inputs: Normalises pixels on their way to the network.
    """
    norms = [m for m in network.modules() if isinstance(m, BatchNorm) and m.running_mean is not None]
    momenta = [norm.momentum for norm in norms]
    kept = [[b.clone() for b in norm.buffers(recurse=False)] for norm in norms]
    try:
        with modes_kept(network):
            network.eval()
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # the mean of all batches
                norm.training = True
            for images in batches:
                network(inputs(images))
    finally:
        for norm, momentum, buffers in zip(norms, momenta, kept, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None and not int(norm.num_batches_tracked):
                for own, old in zip(norm.buffers(recurse=False), buffers, strict=True):
                    own.copy_(old)
