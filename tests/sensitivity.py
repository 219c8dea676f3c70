"""How far rounding goes: the same computation again, begun a little away.

Two ways of computing one thing add numbers in other orders, so their results differ in the last bits. What many layers
or steps make of that depends on the processor, the number of threads and the libraries below torch: it grows, and
jumps where an activation or a maximum turns over. A fixed bound on it holds on one machine by luck.

In float64 a fixed bound is safe where it allows a million times what rounding does there: see `doubled`. Where float32
itself is to be tested, the test measures. It moves every weight by LAST_BITS last bits, which is more than rounding
moves them in all steps together, computes again, and sees how far the results go: see `reach`. Rounding stays within
that. A mistake does not shrink with the last bits and lies beyond; a test should show that too.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import nn

LAST_BITS = 1000


def nudge(tensors: Iterable[torch.Tensor], seed: int) -> None:
    """Make every number LAST_BITS units of rounding larger or smaller, in place, at random by `seed`."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for t in tensors:
            up = torch.rand(t.shape, generator=generator) < 0.5
            share = LAST_BITS * torch.finfo(t.dtype).eps
            t.mul_(torch.where(up, 1 + share, 1 - share).to(t))


class Exact(nn.Module):
    """Reads gray images of 16 × 16 in float64: what the command line trains where two ways are compared closely."""

    num_classes = 10

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3, stride=2), nn.Conv2d(8, 16, 3)
        self.head = nn.Linear(16 * 25, 10)
        self.double()

    def forward(self, x):
        x = self.conv2(self.conv1(x.double()).relu()).relu()
        return self.head(x.flatten(1))


def doubled(model: nn.Module) -> nn.Module:
    """`model` itself in float64, images of float32 taken as they come: rounding is then out of the way."""
    model.double().register_forward_pre_hook(_wide_inputs)
    return model


def _wide_inputs(_: nn.Module, inputs: tuple) -> tuple:
    return inputs[0].double(), *inputs[1:]


@contextlib.contextmanager
def in_float64(model: nn.Module) -> Iterator[nn.Module]:
    """Within, `model` computes in float64: a network trained so, and back in float32, is the same on
    every processor."""
    hook = model.double().register_forward_pre_hook(_wide_inputs)
    try:
        yield model
    finally:
        hook.remove()
        model.float()


class Wide(nn.Module):
    """A network in float64 behind images and logits in float32, its weights out of sight: for what takes no float64.

    Gradients and verdicts do not depend on rounding, so not on how a batch is cut.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.__dict__["model"] = copy.deepcopy(model).double().eval()

    def forward(self, x):
        return self.__dict__["model"](x.double()).float()


def apart(one: Sequence[float], other: Sequence[float]) -> float:
    """The largest difference between two lists of numbers of one length."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def reach(plain: Sequence[float], compute: Callable[[int], Sequence[float]], times: int = 3) -> float:
    """How far results go from `plain` when weights move by `nudge`: the most of `times` tries.

    compute(seed): the results from weights that were moved by that seed.
    """
    return max(apart(plain, compute(seed)) for seed in range(times))
