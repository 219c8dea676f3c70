"""How a module that no name makes looks: its class, its settings, and a digest of all that lies in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import xxhash
from torch import Tensor, nn

from surgeon.graph.trees.implants import class_name_of, settings_of
from surgeon.values import has_values

_LONGEST = 60


def looks(module: nn.Module | None) -> str:
    """Describe a module so that two which compute different things of the same weights are told apart.

    Args:
        module: the module, or None without one.

    Returns:
        Its class with its plain settings, if it has no children and they are few; otherwise its class and a digest of
        the classes, settings and tensor shapes in it, and of the numbers that no file of weights holds.
    """
    if module is None:
        return "nothing"
    name = type(module).__name__
    settings = ", ".join(f"{k}={shown(v)}" for k, v in settings_of(module))
    if len(settings) <= _LONGEST and not next(module.children(), None) and not held_apart(module):
        return f"{name}({settings})" if settings else name
    return f"{name} (digest {xxhash.xxh3_64_hexdigest(repr(list(_parts(module))).encode())})"


def _parts(module: nn.Module) -> Iterator[tuple[Any, ...]]:
    for name, part in module.named_modules():
        yield (
            name,
            class_name_of(part),
            sorted((k, shown(v)) for k, v in settings_of(part)),
            sorted(
                (k, tuple(t.shape)) for k, t in {**part._parameters, **part._buffers}.items() if t is not None
            ),
            sorted((k, digest_of(t)) for k, t in held_apart(part).items() if has_values(t)),
        )


def held_apart(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a module that no file of weights holds, by name.

    Args:
        module: the module, whose children are not asked.
    """
    buffers = {k: module._buffers.get(k) for k in module._non_persistent_buffers_set}
    every = {**buffers, **vars(module)}.items()
    return {
        k: v.detach() for k, v in every if type(v) in (Tensor, nn.Parameter) and v.layout == torch.strided
    }


def digest_of(tensor: Tensor) -> str:
    """Hash the numbers of a tensor.

    Args:
        tensor: the tensor.
    """
    return xxhash.xxh3_64_hexdigest(
        tensor.resolve_conj().resolve_neg().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    )


def shown(value: object) -> str:
    """Write a setting: a function by its name, other values as Python does, in at most 80 characters.

    Args:
        value: the setting.
    """
    return str(getattr(value, "__name__", None) or repr(value))[:80]
