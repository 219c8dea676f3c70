"""Running a network without a trace: whatever its code writes, sets or draws is put back."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from surgeon.graph.trees.kept import Kept
from surgeon.graph.trees.memory import Owned, storage_of, written_by
from surgeon.graph.trees.streams import Streams, held_by, of_process
from surgeon.torch_private import TorchDispatchMode


@contextlib.contextmanager
def left_alone(*networks: nn.Module, but: Collection[nn.Module] = ()) -> Iterator[None]:
    """Networks may be run in this block, whatever their code does.

    Parameters, buffers, attributes, the generators that modules hold, and the random numbers of Python and numpy are
    as before afterwards. but: modules whose tensors and attributes stay as they become.
    """
    kept = [Kept(n, but) for n in networks]
    streams = Streams([*of_process(), *held_by(*networks)])
    try:
        with streams.draw_again(), _PutBack(networks, but):
            yield
    finally:
        for one in kept:
            one.restore(whole=True)


class _PutBack(TorchDispatchMode):
    """Keeps what is written over in the tensors of networks, and puts it back at the end."""

    def __init__(self, networks: Iterable[nn.Module], but: Collection[nn.Module]) -> None:
        super().__init__()
        self._owned = [Owned(n, but) for n in networks]
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func._schema.is_mutable:
            for value in written_by(func, args, kwargs):
                storage = storage_of(value) if any(o.name(value) for o in self._owned) else None
                if (
                    storage is not None
                    and storage.device.type != "meta"
                    and storage._cdata not in self._before
                ):
                    self._before[storage._cdata] = (storage, storage.clone())
        return func(*args, **kwargs)

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for storage, value in self._before.values():
            storage.copy_(value)
