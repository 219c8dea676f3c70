"""A caller's hooks on what a surgery put into a network, when that is taken out again."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from torch import nn

from surgeon.errors import SurgeryWarning
from surgeon.graph.trees.bound_hooks import OF_CALLS, OF_MODULES, is_ours
from surgeon.graph.trees.made_weights import writes
from surgeon.warned import warn

Hook = tuple[str, int, Any]
"""The kind of a hook, its number and its code: what of it is the same in a copy."""


def move_hooks(old: nn.Module, new: nn.Module) -> None:
    """Put a caller's hooks on the calls of a module, but for those that write its weights, on what takes its place.

    Args:
        old: The module, which is given up.
        new: The other module, changed in place.
    """
    kinds = [k for k in OF_CALLS if k.endswith("_hooks")]
    moved = {
        key
        for kind in kinds
        for key, hook in old.__dict__[kind].items()
        if not is_ours(hook) and not (kind == "_forward_pre_hooks" and writes(old, hook))
    }
    for kind in OF_CALLS:
        own = new.__dict__[kind]
        own.update({k: v for k, v in old.__dict__[kind].items() if k in moved and k not in own})
    if new._backward_hooks and new.__dict__.get("_is_full_backward_hook") is None:
        new.__dict__["_is_full_backward_hook"] = old.__dict__.get("_is_full_backward_hook")


def has_hooks(module: nn.Module) -> bool:
    """Whether a caller's hooks are on the calls of a module, or of one in it, or on their gradients.

    Args:
        module: The module.
    """
    return any(kind in OF_CALLS for inner in module.modules() for kind, _, _ in _on(inner))


def hooks_in(network: nn.Module, *, settled: bool = False) -> dict[Hook, str]:
    """List a caller's hooks on the modules of a network, on calls, gradients and state dicts.

    Args:
        network: The network.
        settled: Leave out those that write a module's weights, which folding takes as they are used.

    Returns:
        The names of the modules, by hook.
    """
    named = list(network.named_modules())
    hooks = {hook: name for name, module in named for hook in _on(module)}
    if not settled:
        return hooks
    wrote = {
        key
        for _, module in named
        for key, hook in module._forward_pre_hooks.items()
        if not is_ours(hook) and writes(module, hook)
    }
    return {h: name for h, name in hooks.items() if h[0] != "_forward_pre_hooks" or h[1] not in wrote}


def tell_lost(before: dict[Hook, str], network: nn.Module) -> None:
    """Warn of hooks that a network has no longer.

    Args:
        before: What `hooks_in` gave of the network that it was.
        network: The network now.
    """
    now = hooks_in(network)
    places = list(dict.fromkeys(name for hook, name in before.items() if hook not in now))
    if places:
        more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
        warn(
            f"hooks of yours on {places[0]}{more} are gone with what the surgery had put there: put them on the module "
            "that stands there now, or on the one before or behind it",
            SurgeryWarning,
        )


def _on(module: nn.Module) -> Iterator[Hook]:
    for kind in OF_MODULES:
        for key, hook in module.__dict__.get(kind, {}).items():
            if not is_ours(hook):
                yield kind, key, _code(hook)


def _code(hook: Any) -> Any:
    """What a copy of a hook has too: the function of a method, the class of an object that is called."""
    if isinstance(hook, functools.partial):
        return _code(hook.func)
    inner = getattr(hook, "__func__", None) or getattr(hook, "hook", None)
    if inner is not None:
        return _code(inner)
    return hook if hasattr(hook, "__code__") else type(hook)
