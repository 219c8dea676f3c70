"""Projected gradient descent of our own: per-sample losses, restarts, and the best iterate kept."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from surgeon.ball import STEP, direction, project, random_offset
from surgeon.errors import SurgeonError


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """(N,) cross-entropy of each sample."""
    return nn.functional.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """(N,) largest other logit minus the true one: above 0 where the sample is misclassified."""
    others = logits.scatter(1, labels.unsqueeze(1), -torch.inf)
    return others.max(1).values - logits.gather(1, labels.unsqueeze(1)).squeeze(1)


LOSSES = {"ce": cross_entropy, "margin": margin}


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    steps: int,
    norm: Literal["linf", "l2"] = "linf",
    step_size: float | None = None,
    restarts: int = 1,
    loss: Literal["ce", "margin"] = "ce",
    random_start: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Adversarial images for `images` (N, C, H, W) in [0, 1] within eps, after Madry et al. 2018.

    The gradient is that of the sum of per-sample losses, so that a sample's result does not depend on its
    batch; each step is normalised per sample (sign for linf, unit length for l2). Of all iterates and
    restarts the one with the largest margin is kept: once a sample is misclassified it stays so.

    Raises SurgeonError for an unknown norm or loss, or steps or restarts below 1.
    """
    if norm not in ("linf", "l2") or loss not in LOSSES:
        raise SurgeonError(
            f"norm {norm!r} with loss {loss!r} is not known; linf or l2, and {' or '.join(LOSSES)}"
        )
    if steps < 1 or restarts < 1:
        raise SurgeonError(f"steps={steps} and restarts={restarts} must be at least 1")
    size = STEP * eps / steps if step_size is None else step_size
    best, best_margin = images.clone(), torch.full((len(images),), -torch.inf, device=images.device)
    for _ in range(restarts):
        x = images.clone()
        if random_start:
            x = (x + random_offset(images.shape, eps, norm, generator).to(images)).clamp(0, 1)
        for step in range(steps + 1):
            x.requires_grad_(True)
            with torch.enable_grad():
                logits = model(x)
                value = LOSSES[loss](logits, labels).sum()
            (gradient,) = torch.autograd.grad(value, x)
            with torch.no_grad():
                margins = margin(logits, labels)
                better = margins > best_margin
                best[better], best_margin[better] = x[better].detach(), margins[better]
                if step < steps:
                    x = project(x + size * direction(gradient, norm), images, eps, norm)
    return best.detach()
