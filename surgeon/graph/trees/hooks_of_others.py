"""Hooks of a caller's, which a network must not call in runs that the caller knows nothing of."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
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


@contextlib.contextmanager
def unheard_in(network: nn.Module, paths: Iterable[str]) -> Iterator[None]:
    """Take the hooks off containers for the time of a block, all but surgeon's own.

    Graphs that go through a container were made without its hooks; a later one must be too, or the two would differ.
    """
    named = dict(nn.Module.named_modules(network, remove_duplicate=False))
    off = [
        (hooks, key, hook)
        for path in paths
        if path and path in named
        for hooks in (named[path].__dict__[name] for name in CALLS)
        for key, hook in hooks.items()
        if not getattr(hook, "of_surgeon", False)
    ]
    before = {id(hooks): (hooks, dict(hooks)) for hooks, _, _ in off}
    for hooks, key, _ in off:
        hooks.pop(key, None)
    try:
        yield
    finally:
        for hooks, as_found in before.values():
            new = {k: h for k, h in hooks.items() if k not in as_found}
            hooks.clear()
            hooks.update(as_found | new)  # in the order in which they are called


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
