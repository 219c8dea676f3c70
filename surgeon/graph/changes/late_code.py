"""Code that came into a network after the cut: wrappers, blocks, a `forward` put on an object.

The cut looked at the code that was there, and ran it beside its graphs (`witness.py`). Code that comes later nobody
compared with a graph: it may count its calls, keep a result for the next one, or set itself up in its first call, as
wrappers that shard weights do. So it is not traced. It is called whole, which is right whatever it does; only where a
site or a layer lies inside must a trace go into it, and refuses what it is seen to write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from surgeon import tree
from surgeon.graph.changes.unchecked import is_checked
from surgeon.graph.places.cuts import Point
from surgeon.graph.trees.leaves import is_leaf

_COMPARED = ("torch.nn.", "torch.ao.", "torch.fx.")
"""The parts of torch whose modules do in each call what they do in the first."""


@dataclass(frozen=True)
class Late:
    """Modules by name, with all their names: `whole` are called as they are; into the code of `watched` ones a trace
    goes, and demands that it writes nothing into its module."""

    whole: frozenset[str] = frozenset()
    watched: frozenset[str] = frozenset()


def code_in(network: nn.Module) -> dict[str, str]:
    """The code of a network's modules that no checked library has, by the module's name: its class, and the function
    where the object has a `forward` of its own."""
    named = tree.modules(network, every_name=True)
    return {n: _code(m) for n, m in named if n and _unknown(m)}


def late(
    view: nn.Module, known: Mapping[str, str] | None, points: Iterable[Point], changed: bool = False
) -> Late:
    """What of a network's code came after the cut, or may do now what it did not then.

    known: what `code_in` gave at the cut; None where that is not known, and nothing counts as late. changed: whether
    something that the code reads is another than at the cut, which may have switched on what writes.
    """
    if known is None:
        return Late()
    paths = [path for p in points for path in (p.site, p.layer) if path]
    kinds: dict[type, set[str]] = {}
    parts: dict[type, bool] = {}
    whole: set[str] = set()
    watched: set[str] = set()
    for name, module in tree.modules(view, every_name=True):
        if not name or not _unknown(module):
            continue
        inside = any(path.startswith(f"{name}.") for path in paths)
        parts[type(module)] = parts.get(type(module), False) or inside
        if known.get(name) == _code(module):
            kinds.setdefault(type(module), set()).add(name)
        else:
            (watched if inside else whole).add(name)
    # where no layer is in any module of a class, all of them can be called whole
    watched |= {n for kind, names in kinds.items() if changed or not parts[kind] for n in names}
    return Late(frozenset(whole), frozenset(watched))


def _unknown(module: nn.Module) -> bool:
    kind = type(module)
    if kind.__name__ == "OptimizedModule" or is_leaf(module):  # the module that was compiled counts itself
        return False
    if "forward" not in module.__dict__ and kind.forward is nn.Module.forward:
        return False  # a list of modules
    module_name = kind.__module__
    return not is_checked(module) or (
        module_name.startswith("torch.") and not module_name.startswith(_COMPARED)
    )


def _code(module: nn.Module) -> str:
    kind = type(module)
    own = module.__dict__.get("forward")
    return f"{kind.__module__}.{kind.__qualname__}{'' if own is None else f' with {_function(own)}'}"


def _function(function: Callable[..., Any]) -> str:
    inner = getattr(function, "__func__", function)
    name = f"{getattr(inner, '__module__', '')}.{getattr(inner, '__qualname__', type(inner).__qualname__)}"
    code = getattr(inner, "__code__", None)
    return name if code is None else f"{name}:{code.co_firstlineno}"


def called_as_written(network: nn.Module) -> dict[str, str]:
    """The modules of a network that its graphs call because they came after the cut, with that reason: graphs that are
    made of the tree again, after folding or loading, must call them too."""
    parts = [(n, m) for n, m in tree.modules(network) if "_known" in m.__dict__]
    return {
        f"{part}.{name}" if part else name: "it came after the cut, and is called as it is"
        for part, module in parts
        for name in sorted(late(module, module.__dict__["_known"], module.__dict__["_points"]).whole)
    }
