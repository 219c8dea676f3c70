"""What a network's code asked for while it was traced, whose answers its graphs hold.

Code decides by more than sizes: by types (`x.dtype == torch.uint8`, `next(self.parameters()).dtype`), and by
settings and modes of modules that it calls (`self.fc.out_features`, `self.drop.p`, `self.bn.training`). A graph has no
place where it would ask again. So what was asked is written down, and a rewritten network compares it at each call:
nothing where nothing was asked, as in nearly all networks of timm and torchvision.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from surgeon.graph.anchors import walk
from surgeon.graph.exchanged import Change
from surgeon.graph.leaves import is_leaf
from surgeon.graph.traced import Asked, Example

_LIBRARIES = ("torch", "surgeon")
_OF_TORCH = frozenset(nn.Module().__dict__) - {"training"}
_PLAIN = (bool, int, float, str, tuple, type(None))
_TYPE = ("dtype", "is_floating_point", "is_complex", "element_size", "itemsize", "type", "is_signed")
LAYOUT = ("is_contiguous", "stride", "storage_offset", "is_non_overlapping_and_dense", "data_ptr")
"""Questions of how a tensor lies in memory, which one call answers otherwise than another."""
_MISSING = object()

Types = tuple[tuple[torch.dtype | None, ...], torch.dtype | None]
"""The types of a call: of each input, None for one that is no tensor, and that of autocast, None where that is off."""


class Asking:
    """Writes down what one trace asks for, in the thread that made this."""

    def __init__(self, root: nn.Module, leaves: Iterable[str], watching: Callable[[], bool]) -> None:
        """watching: whether the network's own code runs now, and not surgeon's."""
        self._thread = threading.get_ident()
        self._watching = watching
        whole = set(leaves)
        self._leaves = {id(m): n for n, m in root.named_modules() if n and (n in whole or is_leaf(m))}
        self._kinds = {type(m) for n, m in root.named_modules() if n and id(m) in self._leaves}
        self._tensors = {id(t): n for n, t in (*root.named_parameters(), *root.named_buffers())}
        self._settings: set[tuple[str, str]] = set()
        self._types: set[str] = set()
        self.by_type = False

    @property
    def found(self) -> Asked:
        """What was asked for so far."""
        return Asked(tuple(sorted(self._settings)), tuple(sorted(self._types)), self.by_type)

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """Listen until the end of the block."""
        known = torch.Tensor.dtype
        with contextlib.ExitStack() as stack:
            stack.callback(_put_back, torch.Tensor, "dtype", vars(torch.Tensor).get("dtype", _MISSING))
            torch.Tensor.dtype = property(self._type_of(known))  # type: ignore[assignment]
            for kind in self._kinds:
                stack.callback(
                    _put_back, kind, "__getattribute__", vars(kind).get("__getattribute__", _MISSING)
                )
                kind.__getattribute__ = self._reading(kind.__getattribute__)  # type: ignore[assignment]
            yield

    def _type_of(self, known: Any) -> Callable[[torch.Tensor], torch.dtype]:
        def dtype(tensor: torch.Tensor) -> torch.dtype:
            name = self._tensors.get(id(tensor))
            if name is not None and self._by_the_network(sys._getframe(1)):
                self._types.add(name)
            found: torch.dtype = known.__get__(tensor)
            return found

        return dtype

    def _reading(self, known: Any) -> Callable[[nn.Module, str], Any]:
        def read(module: nn.Module, name: str) -> Any:
            value = known(module, name)
            if (
                type(value) in _PLAIN
                and name not in _OF_TORCH
                and id(module) in self._leaves
                and name in object.__getattribute__(module, "__dict__")
                and self._by_the_network(sys._getframe(1))
            ):
                self._settings.add((self._leaves[id(module)], name))
            return value

        return read

    def _by_the_network(self, frame: Any) -> bool:
        if threading.get_ident() != self._thread or not self._watching():
            return False
        return str(frame.f_globals.get("__name__", "")).partition(".")[0] not in _LIBRARIES


def _put_back(owner: Any, name: str, value: Any) -> None:
    if value is _MISSING:
        delattr(owner, name)
    else:
        setattr(owner, name, value)


def asks_a_type(node: fx.Node) -> bool:
    """Whether a value that is no tensor may depend on the type of one."""
    return bool(comes_of(node, _TYPE))


def comes_of(node: fx.Node, questions: Collection[str]) -> str:
    """The first of some questions to a tensor that a value, which is no tensor, comes of; '' if it comes of none.

    The nodes have their `value`, as `ValueTracer` leaves it.
    """
    seen: set[fx.Node] = set()
    todo = [node]
    while todo:
        found = todo.pop()
        if found in seen or isinstance(found.meta.get("value"), torch.Tensor):
            continue
        seen.add(found)
        name = found.args[1] if found.target is getattr and len(found.args) > 1 else found.target
        asked = getattr(name, "__name__", name)
        if asked in questions:
            return str(asked)
        todo += found.all_input_nodes
    return ""


@dataclass(frozen=True)
class Settings:
    """Plain attributes of one module that the code of another read: their values are in the graphs."""

    path: str
    module: nn.Module
    names: tuple[str, ...]
    values: tuple[Any, ...]

    def stands(self) -> bool:
        """Whether they are what they were. It is asked at every call."""
        return _same(tuple(map(self.module.__dict__.get, self.names)), self.values)

    def change(self, network: nn.Module) -> Change | None:
        """What became of them in the module that stands there now."""
        module = walk(network, self.path)
        if module is None:
            return None  # its container says so
        for name, was in zip(self.names, self.values, strict=True):
            now = module.__dict__.get(name)
            if not _same((now,), (was,)):
                return Change(f"{self.path}.{name}", f"{now!r} in place of {was!r}", True)
        return None


@dataclass(frozen=True)
class TensorTypes:
    """Types of the network's own tensors that its code decided by, or named in a call."""

    names: tuple[str, ...]
    tensors: tuple[tuple[dict[str, Any], str], ...]
    types: tuple[torch.dtype | None, ...]

    def stands(self) -> bool:
        """Whether they are what they were. It is asked at every call."""
        return tuple(getattr(own.get(name), "dtype", None) for own, name in self.tensors) == self.types

    def change(self, network: nn.Module) -> Change | None:
        """Which of them is of another type now."""
        for name, was in zip(self.names, self.types, strict=True):
            now = getattr(_tensor(network, name), "dtype", None)
            if now != was:
                return Change(name, f"{now} in place of {was}", True)
        return None


def watched(network: nn.Module, asked: Asked) -> tuple[Settings | TensorTypes, ...]:
    """What stands now of all that the graphs' code asked for, to be compared at each call."""
    found: list[Settings | TensorTypes] = []
    settings: dict[str, list[str]] = {}
    for path, name in asked.settings:
        if name != "training":  # a graph says so itself (`modes.py`)
            settings.setdefault(path, []).append(name)
    for path, names in settings.items():
        module = walk(network, path)
        if module is not None:
            values = tuple(map(module.__dict__.get, names))
            found.append(Settings(path, module, tuple(names), values))
    named = dict(asked_tensors(network, asked))
    if named:
        places = tuple((own, name.rpartition(".")[2]) for name, own in named.items())
        types = tuple(getattr(own.get(name), "dtype", None) for own, name in places)
        found.append(TensorTypes(tuple(named), places, types))
    return tuple(found)


def asked_tensors(network: nn.Module, asked: Asked) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tensors whose type matters, by name, with the dict that has them: all parameters, where code decides by the
    type of what was computed."""
    names = (
        list(asked.types)
        if not asked.by_type
        else [f"{p}.{n}" if p else n for p, m in _modules(network) for n in m._parameters]
    )
    for name in names:
        path, _, leaf = name.rpartition(".")
        module = walk(network, path) if path else network
        if module is not None:
            yield name, (module._parameters if leaf in module._parameters else module._buffers)


def _modules(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return nn.Module.named_modules(network)


def _tensor(network: nn.Module, name: str) -> Any:
    path, _, leaf = name.rpartition(".")
    module = walk(network, path) if path else network
    return module and module._parameters.get(leaf, module._buffers.get(leaf))


def _same(now: tuple[Any, ...], was: tuple[Any, ...]) -> bool:
    if all(a is b for a, b in zip(now, was, strict=True)):
        return True
    return all(type(a) is type(b) and a == b for a, b in zip(now, was, strict=True))


def types_of(values: Iterable[Any]) -> Types:
    """The types of a call with these inputs."""
    values = tuple(values)
    first = next((v for v in values if isinstance(v, torch.Tensor)), None)
    cast = None
    if first is not None and torch.is_autocast_enabled(first.device.type):
        cast = torch.get_autocast_dtype(first.device.type)
    return tuple(v.dtype if isinstance(v, torch.Tensor) else None for v in values), cast


def types_made_for(network: nn.Module, asked: Asked, example: Example | None) -> Types | None:
    """The types of the calls that graphs of an example hold for; None where they hold for all."""
    if not asked.by_type or example is None:
        return None
    own = next((p.dtype for p in nn.Module.parameters(network) if p.is_floating_point()), torch.float32)
    given = tuple(e.dtype if isinstance(e, torch.Tensor) else None if e is None else own for e in example)
    return given, None


def of_types(values: Iterable[Any], made_for: Types) -> bool:
    """Whether inputs, and the caller's autocast, are of the types that graphs were made for."""
    given, cast = types_of(values)
    same = all(
        one is None or other is None or one == other for one, other in zip(given, made_for[0], strict=False)
    )
    return same and cast == made_for[1]
