"""Hooks and callbacks that are bound methods of a network's own modules, where another object takes such a
module's place.

A cut network is another object than the tree that it was made of, and so is an opened norm, a fitted
convolution, or what is folded. A bound
method goes on writing to the object that it was bound to: whatever takes a module's place takes over what is
bound to it.
"""

from __future__ import annotations

import contextvars
import functools
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MethodType
from typing import Any

import torch
from torch import nn

OF_MODULES = tuple(k for k, v in nn.Module().__dict__.items() if k.endswith("_hooks") and isinstance(v, dict))
"""Where a module has its hooks: on calls, on their gradients and on its state dict."""

OF_CALLS = tuple(
    k
    for k, v in nn.Module().__dict__.items()
    if k.startswith(("_forward", "_backward")) and isinstance(v, dict)
)
"""Where it has those on calls and their gradients, and how these are to be called."""


def bound_in(tree: nn.Module, apart: Iterable[nn.Module] = ()) -> dict[str, nn.Module]:
    """The modules of the tree to which hooks or attributes in it are bound, by name. apart: modules outside the
    tree whose hooks count too."""
    by_id: dict[int, nn.Module] = {}

    def noted(owner: nn.Module) -> nn.Module:
        by_id[id(owner)] = owner
        return owner

    _swapped(tree, apart, noted)
    if not by_id:
        return {}
    return {name: m for name, m in tree.named_modules() if id(m) in by_id}


def rebind(tree: nn.Module, before: Mapping[str, nn.Module], apart: Iterable[nn.Module] = ()) -> None:
    """Rebind, in place, what was bound to former modules to the modules of `tree` under the same names. before:
    what `bound_in` returned."""
    now: dict[int, nn.Module] = {}
    for name, old in before.items():
        try:
            new = tree.get_submodule(name)
        except AttributeError:
            continue
        if new is not old and _takes_over(new, old):
            now[id(old)] = new
    if now:
        _swapped(tree, apart, lambda owner: now.get(id(owner), owner))


def is_ours(hook: Any) -> bool:
    """Whether surgeon put a hook there, and no caller."""
    inner = getattr(hook, "hook", hook)  # torch's own around one on loading
    return bool(getattr(inner, "of_surgeon", False))


def on_state_dict(module: nn.Module) -> bool:
    """Whether a module has hooks that are called when its state dict is made or loaded."""
    kinds = (module.__dict__.get(k) or {} for k in OF_MODULES if "state_dict" in k)
    return any(not is_ours(hook) for hooks in kinds for hook in hooks.values())


def bind_to(new: nn.Module, old: nn.Module) -> None:
    """Bind, in place, the hooks on its state dict that a module has from another, of which it is a copy, to itself.
    Those on calls are handed over."""
    for name in (k for k in OF_MODULES if "state_dict" in k):
        hooks = new.__dict__.get(name) or {}
        for key, value in list(hooks.items()):
            hooks[key] = _bound_to(value, lambda owner: new if owner is old else owner)


def hand_over(old: nn.Module, new: nn.Module) -> None:
    """Move the hooks on calls of `old` to `new`, which takes its place; copies of `old` inside `new` lose
    theirs."""
    # The same parameters: `new` took over all that `old` holds, and its hooks with it.
    if old._parameters is new._parameters or not any(old.__dict__.get(k) for k in OF_CALLS):
        return
    for inner in new.modules():
        for key in OF_CALLS:
            inner.__dict__[key] = old.__dict__[key] if inner is new else type(old.__dict__[key])()
    new.__dict__["_is_full_backward_hook"] = old.__dict__.get("_is_full_backward_hook")


class Callback:
    """A method of the stock class, bound to a rewritten network.

    While it runs, the other methods of that class may be called on the network too, which refuses them else:
    they are part of what the hook does, and not of the forward pass.
    """

    def __init__(self, method: Callable[..., Any], network: nn.Module) -> None:
        self.__func__, self.__self__ = method, network

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return self.__func__(self.__self__, *args, **kwargs)
        before = _running.set((self.__self__, *_running.get()))
        try:
            return self.__func__(self.__self__, *args, **kwargs)
        finally:
            _running.reset(before)


_running: contextvars.ContextVar[tuple[nn.Module, ...]] = contextvars.ContextVar("callbacks", default=())


def is_called_back(network: nn.Module) -> bool:
    """Whether a hook that is bound to the network runs now, in this thread."""
    return any(network is n for n in _running.get())


def _takes_over(new: nn.Module, old: nn.Module) -> bool:
    """Whether methods bound to the old module may be bound to the new one: both have one class, or share what they
    hold."""
    return new._parameters is old._parameters or issubclass(_stock(new), _stock(old))


def _stock(module: nn.Module) -> type:
    return module.__dict__.get("_stock_class", type(module))


def _swapped(tree: nn.Module, apart: Iterable[nn.Module], owner: Callable[[nn.Module], nn.Module]) -> None:
    for holder, key, value in _slots(tree, apart):
        made = _bound_to(value, owner)
        if made is not value:
            holder[key] = made


def _slots(tree: nn.Module, apart: Iterable[nn.Module]) -> Iterator[tuple[dict[Any, Any], Any, Any]]:
    """Where modules keep what they call: hooks by number, and attributes. The dicts stay, since handles
    of hooks know them."""
    for module in {id(m): m for root in (tree, *apart) for m in nn.Module.modules(root)}.values():
        own = module.__dict__
        for name in OF_MODULES:
            hooks = own.get(name)
            if hooks:
                for key, value in list(hooks.items()):
                    yield hooks, key, value
        for key, value in list(own.items()):
            if isinstance(value, (MethodType, Callback, functools.partial)) and key != "forward":
                yield own, key, value


def _bound_to(value: Any, owner: Callable[[nn.Module], nn.Module]) -> Any:
    """A callable with `owner` applied to each module that it is bound to; itself where that changes nothing."""
    if isinstance(value, (MethodType, Callback)) and isinstance(value.__self__, nn.Module):
        new = owner(value.__self__)
        if new is value.__self__:
            return value
        return (Callback if "_stock_class" in new.__dict__ else MethodType)(value.__func__, new)
    if type(value) is functools.partial:
        inner = _bound_to(value.func, owner)
        args = tuple(_or_module(a, owner) for a in value.args)
        named = {k: _or_module(v, owner) for k, v in value.keywords.items()}
        same = inner is value.func and all(a is b for a, b in zip(args, value.args, strict=True))
        if same and all(named[k] is v for k, v in value.keywords.items()):
            return value
        return functools.partial(inner, *args, **named)
    if hasattr(value, "with_module") and hasattr(
        value, "hook"
    ):  # torch's own around a hook of load_state_dict
        value.hook = _bound_to(value.hook, owner)
        module = value.module() if value.with_module else None
        if module is not None and (new := owner(module)) is not module:
            value.module = weakref.ref(new)
    return value


def _or_module(value: Any, owner: Callable[[nn.Module], nn.Module]) -> Any:
    return owner(value) if isinstance(value, nn.Module) else _bound_to(value, owner)
