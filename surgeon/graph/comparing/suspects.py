"""What in a module's code is known to make its graph differ, for the message of a comparison that showed a difference.

A comparison says which module differs, not why. These are a few causes that a look at the code shows; each is named
with its attribute or line, and with what would do instead.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import textwrap
import weakref
from collections.abc import Iterator
from pathlib import PurePath
from types import FunctionType
from typing import Any

from torch import nn

from surgeon.graph.changes.unchecked import unchecked
from surgeon.graph.trees.apart import copies_its_own_way

_NUMBERS = ("float", "int", "bool")
_METHODS = ("item", "tolist")
_OF_TORCH = frozenset(nn.Module().__dict__)


def with_suspect(reason: str, module: nn.Module) -> str:
    """Add to the reason why a module keeps its code what in it is a known cause.

    Args:
        reason: What a comparison showed.
        module: The module that differs, or holds the one that does.

    Returns:
        The reason, with the first cause in sight; as it is where none is.
    """
    for name in unchecked(module):
        for cause in _causes(module.get_submodule(name), f"{name}." if name else ""):
            return f"{reason}; a likely cause: {cause}"
    return reason


def _causes(module: nn.Module, prefix: str) -> Iterator[str]:
    kind = type(module)
    for key, value in module.__dict__.items():
        if key not in _OF_TORCH and (what := _shared(value)):
            yield f"its attribute {prefix}{key} is {what}"
    for owner in kind.__mro__:
        if owner in (nn.Module, object) or owner.__module__.partition(".")[0] == "torch":
            continue
        for name, member in vars(owner).items():
            where = f"{owner.__name__}.{name}"
            if isinstance(member, functools._lru_cache_wrapper):
                yield (
                    f"{where} is behind functools.lru_cache, which keeps results from call to call: keep them in a "
                    "buffer, or compute them in each call"
                )
            elif isinstance(member, FunctionType):
                yield from _in_function(member, where)


def _shared(value: Any) -> str:
    """What an attribute is that a copy of the module has in common with it, with what would do instead; ''."""
    if isinstance(value, (weakref.ref, weakref.ProxyType)):
        return (
            "a weak reference, by which a copy reads the network that it was copied from: give forward what it needs "
            "as an argument"
        )
    if isinstance(value, FunctionType) and value.__closure__:
        return (
            "a function with values of its own, which a copy has in common with the network: make it a method"
        )
    if not isinstance(value, (nn.Module, type)) and copies_its_own_way(type(value)) and _is_own_copy(value):
        return f"a {type(value).__name__}, which is its own copy: have its __deepcopy__ copy it"
    return ""


def _is_own_copy(value: Any) -> bool:
    with contextlib.suppress(Exception):  # people's code
        copies = getattr(value, "__deepcopy__", None)
        return copies is not None and copies({}) is value
    return False


def _in_function(function: FunctionType, where: str) -> Iterator[str]:
    kept = inspect.signature(function).parameters.values()
    for parameter in kept:
        if isinstance(parameter.default, (list, dict, set)):
            yield (
                f"the default of {parameter.name} in {where} is one {type(parameter.default).__name__} for all calls: "
                f"make it None, and a new one in the call"
            )
    with contextlib.suppress(OSError, SyntaxError, TypeError):  # there is no source
        lines, first = inspect.getsourcelines(function)
        for node in ast.walk(ast.parse(textwrap.dedent("".join(lines)))):
            if isinstance(node, ast.Try) and (call := _number_in(node)):
                file = PurePath(inspect.getsourcefile(function) or "?").name
                yield (
                    f"{where} makes a number of a tensor inside of try ({file}:{first + call.lineno - 1}), which fails "
                    "where torch.fx records it: compute with the tensor, or put this code into a module of its own"
                )


def _number_in(block: ast.Try) -> ast.Call | None:
    for node in (n for part in block.body for n in ast.walk(part)):
        if isinstance(node, ast.Call):
            called = node.func
            by_name = isinstance(called, ast.Name) and called.id in _NUMBERS
            if by_name or (isinstance(called, ast.Attribute) and called.attr in _METHODS):
                return node
    return None
