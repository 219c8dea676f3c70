"""The rewritten network: a GraphModule with a graph for each mode, on the stock network's own modules."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import itertools
import linecache
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import MethodType
from typing import Any, ClassVar, NoReturn

import torch
from torch import fx, nn

from surgeon.errors import SurgeryError, TraceError, either
from surgeon.graph import anchors, checkpointing, exchanged, ties, tree
from surgeon.graph.bound_hooks import is_called_back, rebind
from surgeon.graph.cuts import Point, check_visible, cut_graph
from surgeon.graph.forms import same_form
from surgeon.graph.guard import guard, guarded_containers, unguard
from surgeon.graph.hosts import save_weights
from surgeon.graph.joined import joined
from surgeon.graph.kinship import How, class_for, how_for, slots_of
from surgeon.graph.modes import follow_modes
from surgeon.graph.signatures import held_arguments, takes_more
from surgeon.graph.trace import trace
from surgeon.graph.traced import Example, Traced, copied
from surgeon.graph.variants import (
    Call,
    Variant,
    Variants,
    at_defaults,
    call_of,
    fits,
    same,
    sizes,
    traced_by_fx,
    traced_elsewhere,
    with_demand,
)
from surgeon.host import own_state
from surgeon.torch_private import without_modes
from surgeon.values import empties

_OWN = (
    "_programs",
    "_code_of",
    "_variants",
    "_by_hand",
    "_graph",
    "_code",
    "_lineno_map",
    "_prologue_start",
    "_fused",
    "_holders",
    "_hung",
    "_opened",
    "_aside",
    "_read",
    "_ties",
)
_FRESH = fx.GraphModule({}, fx.Graph())
_GRAPH_STATE = tuple(k for k in _FRESH.__dict__ if k not in nn.Module().__dict__ and k != "training")

Key = tuple[str, bool, tuple[tuple[str, Any], ...]]


_making = threading.RLock()


def _alone(method: Callable[..., Any]) -> Callable[..., Any]:
    """One thread at a time, and outside of what a mode of torch's, such as that of fake tensors, would make of it."""

    @functools.wraps(method)
    def alone(*args: Any) -> Any:
        with _making, without_modes():
            return method(*args)

    return alone


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

    _shared: ClassVar[bool] = False
    """Of a class: whether copies of a network are objects of it."""

    def __new__(cls, network: nn.Module, *args: Any, **kwargs: Any) -> Rewritten:
        return _empty(type(network))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Nothing: what the stock class does to its subclasses, such as to register them, is not for this one."""

    def __init__(
        self,
        network: nn.Module,
        points: Iterable[Point] = (),
        *,
        leaves: Iterable[str] = (),
        example: Example | None = None,
        traced: Traced | None = None,
        constants: Mapping[str, Any] | None = None,
        inputs: Iterable[str] = (),
    ) -> None:
        """Take over `network` (its containers are used, not copied) and cut its graphs at `points`.

        The inserted modules must already stand in the tree under the names in `points`. `leaves` are
        modules to keep whole. `example`: input shapes to trace with where the code branches on them; the
        graphs then hold for that size alone. `traced`: what tracing the network gave
        before the cut, where that is known; its graphs are copied. `constants`: values of arguments of
        `forward` that the graphs are made for, instead of their defaults; `inputs`: arguments that are inputs
        although they have a default. For other sizes and arguments graphs are made when they first come
        (`variants.py`).
        """
        self.__dict__.update(_graph_state())
        self.__dict__.update(network.__dict__)
        for key, value in slots_of(network):
            object.__setattr__(self, key, value)
        self.__dict__["_stock_class"] = type(network)
        self.__dict__["_points"] = tuple(points)
        self.__dict__["_leaves"] = tuple(leaves)
        self.__dict__["_cleared"] = ()
        self.__dict__["_constants"] = ()
        self.__dict__["_example"] = example
        self.__dict__["_sized"] = None
        self.__dict__["_held"] = dict(constants or {})
        self.__dict__["_inputs"] = tuple(inputs)
        rebind(self, {"": network})
        self.retrace(traced)

    @property
    def _itself(self) -> Rewritten:
        """What the graphs call the network by where its code leaves something on it (`kept.py`)."""
        return self

    @property
    def _rebound(self) -> tuple[str, ...]:
        """The name of an attribute `forward` that is the class's, bound to the network itself, as
        unwrapping leaves one: it adds nothing."""
        own = self.__dict__.get("forward")
        plain = isinstance(own, MethodType) and own.__self__ is self and own.__func__ in _dispatchers
        return ("forward",) if plain else ()

    # -- graphs -----------------------------------------------------------------------------------

    def retrace(self, traced: Traced | None = None) -> None:
        """Make the graphs anew from the stock class's code, or from a trace of it, and the recorded points."""
        self._drop_constants()
        self.__dict__["_holders"] = None  # what hangs where is asked again when the graphs stand
        self.__dict__["_programs"] = {}
        self.__dict__["_code_of"] = {}
        self.__dict__["_variants"] = Variants()
        self._trace("forward", (), copied(traced) if traced else None)
        check_visible(self._programs.values(), self._points)
        self._regenerate()
        guard(self, guarded_containers(self, [p.site for p in self._points if p.site]))

    def anchor(self, *, demand: bool = True, remake: bool = False) -> None:
        """Hang every layer to the module that stands at its site now, where other code exchanged or wrapped that one.

        It runs by itself before the network is called, walked, moved, copied or saved. demand: raise
            SurgeryError where a
        module that the graphs call is gone, naming what stands there and the order of steps that
            works. remake: without a demand,
        make the graphs anew all the same where containers are not what they were, if that works.
        """
        found = self.__dict__.get("_holders")
        if found is None or (anchors.stand(found) and exchanged.stand(self._read)):
            return
        self._follow(demand, remake)

    @_alone
    def _follow(self, demand: bool, remake: bool) -> None:
        found = self.__dict__["_holders"]
        if found is None or (anchors.stand(found) and exchanged.stand(self._read)):
            return  # another thread was first
        # torch.compile walks over the modules and then reads the code, without a call in between
        demand = demand or (remake and torch.compiler.is_compiling())
        settled = anchors.settle(self, self._hung, demand=demand)
        norm = anchors.fused(self, self._programs.values(), self._points, found)
        lost = anchors.lost(self, self._programs.values())
        changes = exchanged.changes(self, self._opened, self._points)
        changes += [c for c in (one.change(self) for one in self._read) if c]
        changes += ties.changes(self._ties)
        if not demand:
            if remake and changes and settled and not norm and anchors.reaches(self, self._points):
                with contextlib.suppress(SurgeryError):  # the call that comes next says so
                    self._follow(True, False)
                return
            if not settled or norm or lost or changes:
                return
        if norm:
            anchors.refuse_fused(norm)
        if lost and not (changes and anchors.reaches(self, self._points)):
            anchors.refuse(lost, changes)
        if changes:
            self._remake(changes)
        self.__dict__["_holders"] = None  # what follows walks over the modules
        self._generate()

    def _remake(self, changes: list[exchanged.Change]) -> None:
        """Make the graphs anew for containers that are not what they were; SurgeryError where that
        does not work and must."""
        reason = ""
        if self._by_hand:
            reason = "its graph was edited by hand"
        elif traced_elsewhere():
            reason = "it is traced by other code now: call it once before"
        else:
            before = {
                k: self.__dict__[k] for k in (*_OWN, "_constants", "_sized", "_cleared") if k in self.__dict__
            }
            tensors = {n: self._buffers[n] for n in self._constants}
            try:
                self.retrace()
            except Exception as error:  # the stock class's own code, traced anew
                reason = " ".join(str(error).split())[:300]
            if reason or _written(self._programs, before["_programs"]):  # who holds the graphs goes on to
                self._drop_constants()
                self.__dict__.update(before)
                for name, value in tensors.items():
                    self.register_buffer(name, value, persistent=False)
        binding = [c for c in changes if c.binding]
        if reason and binding:
            more = f" (and {len(binding) - 1} more)" if len(binding) > 1 else ""
            head = (
                ", or use reset_classifier for another head"
                if hasattr(self._stock_class, "reset_classifier")
                else ""
            )
            raise SurgeryError(
                f"{binding[0]}{more}, and no graph can be made for that ({reason}): change "
                "modules before surgeon.apply, or "
                f"fold or revert, change, and apply again{head}"
            )

    @own_state()
    def _trace(
        self, method: str, constants: tuple[tuple[str, Any], ...], traced: Traced | None = None
    ) -> None:
        forward = method == "forward"
        traced = traced or self._traced_anew(
            self.stock_view(),
            method,
            self._held if forward else dict(constants),
            self._inputs if forward else (),
            self._example,
        )
        if traced.sized:
            self.__dict__["_sized"] = self._example
        self._adopt_constants(traced.constants, (traced.train, traced.eval), "" if forward else method)
        follow_modes(traced.train, traced.eval)
        for training, graph in ((True, traced.train), (False, traced.eval)):
            self._cut(graph, with_input=method != "forward_head")
            if traced.sized and forward and self._example:
                with_demand(graph, self._stock_class.__name__, self._example)
            self._programs[method, training, constants] = graph

    def _traced_anew(
        self,
        view: nn.Module,
        method: str,
        constants: Mapping[str, Any],
        inputs: Iterable[str],
        example: Example | None,
    ) -> Traced:
        at_input = {p.layer for p in self._points if not p.site}
        # code that goes through all modules, such as a Sequential's, knows nothing of a layer that hangs among them
        view.__dict__["_modules"] = {k: v for k, v in view._modules.items() if k not in at_input}
        sites = {p.site for p in self._points if p.site}
        behind = {
            s: [p.layer for p in self._points if p.site == s and p.layer and not p.before] for s in sites
        }
        return trace(
            view,
            method=method,
            leaves={*sites, *self._leaves},
            constants=constants,
            example=example,
            behind=behind,
            inputs=inputs,
        )

    def _cut(self, graph: fx.Graph, *, with_input: bool) -> None:
        cleared = cut_graph(graph, self._points, self, with_input=with_input)
        self.__dict__["_cleared"] = tuple(dict.fromkeys((*self._cleared, *cleared)))

    def _adopt_constants(
        self, constants: Mapping[str, torch.Tensor], graphs: Iterable[fx.Graph], suffix: str
    ) -> tuple[str, ...]:
        names = {name: f"{name}_{suffix}" if suffix else name for name in constants}
        for name, own in names.items():
            self.register_buffer(own, constants[name], persistent=False)
        for node in (n for g in graphs for n in g.nodes if n.op == "get_attr"):
            node.target = names.get(str(node.target), node.target)
        self.__dict__["_constants"] = (*self._constants, *names.values())
        return tuple(names.values())

    def _drop_constants(self, names: Iterable[str] | None = None) -> None:
        gone = set(self._constants if names is None else names)
        for name in gone:
            self._buffers.pop(name, None)
            self._non_persistent_buffers_set.discard(name)
        self.__dict__["_constants"] = tuple(n for n in self._constants if n not in gone)

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
        """Generate the code of all graphs again, after one was edited by hand; calls that need other
        graphs are then refused."""
        if "_programs" in self.__dict__:
            self._regenerate()
            self.__dict__["_by_hand"] = True
        return None

    def _regenerate(self, by_hand: bool = False) -> None:
        self.__dict__["_by_hand"] = by_hand
        self._generate()

    def _generate(self) -> None:
        self._leave_class()
        for name in self._rebound:  # of graphs that are no longer
            del self.__dict__[name]
        self.__dict__["_holders"] = None
        self.__dict__["_variants"] = self._variants.copied(lambda graph, mode: self._coded(graph, mode)[0])
        for key, graph in self._programs.items():
            graph.owning_module = self
            self._code_of[key] = self._coded(graph, key[1])
        arguments = [n.target for n in self._programs["forward", True, ()].nodes if n.op == "placeholder"]
        setattr(type(self), "_forward_train", self._code_of["forward", True, ()][0])
        setattr(type(self), "_forward_eval", self._code_of["forward", False, ()][0])
        type(self).forward = _dispatcher(
            self._stock_class.forward, [str(a) for a in arguments], self._held, self._sized is not None
        )
        self.__dict__["_hung"] = anchors.hung(self, self._points)
        self.__dict__["_opened"] = exchanged.opened(self, self._programs.values(), self._points)
        self.__dict__["_read"] = exchanged.read(self, self._programs.values())
        self.__dict__["_ties"] = ties.ties(self, self._programs.values())
        self.__dict__["_holders"] = (*anchors.holders(self, self._programs.values()), *ties.held(self._ties))
        self.__dict__["_code"] = self.code
        # what torch.compile asks of a GraphModule: the lines of one graph, where here are two
        self.__dict__["_lineno_map"] = self.__dict__["_prologue_start"] = None

    def _coded(self, graph: fx.Graph, training: bool) -> tuple[Callable[..., Any], str]:
        called = joined(graph, self)
        made = _compile(called)
        if training and checkpointing.wanted(self):
            return checkpointing.in_segments(called, self, lambda part: _compile(part)[0]), made[1]
        return made

    def _run(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.anchor()
        bound = inspect.signature(getattr(self._stock_class, method)).bind(self, *args, **kwargs)
        names = list(bound.arguments)[1:]
        inputs = [bound.arguments[names[0]]]
        constants = tuple((n, _hashable(bound.arguments[n])) for n in names[1:])
        key = (method, self.training, constants)
        if key not in self._code_of:
            self._add(method, constants)
        return self._code_of[key][0](self, *inputs)

    @_alone
    @own_state()
    def _add(self, method: str, constants: tuple[tuple[str, Any], ...]) -> None:
        """Make the graphs of a method beside `forward`, on modules of their own: other threads may
        compute meanwhile."""
        if (method, True, constants) in self._code_of:  # another thread made them meanwhile
            return
        self._trace(
            method,
            constants,
            self._traced_anew(_apart(self.stock_view(), self), method, dict(constants), (), self._example),
        )
        self._regenerate(self._by_hand)

    @_alone
    def _flag(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a method that sets flags which the graphs do not show, but their code does."""
        result = self._on_view(method, args, kwargs)
        self._regenerate(self._by_hand)
        return result

    # -- other calls ------------------------------------------------------------------------------

    def _fits(self, *inputs: Any) -> bool:
        return fits(inputs, self._sized)

    def _otherwise(self, inputs: tuple[str, ...], given: dict[str, Any]) -> Any:
        """`forward` for sizes, or values of optional arguments, that its graphs were not made for."""
        defaults = held_arguments(self._stock_class.forward, inputs)
        recorded = traced_by_fx(given)
        if recorded:
            held = defaults | self._held
            given = at_defaults(self._stock_class.__name__, given, held)
            if all(n in inputs or (n in held and same(v, held[n])) for n, v in given.items()):
                return self._code_of["forward", self.training, ()][0](self, *(given[n] for n in inputs))
        call = call_of(self._stock_class.forward, given, inputs, defaults)
        if isinstance(call, str):
            self._refuse_argument(call, given[call])
        found = self._variants.find(call)
        if found is None:
            if recorded or traced_elsewhere() or self._by_hand:
                self._refuse(inputs, given)
            found = self._made(call)
        elif not torch.compiler.is_compiling():
            self._variants.use(call)
        return found.run[self.training](self, *call.tensors.values())

    def _unlike(self, given: dict[str, Any]) -> Any:
        """`forward` for a required input that is no tensor, which the graphs take where the code
        hands it on as it is."""
        run = self._forward_train if self.training else self._forward_eval
        if traced_elsewhere() or traced_by_fx(given):
            return run(*given.values())
        try:
            return run(*given.values())
        except (TypeError, AttributeError, LookupError) as error:
            name, value = next((n, v) for n, v in given.items() if not isinstance(v, torch.Tensor))
            raise SurgeryError(
                f"{self._stock_class.__name__}.forward was given {name} of type "
                f"{type(value).__name__}, and its graphs were made for what "
                f"{name} was at the cut ({' '.join(str(error).split())[:120]}): call it with "
                "a tensor, part by part where there are more"
            ) from error

    @_alone
    def _made(self, call: Call) -> Variant:
        found = self._variants.find(call)  # another thread may have made it meanwhile
        if found is not None:
            return found
        view = _apart(self.stock_view(), self)
        anew = functools.partial(self._traced_anew, view, "forward", call.constants, tuple(call.tensors))
        try:
            traced = anew(call.example(2))
        except TraceError:
            traced = anew(call.example(1))
        self._demand_form(traced, call)
        graphs = {True: traced.train, False: traced.eval}
        number = next(_count)
        constants = self._adopt_constants(traced.constants, graphs.values(), f"call_{number}")
        follow_modes(traced.train, traced.eval)
        for graph in graphs.values():
            self._cut(graph, with_input=True)
            graph.owning_module = self
        run = {mode: self._coded(graph, mode)[0] for mode, graph in graphs.items()}
        variant = Variant(graphs, run, constants)
        for gone in self._variants.keep(call.sized if traced.sized else call.key, variant, self):
            self._drop_constants(gone.constants)
        return variant

    def _demand_form(self, traced: Traced, call: Call) -> None:
        """Raise SurgeryError where other arguments give an output that the graph cannot give."""
        asked = [*call.constants, *list(call.tensors)[1:]]
        if not asked:
            return
        view = _apart(self.stock_view(), self)
        unguard(view)
        for name, value in traced.constants.items():
            view.register_buffer(name, value)
        if not same_form(view, _compile(traced.eval)[0], call.tensors, call.constants):
            raise SurgeryError(
                f"{self._stock_class.__name__}.forward with {', '.join(asked)} gives more, or "
                "less, than a graph shows, such as "
                f"what hooks collect on the way, or a tuple without what is None; leave {asked[-1]} out"
            )

    def _refuse(self, inputs: tuple[str, ...], given: Mapping[str, Any]) -> None:
        """Say what the graphs were made for, where no further one can be made."""
        later = (
            "its graph was edited by hand, which another one would not have"
            if self._by_hand
            else "call it so once before torch.compile, torch.export or torch.jit.trace"
        )
        for name, shape in zip(inputs, self._sized or (), strict=False):
            value = given[name]
            if isinstance(value, torch.Tensor) and shape is not None and value.shape[1:] != tuple(shape[1:]):
                raise SurgeryError(
                    f"{self._stock_class.__name__} decides by the size of its input and was rewritten for "
                    f"{tuple(shape[1:])}; it was given {sizes(value)}: {later}, or apply the recipe again with "
                    f"{either('input_size', '--input-size')} for that size"
                )
        defaults = held_arguments(self._stock_class.forward, inputs) | self._held
        name = next(n for n, v in given.items() if n not in inputs and not same(v, defaults.get(n)))
        raise SurgeryError(
            f"{self._stock_class.__name__}.forward was traced with "
            f"{name}={defaults.get(name)!r}, and its graph knows no other "
            f"value; {later}, or leave {name} out"
        )

    def _refuse_argument(self, name: str, value: Any) -> NoReturn:
        raise SurgeryError(
            f"{self._stock_class.__name__}.forward was given {name} of type "
            f"{type(value).__name__}, for which no graph can be "
            f"made: a graph's arguments are tensors, or plain values such as numbers, texts, None and tuples of them"
        )

    # -- the stock network ------------------------------------------------------------------------

    def stock_view(self) -> nn.Module:
        """The network as an object of its stock class, on the same modules; for tracing and for reading."""
        self.anchor()
        view = object.__new__(self._stock_class)
        hidden = {*_GRAPH_STATE, *_OWN, *_RECORD, *self._rebound}
        view.__dict__.update({k: v for k, v in self.__dict__.items() if k not in hidden})
        for key, value in slots_of(self):
            object.__setattr__(view, key, value)
        return view

    def to_stock(self) -> nn.Module:
        """Give the network back as an object of its stock class: no guards, in-place flags as they were.

        The inserted layers still stand in the tree. This network must not be used afterwards.
        """
        self._drop_constants()
        unguard(self)
        for name in self._cleared:
            if _has(self, name):
                setattr(self.get_submodule(name), "inplace", True)
        view = self.stock_view()
        rebind(view, {"": self})
        return view

    def __prepare_scriptable__(self) -> nn.Module:
        """What torch.jit.script asks for before it compiles; it cannot read the graphs' code or the layers'."""
        raise SurgeryError(
            f"torch.jit.script cannot compile a rewritten {self._stock_class.__name__}; use torch.jit.trace in "
            f"evaluation mode, or torch.jit.script on surgeon.fold(model)"
        )

    def __getattr__(self, name: str) -> Any:
        try:
            return nn.Module.__getattr__(self, name)
        except AttributeError:
            stock = self.__dict__.get("_stock_class")
            if stock is None:
                raise
            if not hasattr(stock, name):
                return self._passed_on(name, stock)
        found = inspect.getattr_static(stock, name)
        if isinstance(found, property):
            return found.fget(self)  # type: ignore[misc]  # a property without a getter would not have been read
        if isinstance(found, (staticmethod, classmethod)) or not callable(found):
            return getattr(stock, name)
        how = how_for(name, found)
        return found.__get__(self) if how == "keep" else functools.partial(_bound, self, name, how)

    def _passed_on(self, name: str, stock: type[nn.Module]) -> Any:
        """What a stock class with a `__getattr__` of its own gives for a name, such as a wrapper that
        asks the network in it."""
        value = stock.__getattr__(self, name)  # nn.Module's, which raises, where it has none of its own
        owner = getattr(value, "__self__", None)
        if isinstance(owner, nn.Module) and not isinstance(owner, Rewritten) and callable(value):
            return functools.partial(_bound, self, name, "refuse")
        return value

    def _on_view(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        view = self.stock_view()
        result = getattr(view, method)(*args, **kwargs)
        self.__dict__.update(view.__dict__)
        return self if result is view else result

    def _rebuild_after(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        view = self.stock_view()
        result = getattr(view, method)(*args, **kwargs)
        self.__dict__.update(view.__dict__)
        rebind(self, {"": view})
        lost = [p.layer for p in self._points if p.layer and not _has(self, p.layer)]
        self.__dict__["_points"] = tuple(p for p in self._points if p.layer not in lost)
        self.retrace()
        if lost:
            import warnings

            warnings.warn(f"{method} removed edited layers: {', '.join(map(str, lost))}", stacklevel=3)
        return result

    # -- walks over the modules: what hangs at the sites hangs there before anyone looks -----------------

    def named_modules(self, *args: Any, **kwargs: Any) -> Any:
        self.anchor(demand=False, remake=True)
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

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *args: Any) -> None:
        """As of any module; assigned tensors bring the constants of the graphs back from the meta device with them."""
        self.anchor(demand=False)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)
        at = next((t.device for t in state_dict.values() if isinstance(t, torch.Tensor)), None)
        if at is None or not local_metadata.get("assign_to_params_buffers"):
            return
        for name, value in self.__dict__.get("_aside", {}).items():
            there = self._buffers.get(name)
            if there is not None and there.is_meta:
                self._buffers[name] = value.to(at, there.dtype)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Rewritten:
        """As of any module; what its graphs hold as constants, which no state dict has, keeps its
        values through empty memory."""
        before = {n: t for n in self._constants if (t := self._buffers.get(n)) is not None}
        aside = self.__dict__.get("_aside", {}) | {n: t for n, t in before.items() if not t.is_meta}
        super()._apply(fn, recurse)
        self.__dict__["_aside"] = {}
        for name, old in before.items():
            new = self._buffers[name]
            if new is None or name not in aside:
                continue
            if new.is_meta:
                self.__dict__["_aside"][name] = aside[name]
            elif old.is_meta or empties(fn):
                with torch.no_grad():
                    new.copy_(aside[name])
        return self

    # -- copies -----------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict[int, Any]) -> Rewritten:
        self.anchor()
        new = _empty(self._stock_class)
        memo[id(self)] = new
        type(new).__name__ = type(self).__name__
        programs = self._programs
        for key, value in self.__dict__.items():
            if key in (
                "_programs",
                "_code_of",
                "_graph",
                "_variants",
                "_by_hand",
                "_holders",
                "_hung",
                "_opened",
                "_read",
                "_ties",
                *self._rebound,
            ):
                continue
            new.__dict__[key] = value if key == "_stock_class" else copy.deepcopy(value, memo)
        for key, value in slots_of(self):
            object.__setattr__(new, key, copy.deepcopy(value, memo))
        new.__dict__["_graph"] = self._graph
        new.__dict__["_programs"] = {k: copy.deepcopy(g) for k, g in programs.items()}
        new.__dict__["_code_of"] = {}
        new.__dict__["_variants"] = self._variants
        new._regenerate()
        new.__dict__["_by_hand"] = self._by_hand
        new._join_class(self)
        return new

    def _join_class(self, other: Rewritten) -> None:
        """Become an object of the class of `other`, of which this is a copy, where both run the same code.

        Code that computes with several networks at once asks for one class. A network whose code is
        made anew leaves it.
        """
        mine, theirs = self._code_of, other._code_of
        if checkpointing.wanted(self) or mine.keys() != theirs.keys():
            return
        held = all(same(v, other._held.get(k)) for k, v in self._held.items())
        if held and all(_same_code(mine[k], theirs[k]) for k in mine):
            type(other)._shared = True
            object.__setattr__(self, "__class__", type(other))
            self.__dict__["_code_of"] = dict(theirs)

    def _leave_class(self) -> None:
        """Have a class of its own again, whose code no copy runs."""
        if type(self).__dict__.get("_shared"):
            made = class_for(Rewritten, self._stock_class, _bound)
            made.__name__ = type(self).__name__
            object.__setattr__(self, "__class__", made)

    def __copy__(self) -> Rewritten:
        return self.__deepcopy__({id(t): t for t in (*self.parameters(), *self.buffers())})

    def __reduce__(self) -> tuple[Any, ...]:
        self.anchor()
        for name in tree.functions(self):
            raise SurgeryError(
                f"{name} is no nn.Module, so that no graphs could be made when the network is "
                "read: put a module around it that calls it"
            )
        left_out = {*_OWN, *_GRAPH_STATE, *self._rebound}
        state = {k: v for k, v in self.__dict__.items() if k not in left_out}
        # the network is there before its state, in which hooks may be bound to it
        made = (type(self).__name__, self._stock_class)
        return (_unfilled, made, (state, dict(slots_of(self))), None, None, _revive)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return self.__reduce__()


_RECORD = (
    "_stock_class",
    "_points",
    "_leaves",
    "_cleared",
    "_example",
    "_sized",
    "_constants",
    "_held",
    "_inputs",
    "surgery",
    "displaced",
)


def _bound(
    network: Rewritten,
    name: str,
    how: How,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """A method of the stock class on a rewritten network: run in effect, run and rebuild, on a view, or refused."""
    given = dict(kwargs or {})
    if how == "run":
        return network._run(name, args, given)
    if how == "rebuild":
        return network._rebuild_after(name, args, given)
    if how == "flag":
        return network._flag(name, args, given)
    if how == "view":
        return network._on_view(name, args, given)
    if how == "weights":
        return save_weights(network, *args, **given)
    if is_called_back(network):
        return inspect.getattr_static(network._stock_class, name).__get__(network)(*args, **given)
    raise SurgeryError(
        f"{network._stock_class.__name__}.{name} runs code from before the surgery and was not run; call it before "
        f"surgeon.apply, or on surgeon.fold(model) or surgeon.revert(model)"
    )


def _empty(stock: type[nn.Module]) -> Rewritten:
    """A rewritten network without anything in it."""
    return object.__new__(class_for(Rewritten, stock, _bound))


def _graph_state() -> dict[str, Any]:
    """What torch.fx keeps in every GraphModule."""
    fresh = fx.GraphModule({}, fx.Graph())
    return {k: v for k, v in fresh.__dict__.items() if k in _GRAPH_STATE}


def _written(graphs: Mapping[Key, fx.Graph], others: Mapping[Key, fx.Graph]) -> bool:
    """Whether the graphs are those of the same name among the others, call by call."""
    return all(
        [(n.op, n.target, str(n.args), str(n.kwargs)) for n in graph.nodes]
        == [(n.op, n.target, str(n.args), str(n.kwargs)) for n in others[key].nodes]
        for key, graph in graphs.items()
    )


def _has(model: nn.Module, name: str) -> bool:
    try:
        model.get_submodule(name)
    except AttributeError:
        return False
    return True


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _same_code(one: tuple[Callable[..., Any], str], other: tuple[Callable[..., Any], str]) -> bool:
    """Whether two functions made of graphs are the same, by their source and the values that it names."""
    if one[1] != other[1]:
        return False
    here, there = ({k: v for k, v in f[0].__globals__.items() if k != "__builtins__"} for f in (one, other))
    return here.keys() == there.keys() and all(v is there[k] for k, v in here.items())


def _compile(graph: fx.Graph) -> tuple[Callable[..., Any], str]:
    code = graph.python_code(root_module="self")
    scope = dict(code.globals)
    name = f"<graph {next(_count)}>"
    linecache.cache[name] = (len(code.src), None, code.src.splitlines(keepends=True), name)
    exec(compile(code.src, name, "exec"), scope)  # torch.fx wrote this source from the graph
    run = scope.pop("forward")
    weakref.finalize(run, linecache.cache.pop, name, None).atexit = False
    return run, code.src


_count = itertools.count()
_dispatchers: weakref.WeakSet[Callable[..., Any]] = weakref.WeakSet()
"""The `forward` of every class of a rewritten network."""


def _dispatcher(
    stock: Callable[..., Any], inputs: list[str], constants: Mapping[str, Any], sized: bool
) -> Callable[..., Any]:
    """The `forward` of a rewritten network: the stock network's arguments, and the graph of the mode for
    those that it was made for."""
    held = {**held_arguments(stock, ()), **constants}
    tests: list[str] = []
    arguments: list[str] = []
    named: list[str] = []
    by_name = optional = False
    for p in list(inspect.signature(stock).parameters.values())[1:]:
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            continue
        if p.kind is p.KEYWORD_ONLY and not by_name:
            arguments.append("*")
            by_name = True
        named.append(p.name)
        optional = optional or p.name in held
        if p.name in inputs and p.default is p.empty:
            arguments.append(f"{p.name}=_absent" if optional and not by_name else p.name)
            continue
        arguments.append(f"{p.name}=_held[{p.name!r}]")
        value = f"_held[{p.name!r}]"
        tests.append(f"{p.name} is {value}" if p.name in inputs else f"not _same({p.name}, {value})")
    also = [n for n in inputs if n not in named]
    arguments += (["*"] if also and not by_name else []) + also
    more = {n: v for n, v in constants.items() if n not in named}
    if takes_more(stock):
        arguments.append("**_more")
        tests.append("_more.keys() != _also.keys() or not all(_same(v, _also[n]) for n, v in _more.items())")
        if not more:
            tests[-1] = "_more"
    given = ", ".join(inputs)
    tests += [f"not self._fits({given})"] if sized else []
    everything = ", ".join(
        [f"{n!r}: {n}" for n in (*named, *also)] + (["**_more"] if takes_more(stock) else [])
    )
    check = (
        f"    if {' or '.join(tests)}:\n        return self._otherwise({tuple(inputs)!r}, {{{everything}}})\n"
        if tests
        else ""
    )
    needed = [n for n in inputs if n not in held and n not in also]
    tensors = " and ".join(f"isinstance({n}, _Tensor)" for n in needed)
    if needed:
        check += (
            f"    if not ({tensors}):\n        return "
            f"self._unlike({{{', '.join(f'{n!r}: {n}' for n in inputs)}}})\n"
        )
    scope: dict[str, Any] = {
        "_Tensor": torch.Tensor,
        "_held": held,
        "_same": same,
        "_also": more,
        "_absent": None,
        "_is_compiling": torch.compiler.is_compiling,
    }
    exec(  # the names come from a traced signature
        f"def forward(self, {', '.join(arguments)}):\n    if not _is_compiling():\n        self.anchor()\n{check}"
        f"    if self.training:\n        return self._forward_train({given})\n"
        f"    return self._forward_eval({given})\n",
        scope,
    )
    _dispatchers.add(scope["forward"])
    return scope["forward"]


def _apart(view: nn.Module, network: nn.Module) -> nn.Module:
    """A copy of a tree of modules on the same tensors, so that tracing it turns no mode that another
    thread computes in.

    network: whose view it is, which hooks may be bound to and is not copied.
    """
    memo: dict[int, Any] = {id(t): t for t in (*view.parameters(), *view.buffers())}
    memo[id(network)] = network
    try:
        return copy.deepcopy(view, memo)
    except Exception:  # something hangs on it that cannot be copied, such as a hook's connection
        return view


def _later(self: Rewritten, *args: Any, **kwargs: Any) -> Any:
    """The `forward` of a network that is being read: whatever is bound to it then runs what the class has
    when it is called."""
    return type(self).forward(self, *args, **kwargs)


_dispatchers.add(_later)


def _unfilled(name: str, stock: type[nn.Module]) -> Rewritten:
    network = _empty(stock)
    type(network).__name__ = name
    type(network).forward = _later  # until there are graphs
    network.__dict__.update(_graph_state())
    network.__dict__["_stock_class"] = stock
    return network


def _revive(network: Rewritten, kept: tuple[dict[str, Any], Mapping[str, Any]]) -> None:
    state, slots = kept
    network.__dict__.update(state)
    for key, value in slots.items():
        object.__setattr__(network, key, value)
    network.retrace()
