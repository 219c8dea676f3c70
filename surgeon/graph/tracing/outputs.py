"""Values that a network's code puts together, such as its outputs: kept as what they are in a graph.

torch.fx knows tuples, lists, dicts, named tuples and dataclasses, and takes anything derived from them for its base: a
ModelOutput, which derives from a dict, comes out as a plain one. Here such a value becomes one call that
makes its class anew, from what the value says of itself to `copy` and `pickle` (`__reduce_ex__`); no
`__init__` is run that the value does not name itself.
"""

from __future__ import annotations

import copyreg
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import fx
from torch.fx.immutable_collections import immutable_dict, immutable_list

Argument = Callable[[Any], Any]
"""What a tracer makes of a value: nodes in the place of proxies."""

_PLAIN = (dict, list, tuple, immutable_dict, immutable_list)


def composed(value: Any) -> bool:
    """Whether torch.fx would lose a value's class: one derived from a container, or a dataclass."""
    if type(value) in _PLAIN or isinstance(value, (fx.Proxy, fx.Node, type)) or _is_named_tuple(value):
        return False
    return isinstance(value, (dict, list, tuple)) or dataclasses.is_dataclass(value)


def made_of(value: Any) -> bool:
    """Whether an object of any other class holds proxies in its attributes."""
    proxies: list[fx.Proxy] = []
    fx.node.map_aggregate(
        getattr(value, "__dict__", {}), lambda v: proxies.append(v) if isinstance(v, fx.Proxy) else None
    )
    return bool(proxies)


def call_for(value: Any, argument: Argument) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The call that makes such a value anew: a function, and its arguments with nodes where the value has proxies.

    Raises NotImplementedError for a value that does not say how it is made.
    """
    kind = f"argument of type: {type(value)}"
    try:
        made = value.__reduce_ex__(2)
    except Exception as error:  # a class of somebody else's, made anew
        raise NotImplementedError(f"{kind}: {error}") from error
    if isinstance(made, str):
        raise NotImplementedError(kind)
    make, args, state, items, pairs = (*made, None, None, None)[:5]
    args, items, pairs = tuple(args), list(items or ()), dict(pairs or ())
    if not items and _by_fields(value, make, args, state, pairs):
        return make, tuple(argument(a) for a in args)
    if not (isinstance(state, (dict, type(None))) or _with_slots(state) or hasattr(value, "__setstate__")):
        raise NotImplementedError(f"{kind}, which keeps its state in a way of its own")
    if make is copyreg.__newobj__:  # type: ignore[attr-defined]  # what `object.__reduce_ex__` gives
        make, args = _empty(args[0]), args[1:]
    rest = (argument(state), [argument(i) for i in items], tuple((k, argument(v)) for k, v in pairs.items()))
    return _filled(make), (tuple(argument(a) for a in args), *rest)


def always(value: Any) -> Callable[[], Any]:
    """The function that gives this value, for what torch.fx cannot write down."""
    return _named(lambda: value, type(value))


def _by_fields(value: Any, make: Any, args: tuple[Any, ...], state: Any, pairs: Mapping[Any, Any]) -> bool:
    """Whether calling its class with its fields restores all of it, as for a ModelOutput; torch.compile can follow
    such a call."""
    if make is not type(value) or not dataclasses.is_dataclass(value):
        return False
    names = [f.name for f in dataclasses.fields(value)]
    given = dict(zip(names, args, strict=False))
    rest = [*pairs.items(), *(state or {}).items()] if isinstance(state, (dict, type(None))) else [("", None)]
    return len(args) == len(names) and all(k in given and given[k] is v for k, v in rest)


def _with_slots(state: Any) -> bool:
    return isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict)


@functools.cache
def _empty(kind: type) -> Callable[..., Any]:
    def new(*args: Any) -> Any:
        return kind.__new__(kind, *args)

    return _named(new, kind)


@functools.cache
def _filled(make: Callable[..., Any]) -> Callable[..., Any]:
    """The function (args, state, items, pairs) that calls `make` and puts the state and the content in."""

    def fill(args: Iterable[Any], state: Any, items: Iterable[Any], pairs: Iterable[Any]) -> Any:
        value = make(*args)
        if state is not None and hasattr(value, "__setstate__"):
            value.__setstate__(state)
        elif state is not None:
            own, slots = state if isinstance(state, tuple) else (state, None)
            value.__dict__.update(own or {})
            for name, inner in (slots or {}).items():
                object.__setattr__(value, name, inner)
        for item in items:
            value.append(item)
        for key, inner in pairs:
            value[key] = inner
        return value

    return _named(fill, make)


def _named(function: Callable[..., Any], like: Any) -> Callable[..., Any]:
    """With a name that torch.fx can write into the code of a graph."""
    function.__name__ = function.__qualname__ = f"make_{getattr(like, '__name__', 'value')}"
    return function


def _is_named_tuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")
