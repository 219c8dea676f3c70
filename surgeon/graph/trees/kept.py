"""What a network's code leaves on its modules: a graph leaves it there too, at each call.

Losses of blocks, attention maps and the like (`self.aux_loss = h.square().mean()`) are read from the modules
after a call. While a network is traced such an attribute holds a proxy; the graph then gets a call that sets
it. What was there before the trace is put back.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Collection
from types import FunctionType
from typing import Any

import torch
from torch import fx, nn
from torch.nn.parameter import is_lazy

from surgeon.errors import TraceError
from surgeon.graph.trees.memory import same_memory

_OF_TORCH = frozenset(nn.Module().__dict__)
_COUNT = len(_OF_TORCH)
_MUTABLE = (list, dict, set, deque)
_PLAIN = (str, int, float, bool, complex, bytes, type(None), type, FunctionType, torch.Tensor, nn.Module)
_NUMBERS = (str, int, float, bool, complex, bytes, tuple, torch.Size)
_MISSING = object()
_PROPERTIES = ("device", "dtype", "shape")
_PROGRAMS = "_programs"
"""What a rewritten network has its graphs under."""
ITSELF = "_itself"
"""The property of a rewritten network by which its graphs name it."""


@fx.node.has_side_effect
def keep(module: nn.Module, name: str, value: Any) -> None:
    """Set an attribute of a module. Not in a program that is exported, which has no modules, nor where
    another tracer of torch.fx records."""
    if not (torch.compiler.is_exporting() or _traced(value)):
        setattr(module, name, value)


@fx.node.has_side_effect
def keep_in(module: nn.Module, name: str, key: str, value: Any) -> None:
    """Set an item of a dict that is an attribute of a module; not where `keep` does nothing."""
    if not (torch.compiler.is_exporting() or _traced(value)):
        getattr(module, name)[key] = value


class Kept:
    """What the modules of one network, all `but` some, hold before it is traced or run."""

    def __init__(self, network: nn.Module, but: Collection[nn.Module] = ()) -> None:
        self._root = network
        self._before: dict[nn.Module, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
            m: (m.__dict__.copy(), m._parameters.copy(), m._buffers.copy())
            for m in network.modules()
            if m not in but
        }
        self._memory = {m: _memory(m) for m in self._before}
        self._hooks = {m: [h.copy() for h in _hooks(m)] for m in self._before}
        self._contents: list[tuple[Any, Any]] = []
        for held, _, _ in self._before.values():
            # What nn.Module itself sets comes first, as its constructor runs first.
            for value in list(held.values())[_COUNT:]:
                if type(value) in _MUTABLE:
                    self._contents.append((value, value.copy()))
        self._set: dict[tuple[nn.Module, str, Any], Any] = {}

    def after(self, module: nn.Module, tracer: fx.Tracer) -> None:
        """Have the graph set what the code has set on the module so far.

        Raises TraceError for results that it added to a list or object from before the call, and for
        a parameter or buffer that it exchanged. A buffer that no state dict has may be exchanged for one that is made
        of numbers alone, such as a table of positions for another size: the graph then has that as a constant.
        """
        if module not in self._before:
            return
        before, *tensors = self._before[module]
        own: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for old, now in zip(tensors, own, strict=True):
            for name, tensor in old.items():
                if now.get(name) is not tensor and not _of_numbers(module, name, tracer):
                    raise TraceError(
                        f"it puts another tensor in place of its {name}, which a graph would not"
                    )
        for name, tensor, data in self._memory[module]:
            if not same_memory(tensor, data):
                raise TraceError(f"it puts other data into its {name}, which a graph would not")
        for name, value in list(module.__dict__.items()):
            if name in _OF_TORCH or isinstance(value, _PLAIN) or not _traced(value):
                continue
            if value is not before.get(name, _MISSING):
                self._leave(keep, module, (name,), value, tracer)
            elif type(value) is dict:
                for key, inner in value.items():
                    if _traced(key):
                        raise TraceError(f"it keeps results in its {name} under what depends on the input")
                    if _traced(inner) and not _of_weights(
                        inner
                    ):  # else kept to compute it once for all calls
                        old = self._item(value, key)
                        if old is not _MISSING and not isinstance(old, torch.Tensor):
                            raise TraceError(
                                f"it exchanges {key!r} in its {name}, which a graph would have from before"
                            )
                        self._leave(keep_in, module, (name, key), inner, tracer)
            else:
                raise TraceError(f"it adds results to its {name}, which a graph would do once")

    def unwritten(self, module: nn.Module) -> None:
        """Raise TraceError for a module whose code has left anything on it that the graph does not set."""
        before = self._before[module][0] if module in self._before else module.__dict__
        for name in [n for n in {**before, **module.__dict__} if n not in _OF_TORCH]:
            old, now = before.get(name, _MISSING), module.__dict__.get(name, _MISSING)
            if not _traced(now) and (
                not _same(old, now) or (type(now) in _MUTABLE and not self._holds_the_same(now))
            ):
                raise TraceError(f"it writes into its {name} while it runs, which a graph would not")

    def _holds_the_same(self, held: Any) -> bool:
        """Whether a list, set or dict from before the call has what it had; one may keep more under further keys."""
        content = next((c for v, c in self._contents if v is held), held)
        if isinstance(held, dict):
            return all(_same(old, held.get(key, _MISSING)) for key, old in content.items())
        return len(held) == len(content)

    def as_found(self, module: nn.Module, whole: bool) -> None:
        """Raise TraceError for a module that is called in another state than it was found in: its settings, mode,
        tensors and hooks are those that a graph calls it with.

        whole: the graph calls it, with all that it holds; else its code is followed, in the state that it is in.
        """
        if module in self._hooks and any(map(operator.ne, _hooks(module), self._hooks[module])):
            raise TraceError(f"it calls {type(module).__name__} under hooks that it puts there itself")
        for part in module.modules() if whole else ():
            changed = self._changed(part)
            if changed:
                raise TraceError(
                    f"it calls {type(part).__name__} with another {changed} than that has, which a graph would not"
                )

    def _changed(self, module: nn.Module) -> str:
        """An attribute of a module that is not what it was; ''."""
        if module not in self._before:
            return ""
        own: tuple[dict[str, Any], ...] = (module.__dict__, module._parameters, module._buffers)
        for old, now in zip(self._before[module], own, strict=True):
            if not _identical(now, old):
                return next(n for n in {**old, **now} if now.get(n, _MISSING) is not old.get(n, _MISSING))
        return "hook" if any(map(operator.ne, _hooks(module), self._hooks[module])) else ""

    def at_the_end(self, tracer: fx.Tracer) -> None:
        """Have the graph set what code has set on modules after their calls, or without one."""
        for module, (before, *_) in self._before.items():
            if not _identical(module.__dict__, before):
                if module.training is not before["training"]:
                    raise TraceError(
                        f"it changes the mode of {type(module).__name__}, which a graph would not"
                    )
                self.after(module, tracer)
            if any(map(operator.ne, _hooks(module), self._hooks[module])):
                raise TraceError(f"it puts hooks on {type(module).__name__}, which a graph would not")

    def is_as_found(self, module: nn.Module, name: str, value: Any) -> bool:
        """Whether a module's attribute has a value that it had before."""
        return module in self._before and self._before[module][0].get(name, _MISSING) is value

    @property
    def left(self) -> set[tuple[nn.Module, str]]:
        """The attributes that the graph sets, or whose items it does."""
        return {(module, name) for module, name, _ in self._set}

    @property
    def set_again(self) -> dict[nn.Module, list[str]]:
        """The attributes that the graph sets, and that were there before, by their module."""
        by_module: dict[nn.Module, list[str]] = {}
        for module, name, key in self._set:
            if not key and name in self._before[module][0]:
                by_module.setdefault(module, []).append(name)
        return by_module

    def restore(self, whole: bool = False) -> None:
        """Put back what was there. What the network itself got, such as a tracer's constants, stays
        for whoever traces it, unless `whole`."""
        for module, (before, *tensors) in self._before.items():
            now = module.__dict__
            if _PROGRAMS in before:  # graphs that were made for a call stay
                names = [n for n in {**before, **now} if not n.startswith("_")]
                _put_back(now, {n: before[n] for n in names if n in before}, names)
                continue
            if not _identical(now, before):
                _put_back(now, before, list(now) if whole or module is not self._root else [])
            own: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
            for old, held in zip(tensors, own, strict=True):
                if not _identical(held, old):
                    held.clear()
                    held.update(old)
        for module, hooks in self._hooks.items():
            for present, before_it in zip(_hooks(module), hooks, strict=True):
                if present != before_it:
                    present.clear()
                    present.update(before_it)
        for memory in self._memory.values():
            for _, tensor, data in memory:
                if not same_memory(tensor, data):
                    tensor.data = data
        for value, content in self._contents:
            if isinstance(value, dict):
                if not _identical(value, content):
                    value.clear()
                    value.update(content)
            elif len(value) != len(content) or not all(map(operator.is_, value, content)):
                value.clear()
                (value.update if isinstance(value, set) else value.extend)(content)

    def _item(self, held: dict[Any, Any], key: Any) -> Any:
        return next((c.get(key, _MISSING) for v, c in self._contents if v is held), _MISSING)

    def _leave(
        self, how: Any, module: nn.Module, where: tuple[Any, ...], value: Any, tracer: fx.Tracer
    ) -> None:
        key = (module, where[0], where[1:])
        if value is self._set.get(key, _MISSING):
            return
        self._set[key] = value
        path = ITSELF if module is self._root else tracer.path_of_module(module)
        owner = tracer.graph.create_node("get_attr", path)
        tracer.graph.create_node("call_function", how, (owner, *where, tracer.create_arg(value)), {})


def _same(old: Any, now: Any) -> bool:
    """Whether a value is another's, or a plain one of equal value."""
    return old is now or (type(old) is type(now) and type(now) in _NUMBERS and bool(old == now))


def _of_numbers(module: nn.Module, name: str, tracer: fx.Tracer) -> bool:
    """Whether a buffer that is not saved now holds a tensor that depends on no input, parameter or buffer."""
    value = module._buffers.get(name)
    if name not in module._non_persistent_buffers_set:
        return False
    if isinstance(value, fx.Proxy):
        return _of_weights(value, weights=False)
    watch = getattr(tracer, "watch", None)
    return type(value) is torch.Tensor and watch is not None and not watch.made_of_network(value)


def _hooks(module: nn.Module) -> tuple[dict[int, Any], ...]:
    return (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )


def _memory(module: nn.Module) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    """A module's own parameters and buffers by name, each with what it holds: `t.data = …` gives it something else.

    Without those that hold nothing yet, and classes whose data is another object each time.
    """
    own: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
    strided = (
        (n, t)
        for held in own
        for n, t in held.items()
        if t is not None and not is_lazy(t) and t.layout == torch.strided and not t.is_nested
    )
    data = ((n, t, t.data) for n, t in strided)
    return [(n, t, d) for n, t, d in data if type(t) in (torch.Tensor, nn.Parameter) or same_memory(t, d)]


def _put_back(now: dict[str, Any], before: dict[str, Any], names: list[str]) -> None:
    for name in names:
        if name not in before:
            now.pop(name, None)
    now.update({k: v for k, v in before.items() if now.get(k, _MISSING) is not v})


def _identical(one: dict[Any, Any], other: dict[Any, Any]) -> bool:
    return len(one) == len(other) and all(map(operator.is_, one.values(), other.values()))


def _of_weights(value: Any, weights: bool = True) -> bool:
    """Whether a traced value depends on no input. Without `weights`, it must not depend on parameters and buffers
    either, apart from their sizes."""
    nodes: list[fx.Node] = []
    fx.node.map_aggregate(value, lambda v: nodes.append(v.node) if isinstance(v, fx.Proxy) else None)
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        if not weights and node.target is getattr and node.args[1] in _PROPERTIES:
            continue
        if node.op in ("placeholder", "call_module") or (
            node.op == "get_attr" and not weights and not str(node.target).startswith("_")
        ):
            return False
        more = [n for n in node.all_input_nodes if n not in seen]
        seen.update(more)
        nodes += more
    return True


def _traced(value: Any, depth: int = 4) -> bool:
    """Whether a value is, or holds, what a tracer of torch.fx gave."""
    if isinstance(value, fx.Proxy):
        return True
    if isinstance(value, _PLAIN) or not depth:
        return False
    if isinstance(value, (list, tuple, set, deque)):
        inner: Any = value
    elif isinstance(value, dict):
        inner = value.values()
    else:
        inner = getattr(value, "__dict__", {}).values()
    return any(_traced(v, depth - 1) for v in list(inner))
