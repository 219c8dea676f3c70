"""The class of a rewritten network: a real subclass of the stock network's, so that code which asks for that finds it.

Whatever the stock class and its bases define beside `nn.Module` is replaced in it, name by name, by what is
safe on a rewritten network: a method that runs layers runs its graph, one that exchanges modules makes the
graphs anew, any other raises an error. Attributes, properties and static methods are the stock class's own;
its class methods stay bound to it. A method of `nn.Module` that the stock class has in a way of its own, such
as a `train` that leaves norms frozen, runs on a view of the network as one of the stock class.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

from torch import fx, nn

from surgeon.graph.rewritten.hosts import READING, writes_weights
from surgeon.graph.rewritten.indexed import is_indexed

TRACED_METHODS = ("forward_features", "forward_head", "forward_intermediates")
"""Methods beside `forward` that other code calls on a network and that run its layers."""
PASSIVE_METHODS = ("get_classifier", "no_weight_decay", "group_matcher")
"""Methods that only read names and attributes: safe to run as they are."""
REBUILDING_METHODS = ("reset_classifier",)
"""Methods that exchange modules: run on the stock class, then the graphs are made anew."""
FLAGGING_METHODS = ("set_grad_checkpointing",)
"""Methods that set flags alone: run on the stock class, then the code of the graphs is made anew."""

_READ = ("__len__", "__contains__", "__repr__", "__str__", "__eq__", "__hash__", "__bool__")
_TORCHS = (nn.Module, object)
_RUNS = ("forward", "compile", "_call_impl", "_wrapped_call_impl", "_slow_forward")

How = Literal["run", "rebuild", "flag", "view", "weights", "index", "refuse", "keep"]
N = TypeVar("N", bound=nn.Module)
Bound = Callable[[N, str, How, tuple[Any, ...], dict[str, Any]], Any]
"""What a replaced method does: (network, method, how, args, kwargs)."""


def how_for(name: str, member: Any) -> How:
    """How a name is treated that the stock class, or one of its bases below `nn.Module`, defines as `member`."""
    if name in TRACED_METHODS:
        return "run"
    if name in REBUILDING_METHODS:
        return "rebuild"
    if name in FLAGGING_METHODS:
        return "flag"
    if name in PASSIVE_METHODS or not _is_method(member):
        return "keep"
    if writes_weights(name, member):
        return "weights"
    if name in READING:
        return "view"
    if is_indexed(name, member):
        return "index"
    if name.startswith("__") and name.endswith("__"):
        return "keep" if name in _READ or hasattr(nn.Module, name) else "refuse"
    if hasattr(nn.Module, name):
        return "keep" if name in _RUNS else "view"
    return "refuse"


def _is_method(member: Any) -> bool:
    if isinstance(member, (type, property, staticmethod, classmethod, functools.cached_property)):
        return False
    return hasattr(type(member), "__get__") and (
        callable(member) or isinstance(member, (functools.partialmethod, functools.singledispatchmethod))
    )


def class_for(base: type[N], stock: type[nn.Module], bound: Bound[N]) -> type[N]:
    """A class of its own for one object: derived from `base` first and from `stock` behind it, under the
    stock class's name.

    A class that cannot be derived from, and a GraphModule, which has a class for each object, are left out.
    """
    parent: type[N] = base
    if not issubclass(stock, fx.GraphModule):
        try:
            parent = _kin(base, stock, bound)
        except TypeError:  # a metaclass, or a layout, that does not go with a GraphModule's
            parent = base
    made = types.new_class(stock.__name__, (parent,), {}, lambda space: space.update(_of_surgeon=True))
    made.__module__ = base.__module__
    return made


def _kin(base: type[N], stock: type[nn.Module], bound: Bound[N]) -> type[N]:
    """The class between the two, one for each stock class as long as anything uses it."""
    # type's own, as a metaclass may have another. It lists classes that it does not keep alive.
    for known in type.__subclasses__(stock):
        if known.__dict__.get("_kin_of") == (base, stock):
            return cast(type[N], known)
    kind: Any = type(stock)
    kin = types.new_class(
        stock.__name__,
        (base, stock),
        {"metaclass": _kind_of(kind)},
        lambda space: space.update(_members(base, stock, bound)),
    )
    return cast(type[N], kin)


class _MakesStock(type):
    """The kind of a rewritten network's class: calling the class gives a stock network, as code that
    makes another one expects."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls._kin_of[1](*args, **kwargs)  # type: ignore[attr-defined]  # set by `_members`


@functools.cache
def _kind_of(meta: Any) -> Any:
    """The kind of a class between, where the stock class is of the kind `meta`."""
    return _MakesStock if meta is type else types.new_class(meta.__name__, (_MakesStock, meta))


def _members(base: type[N], stock: type, bound: Bound[N]) -> dict[str, Any]:
    members: dict[str, Any] = {"_kin_of": (base, stock), "__new__": _empty, "__module__": base.__module__}
    ours = {n for c in base.__mro__ if c not in _TORCHS for n in vars(c)}
    names = dict.fromkeys(n for c in stock.__mro__ if c not in _TORCHS for n in vars(c))
    for name in names:
        if name in ours or name in members:
            continue
        member = next(vars(c)[name] for c in stock.__mro__ if name in vars(c))
        if isinstance(member, classmethod):
            members[name] = _OfStock(stock, name)
        elif (how := how_for(name, member)) != "keep":
            members[name] = _method(name, how, member, bound)
    return members


def _empty(cls: type, *args: Any, **kwargs: Any) -> Any:
    """What `cls.__new__(cls)` gives: an object with nothing in it, as code that copies a module by its
    `__dict__` expects."""
    # GraphModule's own `__new__` would make a class of its kind for each object.
    return object.__new__(cls)


def _method(name: str, how: How, member: Any, bound: Bound) -> Any:
    def method(self: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
        return bound(self, name, how, args, kwargs)

    method.__name__, method.__qualname__ = name, getattr(member, "__qualname__", name)
    method.__doc__ = getattr(member, "__doc__", None)
    return method


class _OfStock:
    """A class method of the stock class, which makes networks of that."""

    def __init__(self, stock: type, name: str) -> None:
        self.stock, self.name = stock, name

    def __get__(self, network: Any, owner: Any = None) -> Any:
        return getattr(self.stock, self.name)
