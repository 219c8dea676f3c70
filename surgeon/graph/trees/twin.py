"""Copy a tree of modules as `copy.deepcopy` does, but faster.

Most of what a module holds is empty or immutable. These entries are copied here; all others, and modules
whose class defines how it is copied, go through `copy.deepcopy`.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from surgeon.graph.trees.slots import slots_of
from surgeon.torch_private import ConvNd

_UNCHANGING = (type(None), bool, int, float, complex, str, bytes, type, torch.dtype, torch.device, torch.Size)
_OWN_WAYS = ("__reduce_ex__", "__reduce__", "__getstate__")
_CONTAINERS = (dict, list, set, OrderedDict)


def twin(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """Copy a module tree.

    Args:
        module: The module.
        memo: id of an object → what represents it in the copy, as for `copy.deepcopy`.

    Returns:
        The copy.

    Raises:
        TypeError: As `copy.deepcopy`, for what cannot be copied; other errors likewise.
    """
    done = memo.get(id(module))
    if done is not None:
        return done
    if not _is_plain(module):
        return copy.deepcopy(module, memo)
    new = object.__new__(type(module))
    # Before what it holds is copied: a child may refer to its parent, and would copy it without end.
    memo[id(module)] = new
    for key, value in module.__dict__.items():
        if key == "_modules":
            new.__dict__[key] = children(value, memo)
        elif key != "_compiled_call_impl":  # torch's own copies leave it out
            new.__dict__[key] = _copied(value, memo)
    for key, value in slots_of(module):  # which nn.Module leaves out of a copy
        object.__setattr__(new, key, _copied(value, memo))
    return new


def children(held: dict[str, nn.Module | None], memo: dict[int, Any]) -> dict[str, nn.Module | None]:
    """Copy what a module has as `_modules`.

    Args:
        held: The children by name.
        memo: As for `twin`.

    Returns:
        The copies.
    """
    done = memo.get(id(held))
    if done is not None:
        return done
    # A dict or an OrderedDict, by torch's version and by how the module was made.
    memo[id(held)] = new = type(held)()
    for name, module in held.items():
        new[name] = None if module is None else twin(module, memo)
    return new


def _is_plain(module: nn.Module) -> bool:
    """Say whether a module's class uses Python's default way of copying."""
    kind = type(module)
    return (
        isinstance(module, nn.Module)  # client code puts functions among the children
        and getattr(module, "__deepcopy__", None) is None
        and kind.__setstate__
        in (nn.Module.__setstate__, ConvNd.__setstate__)  # which add what old pickles lack
        and not any(
            name in c.__dict__ for c in kind.__mro__ if c not in (object, nn.Module) for name in _OWN_WAYS
        )
        and type(module.__dict__.get("_modules")) in (dict, OrderedDict)
    )


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """Copy one entry."""
    kind = type(value)
    if kind in _UNCHANGING:
        return value
    done = memo.get(id(value))
    if done is not None:
        return done
    if kind in _CONTAINERS and not value:
        # Noted although it is empty: two attributes that share one list share one in the copy too.
        memo[id(value)] = kind()
        return memo[id(value)]
    return copy.deepcopy(value, memo)
