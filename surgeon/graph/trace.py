"""Tracing a network twice, in training and in evaluation mode, without changing it."""

from __future__ import annotations

import contextlib
import copy
import inspect
import math
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from surgeon.errors import TraceError
from surgeon.graph.checkpointing import switched_off
from surgeon.graph.leaves import is_hooked, is_leaf
from surgeon.graph.outputs import always, call_for, composed, made_of

_MOST_RETRIES = 64
Example = tuple[tuple[int, ...] | None, ...]
"""Shapes of a method's inputs, batch included; None for an input that is no tensor."""
Behind = Mapping[str, Sequence[str]]
"""Layers that stand after a module, by its name."""


class LeafTracer(fx.Tracer):
    """A tracer that keeps meaningful modules whole (`surgeon.graph.leaves`) and the modules it is told to.

    Arguments of the traced method that have a default are traced at that default, unless `constants`
    gives another value; the first argument is always an input.
    """

    def __init__(
        self,
        leaves: Iterable[str] = (),
        method: str = "forward",
        constants: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            autowrap_modules=(math,), autowrap_functions=_untraceable_functions(), param_shapes_constant=True
        )
        self.leaves = frozenset(leaves)
        self.traced_func_name = method
        self.constants = dict(constants or {})
        self.failed: tuple[str, Exception] | None = None
        self.hooked: dict[str, str] = {}
        self._inside = 0

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if module_qualified_name in self.leaves or isinstance(m, fx.GraphModule) or is_leaf(m):
            return True
        if is_hooked(m):
            self.hooked[module_qualified_name] = "it has hooks, which are called where it is called"
        return module_qualified_name in self.hooked

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception as error:
            if self.failed is None:
                self.failed = (self.path_of_module(m), error)
            raise

    def create_arg(self, a: Any) -> Any:
        if composed(a):
            return self._composed(a)
        try:
            return super().create_arg(a)
        except NotImplementedError:
            if made_of(a):
                return self._composed(a)
            if self._inside:  # a part of a value, such as a class or a configuration: the same at each call
                return self.create_node("call_function", always(a), (), {})
            raise

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
        inputs: dict[str, Any] = {}
        fixed: dict[str, Any] = {}
        for p in parameters:
            if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                continue
            if p.name in self.constants:
                fixed[p.name] = self.constants[p.name]
            elif p.default is p.empty or not inputs:
                inputs[p.name] = self.create_proxy("placeholder", p.name, (), {})
            else:
                fixed[p.name] = p.default

        def call(root: nn.Module, *values: Any) -> Any:
            return root_fn(root, **dict(zip(inputs, values, strict=True)), **fixed)

        return call, [self.root, *inputs.values()]


class ValueTracer(LeafTracer):
    """A LeafTracer whose proxies carry fake tensors, so that code may branch on sizes.

    The graph then holds for the example's sizes alone. `behind` names the layers that will be called after
    a module once the graph is cut: the values that the code sees are theirs.
    """

    def __init__(self, example: Example, behind: Behind, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = list(example)
        self.behind = behind
        self.evaluating = False
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)

    def create_node(self, kind: str, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(kind, *args, **kwargs)
        if kind == "output":
            return node
        self.evaluating = True
        try:
            with self.fake, torch.no_grad():
                node.meta["value"] = self._evaluate(node)
        finally:
            self.evaluating = False
        return node

    def _evaluate(self, node: fx.Node) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: n.meta["value"])
        if node.op == "placeholder":
            shape = self.example.pop(0) if self.example else None
            return None if shape is None else torch.empty(shape)
        if node.op == "get_attr":
            owner, _, leaf = str(node.target).rpartition(".")
            return getattr(self.root.get_submodule(owner), leaf)
        if node.op == "call_module":
            value = self.root.get_submodule(str(node.target)).forward(*args, **kwargs)
            for layer in self.behind.get(str(node.target), ()):
                value = self.root.get_submodule(layer).forward(value)
            return value
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]  # a call_function's target is one

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        return forward(*args, **kwargs) if self.evaluating else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val if self.evaluating else super().getattr(attr, attr_val, parameter_proxy_cache)

    def to_bool(self, obj: fx.Proxy) -> bool:
        value = obj.node.meta["value"]
        return super().to_bool(obj) if isinstance(value, torch.Tensor) else bool(value)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        value = obj.node.meta["value"]
        return iter([obj[i] for i in range(len(value))])


def _untraceable_functions() -> tuple[Callable[..., Any], ...]:
    """Functions that timm marks as not to be traced through; none where timm is not installed."""
    try:
        from timm.layers import get_notrace_functions
    except ImportError:
        return ()
    return tuple(get_notrace_functions())


@contextlib.contextmanager
def mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Put every module in one mode, and give each its own back afterwards, also on an error."""
    before = [(m, m.training) for m in model.modules()]
    for m, _ in before:
        object.__setattr__(m, "training", training)  # nn.Module's own takes a tenth of a whole surgery
    try:
        yield
    finally:
        for m, was in before:
            object.__setattr__(m, "training", was)


_tracing = 0


def tracing() -> bool:
    """Whether a trace by this module is under way."""
    return _tracing > 0


@dataclass
class Traced:
    """The graphs of one method: `train` and `eval`, the modules that were kept whole because tracing failed
    inside them (dotted name → reason), tensors that the code made on the way, and whether the graphs hold
    for one input size only."""

    train: fx.Graph
    eval: fx.Graph
    opaque: dict[str, str] = field(default_factory=dict)
    constants: dict[str, torch.Tensor] = field(default_factory=dict)
    sized: bool = False


def copied(traced: Traced) -> Traced:
    """A trace of its own graphs and constants, to be changed."""
    return Traced(
        copy.deepcopy(traced.train),
        copy.deepcopy(traced.eval),
        dict(traced.opaque),
        {k: v.clone() for k, v in traced.constants.items()},
        traced.sized,
    )


def trace(
    model: nn.Module,
    *,
    method: str = "forward",
    leaves: Iterable[str] = (),
    constants: Mapping[str, Any] | None = None,
    example: Example | Callable[[], Example | None] | None = None,
    behind: Behind | None = None,
) -> Traced:
    """Trace one method in both modes.

    A module that cannot be traced is kept whole and reported in `opaque`; the trace is then started
    again. If the method itself cannot be traced and an `example` is given (or a function that gives one, which
    is called then alone), it is traced with values, for which `behind` tells the layers that are called after
    a module.
    The model is left as it was: modes, attributes, buffers.

    Raises TraceError when the method itself cannot be traced, with the reason.
    """
    try:
        return _trace_both(model, method, leaves, constants, None, {})
    except TraceError:
        example = example() if callable(example) else example
        if example is None:
            raise
    return _trace_both(model, method, leaves, constants, example, behind or {})


def _trace_both(
    model: nn.Module,
    method: str,
    leaves: Iterable[str],
    constants: Mapping[str, Any] | None,
    example: Example | None,
    behind: Behind,
) -> Traced:
    opaque: dict[str, str] = {}
    made: dict[str, torch.Tensor] = {}
    graphs: dict[bool, fx.Graph] = {}
    for training in (False, True):
        with mode(model, training), switched_off(model):
            graphs[training] = _trace_once(model, method, leaves, constants, opaque, made, example, behind)
    return Traced(graphs[True], graphs[False], opaque, made, sized=example is not None)


def _trace_once(
    model: nn.Module,
    method: str,
    leaves: Iterable[str],
    constants: Mapping[str, Any] | None,
    opaque: dict[str, str],
    made: dict[str, torch.Tensor],
    example: Example | None,
    behind: Behind,
) -> fx.Graph:
    global _tracing
    for _ in range(_MOST_RETRIES):
        kept = {*leaves, *opaque}
        tracer = (
            LeafTracer(kept, method, constants)
            if example is None
            else ValueTracer(example, behind, kept, method, constants)
        )
        before = set(model.__dict__)
        _tracing += 1
        try:
            graph = tracer.trace(model)
            graph._tracer_cls = None
            _follow_device(graph, next((p.device for p in model.parameters()), None))
            for node in graph.nodes:
                node.meta.pop("value", None)
            opaque.update(tracer.hooked)
            return graph
        except Exception as error:
            if tracer.failed is None:
                raise TraceError(
                    f"{type(model).__name__}.{method} cannot be traced: {_one_line(error)}"
                ) from error
            name, cause = tracer.failed
            kind = type(model.get_submodule(name))
            opaque.update({n: _one_line(cause) for n, m in model.named_modules() if type(m) is kind and n})
        finally:
            _tracing -= 1
            for key in [k for k in model.__dict__ if k not in before]:
                value = model.__dict__.pop(key)
                if isinstance(value, torch.Tensor):
                    made[key] = value
    raise TraceError(
        f"{type(model).__name__}.{method} has too many parts that cannot be traced: {sorted(opaque)[:5]}"
    )


def _follow_device(graph: fx.Graph, device: torch.device | None) -> None:
    """Make the device that the network was traced on that of the input, so that the graph can be moved to another.

    Code such as `x.to(self.periods.device)` leaves the device itself in the graph.
    """
    first = next((n for n in graph.nodes if n.op == "placeholder"), None)
    if first is None or device is None:
        return

    def has(value: Any) -> bool:
        return isinstance(value, torch.device) and value == device

    for node in list(graph.nodes):
        given = [*node.args, *node.kwargs.values()]
        if node.op in ("call_function", "call_method") and any(has(v) for v in given):
            with graph.inserting_before(node):
                present = graph.call_function(getattr, (first, "device"))
            node.args = tuple(present if has(a) else a for a in node.args)
            node.kwargs = {k: present if has(v) else v for k, v in node.kwargs.items()}


def needed_inputs(model: nn.Module) -> list[str]:
    """The names of the arguments that a network's forward cannot do without."""
    parameters = list(inspect.signature(type(model).forward).parameters.values())[1:]
    return [
        p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]


def _one_line(error: Exception) -> str:
    """The error, and the line of the network's own code that it came from."""
    text = " ".join(str(error).split())
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _ours(f.filename)]
    place = f" (at {Path(frames[-1].filename).name}:{frames[-1].lineno}, {frames[-1].line})" if frames else ""
    return f"{type(error).__name__}: {text[:160]}{place[:160]}"


def _ours(file: str) -> bool:
    parts = Path(file).parts
    return "torch" in parts or file.startswith((str(Path(__file__).parents[1]), "<"))
