"""Attacks that look for the smallest perturbation that turns an image: DDN, FMN and ALMA, by adv-lib."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from surgeon.evaluation.attacks.adv_lib import adv_lib
from surgeon.evaluation.attacks.pgd import dlr, pgd
from surgeon.results.threat import Attack

SHORTER = 0.05
"""How much shorter a perturbation is made to see whether an attack had come to its end."""
FIRST_STEP = {"l2": 0.5, "l1": 0.5}
"""Length of ALMA's first step (its paper's ε), in [0, 1] pixels."""
_ORDER = {"linf": math.inf, "l2": 2, "l1": 1}
FAR = 20
"""Steps to a misclassified image as far away as pixels allow, for a second try."""
_FLAT = 1e-20
"""Slope below which a pixel does not move."""


def smallest(attack: Attack, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Look for the nearest misclassified images.

    ddn is Decoupled Direction and Norm (Rony et al. 2019) without its rounding to 256 levels, fmn the Fast
    Minimum-Norm attack (Pintor et al. 2021), alma the Augmented Lagrangian Method (Rony et al. 2021).

    Args:
        attack: Its kind, norm and steps.
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) class indices.

    Returns:
        (N, C, H, W) in [0, 1]: the nearest image found, or the image itself where the attack failed.

    Raises:
        MissingPackageError: adv-lib is not installed.
    """
    package = adv_lib("attacks")
    with torch.enable_grad():
        if attack.kind == "ddn":
            adversarial = package.ddn(model, images, labels, steps=attack.steps, levels=None)
        elif attack.kind == "fmn":
            adversarial = _fmn(package.fmn, attack, model, images, labels)
        else:
            adversarial = _alma(package.alma, attack, model, images, labels)
    # Only an image that it counts as found differs from the one that was given; adding the perturbation may have
    # left [0, 1] by a rounding.
    return adversarial.detach().clamp(0, 1)


def _fmn(fmn: object, attack: Attack, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """FMN; and once more, from a far image that is misclassified, for what it did not turn.

    Its steps go as far as the boundary is by the slope. Where the network is nearly linear they come nearer to it
    from inside without ever crossing it.
    """
    assert callable(fmn)
    order, adversarial = _ORDER[attack.norm], images.clone()
    adversarial[:] = fmn(model, images, labels, norm=order, steps=attack.steps)
    stands = (model(adversarial).argmax(1) == labels).nonzero().flatten()
    if not len(stands):
        return adversarial
    x, y = images[stands], labels[stands]
    far = pgd(model, x, y, eps=1.0, steps=FAR, loss="margin", random_start=False)
    fallen = model(far).argmax(1) != y
    if bool(fallen.any()):
        adversarial[stands[fallen]] = fmn(
            model, x[fallen], y[fallen], norm=order, steps=attack.steps, starting_points=far[fallen]
        )
    return adversarial


def _alma(alma: object, attack: Attack, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """ALMA by two groups: its search for a first step never ends where no step can be as long as it asks for."""
    assert callable(alma)
    length = FIRST_STEP[attack.norm]
    far = _reach(model, images, labels, attack.norm) > length
    adversarial = images.clone()
    for group, first in ((far, length), (~far, None)):
        if bool(group.any()):
            adversarial[group] = alma(
                model,
                images[group],
                labels[group],
                num_steps=attack.steps,
                distance=attack.norm,
                init_lr_distance=first,
            )
    return adversarial


def _reach(model: nn.Module, images: Tensor, labels: Tensor, norm: str) -> Tensor:
    """(N,) how far an image can move against the slope of the DLR before every pixel is black or white."""
    x = images.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(dlr(model(x), labels).sum(), x)
    slope = -slope  # `dlr` is largest where an image is misclassified; ALMA's is smallest there
    corner = torch.where(
        slope > _FLAT, torch.zeros_like(x), torch.where(slope < -_FLAT, torch.ones_like(x), x)
    )
    return (corner - images).detach().flatten(1).norm(p=_ORDER[norm], dim=1)


def shortened(adversarial: Tensor, images: Tensor) -> Tensor:
    """Move adversarial images back towards those that they were made of, by `SHORTER` of the way.

    Where the result is misclassified too, the attack had not come to its end.

    Args:
        adversarial: (N, C, H, W), the adversarial images.
        images: (N, C, H, W), the images.

    Returns:
        (N, C, H, W).
    """
    return images + (1 - SHORTER) * (adversarial - images)
