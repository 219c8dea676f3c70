"""Containers whose own Python code would skip the surgery refuse to be called."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from surgeon.errors import SurgeryError
from surgeon.graph.tracing.one_trace import tracing


class Guard:
    """A forward pre-hook that refuses the call, except while the network is traced."""

    of_surgeon = True

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, module: nn.Module, args: Any) -> None:
        if not tracing():
            raise SurgeryError(
                f"{self.name} was called by itself, but it is part of a rewritten graph and its own code "
                f"knows nothing of the layers inserted in it; call the whole network, or take features by "
                f"a forward hook on {self.name}'s layers"
            )


def guarded_containers(network: nn.Module, layers: Iterable[str]) -> list[str]:
    """The names of the modules between the network and the inserted layers."""
    names: dict[str, None] = {}
    for layer in layers:
        parts = layer.split(".")
        names.update(dict.fromkeys(".".join(parts[:i]) for i in range(1, len(parts))))
    return list(names)


def guard(network: nn.Module, names: Iterable[str]) -> None:
    """Put a guard on each named container that does not have one."""
    for name in names:
        module = network.get_submodule(name)
        hooks = module._forward_pre_hooks.values()
        # A container without a forward, such as a ModuleList, cannot be called at all and needs no guard.
        if not any(isinstance(h, Guard) for h in hooks) and type(module).forward is not nn.Module.forward:
            module.register_forward_pre_hook(Guard(name))


def unguard(network: nn.Module) -> None:
    """Take all guards off."""
    for module in network.modules():
        for key in [k for k, h in module._forward_pre_hooks.items() if isinstance(h, Guard)]:
            del module._forward_pre_hooks[key]
