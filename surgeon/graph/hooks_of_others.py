"""Hooks of a caller's, which a network must not call in runs that the caller knows nothing of."""

from __future__ import annotations

import functools
from types import MethodType
from typing import Any

from torch import nn

CALLS = tuple(
    k
    for k, v in nn.Module().__dict__.items()
    if k.startswith(("_forward", "_backward")) and k.endswith("hooks") and isinstance(v, dict)
)
"""Where a module has the hooks on its calls and their gradients."""
_OURS = ("torch", "surgeon")


def of_others(module: nn.Module) -> bool:
    """Whether a module has a hook on its calls that belongs neither to surgeon nor to torch."""
    return any(not _belongs(hook, set()) for name in CALLS for hook in module.__dict__[name].values())


def is_of_others(hook: Any) -> bool:
    """Whether a hook on all modules is neither surgeon's nor torch's own, such as those of `FlopCounterMode`."""
    if isinstance(hook, functools.partial):
        return is_of_others(hook.func)
    owner = getattr(hook, "__self__", None)
    return not _is_ours(hook if owner is None else type(owner))


def without_hooks_of_others(network: nn.Module) -> None:
    """Take off the hooks of a network that belong neither to it nor to torch: theirs may count, write or print."""
    own = set(network.modules())
    for module in own:
        for name in CALLS:
            hooks = module.__dict__[name]
            for key, hook in list(hooks.items()):
                if not _belongs(hook, own):
                    del hooks[key]


def _belongs(hook: Any, own: set[nn.Module]) -> bool:
    if isinstance(hook, functools.partial):
        return _belongs(hook.func, own)
    if isinstance(hook, MethodType) or hasattr(hook, "__self__"):
        owner = hook.__self__
        return isinstance(owner, nn.Module) and owner in own
    return _is_ours(hook)


def _is_ours(value: Any) -> bool:
    module_name = getattr(value, "__module__", None) or type(value).__module__
    return str(module_name).partition(".")[0] in _OURS
