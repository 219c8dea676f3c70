"""What code added to a network after its name made it: tensors that a file holds, and modules that containers call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn

from surgeon.extra_state import without_extra

_CALLS_ALL = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
"""Containers, of which code calls whatever is in them."""


def added_modules(
    now: Mapping[str, nn.Module], made: Mapping[str, nn.Module]
) -> Iterator[tuple[str, nn.Module]]:
    """Yield modules that a network has beyond those that its name makes, the outermost of each.

    Left out are those that change nothing: without tensors, under a name that the code of the module around them does
    not know, such as a loss that a training loop hangs to the network.

    Args:
        now: the network's modules by name.
        made: those of the network that the name makes.

    Yields:
        Name and module.
    """
    for name, module in now.items():
        owner, _, leaf = name.rpartition(".")
        if name in made or owner not in made:
            continue
        around = made[owner]
        called = isinstance(around, _CALLS_ALL) or hasattr(around, leaf)
        if called or without_extra(nn.Module.state_dict(module)):
            yield name, module


def added_tensors(now: nn.Module, made: nn.Module) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield parameters and buffers of a module, as a file holds them, that the one of its name lacks.

    Args:
        now: the module.
        made: the module that the name makes.

    Yields:
        Name and shape.
    """
    known = {**made._parameters, **made._buffers}
    for key, tensor in {**now._parameters, **now._buffers}.items():
        if tensor is not None and key not in known and key not in now._non_persistent_buffers_set:
            yield key, tuple(tensor.shape)
