"""Passes that draw what the pass after them draws: random streams are put back where they were."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from surgeon.tensors.gaussian import Drawing


@contextlib.contextmanager
def rewound(model: nn.Module, tensors: Iterable[object]) -> Iterator[None]:
    """Put torch's random state, and the streams of a model's own noise layers, back at exit.

    Args:
        model: The network.
        tensors: The batch, whose devices say which random states are torch's.

    Yields:
        None.
    """
    devices = [t.device for t in tensors if isinstance(t, Tensor) and t.device.type == "cuda"]
    streams = [m.stream for m in model.modules() if isinstance(m, Drawing) and m.stream is not None]
    states = [stream.get_state() for stream in streams]
    try:
        with torch.random.fork_rng(devices=list(dict.fromkeys(devices))):
            yield
    finally:
        for stream, state in zip(streams, states, strict=True):
            stream.set_state(state)
