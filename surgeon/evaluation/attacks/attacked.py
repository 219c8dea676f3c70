"""The model as attacks see it: with a counter, in pieces that fit into memory, with contiguous gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from surgeon.evaluation.attacks.gradients import checked


class Attacked(nn.Module):
    """Wrap `model` with a counter of images and a limit on the size of a forward pass.

    In pieces, only the activations of one piece are kept for the gradient and the others are computed again,
    so that memory is bounded while draws and blocks stay the same. Gradients are contiguous, also for a model
    in channels_last, whose gradients some attacks cannot handle. Logits are of the images' type of number: attacks
    collect them beside numbers of their own, which a model that computes in 16 or 64 bits would not fit.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        batch_size: Images in one forward pass; None for all.

    Raises:
        DataError: In the backward pass: a gradient is not finite. Attacks would carry it into the images.
    """

    def __init__(self, model: nn.Module, batch_size: int | None = None) -> None:
        super().__init__()
        self.model, self.batch_size = model, batch_size
        self.queries = 0
        self.kind = torch.float32

    def forward(self, x: Tensor) -> Tensor:
        self.queries += len(x)
        if x.requires_grad:
            x = x.view_as(x)
            x.register_hook(lambda gradient: checked(gradient, self.kind).contiguous())
        if self.batch_size is None or len(x) <= self.batch_size:
            return self._logits(x)
        if not (torch.is_grad_enabled() and x.requires_grad):
            return torch.cat([self._logits(part) for part in x.split(self.batch_size)])
        parts = [checkpoint(self._logits, part, use_reentrant=False) for part in x.split(self.batch_size)]
        return torch.cat(parts)

    def _logits(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        self.kind = logits.dtype
        return logits.to(x.dtype)
