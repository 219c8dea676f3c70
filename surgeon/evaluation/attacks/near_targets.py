"""Targeted Auto-PGD: which classes it aims at, by their logits or by the slopes at the image, and the search itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.results.kinds import Norm

CANDIDATES = 20
"""The likeliest wrong classes, among which the nearest are looked for: each costs a backward pass."""
_DUAL: dict[Norm, float] = {"linf": 1.0, "l2": 2.0, "l1": float("inf")}


def nearest_classes(model: nn.Module, images: Tensor, labels: Tensor, count: int, norm: Norm) -> Tensor:
    """Order wrong classes by how far their boundary is if the network were linear (as in MALT, Melamed et al. 2024).

    That is (z_y − z_c) / ‖∇(z_y − z_c)‖ in the dual norm; the largest logits alone leave out the slopes.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) class indices.
        count: Number of classes to return.
        norm: Norm of the perturbation.

    Returns:
        (N, count) int64, the nearest first.
    """
    with torch.enable_grad():
        x = images.detach().requires_grad_(True)
        logits = model(x)
        others = logits.detach().scatter(1, labels[:, None], -torch.inf)
        likely = others.topk(min(max(count, CANDIDATES), logits.shape[1] - 1), dim=1).indices
        far = []
        for column in range(likely.shape[1]):
            gap = (
                logits.gather(1, labels[:, None]) - logits.gather(1, likely[:, column : column + 1])
            ).squeeze(1)
            last = column + 1 == likely.shape[1]
            (slope,) = torch.autograd.grad(gap.sum(), x, retain_graph=not last)
            far.append(gap.detach() / slope.flatten(1).norm(p=_DUAL[norm], dim=1).clamp_min(1e-12))
    order = torch.stack(far, 1).argsort(dim=1, stable=True)[:, :count]
    return likely.gather(1, order)


def likeliest_classes(model: nn.Module, images: Tensor, labels: Tensor, count: int, norm: Norm) -> Tensor:
    """Order classes by their logits, as AutoAttack does: those behind the first, which is the label where it is right.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) class indices, which do not matter here.
        count: Number of classes to return.
        norm: Norm of the perturbation, which does not matter here.

    Returns:
        (N, count) int64, the likeliest first.
    """
    with torch.no_grad():
        return model(images).argsort(dim=1).flip(1)[:, 1 : count + 1]


def aimed(
    made: Any,
    targeted: Callable[[Tensor, Tensor, Tensor], Tensor],
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    targets: Tensor,
    *,
    restarts: int,
    seed: int,
) -> Tensor:
    """Run torchattacks' Auto-PGD at given classes, one after the other, on what still stands.

    Its own targeted class takes all of a batch's steps in L2 with the size of the first image's. AutoAttack has a size
    for each image, and so has torchattacks' class for other losses, which is given the targeted one here.

    Args:
        made: torchattacks' APGD with the loss "dlr".
        targeted: Loss of logits (N, classes), labels (N,) and targets (N,), to be made large.
        model: The attacked model.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) class indices.
        targets: (N, count) class indices.
        restarts: Starts at each class.
        seed: Seed of the starts.

    Returns:
        (N, C, H, W): the last misclassified iterate of the first search that has one, or the image itself.
    """
    best = images.clone()
    with torch.no_grad():
        stands = model(images).argmax(1) == labels
    torch.manual_seed(seed)
    with torch.enable_grad():
        for column in [c for c in range(targets.shape[1]) for _ in range(restarts)]:
            left = stands.nonzero().flatten()
            if not len(left):
                break
            aim = targets[left, column]

            def loss(logits: Tensor, y: Tensor, aim: Tensor = aim) -> Tensor:
                return targeted(logits, y, aim)

            made.dlr_loss = loss
            _, standing, _, adversarial = made.attack_single_run(images[left], labels[left])
            fallen = left[~standing.bool()]
            best[fallen], stands[fallen] = adversarial[~standing.bool()], False
    return best.detach()
