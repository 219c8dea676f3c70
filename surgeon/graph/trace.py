"""Tracing a network twice, in training and in evaluation mode, without changing it."""

from __future__ import annotations

import copy
import functools
import inspect
import math
import operator
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from surgeon.errors import SurgeonError, TraceError
from surgeon.graph.checkpointing import switched_off
from surgeon.graph.kept import Kept
from surgeon.graph.leaves import is_hooked, is_leaf
from surgeon.graph.one_mode import mode
from surgeon.graph.outputs import always, call_for, composed, made_of
from surgeon.graph.signatures import placeholders
from surgeon.graph.watch import Watch
from surgeon.torch_private import FakeTensorMode, reparametrized

_MOST_RETRIES = 64
_SIMPLE = (fx.Proxy, int, str, float, bool, type(None), tuple, list, dict)
Example = tuple[tuple[int, ...] | torch.Tensor | None, ...]
"""Shapes of a method's inputs, batch included, or tensors of such shapes and types on the meta device; None
for an input that is no tensor."""
Behind = Mapping[str, Sequence[str]]
"""Layers that stand after a module, by its name."""


class LeafTracer(fx.Tracer):
    """A tracer that keeps meaningful modules whole (`surgeon.graph.leaves`) and the modules it is told to.

    Arguments of the traced method that have a default are traced at that default, unless `constants`
    gives another value; the first argument is always an input, and so are those called `inputs`. What happens
    in other threads meanwhile is not traced. What a graph cannot hold is refused in the module whose code
    does it (`watch.py`), and what code leaves on its module is left there by the graph (`kept.py`).
    """

    watch: Watch
    kept: Kept

    def __init__(
        self,
        leaves: Iterable[str] = (),
        method: str = "forward",
        constants: Mapping[str, Any] | None = None,
        inputs: Iterable[str] = (),
    ) -> None:
        super().__init__(
            autowrap_modules=(math,), autowrap_functions=_untraceable_functions(), param_shapes_constant=True
        )
        self.leaves = frozenset(leaves)
        self.traced_func_name = method
        self.constants = dict(constants or {})
        self.inputs = tuple(inputs)
        self.thread = threading.get_ident()
        self.failed: tuple[str, Exception] | None = None
        self.hooked: dict[str, str] = {}
        self._inside = 0

    def trace(self, root: nn.Module, concrete_args: dict[str, Any] | None = None) -> fx.Graph:  # type: ignore[override]  # of modules alone
        for closely in (False, True):
            self.watch, self.kept = Watch(root, closely), Kept(root)
            try:
                with self.watch.on():
                    graph = super().trace(root, concrete_args)
            finally:
                self.kept.restore()
            if not self.watch.drew:
                break
        return graph

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
        if threading.get_ident() != self.thread:
            return forward(*args, **kwargs)
        self.watch.held()  # a fault of the code that calls, not of what it calls
        try:
            return super().call_module(m, functools.partial(self._followed, m, forward), args, kwargs)
        except Exception as error:  # the network's own code, under proxies
            if self.failed is None and not _of_a_layer(error):
                self.failed = (self.path_of_module(m), error)
            raise

    def _followed(self, module: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What a module's own code gives, and in the graph what it left on the module."""
        with self.watch.forward():
            result = forward(*args, **kwargs)
        self.kept.after(module, self)
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


class Sized(fx.Proxy):
    """A proxy that knows its value: where code asks for a number, such as `int(x.shape[-1])`, that is the example's."""

    def __int__(self) -> int:
        return int(self._number())

    def __index__(self) -> int:
        return operator.index(self._number())

    def __float__(self) -> float:
        return float(self._number())

    def __len__(self) -> int:
        return len(self._number())

    def _number(self) -> Any:
        value = self.node.meta.get("value")
        if value is None or (isinstance(value, torch.Tensor) and not value.dim()):
            raise TraceError("a number is made of a tensor's values")
        self.tracer.fixed = True  # type: ignore[attr-defined]  # a ValueTracer
        return value


def _of_a_layer(error: Exception) -> bool:
    """Whether an inserted layer refuses its input: no fault of the code that is traced."""
    return isinstance(error, SurgeonError) and not isinstance(error, TraceError)


class ValueTracer(LeafTracer):
    """A LeafTracer whose proxies carry fake tensors, so that code may branch on sizes.

    The graph then holds for the example's sizes alone. `behind` names the layers that will be called after
    a module once the graph is cut: the values that the code sees are theirs.
    """

    def __init__(self, example: Example, behind: Behind, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = tuple(example)
        self.behind = behind
        self.evaluating = self.fixed = False
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)

    def create_args_for_root(self, *args: Any, **kwargs: Any) -> tuple[Any, list[Any]]:
        self._given = iter(self.example)
        return super().create_args_for_root(*args, **kwargs)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Sized(node, self)

    def create_node(self, kind: str, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(kind, *args, **kwargs)
        if kind == "output":
            return node
        self.evaluating = True
        try:
            with self.watch.off(), self.fake, torch.no_grad():
                node.meta["value"] = self._evaluate(node)
        finally:
            self.evaluating = False
        return node

    def _evaluate(self, node: fx.Node) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: n.meta["value"])
        if node.op == "placeholder":
            given = next(self._given, None)
            return None if given is None else self._stand_in(given)
        if node.op == "get_attr":
            owner, _, leaf = str(node.target).rpartition(".")
            value = getattr(self.root.get_submodule(owner), leaf)
            return self.fake.from_tensor(value) if isinstance(value, torch.Tensor) else value
        if node.op == "call_module":
            value = self._called(str(node.target), *args, **kwargs)
            for layer in self.behind.get(str(node.target), ()):
                value = self._called(layer, value)
            return value
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]  # a call_function's target is one

    def _called(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """What a module gives, on stand-ins of its own tensors too: it may write into its buffers."""
        module = self.root.get_submodule(name)
        own = (
            *module.named_parameters(remove_duplicate=False),
            *module.named_buffers(remove_duplicate=False),
        )
        with reparametrized(module, {n: self.fake.from_tensor(t) for n, t in own}):
            return module.forward(*args, **kwargs)

    def _stand_in(self, given: tuple[int, ...] | torch.Tensor) -> torch.Tensor:
        like = next((p for p in self.root.parameters() if p.is_floating_point()), torch.empty(0))
        if isinstance(given, torch.Tensor):
            return torch.empty(given.shape, dtype=given.dtype, device=like.device)
        return torch.empty(given, dtype=like.dtype, device=like.device)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        return forward(*args, **kwargs) if self.evaluating else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if self.evaluating:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def to_bool(self, obj: fx.Proxy) -> bool:
        value = obj.node.meta["value"]
        return super().to_bool(obj) if isinstance(value, torch.Tensor) else bool(value)

    def iter(self, obj: Any) -> Iterator[Any]:
        value = obj.node.meta["value"]
        return iter([obj[i] for i in range(len(value))])


def _untraceable_functions() -> tuple[Callable[..., Any], ...]:
    """Functions that timm marks as not to be traced through; none where timm is not installed."""
    try:
        from timm.layers import get_notrace_functions
    except ImportError:
        return ()
    return tuple(get_notrace_functions())


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
    inputs: Iterable[str] = (),
) -> Traced:
    """Trace one method in both modes.

    A module that cannot be traced is kept whole and reported in `opaque`; the trace is then started
    again. If the method itself cannot be traced and an `example` is given (or a function that gives one, which
    is called then alone), it is traced with values, for which `behind` tells the layers that are called after
    a module. `inputs`: arguments with a default that are inputs all the same.
    The model is left as it was: modes, attributes, buffers.

    Raises TraceError when the method itself cannot be traced, with the reason.
    """
    tracer = functools.partial(_tracer, method=method, constants=constants, inputs=tuple(inputs))
    try:
        return _trace_both(model, tracer, leaves, None)
    except TraceError:
        example = example() if callable(example) else example
        if example is None:
            raise
    return _with_values(model, functools.partial(tracer, behind=behind or {}), leaves, example)


def _with_values(
    model: nn.Module, tracer: Callable[..., LeafTracer], leaves: Iterable[str], example: Example
) -> Traced:
    """A trace with the values of an example; numbers that code makes of sizes must not be those of the batch."""
    made: list[LeafTracer] = []

    def noted(kept: Iterable[str], example: Example = example) -> LeafTracer:
        made.append(tracer(kept, example=example))
        return made[-1]

    traced = _trace_both(model, noted, leaves, example)
    if any(t.fixed for t in made if isinstance(t, ValueTracer)):
        doubled = tuple(_doubled(given) for given in example)
        again = _trace_both(model, functools.partial(noted, example=doubled), leaves, doubled)
        if _written(again.train) != _written(traced.train) or _written(again.eval) != _written(traced.eval):
            raise TraceError(
                f"{type(model).__name__} makes a number of how many images there are, which a graph would keep"
            )
    return traced


def _doubled(given: tuple[int, ...] | torch.Tensor | None) -> tuple[int, ...] | torch.Tensor | None:
    if isinstance(given, torch.Tensor):
        return torch.cat([given, given]) if given.dim() else given
    return (2 * given[0], *given[1:]) if given else given


def _written(graph: fx.Graph) -> list[str]:
    return [f"{n.op} {n.target} {n.args} {n.kwargs}" for n in graph.nodes]


def _tracer(
    kept: Iterable[str],
    *,
    method: str,
    constants: Mapping[str, Any] | None,
    inputs: Sequence[str],
    example: Example | None = None,
    behind: Behind | None = None,
) -> LeafTracer:
    if example is None:
        return LeafTracer(kept, method, constants, inputs)
    return ValueTracer(example, behind or {}, kept, method, constants, inputs)


_ONE_AT_A_TIME = threading.RLock()
"""torch.fx exchanges methods of nn.Module while it traces, and this the modes of the modules."""


def _trace_both(
    model: nn.Module,
    tracer: Callable[[Iterable[str]], LeafTracer],
    leaves: Iterable[str],
    example: Example | None,
) -> Traced:
    opaque: dict[str, str] = {}
    made: dict[bool, dict[str, torch.Tensor]] = {}
    graphs: dict[bool, fx.Graph] = {}
    known: dict[bool, set[str]] = {}
    with _ONE_AT_A_TIME:
        while any(known.get(training) != set(opaque) for training in (False, True)):
            training = known.get(False) == set(opaque)  # what stays whole in one mode does in the other
            with mode(model, training), switched_off(model):
                graphs[training], made[training] = _trace_once(model, tracer, leaves, opaque)
            known[training] = set(opaque)
    constants = _own_names(graphs, made)
    return Traced(graphs[True], graphs[False], opaque, constants, sized=example is not None)


def _own_names(
    graphs: Mapping[bool, fx.Graph], made: Mapping[bool, Mapping[str, torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """The tensors that the code made on the way, each under one name: torch.fx counts them in each trace from 0."""
    found: dict[str, torch.Tensor] = {}
    for training, graph in graphs.items():
        names: dict[str, str] = {}
        for node in [n for n in graph.nodes if n.op == "get_attr" and n.target in made[training]]:
            name, value = str(node.target), made[training][str(node.target)]
            if name not in names:
                names[name] = name
                while names[name] in found and not _same(found[names[name]], value):
                    names[name] += "_"
                found[names[name]] = value
            node.target = names[name]
    return found


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one is other:
        return True
    alike = one.dtype == other.dtype and one.device == other.device and one.shape == other.shape
    return alike and one.device.type != "meta" and torch.equal(one, other)


def _trace_once(
    model: nn.Module,
    tracer: Callable[[Iterable[str]], LeafTracer],
    leaves: Iterable[str],
    opaque: dict[str, str],
) -> tuple[fx.Graph, dict[str, torch.Tensor]]:
    global _tracing
    for _ in range(_MOST_RETRIES):
        tracing = tracer({*leaves, *opaque})
        method = tracing.traced_func_name
        before = set(model.__dict__)
        made: dict[str, torch.Tensor] = {}
        _tracing += 1
        try:
            graph = tracing.trace(model)
            graph._tracer_cls = None
            _follow_device(graph, next((p.device for p in model.parameters()), None))
            for node in graph.nodes:
                node.meta.pop("value", None)
            opaque.update(tracing.hooked)
            return graph, made
        except Exception as error:  # the network's own code, under proxies
            if _of_a_layer(error):
                raise
            if tracing.failed is None:
                raise TraceError(
                    f"{type(model).__name__}.{method} cannot be traced: {_one_line(error)}"
                ) from error
            name, cause = tracing.failed
            kind = type(model.get_submodule(name))
            opaque.update({n: _one_line(cause) for n, m in model.named_modules() if type(m) is kind and n})
        finally:
            _tracing -= 1
            for key in [k for k in model.__dict__ if k not in before]:
                value = model.__dict__.pop(key)
                if isinstance(value, torch.Tensor):
                    made[key] = value
    raise TraceError(f"{type(model).__name__} has too many parts that cannot be traced: {sorted(opaque)[:5]}")


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


def _one_line(error: Exception) -> str:
    """The error, and the line of the network's own code that it came from."""
    text = " ".join(str(error).split())
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _ours(f.filename)]
    place = f" (at {Path(frames[-1].filename).name}:{frames[-1].lineno}, {frames[-1].line})" if frames else ""
    return f"{type(error).__name__}: {text[:160]}{place[:160]}"


def _ours(file: str) -> bool:
    parts = Path(file).parts
    return "torch" in parts or file.startswith((str(Path(__file__).parents[1]), "<"))
