"""Carlini and Wagner's L2 attack: computed per sample, for any logits, and for black and white pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from surgeon.evaluation.attacks.pgd import margin


def cw(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int,
    rounds: int = 3,
    c: float = 1.0,
    lr: float = 0.01,
) -> Tensor:
    """Search for the closest misclassified images (Carlini & Wagner 2017, section V, with the loss f₆).

    Minimises ‖x′ − x‖₂² + c · max(−margin, 0) by Adam, `steps` steps per round. Images that are not
    misclassified after a round are tried again with ten times their c.

    Here: Adam moves the pixels themselves, which are clipped to [0, 1] after each step; under the paper's
    tanh a black or white pixel has no slope. torchattacks' CW is not used: it takes 0 for a negative true
    logit, and stops a whole batch by the sum of its costs.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) class indices.
        steps: Steps per round.
        rounds: The largest number of rounds.
        c: Weight of the loss in the first round.
        lr: Learning rate of Adam, in [0, 1] pixels.

    Returns:
        (N, C, H, W): the closest misclassified image found, or the image itself.
    """
    best = images.clone()
    distance = torch.full((len(images),), torch.inf, device=images.device)
    for turn in range(rounds):
        left = distance.isinf().nonzero().flatten()
        if not len(left):
            break
        x, y, factor = images[left], labels[left], c * 10**turn
        moved = x.clone().requires_grad_(True)
        adam = torch.optim.Adam([moved], lr=lr)
        for _ in range(steps + 1):
            with torch.enable_grad():
                far = (moved - x).flatten(1).square().sum(1)
                given = margin(model(moved), y)
                loss = (far + factor * (-given).clamp_min(0)).sum()
                (moved.grad,) = torch.autograd.grad(loss, moved)
            with torch.no_grad():
                closer = (given > 0) & (far < distance[left])
                best[left[closer]], distance[left[closer]] = moved[closer], far[closer]
                adam.step()
                moved.clamp_(0, 1)
    return best
