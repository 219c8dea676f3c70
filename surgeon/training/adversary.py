"""The images of adversarial training."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from surgeon.ball import STEP, direction, project, random_offset
from surgeon.kept_modes import modes_kept
from surgeon.recipe import PAIRED, Adversary
from surgeon.tensors.shard import Shard
from surgeon.training.objective import divergence, outputs_of
from surgeon.training.randomness import stream

_NEAR = 1e-3
_NOISE = 2.0


def attacked(
    model: nn.Module,
    forward: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    settings: Adversary,
    shard: Shard,
    *place: object,
) -> Tensor:
    """Make adversarial images for a batch.

    fgsm: one step from the image. fgsm-rs: one step of 1.25 ε from a random point (Wong et al. 2020). n-fgsm: one
    step of ε from a random point of k times the ball, and no projection onto the ball (de Jorge et al. 2022). pgd:
    from a random point. mart: from the image plus N(0, 10⁻⁶). trades: the same, raising the divergence from the
    clean output instead of the loss (Zhang et al. 2019).

    Here: the images are made in evaluation mode, so that noise layers, dropout and batch-norm statistics have
    no part in it and stay unchanged; the papers' implementations differ among themselves.

    Args:
        model: The network, whose mode is changed meanwhile.
        forward: Maps images to the model's output, including normalisation.
        x: (n, C, H, W) in [0, 1].
        y: (n,) class indices, or (n, classes) soft labels.
        settings: Method, norm, ε and steps of the attack.
        shard: This process's part of the batch.
        place: Names the random stream, such as (seed, epoch, step).

    Returns:
        (n, C, H, W) in [0, 1], within the ball but for n-fgsm; those that `left_clean` says are the images themselves.
    """
    s = settings
    size = {"fgsm": s.eps, "n-fgsm": s.eps, "fgsm-rs": 1.25 * s.eps}.get(s.method, STEP * s.eps / s.number)
    size = size if s.step_size is None else s.step_size
    generator = stream(*place, "attack")
    with _held_still(model):
        adversarial = (x + shard.take(_start((shard.total, *x.shape[1:]), s, generator), len(x)).to(x)).clamp(
            0, 1
        )
        with torch.no_grad():
            clean = outputs_of(forward(x.clone()))[0] if s.method == "trades" else None
        for _ in range(s.number):
            adversarial.requires_grad_(True)
            with torch.enable_grad():
                logits = outputs_of(forward(adversarial.clone()))[0]  # code may write into its input
                value = (
                    nn.functional.cross_entropy(logits, y, reduction="sum")
                    if clean is None
                    else divergence(logits, clean).sum()
                )
            (gradient,) = torch.autograd.grad(value, adversarial)
            stepped = adversarial.detach() + size * direction(gradient, s.norm)
            adversarial = stepped.clamp(0, 1) if s.method == "n-fgsm" else project(stepped, x, s.eps, s.norm)
    if not s.clean_share:
        return adversarial
    clean_ones = shard.take(left_clean(s.clean_share, shard.total), len(x)).to(x.device)
    return torch.where(clean_ones.view(-1, 1, 1, 1), x, adversarial)


def left_clean(share: float, total: int) -> Tensor:
    """Say which images of a whole batch are left clean: evenly spread, so that each part of it has its share.

    Args:
        share: The share, below 1.
        total: Images of all processes and micro-batches.

    Returns:
        (total,) bool, with ⌊share · total⌋ true.
    """
    reached = (share * torch.arange(total + 1, dtype=torch.float64)).floor()
    return reached[1:] > reached[:-1]


def _start(shape: tuple[int, ...], s: Adversary, generator: torch.Generator) -> Tensor:
    """Draw what the whole batch's images are moved by before the first step."""
    if s.method in PAIRED:
        return _NEAR * torch.randn(shape, generator=generator)
    if s.method == "fgsm":
        return torch.zeros(shape[0], 1, 1, 1)
    k = (_NOISE if s.noise is None else s.noise) if s.method == "n-fgsm" else 1.0
    return random_offset(shape, k * s.eps, s.norm, generator)


@contextlib.contextmanager
def _held_still(model: nn.Module) -> Iterator[None]:
    trained = [p for p in model.parameters() if p.requires_grad]
    try:
        with modes_kept(model):
            model.eval()
            for p in trained:
                p.requires_grad_(False)
            yield
    finally:
        for p in trained:
            p.requires_grad_(True)
