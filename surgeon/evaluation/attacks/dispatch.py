"""Runs attacks by their description; the only place that uses torchattacks (`adv_lib` is that of adv-lib).

torchattacks' single attacks are used with every argument given. Its defaults are not: PGD's step does not
scale with ε, and L2 attacks take Linf's ε. docs/architecture.md says what else is avoided. Its attacks put
the whole model in evaluation mode, then all of it in training mode, and seed the global random stream; here
the model is held still around each of them.
"""

from __future__ import annotations

import math
from functools import partial
from types import ModuleType

import torch
from torch import Tensor, nn

from surgeon.ball import STEP
from surgeon.errors import ArgumentError, MissingPackageError
from surgeon.evaluation.attacks.cw import cw
from surgeon.evaluation.attacks.decision import hop_skip_jump
from surgeon.evaluation.attacks.in_l1 import auto_pgd_l1, fab_l1
from surgeon.evaluation.attacks.minimum_norm import smallest
from surgeon.evaluation.attacks.near_targets import aimed, likeliest_classes, nearest_classes
from surgeon.evaluation.attacks.pgd import pgd
from surgeon.evaluation.attacks.preconditions import check_needs
from surgeon.models.quiet import held_still
from surgeon.results.kinds import ADV_LIB, KINDS
from surgeon.results.threat import Attack

TINY = 1e-30
"""Least divisor of PGD's L2 steps: with torchattacks' own, 1e-10, images with large logits do not move."""
_NORMS = {"linf": "Linf", "l2": "L2"}


def torchattacks() -> ModuleType:
    """Import torchattacks.

    Returns:
        The package.

    Raises:
        MissingPackageError: It is not installed.
    """
    try:
        import torchattacks as package
    except ImportError:
        raise MissingPackageError(
            "attacks need torchattacks: pip install --no-deps torchattacks==3.5.1 (its own pins are harmful), or "
            "the extra 'fx-surgeon[eval]'"
        ) from None
    return package


def run_attack(
    attack: Attack,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    seed: int = 0,
    classes: int | None = None,
) -> Tensor:
    """Run one attack.

    The result is not checked here. Where an attack fails, torchattacks returns the image unchanged.

    Args:
        attack: The attack.
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) class indices.
        seed: Seed of everything that the attack draws.
        classes: Number of the model's classes, which FAB and targeted APGD need; None to ask the model.

    Returns:
        (N, C, H, W) adversarial images, detached.

    Raises:
        MissingPackageError: The attack is torchattacks' or adv-lib's, which is not installed.
        AttackError: The attack needs another model or other images.
    """
    images = images.detach().contiguous()
    with held_still(model, seed):
        if attack.kind == "none":
            return images.clone()
        if attack.kind in ("random-sign", "uniform"):
            return _noise(attack, images)
        if attack.kind == "own-pgd":
            return pgd(
                model,
                images,
                labels,
                eps=_eps(attack),
                steps=attack.steps,
                norm=attack.norm,
                step_size=attack.step_size,
                restarts=attack.restarts,
                loss=attack.loss,
                random_start=attack.random_start,
                eot=attack.eot,
                early_stop=attack.early_stop,
                generator=torch.Generator().manual_seed(seed),
            )
        if attack.kind == "cw":
            return cw(model, images, labels, steps=attack.steps)
        if classes is None:
            with torch.no_grad():
                classes = model(images[:1]).shape[1]
        check_needs([attack], images, classes)
        if KINDS[attack.kind].package == ADV_LIB:
            return smallest(attack, model, images, labels)
        if attack.kind == "hopskipjump":
            drawn = torch.Generator().manual_seed(seed)
            return hop_skip_jump(
                model, images, labels, queries=attack.steps, norm=attack.norm, generator=drawn
            )
        if attack.norm == "l1":
            made = fab_l1 if attack.kind.startswith("fab") else auto_pgd_l1
            return made(attack, model, images, labels, targets=_aimed(attack, classes))
        return _library(attack, model, images, labels, seed, classes).detach()


def _noise(attack: Attack, images: Tensor) -> Tensor:
    """One draw of noise: random signs ± ε; or U(0, ε) added and divided by 1 + ε (the weight-map paper's)."""
    draw = torch.rand(images.shape).to(images)
    if attack.kind == "uniform":
        return (images + _eps(attack) * draw) / (1 + _eps(attack))
    return (images + _eps(attack) * (draw < 0.5).float().mul(2).sub(1)).clamp(0, 1)


def _library(
    attack: Attack, model: nn.Module, images: Tensor, labels: Tensor, seed: int, classes: int
) -> Tensor:
    package = torchattacks()
    size = attack.step_size or STEP * (attack.eps or 0.0) / attack.steps
    norm, eps, steps = _NORMS[attack.norm], attack.eps, attack.steps
    if attack.kind == "fgsm":
        made = package.FGSM(model, eps=eps)
    elif attack.kind == "pgd" and attack.norm == "linf":
        made = package.PGD(model, eps=eps, alpha=size, steps=steps, random_start=attack.random_start)
    elif attack.kind == "pgd":
        made = package.PGDL2(
            model, eps=eps, alpha=size, steps=steps, random_start=attack.random_start, eps_for_division=TINY
        )
    elif attack.kind == "mi-fgsm":
        made = package.MIFGSM(model, eps=eps, alpha=size, steps=steps, decay=1.0)
    elif attack.kind in ("apgd", "apgdt"):
        made = package.APGD(
            model,
            norm=norm,
            eps=eps,
            steps=steps,
            n_restarts=attack.restarts,
            seed=seed,
            loss="dlr" if attack.kind == "apgdt" else attack.loss,
            eot_iter=attack.eot,
            rho=0.75,
            verbose=False,
        )
    elif attack.kind in ("fab", "fab-untargeted"):
        made = package.FAB(
            model,
            norm=norm,
            eps=eps,
            steps=steps,
            n_restarts=attack.restarts,
            alpha_max=0.1,
            eta=1.05,
            beta=0.9,
            verbose=False,
            seed=seed,
            multi_targeted=attack.kind == "fab",
            n_classes=_aimed(attack, classes) + 1,
        )
    elif attack.kind == "square":
        made = package.Square(
            model,
            norm=norm,
            eps=eps,
            n_queries=steps,
            n_restarts=attack.restarts,
            p_init=0.8,
            loss="margin",
            resc_schedule=False,
            seed=seed,
            verbose=False,
        )
    else:
        raise ArgumentError(f"no attack is of the kind {attack.kind!r}")
    made.set_device(images.device)
    if attack.kind == "apgdt":
        order = nearest_classes if attack.order == "near" else likeliest_classes
        targets = order(model, images, labels, _aimed(attack, classes), attack.norm)
        loss = partial(package.APGDT.dlr_loss_targeted, made)
        return aimed(made, loss, model, images, labels, targets, restarts=attack.restarts, seed=seed)
    if attack.kind == "apgd" and not attack.early_stop:
        torch.manual_seed(seed)
        with torch.enable_grad():
            # Its result with the largest loss: calling `made` would return the first misclassified iterate,
            # which may be a lucky draw of a random model.
            return made.attack_single_run(images, labels)[0]
    return made(images, labels)


def _aimed(attack: Attack, classes: int) -> int:
    return min(attack.targets or classes - 1, classes - 1)


def _eps(attack: Attack) -> float:
    return math.inf if attack.eps is None else attack.eps
