"""Auto-PGD and FAB in L1 (Croce & Hein 2021), by adv-lib.

torchattacks' Auto-PGD knows Linf and L2 only, and its FAB fails in L1 (a variable that it reads is never set).
"""

from __future__ import annotations

import math

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
            adversarial = _targeted(package, attack, model, images, labels, targets)
        elif attack.early_stop:
            adversarial = package.apgd(model, images, labels, **shared)
        else:
            adversarial = _largest(package, attack, model, images, labels)
    # Its sums are in float32: by rounding it leaves the ball of thousands of pixels by more than is allowed.
    return project(adversarial.detach(), images, eps, "l1")


class _Watched(nn.Module):
    """A network that keeps, for each place of the batch, the latest image that it misclassified."""

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        super().__init__()
        self.model, self.found, self._labels = model, images.clone(), labels

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        wrong = logits.argmax(1) != self._labels
        self.found[wrong] = x.detach()[wrong]
        return logits


def _targeted(
    package: object, attack: Attack, model: nn.Module, images: Tensor, labels: Tensor, targets: int
) -> Tensor:
    """Towards one wrong class after the other, the likeliest first; any wrong class ends it, as in AutoAttack.

    adv-lib's `apgd_targeted` counts the class alone that it aims at, so that it goes on past other wrong ones.
    """
    run, onto, eps = getattr(package, "_apgd"), getattr(package, "l1_projection"), float(attack.eps or 0.0)
    phases = _phases(attack.steps)
    with torch.no_grad():
        order = model(images).argsort(dim=1, descending=True)
    # The label is left out wherever it stands, as images may be wrong as they are.
    classes = order[order != labels[:, None]].view(len(labels), -1)[:, :targets]
    adversarial, left = images.clone(), torch.arange(len(images), device=images.device)
    for target in classes.T.repeat_interleave(attack.restarts, 0):
        if not len(left):
            break
        given = images[left]
        watched, start = _Watched(model, given, labels[left]), None
        if len(phases) > 1:
            start = given + torch.randn_like(given)
            start = start + onto(
                given, start - given, torch.full((len(left),), 3 * eps, device=images.device)
            )
        for share, steps in phases:
            sizes = torch.full((len(left),), share * eps, device=images.device)
            if start is not None:
                start = start + onto(given, start - given, sizes)
            start = run(
                model=watched if share == 1 else model,
                inputs=given,
                labels=target[left],
                eps=sizes,
                norm=1,
                x_init=start,
                targeted=True,
                n_iter=steps,
                loss_function=attack.loss,
                eot_iter=attack.eot,
            )[0]
        wrong = (watched.found != given).flatten(1).any(1)
        adversarial[left[wrong]] = watched.found[wrong]
        left = left[~wrong]
    return adversarial


def _phases(steps: int) -> list[tuple[int, int]]:
    """How many times ε, and how many steps."""
    if steps < PHASES:
        return [(1, steps)]
    first = math.ceil(0.3 * steps)
    return [(3, first), (2, first), (1, steps - 2 * first)]


def _largest(package: object, attack: Attack, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The iterates with the largest loss; its own `best_loss` takes 100 steps whatever is asked for."""
    run = getattr(package, "_apgd")
    sizes = torch.full((len(images),), float(attack.eps or 0.0), device=images.device)
    best, most = images.clone(), torch.full((len(images),), -torch.inf, device=images.device)
    for _ in range(attack.restarts):
        adversarial, _, loss, _ = run(
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
        best[better], most[better] = adversarial[better], loss[better]
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
        adversarial = package.fab(
            model,
            images,
            labels,
            norm=1,
            n_iter=attack.steps,
            ε=eps,
            restarts=(1 if attack.kind == "fab-untargeted" else targets) * attack.restarts,
            targeted_restarts=attack.kind == "fab",
        )
    adversarial = adversarial.detach().clamp(0, 1)
    near = (distances(adversarial, images).l1 <= eps).view(-1, 1, 1, 1)
    return torch.where(near, adversarial, images)
