"""AutoAttack's own checks of a network: randomness, vanishing gradients, optimisation at inference."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import FrameType

import torch
from torch import Tensor, nn

from surgeon.evaluation.attacks.pgd import LOSSES
from surgeon.evaluation.engine.scoring import device_of
from surgeon.models.quiet import held_still
from surgeon.results.flags import PASSES, Flags
from surgeon.results.threat import Norm

_GRADIENTS = ("grad", "backward", "_make_grads")
"""Functions that AutoAttack listens for in a forward pass."""
_ROUNDING = 1e-5


def autoattack_flags(
    model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, norm: Norm = "linf", seed: int = 0
) -> Flags:
    """Measure what AutoAttack would warn of before and during its attacks.

    Source: `check_randomized`, `check_range_output`, `check_zero_gradients`, `check_dynamic` and
    `check_n_classes` of AutoAttack's checks.py. Here: functions are listened for by a profiler, which leaves
    debuggers and coverage alone.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) float32 in [0, 1]; a few suffice.
        labels: (N,) class indices.
        eps: Size of the attack, in [0, 1] pixels.
        norm: "linf" or "l2".
        seed: Seed of the starting points.

    Returns:
        The flags.
    """
    x, y = images.to(device_of(model)), labels.to(device_of(model))
    with held_still(model, seed):
        with torch.no_grad():
            passes = [model(x) for _ in range(PASSES)]
        right = [(p.argmax(1) == y).sum().item() for p in passes]
        normed = [p / (p.flatten(1).norm(dim=1, keepdim=True) + 1e-10) for p in passes]
        apart = [
            float((one - other).norm(dim=1).max())
            for i, one in enumerate(normed)
            for other in normed[i + 1 :]
        ]
        first = passes[0]
        start = passes[0].argmax(1) == y
        zero = _zero_gradients(model, x[start], y[start], eps, norm, seed) if bool(start.any()) else 0
        heard: list[str] = []
        with _listening(heard):
            model(x[:1])
    return Flags(
        images=len(x),
        started=int(start.sum()),
        classes=first.shape[1],
        difference=max(apart),
        changed=len({*right}) > 1,
        zero_gradients=zero,
        asked=tuple(dict.fromkeys(heard)),
        probabilities=bool(
            (first.max() < 1 + _ROUNDING)
            & (first.min() > -_ROUNDING)
            & ((first.sum(1) - 1).abs() < _ROUNDING).all()
        ),
    )


def _zero_gradients(model: nn.Module, x: Tensor, y: Tensor, eps: float, norm: Norm, seed: int) -> int:
    """At how many random starting points the loss of APGD-DLR has no gradient."""
    generator = torch.Generator().manual_seed(seed)
    if norm == "linf":
        step = 2 * torch.rand(x.shape, generator=generator) - 1
        step = step / (step.flatten(1).abs().amax(1) + 1e-12).view(-1, 1, 1, 1)
    else:
        step = torch.randn(x.shape, generator=generator)
        step = step / (step.flatten(1).norm(dim=1) + 1e-12).view(-1, 1, 1, 1)
    at = (x + eps * step.to(x)).clamp(0, 1).requires_grad_(True)
    with torch.enable_grad():
        logits = model(at)
        loss = LOSSES["dlr" if logits.shape[1] > 2 else "margin"](logits, y).sum()
        if not loss.requires_grad:
            return len(x)
        (gradient,) = torch.autograd.grad(loss, at, allow_unused=True)
    if gradient is None:
        return len(x)
    return int((gradient.flatten(1).abs().sum(1) == 0).sum())


@contextlib.contextmanager
def _listening(heard: list[str]) -> Iterator[None]:
    """Inside, note each call of a function by which gradients are computed."""
    before = sys.getprofile()

    def note(frame: FrameType, event: str, given: object) -> None:
        if event == "call" and frame.f_code.co_name in _GRADIENTS:
            heard.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)
