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

from surgeon import tree
from surgeon.errors import TraceError
from surgeon.graph.changes.anchors import walk
from surgeon.graph.changes.exchanged import Change
from surgeon.graph.changes.kept_elsewhere import WHOLE, Given, Grown, kept_elsewhere
from surgeon.graph.changes.read_around import around
from surgeon.graph.changes.settings import REGISTERED, Settings, objects, settings
from surgeon.graph.changes.walked import asked_by, without
from surgeon.graph.measuring.traced import Asked, Example
from surgeon.graph.trees.leaves import CONTAINERS, is_leaf
from surgeon.graph.trees.left_by_hooks import LeftByHooks
from surgeon.graph.trees.own_attributes import OURS
from surgeon.graph.trees.slots import (
    MISSING,
    by_descriptor,
    gets,
    in_slots,
    member_of,
    slots_of_class,
)

_LIBRARIES = ("torch", "surgeon")
_OF_TORCH = frozenset(nn.Module().__dict__) - {"training"}
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
        ours: Collection[str] = (),
    ) -> None:
        """watching: whether the network's own code runs now, and not surgeon's. as_found: whether a module's attribute
        is what it was before the trace, and not what the code has set meanwhile. ours: as for `trace`."""
        self._thread = threading.get_ident()
        self._watching = watching
        self._ours = ours
        self._root = root
        self._as_found = as_found
        whole = set(leaves)
        named = dict(root.named_modules())
        self._leaves = {id(m): n for n, m in named.items() if n and (n in whole or is_leaf(m))}
        self._modules = {id(m): n for n, m in named.items()}
        held = list(objects(root))
        self._objects = {id(o): (path, name) for path, name, o in held}
        self._held = [o for _, _, o in held]
        self._kinds = {type(o) for o in (*named.values(), *self._held)}
        self._hooks = LeftByHooks(root)
        self._tensors = {id(t): n for n, t in (*root.named_parameters(), *root.named_buffers())}
        self._settings: set[tuple[str, str]] = set()
        self._types: set[str] = set()
        self._looked_into: set[str] = set()
        self._walked: set[str] = set()
        # Asked before `on` patches them.
        self._own = {k for k in self._kinds if gets(k, "__getattribute__")}
        own = [v for m in named.values() for k, v in m.__dict__.items() if k not in _OF_TORCH]
        self._around = around("__getattribute__", self._kinds, own)
        self._modes = self._around or around("__setattr__", self._kinds, own)
        self.by_type = False

    @property
    def found(self) -> Asked:
        """What was asked for so far."""
        return Asked(
            tuple(sorted(self._settings)),
            tuple(sorted(self._types)),
            self.by_type,
            tuple(sorted(self._looked_into)),
            tuple(sorted(self._walked)),
            self._modes,
        )

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """Listen until the end of the block."""
        known = torch.Tensor.dtype
        with contextlib.ExitStack() as stack:
            stack.callback(_put_back, torch.Tensor, "dtype", vars(torch.Tensor).get("dtype", MISSING))
            torch.Tensor.dtype = property(self._type_of(known))  # type: ignore[assignment]
            for kind in self._kinds:
                for name, heard in (("__getattribute__", self._reading), ("__setattr__", self._setting)):
                    before = vars(kind).get(name, MISSING)
                    try:
                        setattr(kind, name, heard(getattr(kind, name)))
                    except (TypeError, AttributeError):  # a class that takes no attributes
                        self._modes = self._modes or issubclass(kind, nn.Module)
                        continue
                    stack.callback(_put_back, kind, name, before)
            for owner in self._read_around():
                self._note_whole(owner, sys._getframe())
            yield

    def followed(self, path: str) -> None:
        """The trace goes into the code of a module below the root, which an object may have exchanged."""
        self._settings.add((path, "forward"))
        self._looked_into.add(path)

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
            if name == "training":
                self._modes = True
            try:
                value = known(owner, name)
            except AttributeError:
                if self._by_the_network(sys._getframe(1)):
                    self._absent(owner, name)
                raise
            if name == WHOLE:
                frame = sys._getframe(1)
                # functools looks there for what a cached property keeps, which its own code says
                if self._by_the_network(frame) and frame.f_globals.get("__name__") != "functools":
                    self._modes = True
                    self._note_whole(owner, frame)
            elif name in REGISTERED and isinstance(owner, nn.Module):
                return self._gone_through(owner, name, value, sys._getframe(1))
            elif (
                name not in _OF_TORCH
                and not name.startswith("__")
                and _is_setting(owner, name, value)
                and self._by_the_network(sys._getframe(1))
            ):
                self._note(owner, name, value, sys._getframe(1))
            return value

        read.__wrapped__ = known  # type: ignore[attr-defined]  # for whoever asks what the class has
        return read

    def _setting(self, known: Any) -> Callable[[Any, str, Any], None]:
        def write(owner: Any, name: str, value: Any) -> None:
            if name == "training":
                self._modes = True
            known(owner, name, value)

        write.__wrapped__ = known  # type: ignore[attr-defined]
        return write

    def _absent(self, owner: Any, name: str) -> None:
        """Write down an attribute that the network's code did not find, or found to be None, in a module or in an
        object: it may be set later. What a module has as a parameter, a buffer or a child, the graphs read and call."""
        path = self._modules.get(id(owner))
        in_class = member_of(type(owner), name) is not MISSING and not in_slots(type(owner), name)
        if path is None:
            held = self._objects.get(id(owner))
            if held is not None and not in_class and not name.startswith("__"):
                self._settings.add((held[0], f"{held[1]}.{name}"))
            return
        own = _dict_of(owner)
        there = {kind: own[kind][name] for kind in REGISTERED if name in own.get(kind, {})}
        value = next((v for v in there.values() if v is not None), None)
        if there and value is None:
            self._settings |= {(path, f"{kind}.{name}") for kind in there}
        elif not there and not in_class and not name.startswith("__") and (path or name not in OURS):
            self._settings |= {(path, name), *((path, f"{kind}.{name}") for kind in REGISTERED)}
        elif isinstance(value, nn.Module) and _holds_alone(value) and id(value) in self._modules:
            self._looked_into.add(self._modules[id(value)])

    def _read_around(self) -> Iterator[Any]:
        """All modules and objects, where some code reads attributes in a way that is not heard."""
        if self._around:
            yield from (*self._root.modules(), *self._held)

    def _note_whole(self, owner: Any, frame: Any) -> None:
        """Write down all attributes that a module or an object has, and that further ones may count."""
        own = _dict_of(owner)
        for name, value in list(own.items()):
            if name not in _OF_TORCH and name != "training" and _is_setting(owner, name, value):
                self._note(owner, name, value, frame)
        for name in slots_of_class(type(owner)):
            self._note(owner, name, MISSING, frame)
        self._note(owner, WHOLE, own, frame)

    def _gone_through(self, owner: nn.Module, kind: str, held: dict[str, Any], frame: Any) -> dict[str, Any]:
        """Write down that further parameters, buffers or children of a module may count, where the network's code goes
        through them, itself or by a walk of torch's; what it sees of them."""
        path = self._modules.get(id(owner))
        itself = self._by_the_network(frame)
        if path is None or not (itself or self._by_the_network(asked_by(frame))):
            return held
        if kind != "_modules":
            self._settings.add((path, f"{kind}.{WHOLE}"))
        else:
            whole = not itself or id(owner) in self._leaves
            (self._walked if whole else self._looked_into).add(path)
        return without(held, path, self._ours)

    def _note(self, owner: Any, name: str, value: Any, frame: Any) -> None:
        """Write down an attribute that the network's code read."""
        own, kind = _dict_of(owner), type(owner)
        by_code = kind in self._own and not (isinstance(owner, nn.Module) and hasattr(nn.Module, name))
        elsewhere = name == WHOLE or by_code or in_slots(kind, name) or by_descriptor(kind, name)
        if name not in own and not elsewhere and not _may_be_exchanged(kind, name):
            return
        path = self._modules.get(id(owner))
        if path is None:
            held = self._objects.get(id(owner))
            if held is not None:
                self._settings.add((held[0], f"{held[1]}.{name}"))
        elif name == "training":
            if id(owner) in self._leaves or (path and _of_another(frame, owner)):
                self._settings.add((path, name))
        elif name not in own or by_code or self._as_found(owner, name, value):
            if self._hooks.has(name, value):
                raise TraceError(f"it reads {name} as a hook leaves it, which a graph would keep")
            self._settings.add((path, name))

    def _by_the_network(self, frame: Any) -> bool:
        if frame is None or threading.get_ident() != self._thread or not self._watching():
            return False
        return str(frame.f_globals.get("__name__", "")).partition(".")[0] not in _LIBRARIES


def _may_be_exchanged(kind: type, name: str) -> bool:
    """Whether a class has an attribute that an object may replace by its own: a plain value, or a method."""
    member = member_of(kind, name)
    descriptor = hasattr(type(member), "__set__") or isinstance(member, functools.cached_property)
    return member is not MISSING and not descriptor and not hasattr(nn.Module, name)


def _dict_of(owner: Any) -> dict[str, Any]:
    try:
        own: dict[str, Any] = object.__getattribute__(owner, "__dict__")
    except AttributeError:  # an object with slots alone
        return {}
    return own


def _is_setting(owner: Any, name: str, value: Any) -> bool:
    """Whether a value that code read is one that a graph would hold: modules it calls, and tensors of modules, but for
    those in slots, it reads."""
    if issubclass(type(value), (fx.Proxy, nn.Module)):
        return False
    read = isinstance(value, torch.Tensor) and isinstance(owner, nn.Module)
    return not read or in_slots(type(owner), name)


def _holds_alone(module: nn.Module) -> bool:
    """Whether a module has children for other code to go through, and none that calls them itself."""
    if isinstance(module, (nn.ParameterList, nn.ParameterDict)):
        return False
    return isinstance(module, CONTAINERS) or type(module).forward is nn.Module.forward


def _of_another(frame: Any, module: nn.Module) -> bool:
    """Whether a frame runs the code of another module."""
    own = frame.f_locals.get("self")
    return issubclass(type(own), nn.Module) and own is not module


def _put_back(owner: Any, name: str, value: Any) -> None:
    if value is MISSING:
        delattr(owner, name)
    else:
        setattr(owner, name, value)


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


def watched(network: nn.Module, asked: Asked) -> tuple[Settings | Given | Grown | TensorTypes, ...]:
    """What stands now of all that the graphs' code asked for, to be compared at each call."""
    observed: list[Settings | Given | Grown | TensorTypes] = []
    # of modes a graph says so itself (`modes.py`)
    names = [(path, name) for path, name in asked.settings if name != "training"]
    read = settings(network, [one for one in names if not one[1].endswith(WHOLE)])
    if read is not None:
        observed.append(read)
    observed += kept_elsewhere(network, names)
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
