"""Auto-PGD and FAB in L1 (Croce & Hein 2021), by adv-lib.

torchattacks' Auto-PGD knows Linf and L2 only, and its FAB fails in L1 (a variable that it reads is never set).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from surgeon.ball import project
from surgeon.evaluation.attacks.adv_lib import adv_lib
from surgeon.evaluation.engine.scoring import distances
from surgeon.results.threat import Attack

PHASES = 5
"""Least number of steps that are parted into three phases, with 3, 2 and 1 times ε."""


def auto_pgd_l1(attack: Attack, model: nn.Module, images: Tensor, labels: Tensor, *, targets: int) -> Tensor:
    """Run Auto-PGD, untargeted or targeted, in L1, in three phases of falling ε (section 3.2 of the paper).

    Args:
        attack: Its kind (apgd or apgdt), ε, steps, restarts, loss and draws.
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) class indices.
        targets: Classes that are aimed at, of apgdt.

    Returns:
        (N, C, H, W) in [0, 1] and the ball.

    Raises:
        MissingPackageError: adv-lib is not installed.
    """
    package = adv_lib("attacks.auto_pgd")
    eps = float(attack.eps or 0.0)
    shared = {
        "eps": eps,
        "norm": 1,
        "n_iter": attack.steps,
        "n_restarts": attack.restarts,
        "loss_function": attack.loss,
        "eot_iter": attack.eot,
        "use_large_reps": attack.steps >= PHASES,
    }
    if eps == 0:
        return images.clone()
    with torch.enable_grad():
        if attack.kind == "apgdt":
            found = package.apgd_targeted(model, images, labels, num_targets=targets, **shared)
        elif attack.early_stop:
            found = package.apgd(model, images, labels, **shared)
        else:
            found = _largest(package, attack, model, images, labels)
    # Its sums are in float32: by rounding it leaves the ball of thousands of pixels by more than is allowed.
    return project(found.detach(), images, eps, "l1")


def _largest(package: object, attack: Attack, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The iterates with the largest loss; its own `best_loss` takes 100 steps whatever is asked for."""
    run = getattr(package, "_apgd")
    sizes = torch.full((len(images),), float(attack.eps or 0.0), device=images.device)
    best, most = images.clone(), torch.full((len(images),), -torch.inf, device=images.device)
    for _ in range(attack.restarts):
        found, _, loss, _ = run(
            model=model,
            inputs=images,
            labels=labels,
            eps=sizes,
            norm=1,
            n_iter=attack.steps,
            loss_function=attack.loss,
            eot_iter=attack.eot,
        )
        better = loss > most
        best[better], most[better] = found[better], loss[better]
    return best


def fab_l1(attack: Attack, model: nn.Module, images: Tensor, labels: Tensor, *, targets: int) -> Tensor:
    """Run FAB in L1, towards one wrong class after the other.

    Args:
        attack: Its ε and steps.
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) class indices.
        targets: Classes that are aimed at, the likeliest first.

    Returns:
        (N, C, H, W) in [0, 1]: the nearest image found where it lies within ε, or the image itself.

    Raises:
        MissingPackageError: adv-lib is not installed.
    """
    package, eps = adv_lib("attacks"), float(attack.eps or 0.0)
    with torch.enable_grad():
        found = package.fab(
            model,
            images,
            labels,
            norm=1,
            n_iter=attack.steps,
            ε=eps,
            restarts=(1 if attack.kind == "fab-untargeted" else targets) * attack.restarts,
            targeted_restarts=attack.kind == "fab",
        )
    found = found.detach().clamp(0, 1)
    near = (distances(found, images).l1 <= eps).view(-1, 1, 1, 1)
    return torch.where(near, found, images)
