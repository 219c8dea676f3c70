"""Refuse networks of which a copy is not apart: a module that copies as itself, or that shares tensors with its copy.

Surgery works on a copy, runs it and gives it other values, so that the network which it was given stays as it is. A
class may say itself how it is copied, and need not copy at all: a frozen encoder that all copies share, or a class of
which there is one object.
"""

from __future__ import annotations

import copy
import copyreg
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from surgeon.errors import SurgeryError
from surgeon.graph.trees.memory import storage_of
from surgeon.graph.trees.whole_copies import tell_of_others

_WAYS = ("__deepcopy__", "__reduce_ex__", "__reduce__", "__getstate__", "__setstate__", "__new__")
_KNOWN = ("torch", "surgeon", "builtins")


def copies_its_own_way(kind: type) -> bool:
    """Say whether a class of neither torch nor surgeon defines how its objects are copied.

    Args:
        kind: The class.
    """
    own = (c for c in kind.__mro__ if c.__module__.partition(".")[0] not in _KNOWN)
    return kind in copyreg.dispatch_table or any(way in vars(c) for c in own for way in _WAYS)


def demand_copies(network: nn.Module) -> None:
    """Check that modules which define how they are copied are copied: with all their modules and tensors.

    Each is copied once, to see; a network without such classes costs nothing.

    Args:
        network: The network, which is left as it is.

    Raises:
        SurgeryError: A module is its own copy, or shares a tensor with it; the message names the module.
    """
    known: dict[type, bool] = {}
    tried: set[int] = set()
    for name, module in network.named_modules():
        if id(module) in tried or not _is_odd(module, known):
            continue
        tried |= {id(m) for m in module.modules()}
        try:
            new = copy.deepcopy(module)
        except Exception:  # people's code: whoever needs the copy says what it raises
            continue
        demand_apart(new, network, under=name)
        tell_of_others(new, module, name, way_of(module))


def way_of(module: nn.Module) -> str:
    """Say what of a module's class, of neither torch nor surgeon, defines how it is copied.

    Args:
        module: The module.

    Returns:
        As `Net.__deepcopy__`; the class's name where it is written nowhere in it.
    """
    kind = type(module)
    own = (c for c in kind.__mro__ if c.__module__.partition(".")[0] not in _KNOWN)
    odd = next((w for c in own for w in _WAYS if w in vars(c)), "")
    return f"{kind.__name__}.{odd}" if odd else kind.__name__


def _is_odd(module: nn.Module, known: dict[type, bool]) -> bool:
    tensors = (t for held in (module._parameters, module._buffers) for t in held.values() if t is not None)
    for value in (module, *tensors):
        kind = type(value)
        if kind not in known:
            known[kind] = copies_its_own_way(kind)
        if known[kind]:
            return True
    return "__deepcopy__" in module.__dict__


def demand_apart(new: object, network: nn.Module, *, under: str = "", tensors: bool = True) -> None:
    """Check that a copy has no module, and no memory of tensors, in common with a network.

    Args:
        new: The copy, of the network or of a module in it.
        network: The network.
        under: The name of the module that was copied; "" for the network.
        tensors: Whether tensors are compared too; False for copies that are made on the same tensors.

    Raises:
        SurgeryError: It has; the message names the module.
    """
    if not isinstance(new, nn.Module):
        return
    theirs = {id(m) for m in nn.Module.modules(network)}
    named = list(nn.Module.named_modules(new))
    for name, module in named:
        if id(module) in theirs:
            raise SurgeryError(_words(under, name, module, "is the module itself"))
    if not tensors:
        return
    memory = {
        s._cdata for m in nn.Module.modules(network) for _, t in _own(m) if (s := storage_of(t)) is not None
    }
    for name, module in named:
        for key, tensor in _own(module):
            storage = storage_of(tensor)
            if storage is not None and storage._cdata in memory:
                raise SurgeryError(_words(under, name, module, f"has its {key}, not a copy of it"))


def _own(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    held: Iterable[Mapping[str, Any]] = (module._parameters, module._buffers)
    return ((key, tensor) for own in held for key, tensor in own.items() if tensor is not None)


def _words(under: str, name: str, module: nn.Module, what: str) -> str:
    where = ".".join(n for n in (under, name) if n) or "the network"
    kind, way = type(module), way_of(module)
    by = f" ({way})" if way != kind.__name__ else ""
    return (
        f"{where}: a copy of this {kind.__name__} {what}{by}, so that surgery, which works on a copy, would change "
        "the network that it is given; nothing was changed: have copy.deepcopy copy its modules and tensors, or cut a "
        "network in which a plain module with the same weights stands there"
    )
