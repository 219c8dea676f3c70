"""What a network's code reaches and its copy does not have: modules, tensors and values that stay the caller's own.

A function, and what it closes over, a weak reference, a class and an object that copies as itself are the same in each
copy; so is what code reaches by a global name. What runs of a copy change there is put back: batch-norm statistics of
a part in training mode, gradients, counters.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from surgeon.graph.trees.apart import copies_its_own_way
from surgeon.graph.trees.kept import Kept
from surgeon.graph.trees.memory import storage_of
from surgeon.graph.trees.own_attributes import GRAPH_STATE, OWN, RECORD
from surgeon.graph.trees.slots import slots_of

P = ParamSpec("P")
R = TypeVar("R")

_DEEPEST = 6
_PLAIN = (str, bytes, int, float, complex, bool, type(None), type, ModuleType, CodeType)
_HELD = (dict, OrderedDict, defaultdict, list, set, deque)
_NOT_ITS = {*(k for k in nn.Module().__dict__ if not k.endswith("_hooks")), *GRAPH_STATE, *OWN, *RECORD}
_LIBRARIES = {*sys.stdlib_module_names, "torch", "torchvision", "timm", "surgeon", "numpy"} - {"__main__"}
_EMPTY = object()


def leaves_alone(function: Callable[P, R]) -> Callable[P, R]:
    """Have a function leave as it is what its first argument, a network, reaches beyond what a copy has.

    Args:
        function: A function of a network that runs copies of it.

    Returns:
        The function; what was changed there is put back when it returns or raises.
    """

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        network: Any = args[0] if args else kwargs.get("model")
        if not isinstance(network, nn.Module):
            return function(*args, **kwargs)
        with beyond_left_alone(network, but_its_own=kwargs.get("copy") is False):
            return function(*args, **kwargs)

    return called


@contextlib.contextmanager
def beyond_left_alone(network: nn.Module, *, but_its_own: bool = False) -> Iterator[None]:
    """Context manager: what a network reaches beyond what a copy has is afterwards as it was.

    Args:
        network: The network. It costs a walk over its attributes, and a copy of the tensors that are reached so.
        but_its_own: Whether its own modules, where a function holds one, may be changed, as by a cut on its tensors.
    """
    reached = _Reached(network)
    if but_its_own:
        reached.spare(network)
    kept = [Kept(m) for m in reached.modules]
    tensors = [_Numbers(t) for t in reached.all_tensors()]
    held = [(value, value.copy()) for value in reached.held]
    cells = [(cell, _content(cell)) for cell in reached.cells]
    try:
        yield
    finally:
        for one in kept:
            one.restore(whole=True)
        for numbers in tensors:
            numbers.put_back()
        for value, before in held:
            _refill(value, before)
        for cell, content in cells:
            if content is not _EMPTY and _content(cell) is not content:
                cell.cell_contents = content


class _Numbers:
    """The numbers of a tensor, and those of its gradient."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self._grad = tensor.grad if tensor.is_leaf else None
        self._before = [(s, s.clone()) for t in (tensor, self._grad) if (s := _memory(t)) is not None]

    def put_back(self) -> None:
        for storage, numbers in self._before:
            if storage.nbytes() == numbers.nbytes() and not torch.equal(_bytes(storage), _bytes(numbers)):
                storage.copy_(numbers)
        if self._tensor.is_leaf and self._tensor.grad is not self._grad:
            self._tensor.grad = self._grad


def _memory(tensor: Tensor | None) -> torch.UntypedStorage | None:
    storage = None if tensor is None or is_lazy(tensor) else storage_of(tensor)
    return None if storage is None or storage.device.type == "meta" or not storage.nbytes() else storage


def _bytes(storage: torch.UntypedStorage) -> Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing is in it yet
        return _EMPTY


def _refill(value: Any, before: Any) -> None:
    """Put back what a dict, list, set or deque held."""
    if isinstance(value, dict):
        same = len(value) == len(before) and all(value.get(k, _EMPTY) is v for k, v in before.items())
    else:
        same = len(value) == len(before) and all(a is b for a, b in zip(value, before, strict=True))
    if not same:
        value.clear()
        (value.update if isinstance(value, (dict, set)) else value.extend)(before)


class _Reached:
    """What is reached beyond a network's copy: modules, tensors, the contents of objects and lists, and cells."""

    def __init__(self, network: nn.Module) -> None:
        self.modules: list[nn.Module] = []
        self.tensors: list[Tensor] = []
        self.held: list[Any] = []
        self.cells: list[Any] = []
        self._spared: set[int] = set()
        self._seen: dict[tuple[int, bool], Any] = {}
        self._own_way: dict[type, bool] = {}
        classes: dict[type, None] = {}
        for module in network.modules():
            self._attributes(module, _DEEPEST, False)
            classes |= dict.fromkeys(c for c in type(module).__mro__ if not _of_library(c))
        for kind in classes:
            for key, value in vars(kind).items():
                if not key.startswith("__") or isinstance(value, FunctionType):
                    self._walk(value, _DEEPEST, True)

    def spare(self, network: nn.Module) -> None:
        """Leave out what a network has registered itself."""
        own = {id(m) for m in network.modules()}
        self._spared = {id(t) for t in (*network.parameters(), *network.buffers())}
        self.modules = [m for m in self.modules if id(m) not in own]

    def all_tensors(self) -> list[Tensor]:
        """Each tensor once, by its memory: those reached by themselves, and the modules' own."""
        every = [*self.tensors]
        for module in self.modules:
            for inner in module.modules():
                own: Iterable[Any] = (
                    *inner._parameters.values(),
                    *inner._buffers.values(),
                    *inner.__dict__.values(),
                )
                every += [t for t in own if isinstance(t, Tensor)]
        return list({id(t): t for t in every if id(t) not in self._spared}.values())

    def _attributes(self, module: nn.Module, depth: int, beyond: bool) -> None:
        for key, value in module.__dict__.items():
            if key not in _NOT_ITS and value is not None and not (isinstance(value, dict) and not value):
                self._walk(value, depth, beyond)

    def _walk(self, value: Any, depth: int, beyond: bool) -> None:
        if isinstance(value, _PLAIN) or not depth or (id(value), beyond) in self._seen:
            return
        self._seen[id(value), beyond] = value  # kept alive, so that no other object gets its id
        if isinstance(value, Tensor):
            self.tensors += [value] if beyond else []
        elif isinstance(value, nn.Module):
            self._module(value, depth - 1, beyond)
        elif isinstance(value, (dict, list, set, deque, tuple, frozenset)):
            if beyond and type(value) in _HELD:
                self.held.append(value)
            for inner in list(value.values()) if isinstance(value, dict) else list(value):
                self._walk(inner, depth - 1, beyond)
        elif isinstance(value, weakref.ref):
            self._walk(value(), depth - 1, True)
        elif isinstance(value, weakref.ProxyTypes):
            with contextlib.suppress(ReferenceError, AttributeError):
                self._walk(value.__repr__.__self__, depth - 1, True)
        elif isinstance(value, FunctionType):
            self._function(value, depth - 1)
        else:
            with contextlib.suppress(Exception):  # people's objects, whose attributes may raise anything
                self._object(value, depth - 1, beyond)

    def _module(self, module: nn.Module, depth: int, beyond: bool) -> None:
        if beyond:
            self.modules.append(module)
        for inner in module.modules():
            self._attributes(inner, depth, beyond)

    def _function(self, function: FunctionType, depth: int) -> None:
        """What a function closes over, its defaults, and the modules and tensors that it reads by global names."""
        if _of_library(function):
            return
        for cell in function.__closure__ or ():
            self.cells.append(cell)
            self._walk(_content(cell), depth, True)
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._walk(value, depth, True)
        for name in _names(function.__code__):
            value = function.__globals__.get(name)
            if isinstance(value, (nn.Module, Tensor, FunctionType)):
                self._walk(value, depth, True)

    def _object(self, value: Any, depth: int, beyond: bool) -> None:
        """What an object of any class has; beyond a copy is what one has that says itself how it is copied."""
        if isinstance(value, (staticmethod, classmethod, MethodType)):
            self._walk(value.__func__, depth, True)
            self._walk(getattr(value, "__self__", None), depth, beyond)
        elif isinstance(value, property):
            self._walk(value.fget, depth, True)
        elif isinstance(value, functools.partial):
            for inner in (value.func, *value.args, *value.keywords.values()):
                self._walk(inner, depth, beyond)
        elif isinstance(value, (functools._lru_cache_wrapper, functools.cached_property)):
            self._walk(getattr(value, "__wrapped__", None) or value.func, depth, True)  # type: ignore[union-attr]
        elif not _of_library(type(value)):
            kind = type(value)
            if kind not in self._own_way:
                self._own_way[kind] = copies_its_own_way(kind)
            beyond = beyond or self._own_way[kind]
            own = getattr(value, "__dict__", None)
            if type(own) is dict:
                if beyond:
                    self.held.append(own)
                for inner in list(own.values()):
                    self._walk(inner, depth, beyond)
            for _, inner in slots_of(value):
                self._walk(inner, depth, beyond)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _of_library(value: Any) -> bool:
    return str(getattr(value, "__module__", None) or "").partition(".")[0] in _LIBRARIES
