"""Tensors that a network's own state dict is without: hooks on state dicts drop some, such as a frozen backbone's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from surgeon.errors import ArtifactError
from surgeon.torch_private import EXTRA_STATE_KEY
from surgeon.values import has_values


def dropped(model: nn.Module, state: Mapping[str, Any]) -> list[str]:
    """Name the parameters and persistent buffers that a state dict holds under no name.

    Not those of modules with extra state, which may hold them.

    Args:
        model: the network.
        state: its state dict.

    Examples:
        >>> layer = nn.Linear(2, 3)
        >>> dropped(layer, layer.state_dict()), dropped(layer, {"weight": layer.weight})
        ([], ['bias'])
    """
    absent = [(name, tensor) for name, tensor in own_tensors(model, state) if name not in state]
    if not absent:
        return []
    # A hook may give a tensor another name; what is loaded then has its own way back.
    held = {_place(t) for t in state.values() if isinstance(t, Tensor) and has_values(t)}
    return [name for name, tensor in absent if has_values(tensor) and _place(tensor) not in held]


def not_loaded(model: nn.Module, file: Path, error: RuntimeError) -> ArtifactError:
    """The error for weights that a network did not take: from a module that refuses a tensor, or lacks a dropped one.

    Args:
        model: the network.
        file: where the weights are.
        error: what torch says.
    """
    absent = dropped(model, model.state_dict())
    why = (
        f": a hook leaves {first_of(absent)} out of its state dict, and so out of the folder"
        if absent
        else ""
    )
    said = " ".join(str(error).split())[:200]
    return ArtifactError(f"{file} does not fit {type(model).__name__}{why}: {said}")


def own_tensors(model: nn.Module, state: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and persistent buffers by every name, but for modules whose extra state is in a state dict.

    Args:
        model: the network.
        state: its state dict.

    Yields:
        Name and tensor.
    """
    for path, module in nn.Module.named_modules(model, remove_duplicate=False):
        prefix = f"{path}." if path else ""
        if f"{prefix}{EXTRA_STATE_KEY}" in state:
            continue
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and name not in module._non_persistent_buffers_set:
                yield f"{prefix}{name}", tensor


def _place(tensor: Tensor) -> tuple[Any, ...]:
    """What decides a tensor's numbers: its memory, and how that is read."""
    memory = (tensor.untyped_storage().data_ptr(), tensor.storage_offset())
    return (*memory, tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.is_conj(), tensor.is_neg())


def first_of(names: list[str]) -> str:
    """The first of several names, and how many more there are.

    Args:
        names: one or more.
    """
    return names[0] + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")
