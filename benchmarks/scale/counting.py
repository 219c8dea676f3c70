"""What a process hands to collectives, by kind: calls and bytes."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.distributed import distributed_c10d
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

OWN = ("all_reduce", "broadcast", "all_gather", "all_gather_into_tensor", "reduce", "barrier")
"""Collectives of torch.distributed that are wrapped. The bytes of a call are those of the tensor that this process
puts in (of a broadcast, of the tensor that is sent), whatever an algorithm makes of them on the wire."""


class Count:
    """Calls and bytes by kind: `gradients` by DDP's hook, `buffers` that DDP sends, others by the function's name."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self._label = ""

    def add(self, kind: str, size: int, calls: int = 1) -> None:
        """Count a call of so many bytes."""
        self.calls[kind] += calls
        self.bytes[kind] += size

    def clear(self) -> None:
        """Begin again."""
        self.calls.clear()
        self.bytes.clear()

    def hook(self, network: DistributedDataParallel) -> None:
        """Count the gradients that DDP exchanges; it averages them as without the hook."""

        def reduced(group: Any, bucket: Any) -> Any:
            self._label = "gradients"
            try:
                return allreduce_hook(group, bucket)
            finally:
                self._label = ""

        reduced.__annotations__.clear()  # torch compares them with its types, and here they are strings
        network.register_comm_hook(None, reduced)

    @contextlib.contextmanager
    def wrapped(self) -> Iterator[None]:
        """Count within the block. Also what torch's own functions call, such as the reduction with a gradient."""
        with contextlib.ExitStack() as stack:
            for name in OWN:
                counted = self._counted(name, getattr(distributed_c10d, name))
                for module in (torch.distributed, distributed_c10d):
                    stack.enter_context(mock.patch.object(module, name, counted))
            stack.enter_context(
                mock.patch.object(
                    DistributedDataParallel, "_distributed_broadcast_coalesced", self._buffers()
                )
            )
            yield

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            place = 1 if name.startswith("all_gather") else 0
            given = args[place] if len(args) > place else more.get("tensor", more.get("input_tensor"))
            self.add(self._label or name, given.nbytes if isinstance(given, Tensor) else 0)
            return function(*args, **more)

        return call

    def _buffers(self) -> Callable[..., Any]:
        send = DistributedDataParallel._distributed_broadcast_coalesced

        def call(network: Any, tensors: list[Tensor], size: int, *args: Any, **more: Any) -> Any:
            kinds: Counter[torch.dtype] = Counter()
            for tensor in tensors:
                kinds[tensor.dtype] += tensor.nbytes
            for sent in kinds.values():  # torch packs tensors of a type into messages of at most `size` bytes
                self.add("buffers", sent, max(1, math.ceil(sent / size)))
            return send(network, tensors, size, *args, **more)

        return call
