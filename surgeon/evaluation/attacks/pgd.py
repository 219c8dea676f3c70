"""Projected gradient descent with per-sample losses and restarts, which keeps the best iterate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from surgeon.ball import STEP, direction, project, random_offset
from surgeon.errors import ArgumentError, AttackError
from surgeon.quantities import too_large
from surgeon.results.kinds import NORMS, Norm


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the cross-entropy of each sample.

    Args:
        logits: (N, classes).
        labels: (N,) class indices.

    Returns:
        (N,).
    """
    return nn.functional.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the largest other logit minus the true one: above 0 where a sample is misclassified.

    Args:
        logits: (N, classes).
        labels: (N,) class indices.

    Returns:
        (N,).
    """
    others = logits.scatter(1, labels.unsqueeze(1), -torch.inf)
    return others.max(1).values - logits.gather(1, labels.unsqueeze(1)).squeeze(1)


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the difference of logits ratio (Croce & Hein 2020, eq. 6).

    It is the margin divided by the range of the three largest logits.

    Args:
        logits: (N, classes), 3 classes or more.
        labels: (N,) class indices.

    Returns:
        (N,).

    Raises:
        AttackError: There are fewer than 3 classes.
    """
    if logits.shape[1] < 3:
        raise AttackError(
            f"the loss dlr needs 3 classes or more, the model gives {logits.shape[1]}; use margin"
        )
    top = logits.topk(3, dim=1).values
    return margin(logits, labels) / (top[:, 0] - top[:, 2]).clamp_min(1e-12)


Watch = Callable[[Tensor, Tensor, Tensor, Tensor], None]
"""Given at each iterate: the places (n,) of the images that are still searched for, their losses (n,), margins (n,) and
gradients (n, C, H, W)."""
LOSSES = {"ce": cross_entropy, "margin": margin, "dlr": dlr}


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    steps: int,
    norm: Norm = "linf",
    step_size: float | None = None,
    restarts: int = 1,
    loss: Literal["ce", "margin", "dlr"] = "ce",
    random_start: bool = True,
    eot: int = 1,
    early_stop: bool = True,
    generator: torch.Generator | None = None,
    watch: Watch | None = None,
) -> Tensor:
    """Search for adversarial images within a ball by projected gradient descent, after Madry et al. 2018.

    The gradient is that of the sum of per-sample losses, so that a sample's result does not depend on its
    batch; each step is normalised per sample (sign for linf, unit length for l2). Of all iterates and
    restarts, the one with the largest margin is kept; the search for a sample ends at the first iterate that
    is misclassified.

    Args:
        model: Takes [0, 1] pixels and gives logits, which are brought to the images' type of number.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) class indices.
        eps: Radius of the ball, in [0, 1] pixels.
        steps: Steps per restart.
        norm: "linf" or "l2".
        step_size: Size of a step; by default 2.5 · eps / steps.
        restarts: Number of searches.
        loss: "ce", "margin" or "dlr".
        random_start: Whether a search starts at a random point of the ball, otherwise at the image.
        eot: Forward passes that each gradient is averaged over (Athalye et al. 2018), for a model that is
            random; margins are then those of the mean logits.
        early_stop: Whether to end at the first misclassified iterate. If not, every sample takes all steps
            and the iterate with the largest loss is kept: no lucky draw of a random model ends the search,
            and the result transfers better.
        generator: Source of the random starts; None for torch's global stream.
        watch: Called at each iterate with the places (n,) of the images that are still searched for, their
            losses (n,), margins (n,) and gradients (n, C, H, W), which are zeros at the last iterate.

    Returns:
        (N, C, H, W) in [0, 1], within the ball.

    Raises:
        ArgumentError: An unknown norm or loss, an eps above 1 in linf, or steps, restarts or eot below 1.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from surgeon.evaluation.attacks.pgd import pgd
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 3))
        >>> images, labels = torch.rand(4, 3, 4, 4), torch.arange(4) % 3
        >>> adversarial = pgd(model, images, labels, eps=8 / 255, steps=5)
        >>> bool((adversarial - images).abs().max() <= 8 / 255 + 1e-6)
        True
    """
    if norm not in NORMS or loss not in LOSSES:
        raise ArgumentError(
            f"norm {norm!r} with loss {loss!r} is not known; {', '.join(NORMS)}, and {', '.join(LOSSES)}"
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
            gradient, value, logits = averaged(model, x, labels[left], loss, eot, needed=not last)
            score = margin(logits, labels[left]) if early_stop else value
            if watch is not None:
                watch(left, value, margin(logits, labels[left]), gradient)
            better = score > best_score[left]
            best[left[better]], best_score[left[better]] = x[better], score[better]
            if not last:
                x = project(x + size * direction(gradient, norm), images[left], eps, norm)
    return best


def averaged(
    model: nn.Module, x: Tensor, labels: Tensor, loss: str, eot: int, *, needed: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what a step follows, as means over passes.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        x: (N, C, H, W).
        labels: (N,) class indices.
        loss: A name of `LOSSES`.
        eot: Number of passes.
        needed: Whether the gradient is; without it, no graph is recorded.

    Returns:
        The gradient (N, C, H, W), zeros if not needed, or if the loss does not depend on the images;
        the loss (N,); the logits (N, K).
    """
    x = x.detach().requires_grad_(needed)
    gradient = torch.zeros_like(x)
    value, logits = torch.zeros(len(x), device=x.device), torch.zeros((), device=x.device)
    for _ in range(eot):
        with torch.set_grad_enabled(needed):
            given = model(x).to(x.dtype)  # losses and margins are kept beside numbers of the images' type
            each = LOSSES[loss](given, labels)
            if needed:
                (slope,) = torch.autograd.grad(each.sum(), x, allow_unused=True, materialize_grads=True)
                gradient = gradient + slope / eot
        value, logits = value + each.detach() / eot, logits + given.detach() / eot
    return gradient.detach(), value, logits
