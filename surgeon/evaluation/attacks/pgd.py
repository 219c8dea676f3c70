"""Projected gradient descent of our own: per-sample losses, restarts, and the best iterate kept."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from surgeon.ball import STEP, direction, project, random_offset
from surgeon.errors import ArgumentError, AttackError
from surgeon.quantities import too_large


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """(N,) cross-entropy of each sample."""
    return nn.functional.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """(N,) largest other logit minus the true one: above 0 where the sample is misclassified."""
    others = logits.scatter(1, labels.unsqueeze(1), -torch.inf)
    return others.max(1).values - logits.gather(1, labels.unsqueeze(1)).squeeze(1)


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """(N,) difference of logits ratio (Croce & Hein 2020, eq. 6): the margin over the range of the three largest logits."""
    if logits.shape[1] < 3:
        raise AttackError(
            f"the loss dlr needs 3 classes or more, the model gives {logits.shape[1]}; use margin"
        )
    top = logits.topk(3, dim=1).values
    return margin(logits, labels) / (top[:, 0] - top[:, 2]).clamp_min(1e-12)


LOSSES = {"ce": cross_entropy, "margin": margin, "dlr": dlr}


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
    loss: Literal["ce", "margin", "dlr"] = "ce",
    random_start: bool = True,
    eot: int = 1,
    early_stop: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Adversarial images for `images` (N, C, H, W) in [0, 1] within eps, after Madry et al. 2018.

    The gradient is that of the sum of per-sample losses, so that a sample's result does not depend on its
    batch; each step is normalised per sample (sign for linf, unit length for l2). Of all iterates and restarts the
    one with the largest margin is kept, the first that is misclassified at the latest: the search for a sample ends there.

    eot: forward passes that each gradient is averaged over (Athalye et al. 2018), for a model that is random; margins are
    then of the mean logits. early_stop: with False every sample has all steps, and the iterate with the largest loss is
    kept, not the largest margin: no lucky draw of a random model ends the search, and what comes out transfers better.

    Raises ArgumentError for an unknown norm or loss, an eps above 1 in linf, or steps, restarts or eot below 1.
    """
    if norm not in ("linf", "l2") or loss not in LOSSES:
        raise ArgumentError(
            f"norm {norm!r} with loss {loss!r} is not known; linf or l2, and {', '.join(LOSSES)}"
        )
    if norm == "linf" and eps > 1:
        raise ArgumentError(too_large("eps", eps))
    if steps < 1 or restarts < 1 or eot < 1:
        raise ArgumentError(f"steps={steps}, restarts={restarts} and eot={eot} must be at least 1")
    size = STEP * eps / steps if step_size is None else step_size
    best, best_score = images.clone(), torch.full((len(images),), -torch.inf, device=images.device)
    for _ in range(restarts):
        x = images.clone()
        if random_start:
            x = (x + random_offset(images.shape, eps, norm, generator).to(images)).clamp(0, 1)
        left = torch.arange(len(images), device=images.device)
        for step in range(steps + 1):
            if early_stop:
                standing = best_score[left] <= 0
                left, x = left[standing], x[standing]
            if not len(left):
                break
            last = step == steps
            gradient, value, logits = _gradient(model, x, labels[left], loss, eot, needed=not last)
            score = margin(logits, labels[left]) if early_stop else value
            better = score > best_score[left]
            best[left[better]], best_score[left[better]] = x[better], score[better]
            if not last:
                x = project(x + size * direction(gradient, norm), images[left], eps, norm)
    return best


def _gradient(
    model: nn.Module, x: Tensor, labels: Tensor, loss: str, eot: int, *, needed: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss's gradient (N, C, H, W), zeros if not needed, the loss (N,) and the logits (N, K): means over `eot` passes."""
    x = x.detach().requires_grad_(needed)
    gradient = torch.zeros_like(x)
    value, logits = torch.zeros(len(x), device=x.device), torch.zeros((), device=x.device)
    for _ in range(eot):
        with torch.set_grad_enabled(needed):
            given = model(x)
            each = LOSSES[loss](given, labels)
            if needed:
                gradient = gradient + torch.autograd.grad(each.sum(), x)[0] / eot
        value, logits = value + each.detach() / eot, logits + given.detach() / eot
    return gradient.detach(), value, logits
