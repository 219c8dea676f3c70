"""The model as attacks see it: counted, in pieces that fit into memory, with gradients laid out as they expect."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from surgeon.evaluation.attacks.gradients import checked


class Attacked(nn.Module):
    """`model` behind a counter; x (N, C, H, W) goes through in pieces of `batch_size`, as one if None.

    With pieces, the activations of one piece at a time are kept for the gradient and the others computed again, so
    that memory is bounded and neither draws nor blocks change. Gradients come back contiguous, also from a model in
    channels_last, with which some attacks cannot work.

    Raises DataError for a gradient that is not finite, which attacks would carry into the images.
    """

    def __init__(self, model: nn.Module, batch_size: int | None = None) -> None:
        super().__init__()
        self.model, self.batch_size = model, batch_size
        self.queries = 0

    def forward(self, x: Tensor) -> Tensor:
        self.queries += len(x)
        if x.requires_grad:
            x = x.view_as(x)
            x.register_hook(lambda gradient: checked(gradient).contiguous())
        if self.batch_size is None or len(x) <= self.batch_size:
            return self.model(x)
        if not (torch.is_grad_enabled() and x.requires_grad):
            return torch.cat([self.model(part) for part in x.split(self.batch_size)])
        parts = [checkpoint(self.model, part, use_reentrant=False) for part in x.split(self.batch_size)]
        return torch.cat(parts)
