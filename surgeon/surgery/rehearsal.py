"""One run of a rewritten network before it is handed over: what cannot run is an error of `apply`, not of the first batch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from surgeon.errors import SurgeonError, SurgeryError
from surgeon.graph.measure import Shape, images_of, on_fakes, on_meta
from surgeon.graph.trace import mode
from surgeon.graph.watch import left_alone

_CHEAP = 2e9
"""FLOPs of one image up to which computing it takes no longer than running the network on tensors without numbers."""


def rehearse(stock: nn.Module, network: nn.Module, size: Shape | None, flops: int) -> None:
    """Run `network` once, in evaluation mode, on one black image of `size` (C, H, W); both networks are left as they were.

    flops: of the stock network for one image. Dear ones are run without numbers (on meta tensors), and computed only where that fails.

    Raises SurgeryError where the network fails and `stock` does not; a stock network that does not run at that size says nothing.
    """
    if size is None:
        return
    if flops > _CHEAP and _error(network, size, computed=False) is None:
        return
    error = _error(network, size, computed=True)
    if error is None or _error(stock, size, computed=True) is not None:
        return
    with told_of(network, size):
        raise error


@contextlib.contextmanager
def told_of(network: nn.Module, size: Shape | None) -> Iterator[None]:
    """An error inside is told as one of the rewritten network, which then is not handed over."""
    try:
        yield
    except SurgeonError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise SurgeryError(
            f"the rewritten {type(network).__name__} does not run on images of {size}, which the network before the cut "
            f"takes: {type(error).__name__}: {text}; nothing was changed, and a recipe whose select leaves that part out may do"
        ) from error


def _error(model: nn.Module, size: Shape, *, computed: bool) -> Exception | None:
    error: Exception | None = None
    for how in (_with_numbers,) if computed else (on_meta, on_fakes):
        try:
            with (
                left_alone(model), mode(model, False), torch.no_grad(), _streams_kept(model), how(model, size) as images,
            ):  # fmt: skip
                model(*[images] * images_of(model))
            return None
        except Exception as found:
            error = found
    return error


@contextlib.contextmanager
def _with_numbers(model: nn.Module, size: Shape) -> Iterator[torch.Tensor]:
    """On images of zeros where the network is."""
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    yield torch.zeros((1, *size), device=like.device, dtype=like.dtype)


@contextlib.contextmanager
def _streams_kept(model: nn.Module) -> Iterator[None]:
    """torch's random numbers and those of the network's own generators go on as if nothing had been drawn."""
    own = [v for m in model.modules() for v in m.__dict__.values() if isinstance(v, torch.Generator)]
    states = [g.get_state() for g in own]
    devices = {p.device.index for p in model.parameters() if p.device.type == "cuda"}
    try:
        with torch.random.fork_rng(devices=[d for d in devices if d is not None]):
            yield
    finally:
        for generator, state in zip(own, states, strict=True):
            generator.set_state(state)
