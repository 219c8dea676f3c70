"""Classes of the containers that the graphs go through: the graphs were made of their code.

Code that patches a network may give its modules another class in place (`block.__class__ = Merging`). The object and
its children are then what they were, and the graphs would go on with the code of the old class.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from surgeon.graph.changes.anchors import inner_of, walk
from surgeon.graph.changes.exchanged import Change, Opened
from surgeon.graph.rewritten.kinship import how_for


@dataclass(frozen=True)
class Classes:
    """Modules below the network, by path, with the classes that they were of; and the network.

    stock: the class that the network has been of before the surgery.
    """

    paths: tuple[str, ...]
    modules: tuple[nn.Module, ...]
    kinds: tuple[type, ...]
    network: nn.Module
    stock: type[nn.Module]

    def stands(self) -> bool:
        """Whether they are of the same classes. It is asked at every call."""
        alike = all(map(operator.is_, map(type, self.modules), self.kinds))
        if not alike and not all(map(_runs, map(type, self.modules), self.kinds)):
            return False
        return not _overridden(type(self.network), self.stock)

    def change(self, network: nn.Module) -> Change | None:
        """The first module whose class was changed. Exchanged modules do not count: their containers report
        them."""
        for path, module, old in zip(self.paths, self.modules, self.kinds, strict=True):
            child, kind = walk(network, path), type(module)
            if child is not None and inner_of(child) is module and not _runs(kind, old):
                return Change(path, f"its class is {kind.__name__} in place of {old.__name__}", True)
        names = _overridden(type(network), self.stock)
        if not names:
            return None
        return Change(
            "",
            f"its class is {type(network).__name__} now, with a {names[0]} of its own",
            True,
            f"its graphs are of the code of {self.stock.__name__}, which knows another {names[0]}",
        )


def watched(network: nn.Module, opened: Mapping[str, Opened], stock: type[nn.Module]) -> Classes:
    """The classes of the containers that the graphs go through, as they are now."""
    below = {path: one.module for path, one in opened.items() if path}
    kinds = tuple(map(type, below.values()))
    return Classes(tuple(below), tuple(below.values()), kinds, network, stock)


def _runs(kind: type, old: type) -> bool:
    """Whether a class runs another class's code: it is that class, or a subclass that overrides nothing of it, as
    those of parametrized and of sharded modules are. Overrides of what every module has, such as `_apply`, do not
    count: they compute nothing."""
    if kind is old or old not in kind.__mro__:
        return kind is old
    above = kind.__mro__[: kind.__mro__.index(old)]
    own = (n for c in above for n in vars(c) if not n.startswith("__"))
    return not any(hasattr(old, n) and (n == "forward" or not hasattr(nn.Module, n)) for n in own)


def _overridden(kind: type, stock: type) -> list[str]:
    """Methods of the stock class that a subclass of the rewritten network's class overrides.

    `forward` does not count: callers of the network run it, and it may call the inherited one.
    """
    if "_of_surgeon" in vars(kind):
        return []
    above = itertools.takewhile(lambda c: "_of_surgeon" not in vars(c), kind.__mro__)
    own = [n for c in above for n in vars(c) if n != "forward" and not hasattr(nn.Module, n)]
    return [n for n in own if hasattr(stock, n) and how_for(n, getattr(stock, n)) != "keep"]
