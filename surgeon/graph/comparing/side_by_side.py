"""Running a network through a fixed series of calls, and noting all that it gives and leaves.

The same objects get batches of 2, 3 and 2 images in training mode, then 5 and 1 in evaluation mode, and many
small ones: what adds up over calls shows, and so does what holds for one number of images or one size. Values have
either sign and several scales, for code that decides by them.
"""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from surgeon.graph.measuring.flat import flat
from surgeon.graph.trees.own_attributes import GRAPH_STATE, OWN, RECORD
from surgeon.graph.trees.streams import draws_again, of_numpy, state_of


@dataclass(frozen=True)
class TrialCall:
    """One call: in which mode, of how many images, scaled by what, and whether gradients are asked for."""

    training: bool
    images: int
    scale: float
    gradients: bool = False
    recorded: bool = True
    """Whether autograd records it."""
    shrunk: int = 1
    """By what the height and width of the images are divided."""

    def __str__(self) -> str:
        words = "one image" if self.images == 1 else f"a batch of {self.images}"
        size = f" of 1/{self.shrunk} of the size" if self.shrunk > 1 else ""
        return f"{words}{size} in {'training' if self.training else 'evaluation'} mode"


SERIES = (
    TrialCall(True, 2, 1.0),
    TrialCall(True, 3, -2.0),
    TrialCall(True, 2, 0.5, gradients=True),
    TrialCall(False, 5, -2.0),
    TrialCall(False, 1, 0.5, gradients=True),
    TrialCall(False, 65, 1.0, recorded=False, shrunk=4),
)

Noted = dict[str, Any]


@dataclass
class Seen:
    """What one call showed: `given` by it, `left` on the modules and `drawn` from the random streams."""

    call: TrialCall
    output: Noted = field(default_factory=dict)
    gradients: Noted = field(default_factory=dict)
    tensors: Noted = field(default_factory=dict)
    attributes: Noted = field(default_factory=dict)
    modes: Noted = field(default_factory=dict)
    streams: Noted = field(default_factory=dict)


class CallFailed(Exception):
    """A call of the series, the `number`-th, raised an error, `cause`."""

    def __init__(self, number: int, call: TrialCall, cause: Exception) -> None:
        super().__init__(str(call))
        self.number, self.call, self.cause = number, call, cause


def run(network: nn.Module, series: tuple[TrialCall, ...], size: tuple[int, ...], inputs: int) -> list[Seen]:
    """What each call of a series showed; the network must not be used afterwards. `size`: of an image; `inputs`:
    how many images a call takes.

    Raises CallFailed.
    """
    seen: list[Seen] = []
    names = [(n, m) for n, m in network.named_modules(remove_duplicate=False)]
    with _streams(network), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mode = None
        for number, call in enumerate(series):
            try:
                # Only where it changes: `train` may throw away what code keeps from call to call, which shall show.
                if call.training is not mode:
                    network.train(call.training)
                    mode = call.training
                seen.append(
                    _called(network, names, call, size, inputs, number, last=number + 1 == len(series))
                )
            except Exception as error:  # the network's own code
                raise CallFailed(number, call, error) from error
    return seen


def takes(
    make: Callable[[], nn.Module], size: tuple[int, ...], inputs: int, series: tuple[TrialCall, ...]
) -> tuple[tuple[TrialCall, ...], list[Seen]]:
    """The calls of a series that networks which `make` makes take, and what they show."""
    while series:
        try:
            return series, run(make(), series, size, inputs)
        except CallFailed as failed:
            call = failed.call
            less = (replace(call, gradients=False),) if call.gradients else ()
            series = (*series[: failed.number], *less, *series[failed.number + 1 :])
    return (), []


def _called(
    network: nn.Module,
    names: list[tuple[str, nn.Module]],
    call: TrialCall,
    size: tuple[int, ...],
    inputs: int,
    number: int,
    *,
    last: bool,
) -> Seen:
    seen = Seen(call)
    drawn = torch.Generator().manual_seed(number)
    like = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0))
    shape = (call.images, *size[:1], *(s // call.shrunk for s in size[1:]))
    image = (torch.randn(shape, generator=drawn) * call.scale).to(like).requires_grad_(call.recorded)
    for parameter in network.parameters():
        parameter.grad = None
    with torch.set_grad_enabled(call.recorded):
        given = [image.clone() for _ in range(inputs)]  # code may write into its inputs, which no leaf allows
        output = network(*given)
    values = [v for _, v in flat(output) if isinstance(v, torch.Tensor)]
    if call.gradients:
        _backward(values, drawn)
        named = network.named_parameters(remove_duplicate=False)
        seen.gradients = {n: _kept(p.grad) for n, p in named} | {"its input": _kept(image.grad)}
    seen.output = {n: _kept(v) for n, v in flat(output)}
    seen.output |= {f"input {i}": _kept(v) for i, v in enumerate(given)}
    seen.tensors = {n: _kept(b) for n, b in network.named_buffers(remove_duplicate=False)}
    if last:
        seen.tensors |= {n: _kept(p) for n, p in network.named_parameters(remove_duplicate=False)}
    seen.modes = {n: m.training for n, m in names}
    seen.attributes = {k: _kept(v) for k, v in attributes(names)}
    seen.streams = _drawn(like.device)
    return seen


def attributes(names: list[tuple[str, nn.Module]]) -> Iterator[tuple[str, Any]]:
    """What is set on modules beside parameters, buffers and children, by dotted name: tensors and plain values."""
    for name, module in names:
        prefix = f"{name}." if name else ""
        for key, value in module.__dict__.items():
            if key not in _OF_TORCH:
                yield from flat(value, prefix + key, depth=3, objects=False)


_OF_TORCH = frozenset((*nn.Module().__dict__, *GRAPH_STATE, *OWN, *RECORD))


def _backward(values: list[torch.Tensor], drawn: torch.Generator) -> None:
    """The gradient of a random projection of the outputs."""
    total: Any = None
    for value in values:
        if not value.requires_grad or value.is_nested or value.layout != torch.strided:
            continue
        real = torch.view_as_real(value) if value.is_complex() else value
        term = (real * torch.randn(real.shape, generator=drawn).to(real)).sum()
        total = term if total is None else total + term.to(total)
    if total is not None:
        total.backward()


def _kept(value: Any) -> Any:
    """A value as it is now, whatever is written into it later."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    return value


@contextlib.contextmanager
def _streams(network: nn.Module) -> Iterator[None]:
    """Every random stream begins at the same place, and goes on afterwards as if nothing had been drawn."""
    devices = {p.device.index or 0 for p in network.parameters() if p.device.type == "cuda"}
    with draws_again(), torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(0)
        random.seed(0)
        for numpy in of_numpy():
            numpy.seed(0)
        yield


def _drawn(device: torch.device) -> Noted:
    states: Noted = {"torch": torch.get_rng_state(), "Python's random": state_of(random)}
    if device.type == "cuda":
        states["torch.cuda"] = torch.cuda.get_rng_state(device)
    for numpy in of_numpy():
        states["numpy.random"] = state_of(numpy)
    return states
