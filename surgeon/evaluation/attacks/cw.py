"""Carlini and Wagner's L2 attack of our own: per sample, for any logits, and for black and white pixels."""

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
    """The closest misclassified image found, for `images` (N, C, H, W) in [0, 1]; where none is found, the image itself.

    Minimises ‖x' − x‖₂² + c · max(−margin, 0) by Adam, `steps` steps a round; what still stands after a round is tried
    again with ten times its c (Carlini & Wagner 2017, section V, with the loss f₆).

    Here: Adam moves the pixels themselves, which are brought back to [0, 1] after each step. Under the paper's tanh a pixel
    that is black or white has no slope. Not torchattacks' CW, which also takes 0 for the true logit where that is
    negative, and stops a whole batch by the sum of its costs.
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
