"""A rewritten `nn.Sequential` by index: `model[-1]`, `model[-1] = head`, `append`, `pop()`, as in the stock network;
and a rewritten `nn.ModuleDict`, such as torchvision's IntermediateLayerGetter, by name.

A layer at the network's input hangs among the children and is not counted as one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from surgeon.graph.places.cuts import Point

INDEXED = ("__len__", "__getitem__", "__setitem__", "__delitem__", "append", "extend", "pop")
"""Methods of a Sequential that read or exchange single children."""
BY_NAME = ("keys", "__iter__", "__len__", "__contains__", "__getitem__")
"""Methods of a ModuleDict that read names, or single children."""


def is_indexed(name: str, member: Any) -> bool:
    """Whether a method of a stock class is one of `INDEXED`, as nn.Sequential has it, or of `BY_NAME`."""
    return (name in INDEXED and vars(nn.Sequential).get(name) is member) or _by_name(name, member)


def _by_name(name: str, member: Any) -> bool:
    return name in BY_NAME and vars(nn.ModuleDict).get(name) is member


def by_index(
    network: nn.Module, points: Iterable[Point], name: str, args: tuple[Any, ...], kwargs: Any
) -> tuple[bool, Any]:
    """Run a method of `INDEXED` or `BY_NAME` on a network whose children are those of a Sequential or a ModuleDict.

    Returns whether it was run, and its result. It is not run if it would return a part of the network that computes
    something else without its layers, as slices, edited children and loops over all indices do. Nor is it run if a
    child that stays would get another name: the surgery knows children by their names.
    """
    if any(isinstance(a, slice) for a in (*args, *kwargs.values())):
        return False, None
    layers = [p for p in points if p.layer]
    at_input = {p.layer for p in layers if not p.site}
    before = {k: m for k, m in network._modules.items() if k not in at_input}
    edited = {p.site.partition(".")[0] if p.site else next(iter(before), "") for p in layers}
    # torch's own method runs on a bare Sequential without layers at the input, so that indices count as in the stock
    # network; what it changed there is then done to the rewritten network.
    kind: type[nn.Module] = nn.ModuleDict if isinstance(network, nn.ModuleDict) else nn.Sequential
    view = kind()
    view.__dict__["_modules"] = dict(before)
    result = getattr(kind, name)(view, *args, **kwargs)
    after, gone = view._modules, before.keys() - view._modules.keys()
    if any(result is before.get(k) for k in edited if before.get(k) is not None) or gone & edited:
        return False, None
    renamed = any(before.get(k) is not m and any(m is b for b in before.values()) for k, m in after.items())
    if gone and renamed:
        return False, None
    for key in gone:
        delattr(network, key)
    for key, module in after.items():
        if before.get(key) is not module:
            setattr(network, key, module)
    return True, network if result is view else result
