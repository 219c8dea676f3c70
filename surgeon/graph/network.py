"""The rewritten network: a GraphModule with a graph for each mode, on the stock network's own modules."""

from __future__ import annotations

import copy
import inspect
import itertools
import linecache
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import fx, nn

from surgeon.errors import SurgeryError, either
from surgeon.graph import anchors, checkpointing
from surgeon.graph.cuts import Point, check_visible, cut_graph
from surgeon.graph.guard import guard, guarded_containers, unguard
from surgeon.graph.joined import joined
from surgeon.graph.trace import Example, Traced, copied, trace

TRACED_METHODS = ("forward_features", "forward_head", "forward_intermediates")
"""Methods beside `forward` that other code calls on a network and that run its layers."""
PASSIVE_METHODS = ("get_classifier", "no_weight_decay", "group_matcher")
"""Methods that only read names and attributes: safe to run as they are."""
REBUILDING_METHODS = ("reset_classifier", "set_grad_checkpointing")
"""Methods that exchange modules or set flags: run on the stock class, then the graphs are made anew."""

_OWN = (
    "_programs",
    "_code_of",
    "_graph",
    "_code",
    "_lineno_map",
    "_prologue_start",
    "_fused",
    "_holders",
    "_hung",
)
_FRESH = fx.GraphModule({}, fx.Graph())
_GRAPH_STATE = tuple(k for k in _FRESH.__dict__ if k not in nn.Module().__dict__ and k != "training")

Key = tuple[str, bool, tuple[tuple[str, Any], ...]]


class Rewritten(fx.GraphModule):
    """A network after surgery.

    Its modules, parameters, buffers and plain attributes are those of the stock network, under the
    same names, plus the inserted layers as children of the modules they follow. `forward` runs one of
    two graphs, chosen by `training`; `graph` is the one of the present mode. `forward_features`,
    `forward_head` and `forward_intermediates` run graphs of their own, with the same cuts. Gradient
    checkpointing, switched on before the cut or after it, goes by segments of the training graph
    (`checkpointing.py`). Other methods of the stock class raise an error instead of running code that knows
    nothing of the surgery.

    The attributes `surgery` and `displaced` are the caller's: its record, and what it took out.
    """

    def __init__(
        self,
        network: nn.Module,
        points: Iterable[Point] = (),
        *,
        leaves: Iterable[str] = (),
        example: Example | None = None,
        traced: Traced | None = None,
    ) -> None:
        """Take over `network` (its containers are used, not copied) and cut its graphs at `points`.

        The inserted modules must already stand in the tree under the names in `points`. `leaves` are
        modules to keep whole. `example`: input shapes to trace with where the code branches on them; the
        graphs then hold for that size alone, and another one is refused. `traced`: what tracing the network gave
        before the cut, where that is known; its graphs are copied.
        """
        super().__init__({}, fx.Graph(), class_name=type(network).__name__)
        for key, value in network.__dict__.items():
            self.__dict__[key] = value
        self.__dict__["_stock_class"] = type(network)
        self.__dict__["_points"] = tuple(points)
        self.__dict__["_leaves"] = tuple(leaves)
        self.__dict__["_cleared"] = ()
        self.__dict__["_constants"] = ()
        self.__dict__["_example"] = example
        self.__dict__["_sized"] = None
        self.retrace(traced)

    # -- graphs -----------------------------------------------------------------------------------

    def retrace(self, traced: Traced | None = None) -> None:
        """Make the graphs anew from the stock class's code, or from a trace of it, and the recorded points."""
        self._drop_constants()
        self.__dict__["_programs"] = {}
        self.__dict__["_code_of"] = {}
        self._trace("forward", (), copied(traced) if traced else None)
        check_visible(self._programs.values(), self._points)
        self.recompile()
        guard(self, guarded_containers(self, [p.site for p in self._points if p.site]))

    def anchor(self, *, demand: bool = True) -> None:
        """Hang every layer to the module that stands at its site now, where other code exchanged or wrapped that one.

        It runs by itself before the network is called, walked, moved, copied or saved. demand: raise SurgeryError where a
        module that the graphs call is gone, naming what stands there and the order of steps that works.
        """
        found = self.__dict__.get("_holders")
        if found is None or anchors.stand(found):
            return
        anchors.settle(self, self._hung)
        lost = anchors.lost(self, self._programs.values())
        if lost:
            if demand:
                anchors.refuse(lost)
            return
        self.__dict__["_holders"] = None  # what follows walks over the modules
        self.recompile()

    def _trace(
        self, method: str, constants: tuple[tuple[str, Any], ...], traced: Traced | None = None
    ) -> None:
        sites = {p.site for p in self._points if p.site}
        behind = {s: [p.layer for p in self._points if p.site == s and p.layer] for s in sites}
        traced = traced or trace(
            self.stock_view(),
            method=method,
            leaves={*sites, *self._leaves},
            constants=dict(constants),
            example=self._example,
            behind=behind,
        )
        if traced.sized:
            self.__dict__["_sized"] = self._example
        self._adopt_constants(traced.constants, (traced.train, traced.eval), method)
        cleared: list[str] = []
        for training, graph in ((True, traced.train), (False, traced.eval)):
            cleared += cut_graph(graph, self._points, self, with_input=method != "forward_head")
            self._programs[method, training, constants] = graph
        self.__dict__["_cleared"] = tuple(dict.fromkeys((*self._cleared, *cleared)))

    def _adopt_constants(
        self, constants: Mapping[str, torch.Tensor], graphs: Iterable[fx.Graph], method: str
    ) -> None:
        for name, tensor in constants.items():
            own = f"{name}_{method}" if method != "forward" else name
            self.register_buffer(own, tensor, persistent=False)
            self.__dict__["_constants"] = (*self._constants, own)
            for graph in graphs:
                for node in graph.nodes:
                    if node.op == "get_attr" and node.target == name:
                        node.target = own

    def _drop_constants(self) -> None:
        for name in self._constants:
            self._buffers.pop(name, None)
            self._non_persistent_buffers_set.discard(name)
        self.__dict__["_constants"] = ()

    @property
    def graph(self) -> fx.Graph:
        """The graph of `forward` in the present mode. Edit it, then call `recompile()`."""
        if "_programs" not in self.__dict__:
            return self.__dict__["_graph"]
        return self._programs["forward", self.training, ()]

    @graph.setter
    def graph(self, graph: fx.Graph) -> None:
        if "_programs" not in self.__dict__:
            self.__dict__["_graph"] = graph
            return
        self._programs["forward", self.training, ()] = graph
        self.recompile()

    @property
    def eval_graph(self) -> fx.Graph:
        """The graph of `forward` in evaluation mode, whatever the present mode."""
        return self._programs["forward", False, ()]

    @property
    def graphs(self) -> tuple[fx.Graph, ...]:
        """All graphs: of both modes, and of the other methods that were called."""
        return tuple(self._programs.values())

    @property
    def points(self) -> tuple[Point, ...]:
        """Where layers are inserted."""
        return self._points

    @property
    def code(self) -> str:
        """Python source of `forward` in the present mode."""
        return self._code_of["forward", self.training, ()][1]

    def recompile(self) -> Any:
        """Generate the code of all graphs again."""
        if "_programs" not in self.__dict__:
            return None
        self.__dict__["_holders"] = None
        for key, graph in self._programs.items():
            graph.owning_module = self
            called = joined(graph, self)
            self._code_of[key] = _compile(called)
            if key[1] and checkpointing.wanted(self):
                run = checkpointing.in_segments(called, self, lambda part: _compile(part)[0])
                self._code_of[key] = (run, self._code_of[key][1])
        arguments = [n.target for n in self._programs["forward", True, ()].nodes if n.op == "placeholder"]
        type(self)._forward_train = self._code_of["forward", True, ()][0]
        type(self)._forward_eval = self._code_of["forward", False, ()][0]
        held = _held_arguments(self._stock_class, [str(a) for a in arguments])
        type(self).forward = _dispatcher([str(a) for a in arguments], held, self._sized is not None)
        self.__dict__["_hung"] = anchors.hung(self, self._points)
        self.__dict__["_holders"] = anchors.holders(self, self._programs.values())
        self.__dict__["_code"] = self.code
        # what torch.compile asks of a GraphModule: the lines of one graph, where here are two
        self.__dict__["_lineno_map"] = self.__dict__["_prologue_start"] = None
        return None

    def _run(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.anchor()
        bound = inspect.signature(getattr(self._stock_class, method)).bind(self, *args, **kwargs)
        names = list(bound.arguments)[1:]
        inputs = [bound.arguments[names[0]]]
        constants = tuple((n, _hashable(bound.arguments[n])) for n in names[1:])
        key = (method, self.training, constants)
        if key not in self._programs:
            self._trace(method, constants)
            self.recompile()
        return self._code_of[key][0](self, *inputs)

    def _check_size(self, *inputs: Any) -> None:
        for value, shape in zip(inputs, self._sized, strict=False):
            if isinstance(value, torch.Tensor) and shape is not None and value.shape[1:] != tuple(shape[1:]):
                raise SurgeryError(
                    f"{self._stock_class.__name__} decides by the size of its input and was rewritten for "
                    f"{tuple(shape[1:])}; it was given {tuple(value.shape[1:])}: apply the recipe again with "
                    f"{either('input_size', '--input-size')} for that size"
                )

    def _refuse_argument(self, name: str, default: Any) -> None:
        raise SurgeryError(
            f"{self._stock_class.__name__}.forward was traced with {name}={default!r}, and its graph knows no other "
            f"value; leave {name} out, or give it no default before the surgery, so that it becomes an input"
        )

    # -- the stock network ------------------------------------------------------------------------

    def stock_view(self) -> nn.Module:
        """The network as an object of its stock class, on the same modules; for tracing and for reading."""
        self.anchor()
        view = object.__new__(self._stock_class)
        hidden = {*_GRAPH_STATE, *_OWN, *_RECORD}
        view.__dict__ = {k: v for k, v in self.__dict__.items() if k not in hidden}
        return view

    def to_stock(self) -> nn.Module:
        """Give the network back as an object of its stock class: no guards, in-place flags as they were.

        The inserted layers still stand in the tree. This network must not be used afterwards.
        """
        self._drop_constants()
        unguard(self)
        for name in self._cleared:
            if _has(self, name):
                self.get_submodule(name).inplace = True
        return self.stock_view()

    def __prepare_scriptable__(self) -> nn.Module:
        """What torch.jit.script asks for before it compiles; it cannot read the graphs' code or the layers'."""
        raise SurgeryError(
            f"torch.jit.script cannot compile a rewritten {self._stock_class.__name__}; use torch.jit.trace in "
            f"evaluation mode, or torch.jit.script on surgeon.fold(model)"
        )

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            stock = self.__dict__.get("_stock_class")
            if stock is None or not hasattr(stock, name):
                raise
        found = inspect.getattr_static(stock, name)
        if isinstance(found, property):
            return found.fget(self)  # type: ignore[misc]  # a property without a getter would not have been read
        if isinstance(found, (staticmethod, classmethod)) or not callable(found):
            return getattr(stock, name)
        if name in TRACED_METHODS:
            return _Bound(self, name, "run")
        if name in PASSIVE_METHODS:
            return found.__get__(self)
        if name in REBUILDING_METHODS:
            return _Bound(self, name, "rebuild")
        return _Bound(self, name, "refuse")

    def _rebuild_after(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        view = self.stock_view()
        result = getattr(view, method)(*args, **kwargs)
        self.__dict__.update(view.__dict__)
        lost = [p.layer for p in self._points if p.layer and not _has(self, p.layer)]
        self.__dict__["_points"] = tuple(p for p in self._points if p.layer not in lost)
        self.retrace()
        if lost:
            import warnings

            warnings.warn(f"{method} removed edited layers: {', '.join(map(str, lost))}", stacklevel=3)
        return result

    # -- walks over the modules: what hangs at the sites hangs there before anyone looks -----------------

    def named_modules(self, *args: Any, **kwargs: Any) -> Any:
        self.anchor(demand=False)
        return super().named_modules(*args, **kwargs)

    def named_children(self) -> Any:
        self.anchor(demand=False)
        return super().named_children()

    def get_submodule(self, target: str) -> nn.Module:
        self.anchor(demand=False)
        return super().get_submodule(target)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        self.anchor(demand=False)
        return super().state_dict(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.anchor(demand=False)
        super()._load_from_state_dict(*args, **kwargs)

    # -- copies -----------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict[int, Any]) -> Rewritten:
        self.anchor()
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        type(new).__name__ = type(self).__name__
        programs = self._programs
        for key, value in self.__dict__.items():
            if key in ("_programs", "_code_of", "_graph", "_holders", "_hung"):
                continue
            new.__dict__[key] = value if key == "_stock_class" else copy.deepcopy(value, memo)
        new.__dict__["_graph"] = self._graph
        new.__dict__["_programs"] = {k: copy.deepcopy(g) for k, g in programs.items()}
        new.__dict__["_code_of"] = {}
        new.recompile()
        return new

    def __copy__(self) -> Rewritten:
        return self.__deepcopy__({id(t): t for t in (*self.parameters(), *self.buffers())})

    def __reduce__(self) -> tuple[Any, ...]:
        self.anchor()
        state = {k: v for k, v in self.__dict__.items() if k not in (*_OWN, *_GRAPH_STATE)}
        return (_revive, (type(self).__name__, state))


_RECORD = (
    "_stock_class", "_points", "_leaves", "_cleared", "_example", "_sized", "_constants", "surgery", "displaced",
)  # fmt: skip


class _Bound:
    """A method of the stock class on a rewritten network: run in effect, run and rebuild, or refused."""

    def __init__(self, network: Rewritten, name: str, how: str) -> None:
        self.network, self.__name__, self.how = network, name, how

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.how == "run":
            return self.network._run(self.__name__, args, kwargs)
        if self.how == "rebuild":
            return self.network._rebuild_after(self.__name__, args, kwargs)
        kind = self.network._stock_class.__name__
        raise SurgeryError(
            f"{kind}.{self.__name__} runs code from before the surgery and was not run; call it before "
            f"surgeon.apply, or on surgeon.fold(model) or surgeon.revert(model)"
        )


def _has(model: nn.Module, name: str) -> bool:
    try:
        model.get_submodule(name)
    except AttributeError:
        return False
    return True


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _compile(graph: fx.Graph) -> tuple[Callable[..., Any], str]:
    code = graph.python_code(root_module="self")
    scope = dict(code.globals)
    name = f"<graph {next(_count)}>"
    linecache.cache[name] = (len(code.src), None, code.src.splitlines(keepends=True), name)
    exec(compile(code.src, name, "exec"), scope)  # torch.fx wrote this source from the graph
    return scope["forward"], code.src


_count = itertools.count()


def _held_arguments(stock: type[nn.Module], inputs: list[str]) -> dict[str, Any]:
    """The arguments of the stock network's forward that were traced at their defaults, with these."""
    return {
        name: p.default
        for name, p in inspect.signature(stock.forward).parameters.items()
        if name not in inputs and p.default is not p.empty
    }


def _same(value: Any, default: Any) -> bool:
    return value is default or (
        type(value) is type(default) and isinstance(value, (int, float, str)) and value == default
    )


def _dispatcher(arguments: list[str], held: Mapping[str, Any], sized: bool) -> Callable[..., Any]:
    given = ", ".join(arguments)
    defaults = "".join(f", {name}=_held[{name!r}]" for name in held)
    check = f"    self._check_size({given})\n" if sized else ""
    check += "".join(
        f"    if not _same({n}, _held[{n!r}]):\n        self._refuse_argument({n!r}, _held[{n!r}])\n"
        for n in held
    )
    scope: dict[str, Any] = {
        "_held": dict(held),
        "_same": _same,
        "_is_compiling": torch.compiler.is_compiling,
    }
    exec(  # the names come from a traced signature
        f"def forward(self, {given}{defaults}):\n    if not _is_compiling():\n        self.anchor()\n{check}"
        f"    if self.training:\n        return self._forward_train({given})\n"
        f"    return self._forward_eval({given})\n",
        scope,
    )
    return scope["forward"]


def _revive(name: str, state: dict[str, Any]) -> Rewritten:
    network = Rewritten.__new__(Rewritten)
    type(network).__name__ = name
    fresh = fx.GraphModule({}, fx.Graph())
    network.__dict__.update({k: v for k, v in fresh.__dict__.items() if k in _GRAPH_STATE})
    network.__dict__.update(state)
    network.retrace()
    return network
