"""The tracer: torch.fx's, which keeps modules with a meaning whole.

torch.fx replaces the inputs by proxies, which record what the network's code does with them. Here it is told
where to stop (modules with a meaning), what else an input or a value may be, and what a graph must not hold.
"""

from __future__ import annotations

import functools
import inspect
import math
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import fx, nn

from surgeon.errors import TraceError
from surgeon.graph.changes.asked import Asking
from surgeon.graph.measuring.faults import of_a_layer
from surgeon.graph.measuring.signatures import placeholders
from surgeon.graph.measuring.traced import Example
from surgeon.graph.places.kinds import kind_of
from surgeon.graph.places.recorded import Recorded, parameter
from surgeon.graph.places.writes import written
from surgeon.graph.tracing.checks import checks_recorded
from surgeon.graph.tracing.earlier_calls import refused
from surgeon.graph.tracing.outputs import always, call_for, composed, made_of
from surgeon.graph.tracing.watch import Watch
from surgeon.graph.tracing.whole_calls import called_whole
from surgeon.graph.trees.kept import ITSELF, Kept
from surgeon.graph.trees.leaves import is_hooked, is_leaf
from surgeon.torch_private import uncompiled

_SIMPLE = (fx.Proxy, int, str, float, bool, type(None), tuple, list, dict)


class LeafTracer(fx.Tracer):
    """A tracer that keeps meaningful modules whole (`surgeon.graph.trees.leaves`) and the modules it is told to.

    Arguments of the traced method that have a default are traced at that default, unless `constants`
    gives another value; the first argument is always an input, and so are those called `inputs`. What happens
    in other threads meanwhile is not traced. What a graph cannot hold is refused in the module whose code
    does it (`watch.py`), and what code leaves on its module is left there by the graph (`kept.py`).
    """

    watch: Watch
    kept: Kept
    asked: Asking

    def __init__(
        self,
        leaves: Iterable[str] = (),
        method: str = "forward",
        constants: Mapping[str, Any] | None = None,
        inputs: Iterable[str] = (),
        given: Callable[[], Example | None] = lambda: None,
    ) -> None:
        """given: what the method's inputs are, as far as that is known; asked for by few networks."""
        super().__init__(
            autowrap_modules=(math,), autowrap_functions=_untraceable_functions(), param_shapes_constant=True
        )
        self.leaves = frozenset(leaves)
        self.traced_func_name = method
        self.constants = dict(constants or {})
        self.inputs = tuple(inputs)
        self.given = given
        self.watched: frozenset[str] = frozenset()
        self.ours: frozenset[str] = frozenset()
        self.thread = threading.get_ident()
        self.failed: tuple[str, Exception] | None = None
        self.hooked: dict[str, str] = {}
        self._inside = 0

    def trace(  # type: ignore[override]  # of modules alone
        self, root: nn.Module, concrete_args: dict[str, Any] | None = None
    ) -> fx.Graph:
        # only a second trace looks for the module that draws numbers or goes on from its last call
        closely = False
        again: dict[nn.Module, list[str]] = {}
        while True:
            self.watch, self.kept = Watch(root, closely), Kept(root)
            self.asked = Asking(root, self.leaves, self.runs_code, self.kept.is_as_found, self.ours)
            try:
                with self.watch.on(), uncompiled(), refused(again), self.asked.on(), checks_recorded():
                    with called_whole(root, self._keeps_whole):
                        graph = super().trace(root, concrete_args)
            finally:
                self.kept.restore()
            if self.watch.drew and not closely:
                closely = True
            elif again.keys() | (set_again := self.kept.set_again).keys() != again.keys():
                again |= set_again
            else:
                names = {m: n for n, m in root.named_modules()}
                self.asked.computed_with(self.watch.computed_with)
                self.asked.forget((names[m], attribute) for m, attribute in self.kept.left)
                return graph

    def _keeps_whole(self, module: nn.Module) -> bool:
        """Whether a call of a module, in this thread, is recorded as one."""
        here = threading.get_ident() == self.thread
        return here and self.runs_code() and self.is_leaf_module(module, self.path_of_module(module))

    def runs_code(self) -> bool:
        """Whether the network's code runs now."""
        return True

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Recorded(node, self)

    def kind_of(self, node: fx.Node) -> type | None:
        """The class of what a node gives, as the network's code sees it; None where that is not known."""
        if node.op == "placeholder" and "value" not in node.meta:
            inputs = [n for n in self.graph.nodes if n.op == "placeholder"]
            known = dict(zip(inputs, self.given() or (), strict=False)).get(node)
            return None if known is None else torch.Tensor
        return kind_of(node, self.root)

    def create_proxy(
        self,
        kind: str,
        target: Any,
        args: Any,
        kwargs: Any,
        name: str | None = None,
        type_expr: Any = None,
        proxy_factory_fn: Callable[[fx.Node], fx.Proxy] | None = None,  # torch.fx asks for one of this name
    ) -> fx.Proxy:
        for tensor in written(kind, target, args, kwargs):
            self.watch.written(tensor)
        factory = functools.partial(parameter, self, proxy_factory_fn) if proxy_factory_fn else None
        return super().create_proxy(kind, target, args, kwargs, name, type_expr, factory)

    def create_node(self, kind: str, *args: Any, **kwargs: Any) -> fx.Node:
        if kind in ("call_function", "call_method"):  # modules are looked at before they are called
            self.watch.held()
        return super().create_node(kind, *args, **kwargs)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if module_qualified_name in self.leaves or isinstance(m, fx.GraphModule) or is_leaf(m):
            return True
        if is_hooked(m):
            self.hooked[module_qualified_name] = "it has hooks, which are called where it is called"
        return module_qualified_name in self.hooked

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if (
            threading.get_ident() != self.thread
        ):  # torch.fx exchanges nn.Module's own `__call__` for all threads
            return forward(*args, **kwargs)
        self.watch.held()  # faults of the code that calls, not of what it calls
        path = self.path_of_module(m)
        whole = self.is_leaf_module(m, path)
        self.kept.as_found(m, whole=whole)
        if not whole:
            self.asked.followed(path)
        try:
            return super().call_module(m, functools.partial(self._followed, m, forward), args, kwargs)
        except Exception as error:  # the network's own code, under proxies
            if self.failed is None and not of_a_layer(
                error
            ):  # the innermost module, which the error passes first
                self.failed = (self.path_of_module(m), error)
            raise

    def _followed(self, module: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What a module's own code gives, and in the graph what it left on the module."""
        with self.watch.forward():
            result = forward(*args, **kwargs)
        self.kept.after(module, self)
        if self.watched and self.path_of_module(module) in self.watched:
            self.kept.unwritten(module)
        return result

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self.thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_arg(self, a: Any) -> Any:
        if type(a) in _SIMPLE:
            return super().create_arg(a)
        if composed(a):
            return self._composed(a)
        if isinstance(a, torch.Generator):
            return self._generator(a)
        if isinstance(a, torch.Tensor):
            self.watch.read(a)
        try:
            return super().create_arg(a)
        except NotImplementedError:
            if made_of(a):
                return self._composed(a)
            if self._inside:  # a part of a value, such as a class or a configuration: the same at each call
                return self.create_node("call_function", always(a), (), {})
            raise

    def _generator(self, stream: torch.Generator) -> fx.Node:
        """The generator that a module holds when the graph runs: copies of a network have their own."""
        for name, module in self.root.named_modules():
            for key, value in module.__dict__.items():
                if value is stream:
                    owner = self.graph.create_node("get_attr", name or ITSELF)
                    return self.create_node("call_function", getattr, (owner, key), {})
        raise TraceError("it draws from a generator that no module has as an attribute")

    def _composed(self, value: Any) -> fx.Node:
        self._inside += 1
        try:
            make, args = call_for(value, self.create_arg)
        finally:
            self._inside -= 1
        return self.create_node("call_function", make, args, {})

    def create_args_for_root(
        self,
        root_fn: Callable[..., Any],
        is_module: bool,
        concrete_args: dict[str, Any] | tuple[Any, ...] | None = None,
    ) -> tuple[Any, list[Any]]:
        parameters = list(inspect.signature(inspect.unwrap(root_fn)).parameters.values())[1:]
        if parameters and all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
            raise TraceError(f"it takes {', '.join(map(str, parameters))}; a graph needs inputs with names")
        names = placeholders(root_fn, self.constants, self.inputs)
        inputs = {name: self.create_proxy("placeholder", name, (), {}) for name in names}
        fixed = {
            p.name: p.default
            for p in parameters
            if p.name not in inputs and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        }
        fixed |= {name: value for name, value in self.constants.items() if name not in inputs}

        def call(root: nn.Module, *values: Any) -> Any:
            given = {**dict(zip(inputs, values, strict=True)), **fixed}
            result = self._followed(root, functools.partial(root_fn, root), **given)
            self.kept.at_the_end(self)
            return result

        return call, [self.root, *inputs.values()]


def _untraceable_functions() -> tuple[Callable[..., Any], ...]:
    """Functions that timm marks as not to be traced through; empty where timm is not installed."""
    try:
        from timm.layers import get_notrace_functions
    except ImportError:
        return ()
    return tuple(get_notrace_functions())
