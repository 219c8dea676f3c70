"""Projected gradient descent of our own: per-sample losses, restarts, and the best iterate kept."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from surgeon.errors import SurgeonError
from surgeon.evaluation.attacks import STEP


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
        x = _start(images, eps, norm, generator) if random_start else images.clone()
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
                    x = _project(x + size * _direction(gradient, norm), images, eps, norm)
    return best.detach()


def _start(images: Tensor, eps: float, norm: str, generator: torch.Generator | None) -> Tensor:
    drawn = torch.rand(images.shape, generator=generator).to(images) * 2 - 1
    if norm == "l2":
        drawn = _direction(torch.randn(images.shape, generator=generator).to(images), "l2")
        drawn = drawn * torch.rand(len(images), 1, 1, 1, generator=generator).to(images)
    return (images + eps * drawn).clamp(0, 1)


def _direction(gradient: Tensor, norm: str) -> Tensor:
    if norm == "linf":
        return gradient.sign()
    flat = gradient.flatten(1)
    largest = flat.abs().amax(1, keepdim=True)
    scaled = flat / largest.clamp_min(
        torch.finfo(flat.dtype).tiny
    )  # so that tiny gradients have a length too
    return (scaled / scaled.norm(dim=1, keepdim=True).clamp_min(1e-12)).view_as(gradient)


def _project(x: Tensor, images: Tensor, eps: float, norm: str) -> Tensor:
    delta = x - images
    if norm == "linf":
        delta = delta.clamp(-eps, eps)
    else:
        length = delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        delta = delta * (eps / length.clamp_min(1e-12)).clamp(max=1)
    return (images + delta).clamp(0, 1).detach()
