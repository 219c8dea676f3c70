"""Checks that a model has gradients that attacks can follow: they exist and are finite."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from surgeon.errors import DataError
from surgeon.evaluation.engine.scoring import device_of
from surgeon.models.pixels import logits_of
from surgeon.models.quiet import held_still

BLOCK = 64


def check_gradients(
    model: nn.Module, images: Tensor, labels: Tensor, *, what: str = "the model", seed: int = 0
) -> None:
    """Check that the loss has a finite gradient at all images.

    A gradient that is zero passes: the diagnostics count those.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) class indices.
        what: Name of the model in the message.
        seed: Seed for a model that is random.

    Raises:
        DataError: The gradient is missing or not finite.
    """
    wrong, device = 0, device_of(model)
    with held_still(model, seed):
        for x, y in zip(images.split(BLOCK), labels.split(BLOCK), strict=True):
            gradient = input_gradient(model, x.to(device), y.to(device))
            if gradient is None:
                raise DataError(
                    f"{what}'s outputs have no gradient with respect to the images (it detaches them, works under "
                    "no_grad, or in whole numbers): attacks that follow gradients cannot be made on it"
                )
            wrong += int(_not_finite(gradient).sum())
    if wrong:
        raise DataError(_words(what, wrong, len(images)))


def checked(gradient: Tensor, kind: torch.dtype = torch.float32) -> Tensor:
    """Return a gradient unchanged if it is finite.

    Args:
        gradient: (N, …).
        kind: Type of number of the logits that it came through.

    Returns:
        The gradient.

    Raises:
        DataError: It is not finite; the message says at how many images.
    """
    if not bool(gradient.isfinite().all()):
        raise DataError(_words("the model", int(_not_finite(gradient).sum()), len(gradient), kind))
    return gradient


def input_gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor | None:
    """Compute the gradient of the cross-entropy, summed over the images.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        x: (N, C, H, W) in [0, 1].
        y: (N,) class indices.

    Returns:
        (N, C, H, W); None if the logits do not depend on the images in a way that can be differentiated.
    """
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        given = x.view_as(x)  # some models change their input in place, which a leaf forbids
        logits = logits_of(model(given))
        if not logits.requires_grad:
            return None
        loss = nn.functional.cross_entropy(logits, y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x, allow_unused=True)
    return gradient


def _not_finite(gradient: Tensor) -> Tensor:
    """(N,) whether a sample's gradient has a value that is not finite."""
    return ~gradient.isfinite().flatten(1).all(1)


def _words(what: str, wrong: int, count: int, kind: torch.dtype = torch.float32) -> str:
    known = f"{what}'s gradient is not finite at {wrong} of {count} images, where its outputs are: "
    if torch.finfo(kind).max < torch.finfo(torch.float32).max / 2:  # bfloat16 reaches as far as float32
        known += f"they are {kind}, whose numbers end at {torch.finfo(kind).max:g}: give them in float32, or "
    return known + "look for a root, a logarithm, a division or a norm that is taken at 0"
