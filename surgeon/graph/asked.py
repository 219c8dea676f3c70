"""What a network's code asked for while it was traced, whose answers its graphs hold.

Code decides by more than sizes: by types (`x.dtype == torch.uint8`, `next(self.parameters()).dtype`), and by
attributes and modes, its own and those of modules that it calls (`self.drop_rate`, `self.config.hidden`,
`self.fc.out_features`, `self.bn.training`). A graph has no place where it would ask again. So what was asked is
written down, and a rewritten network compares it at each call.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from surgeon.errors import TraceError
from surgeon.graph import tree
from surgeon.graph.anchors import walk
from surgeon.graph.exchanged import Change
from surgeon.graph.leaves import is_leaf
from surgeon.graph.left_by_hooks import LeftByHooks
from surgeon.graph.settings import MISSING, Settings, objects, settings
from surgeon.graph.traced import Asked, Example

_LIBRARIES = ("torch", "surgeon")
_OF_TORCH = frozenset(nn.Module().__dict__) - {"training"}
_TYPE = ("dtype", "is_floating_point", "is_complex", "element_size", "itemsize", "type", "is_signed")
LAYOUT = ("is_contiguous", "stride", "storage_offset", "is_non_overlapping_and_dense", "data_ptr")
"""Questions about a tensor's layout in memory, which may be answered differently in the next call."""

Types = tuple[tuple[torch.dtype | None, ...], torch.dtype | None]
"""The dtypes of a call: of each input (None if it is not a tensor), and of autocast (None if it is off)."""


class Asking:
    """Writes down what one trace asks for, in the thread that made this."""

    def __init__(
        self,
        root: nn.Module,
        leaves: Iterable[str],
        watching: Callable[[], bool],
        as_found: Callable[[nn.Module, str, Any], bool],
    ) -> None:
        """watching: whether the network's own code runs now, and not surgeon's. as_found: whether a module's attribute
        is what it was before the trace, and not what the code has set meanwhile."""
        self._thread = threading.get_ident()
        self._watching = watching
        self._root = root
        self._as_found = as_found
        whole = set(leaves)
        named = dict(root.named_modules())
        self._leaves = {id(m): n for n, m in named.items() if n and (n in whole or is_leaf(m))}
        self._modules = {id(m): n for n, m in named.items()}
        self._objects = {id(o): (path, name) for path, name, o in objects(root)}
        self._kinds = {type(m) for m in named.values()} | {type(o) for _, _, o in objects(root)}
        self._hooks = LeftByHooks(root)
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
            stack.callback(_put_back, torch.Tensor, "dtype", vars(torch.Tensor).get("dtype", MISSING))
            torch.Tensor.dtype = property(self._type_of(known))  # type: ignore[assignment]
            for kind in self._kinds:
                before = vars(kind).get("__getattribute__", MISSING)
                try:
                    kind.__getattribute__ = self._reading(kind.__getattribute__)  # type: ignore[assignment]
                except (TypeError, AttributeError):  # a class that takes no attributes
                    continue
                stack.callback(_put_back, kind, "__getattribute__", before)
            yield

    def followed(self, path: str) -> None:
        """The trace goes into the code of a module below the root, which an object may have exchanged."""
        self._settings.add((path, "forward"))

    def computed_with(self, names: Iterable[str]) -> None:
        """The graphs hold what the code computed of these buffers and attributes, whose values may change."""
        for name in names:
            path, _, key = name.rpartition(".")
            module = self._root.get_submodule(path)
            if key not in module._parameters:
                self._settings.add((path, f"_buffers.{key}" if key in module._buffers else key))

    def forget(self, names: Iterable[tuple[str, str]]) -> None:
        """Leave out attributes, by module and name, that the graphs themselves set."""
        self._settings -= set(names)

    def _type_of(self, known: Any) -> Callable[[torch.Tensor], torch.dtype]:
        def dtype(tensor: torch.Tensor) -> torch.dtype:
            name = self._tensors.get(id(tensor))
            if name is not None and self._by_the_network(sys._getframe(1)):
                self._types.add(name)
            kind: torch.dtype = known.__get__(tensor)
            return kind

        return dtype

    def _reading(self, known: Any) -> Callable[[Any, str], Any]:
        def read(owner: Any, name: str) -> Any:
            try:
                value = known(owner, name)
            except AttributeError:
                if self._by_the_network(sys._getframe(1)):
                    self._absent(owner, name)
                raise
            if (
                name not in _OF_TORCH
                and not name.startswith("__")
                and not issubclass(type(value), (fx.Proxy, nn.Module))
                and not (isinstance(value, torch.Tensor) and isinstance(owner, nn.Module))  # graphs read it
                and self._by_the_network(sys._getframe(1))
            ):
                self._note(owner, name, value, sys._getframe(1))
            return value

        return read

    def _absent(self, owner: Any, name: str) -> None:
        """Write down a parameter or a buffer that the network's code found to be None."""
        path = self._modules.get(id(owner))
        for kind in ("_parameters", "_buffers"):
            if path is not None and owner.__dict__.get(kind, {}).get(name, owner) is None:
                self._settings.add((path, f"{kind}.{name}"))

    def _note(self, owner: Any, name: str, value: Any, frame: Any) -> None:
        """Write down an attribute that the network's code read."""
        own = object.__getattribute__(owner, "__dict__")
        if name not in own and not _may_be_exchanged(type(owner), name):
            return
        path = self._modules.get(id(owner))
        if path is None:
            held = self._objects.get(id(owner))
            if held is not None:
                self._settings.add((held[0], f"{held[1]}.{name}"))
        elif name == "training":
            if id(owner) in self._leaves or (path and _of_another(frame, owner)):
                self._settings.add((path, name))
        elif name not in own or self._as_found(owner, name, value):
            if self._hooks.has(name, value):
                raise TraceError(f"it reads {name} as a hook leaves it, which a graph would keep")
            self._settings.add((path, name))

    def _by_the_network(self, frame: Any) -> bool:
        if threading.get_ident() != self._thread or not self._watching():
            return False
        return str(frame.f_globals.get("__name__", "")).partition(".")[0] not in _LIBRARIES


def _may_be_exchanged(kind: type, name: str) -> bool:
    """Whether a class has an attribute that an object may replace by its own: a plain value, or a method."""
    member = next((vars(c)[name] for c in kind.__mro__ if name in vars(c)), MISSING)
    descriptor = hasattr(type(member), "__set__") or isinstance(member, functools.cached_property)
    return member is not MISSING and not descriptor and not hasattr(nn.Module, name)


def _of_another(frame: Any, module: nn.Module) -> bool:
    """Whether a frame runs the code of another module."""
    own = frame.f_locals.get("self")
    return issubclass(type(own), nn.Module) and own is not module


def _put_back(owner: Any, name: str, value: Any) -> None:
    if value is MISSING:
        delattr(owner, name)
    else:
        setattr(owner, name, value)


def asks_a_type(node: fx.Node) -> bool:
    """Whether a value that is not a tensor may depend on the dtype of a tensor."""
    return bool(comes_of(node, _TYPE))


def comes_of(node: fx.Node, questions: Collection[str]) -> str:
    """The first question to a tensor from which a value that is not a tensor was computed; '' if there is no such
    question.

    The nodes have their `value`, as `ValueTracer` leaves it.
    """
    seen: set[fx.Node] = set()
    todo = [node]
    while todo:
        source = todo.pop()
        if source in seen or isinstance(source.meta.get("value"), torch.Tensor):
            continue
        seen.add(source)
        name = source.args[1] if source.target is getattr and len(source.args) > 1 else source.target
        asked = getattr(name, "__name__", name)
        if asked in questions:
            return str(asked)
        todo += source.all_input_nodes
    return ""


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
        for name, old in zip(self.names, self.types, strict=True):
            now = getattr(_tensor(network, name), "dtype", None)
            if now != old:
                return Change(name, f"{now} in place of {old}", True)
        return None


def watched(network: nn.Module, asked: Asked) -> tuple[Settings | TensorTypes, ...]:
    """What stands now of all that the graphs' code asked for, to be compared at each call."""
    observed: list[Settings | TensorTypes] = []
    # of modes a graph says so itself (`modes.py`)
    read = settings(network, [(path, name) for path, name in asked.settings if name != "training"])
    if read is not None:
        observed.append(read)
    named = dict(asked_tensors(network, asked))
    if named:
        places = tuple((own, name.rpartition(".")[2]) for name, own in named.items())
        types = tuple(getattr(own.get(name), "dtype", None) for own, name in places)
        observed.append(TensorTypes(tuple(named), places, types))
    return tuple(observed)


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
    return tree.modules(network)


def _tensor(network: nn.Module, name: str) -> Any:
    path, _, leaf = name.rpartition(".")
    module = walk(network, path) if path else network
    return module and module._parameters.get(leaf, module._buffers.get(leaf))


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
