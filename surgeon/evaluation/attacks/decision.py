"""HopSkipJump: the nearest misclassified image by decisions alone; no gradient and no logit is seen."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from surgeon.results.kinds import Norm

TRIES, HALVINGS = 30, 12
"""Draws of noise to begin from, and halvings of a way to the boundary."""
FIRST, MOST = 25, 250
"""Directions that are tried at the first boundary point, and the most at a later one."""
Fallen = Callable[[Tensor], Tensor]


@torch.no_grad()
def hop_skip_jump(
    model: nn.Module, images: Tensor, labels: Tensor, *, queries: int, norm: Norm, generator: torch.Generator
) -> Tensor:
    """Walk along the decision boundary towards each image (Chen, Jordan & Wainwright 2020, algorithm 2), all at once.

    From noise that is misclassified the way to the image is halved until the boundary is met. There the answers
    at a few directions beside it say where it rises; a step that way, and the halving, come nearer.

    Here: fewer directions than in the paper (25·√t, at most 250), as for its smaller budgets.

    Args:
        model: Takes [0, 1] pixels and gives logits, of which only the largest one's place is read.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) class indices.
        queries: Images that may be asked about, an image; the iteration that reaches it is finished.
        norm: "linf" or "l2", whose distance is made small.
        generator: Source of the draws.

    Returns:
        (N, C, H, W): the nearest misclassified image found, or the image itself where noise changed no class.
    """
    adversarial = images.clone()
    start = _noise(model, images, labels, generator)
    chosen = start[1].nonzero().flatten()
    if not len(chosen):
        return adversarial
    x, y, at = images[chosen], labels[chosen], start[0][chosen]

    def fallen(points: Tensor) -> Tensor:
        return model(points).argmax(1) != y

    at, asked, turn = _halved(fallen, x, at, norm), TRIES + HALVINGS, 0
    size = x[0].numel()
    while asked < queries:
        turn += 1
        directions = min(int(FIRST * turn**0.5), MOST)
        far = _length(at - x, norm)
        reach = 0.1 if turn == 1 else (size**-1.0 if norm == "l2" else size**-0.5) * far
        slope = _slope(fallen, at, torch.as_tensor(reach).to(x).expand(len(x)), directions, norm, generator)
        step, moved = far / turn**0.5, at.clone()
        open_ = torch.ones(len(x), dtype=torch.bool, device=x.device)
        for _ in range(HALVINGS):
            there = (at + _wide(step) * slope).clamp(0, 1)
            reached = fallen(there) & open_
            moved[reached], open_ = there[reached], open_ & ~reached
            step = step / 2
            if not bool(open_.any()):
                break
        nearer = _halved(fallen, x, moved, norm)
        better = _length(nearer - x, norm) < far
        at = torch.where(_wide(better), nearer, at)
        asked += directions + 2 * HALVINGS
    adversarial[chosen] = at
    return adversarial


def _noise(
    model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Uniform noise that is misclassified, and where it was found."""
    best, there = images.clone(), torch.zeros(len(images), dtype=torch.bool, device=images.device)
    for _ in range(TRIES):
        drawn = torch.rand(images.shape, generator=generator).to(images)
        new = (model(drawn).argmax(1) != labels) & ~there
        best[new], there = drawn[new], there | new
        if bool(there.all()):
            break
    return best, there


def _halved(fallen: Fallen, x: Tensor, far: Tensor, norm: Norm) -> Tensor:
    """The last misclassified point when the way from the image to a misclassified one is halved again and again."""
    low, high = torch.zeros(len(x), device=x.device), torch.ones(len(x), device=x.device)
    whole = _length(far - x, norm)

    def point(part: Tensor) -> Tensor:
        if norm == "linf":
            reach = _wide(part * whole)
            return torch.minimum(torch.maximum(far, x - reach), x + reach)
        return x + _wide(part) * (far - x)

    for _ in range(HALVINGS):
        middle = (low + high) / 2
        is_fallen = fallen(point(middle))
        low, high = torch.where(is_fallen, low, middle), torch.where(is_fallen, middle, high)
    return torch.where(_wide(high < 1), point(high), far)


def _slope(
    fallen: Fallen, at: Tensor, reach: Tensor, count: int, norm: Norm, generator: torch.Generator
) -> Tensor:
    """The direction in which more neighbours are misclassified, from `count` answers."""
    answers, ways = [], []
    for _ in range(count):
        draw = torch.randn if norm == "l2" else _signed
        way = draw(at.shape, generator=generator).to(at)
        way = way / _wide(_length(way, "l2").clamp_min(1e-12))
        there = (at + _wide(reach) * way).clamp(0, 1)
        ways.append((there - at) / _wide(reach.clamp_min(1e-12)))
        answers.append(fallen(there).to(at) * 2 - 1)
    values = torch.stack(answers)
    mean = values.mean(0)
    # Where all answers are equal the baseline would leave nothing.
    weights = torch.where(mean.abs() == 1, values, values - mean)
    slope = sum(_wide(w) * way for w, way in zip(weights, ways, strict=True))
    assert isinstance(slope, Tensor)
    return slope.sign() if norm == "linf" else slope / _wide(_length(slope, "l2").clamp_min(1e-12))


def _signed(shape: torch.Size, *, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * 2 - 1


def _length(delta: Tensor, norm: Norm) -> Tensor:
    flat = delta.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)


def _wide(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
