"""Which memory a tensor has: the tensors of a network by it, and whether one has another than before."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import nn


def storage_of(value: Any) -> torch.UntypedStorage | None:
    """The memory of a tensor; None if it has no memory of its own, or is not a tensor."""
    if not isinstance(value, torch.Tensor):
        return None
    try:
        return value.untyped_storage()
    except (RuntimeError, NotImplementedError, ValueError):  # sparse, or not made yet
        return None


def same_memory(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors read the same numbers of the same memory; True of tensors without memory."""
    mine, theirs = storage_of(one), storage_of(other)
    if mine is None or theirs is None:
        return mine is theirs
    return mine._cdata == theirs._cdata and _layout(one) == _layout(other)


def _layout(value: torch.Tensor) -> tuple[Any, ...]:
    return value.dtype, value.shape, value.stride(), value.storage_offset()


class Owned:
    """The tensors of a network, found by where their memory is."""

    def __init__(self, network: nn.Module, but: Collection[nn.Module] = ()) -> None:
        self._network, self._but = network, but

    @functools.cached_property
    def _names(self) -> dict[int, str]:
        """The network's tensors by where their memory is; asked for by few networks, and then before
        anything is written."""
        by_storage: dict[int, str] = {}
        self._alive: list[torch.UntypedStorage] = []  # whose addresses no others get meanwhile
        for name, module in self._network.named_modules():
            if module in self._but:
                continue
            own = (module._parameters, module._buffers, module.__dict__)
            for key, value in ((k, v) for held in own for k, v in held.items()):
                if key.startswith("_tensor_constant"):  # torch.fx's, of the trace that is under way
                    continue
                storage = storage_of(value)
                if storage is not None:
                    by_storage.setdefault(storage._cdata, f"{name}.{key}" if name else key)
                    self._alive.append(storage)
        return by_storage

    def name(self, value: Any) -> str:
        """The tensor of the network that shares memory with this one, or ''."""
        storage = storage_of(value)
        return "" if storage is None else self._names.get(storage._cdata, "")


def written_by(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[torch.Tensor]:
    """The arguments of an operation that it writes into."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is None or not argument.alias_info.is_write:
            continue
        value: Any = args[place] if place < len(args) else kwargs.get(argument.name)
        yield from (value if isinstance(value, (list, tuple)) else [value])
