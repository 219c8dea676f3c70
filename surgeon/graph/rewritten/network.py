"""The rewritten network: a GraphModule with a graph for each mode, on the stock network's own modules."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from types import MethodType
from typing import Any, ClassVar, NoReturn

from torch import fx, nn

from surgeon.errors import SurgeryError
from surgeon.graph.changes import anchors, exchanged, held_tensors, homes
from surgeon.graph.changes.asked import of_types
from surgeon.graph.changes.late_code import code_in
from surgeon.graph.changes.partly_loaded import layers_of
from surgeon.graph.changes.variants import Variants, fits
from surgeon.graph.measuring.traced import Asked, Example, Traced, copied
from surgeon.graph.places.cuts import Point, check_visible
from surgeon.graph.rewritten import coding, copying, exported_calls, following, making, other_calls, walks
from surgeon.graph.rewritten.dispatch import dispatchers, later
from surgeon.graph.rewritten.guard import guard, guarded_containers, unguard
from surgeon.graph.rewritten.kinship import class_for, how_for
from surgeon.graph.rewritten.names_taken import demand_free, lent
from surgeon.graph.rewritten.stock_methods import bound
from surgeon.graph.trees.bound_hooks import rebind
from surgeon.graph.trees.own_attributes import GRAPH_STATE, OWN, RECORD, graph_state
from surgeon.graph.trees.parameters import grown_biases
from surgeon.graph.trees.paths import has
from surgeon.graph.trees.slots import slots_of


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

    _replica_of: Rewritten | None = None
    """The network that torch's DataParallel made this one of, for the time of a call."""
    _shared: ClassVar[bool] = False
    """Of a class: whether copies of a network are objects of it."""

    def __new__(cls, network: nn.Module, *args: Any, **kwargs: Any) -> Rewritten:
        return _empty(type(network))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Skip what the stock class does to its subclasses, such as registering them."""

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
        demand_free(network, Rewritten)
        self.__dict__.update(graph_state())
        self.__dict__.update(network.__dict__)
        self.__dict__["_lent"] = lent(network)
        for key, value in slots_of(network):
            object.__setattr__(self, key, value)
        self.__dict__["_stock_class"] = type(network)
        self.__dict__["_points"] = tuple(points)
        self.__dict__["_leaves"] = tuple(leaves)
        self.__dict__["_cleared"] = ()
        self.__dict__["_constants"] = ()
        self.__dict__["_example"] = example
        self.__dict__["_sized"] = None
        self.__dict__["_asked"] = Asked()
        self.__dict__["_types"] = None
        self.__dict__["_held"] = dict(constants or {})
        self.__dict__["_inputs"] = tuple(inputs)
        self.__dict__["_known"] = code_in(self)
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
        plain = isinstance(own, MethodType) and own.__self__ is self and own.__func__ in dispatchers
        return ("forward",) if plain else ()

    # -- graphs -----------------------------------------------------------------------------------

    def retrace(self, traced: Traced | None = None, *, changed: bool = False) -> None:
        """Make the graphs anew from the stock class's code, or from a trace of it, and the recorded points; `changed`:
        since what the code reads is another than at the cut."""
        held_tensors.drop(self)
        self.__dict__["_holders"] = None  # what hangs where is asked again when the graphs stand
        self.__dict__["_programs"] = {}
        self.__dict__["_code_of"] = {}
        self.__dict__["_variants"] = Variants()
        whole = making.trace_and_cut(self, "forward", (), copied(traced) if traced else None, changed=changed)
        check_visible(self._programs.values(), self._points, whole)
        self._regenerate()
        called = {str(n.target) for g in self._programs.values() for n in g.nodes if n.op == "call_module"}
        between = guarded_containers(self, [p.layer or p.site for p in self._points if p.site])
        guard(self, [n for n in between if n not in called])

    def anchor(self, *, demand: bool = True, remake: bool = False) -> None:
        """Hang every layer to the module that stands at its site now, where other code exchanged or wrapped that one.

        It runs by itself before the network is called, walked, moved, copied or saved. demand: raise SurgeryError
        where a module that the graphs call is gone, naming what stands there and the order of steps that works.
        remake: without a demand, make the graphs anew all the same where containers are not what they were, if that
        works.
        """
        holders = self.__dict__.get("_holders")
        if holders is None and demand:
            homes.demand_surgery(self)
        if holders is None or (anchors.stand(holders) and exchanged.stand(self._read)):
            return
        following.follow(self, demand, remake)

    @property
    def graph(self) -> fx.Graph:
        """The graph of `forward` in the present mode. Edit it, then call `recompile()`. torch.export gets one that
        calls the network (`exported_calls.py`)."""
        if "_programs" not in self.__dict__:
            return self.__dict__["_graph"]
        if (called := exported_calls.called(self, sys._getframe(1))) is not None:
            return called
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
        self._leave_class()  # copies that run the code of before go on to
        coding.generate(self)

    # -- other calls ------------------------------------------------------------------------------

    def _fits(self, *inputs: Any) -> bool:
        if self._sized is not None and not fits(inputs, self._sized):
            return False
        return self._types is None or of_types(inputs, self._types)

    def _otherwise(self, inputs: tuple[str, ...], given: dict[str, Any]) -> Any:
        """`forward` for sizes, or values of optional arguments, that its graphs were not made for."""
        return other_calls.otherwise(self, inputs, given)

    def _unlike(self, given: dict[str, Any]) -> Any:
        """`forward` for a required input that is not a tensor."""
        return other_calls.unlike(self, given)

    def _more_than_traced(self, rest: tuple[Any, ...]) -> NoReturn:
        """`forward` for arguments that its code takes as `*args`, which its graphs do not take."""
        other_calls.more_than_traced(self, rest)

    # -- the stock network ------------------------------------------------------------------------

    def stock_view(self) -> nn.Module:
        """The network as an object of its stock class, on the same modules; for tracing and for reading."""
        self.anchor()
        view = object.__new__(self._stock_class)
        hidden = {*GRAPH_STATE, *OWN, *RECORD, *self._rebound} - {*self.__dict__.get("_lent", ())}
        view.__dict__.update({k: v for k, v in self.__dict__.items() if k not in hidden})
        for key, value in slots_of(self):
            object.__setattr__(view, key, value)
        return view

    def to_stock(self) -> nn.Module:
        """Give the network back as an object of its stock class: no guards, in-place flags as they were.

        The inserted layers still stand in the tree. This network must not be used afterwards.
        """
        # While all is as the graphs know it: they would be made anew, and guards with them.
        view = self.stock_view()
        held_tensors.drop(self)
        unguard(self)
        for name in self._cleared:
            if has(self, name):
                setattr(self.get_submodule(name), "inplace", True)
        rebind(view, {"": self})
        return view

    def __prepare_scriptable__(self) -> nn.Module:
        """What torch.jit.script asks for before it compiles; it cannot read the graphs' code or the layers'."""
        raise SurgeryError(
            f"torch.jit.script cannot compile a rewritten {self._stock_class.__name__}; use torch.jit.trace in "
            f"evaluation mode, or torch.jit.script on surgeon.fold(model)"
        )

    def __getattr__(self, name: str) -> Any:
        # A GraphModule's own would write one graph alone: torch.package pickles this network as a whole.
        if name == "__reduce_package__":
            raise AttributeError(name)
        try:
            return nn.Module.__getattr__(self, name)
        except AttributeError:
            stock = self.__dict__.get("_stock_class")
            if stock is None:
                raise
            if not hasattr(stock, name):
                return self._passed_on(name, stock)
        member = inspect.getattr_static(stock, name)
        if isinstance(member, property):
            return member.fget(self)  # type: ignore[misc]  # a property without a getter would not have been read
        if isinstance(member, (staticmethod, classmethod)) or not callable(member):
            return getattr(stock, name)
        how = how_for(name, member)
        return member.__get__(self) if how == "keep" else functools.partial(bound, self, name, how)

    def _passed_on(self, name: str, stock: type[nn.Module]) -> Any:
        """What a stock class with a `__getattr__` of its own gives for a name, such as a wrapper that
        asks the network in it."""
        value = stock.__getattr__(self, name)  # nn.Module's, which raises, where the name is not its own
        owner = getattr(value, "__self__", None)
        if isinstance(owner, nn.Module) and not isinstance(owner, Rewritten) and callable(value):
            return functools.partial(bound, self, name, "refuse")
        return value

    def no_weight_decay(self) -> set[str]:
        """The parameters that timm's optimizers are not to decay: those that the stock class names, and biases that a
        surgery gave a number for each position, which are no longer told by having one axis."""
        asked = getattr(self._stock_class, "no_weight_decay", None)
        out = getattr(self.__dict__.get("displaced"), "modules", {})
        return {*(asked(self) if asked else ()), *grown_biases(self, out)}

    # -- walks over the modules: what hangs at the sites hangs there before anyone looks -----------------

    def named_modules(self, *args: Any, **kwargs: Any) -> Any:
        self.anchor(demand=False, remake=True)
        return super().named_modules(*args, **kwargs)

    def named_children(self) -> Any:
        """As of any module; not for torch's to_mkldnn, which cannot convert layers: raises SurgeryError there."""
        walks.demand_walk(self, sys._getframe(1))
        self.anchor(demand=False)
        return super().named_children()

    def children(self) -> Any:
        """As of any module; not for torch's checkpoint_sequential, which would call them without the layers: raises
        SurgeryError there."""
        walks.demand_walk(self, sys._getframe(1))
        return super().children()

    def get_submodule(self, target: str) -> nn.Module:
        self.anchor(demand=False)
        return super().get_submodule(target)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        self.anchor(demand=False)
        return super().state_dict(*args, **kwargs)

    def _load_from_state_dict(self, state: Any, prefix: str, local_metadata: Any, *args: Any) -> None:
        """As of any module; assigned tensors bring the constants of the graphs back from the meta device with them."""
        self.anchor(demand=False)
        super()._load_from_state_dict(state, prefix, local_metadata, *args)
        layers_of(self)(state, prefix, local_metadata, *args)
        if local_metadata.get("assign_to_params_buffers"):
            held_tensors.bring_back(self, state)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Rewritten:
        """As of any module; what its graphs hold as constants, which no state dict has, keeps its
        values through empty memory."""
        with held_tensors.kept_through(self, fn):
            super()._apply(fn, recurse)
        self.anchor(demand=False, remake=True)  # code may have decided by types
        return self

    # -- copies -----------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict[int, Any]) -> Rewritten:
        self.anchor()
        new = _empty(self._stock_class)
        memo[id(self)] = new
        type(new).__name__ = type(self).__name__
        copying.fill(new, self, memo)
        return new

    def _leave_class(self) -> None:
        """Have a class of its own again, whose code no copy runs."""
        if type(self).__dict__.get("_shared"):
            made = class_for(Rewritten, self._stock_class, bound)
            made.__name__ = type(self).__name__
            object.__setattr__(self, "__class__", made)

    def __copy__(self) -> Rewritten:
        """As of any module: on the same modules, parameters and buffers; the graphs and the mode are the copy's."""
        self.anchor()
        shared: list[Any] = [self._modules, self._parameters, *self.parameters(), *self.buffers()]
        return self.__deepcopy__({id(s): s for s in (*shared, *(m for m in self.modules() if m is not self))})

    def _replicate_for_data_parallel(self) -> Rewritten:
        """What torch.nn.DataParallel asks each module for."""
        self.anchor()
        return copying.replica(self)

    def __reduce__(self) -> tuple[Any, ...]:
        self.anchor()
        # the network is there before its state, in which hooks may be bound to it
        made = (type(self).__name__, self._stock_class)
        return (_unfilled, made, copying.state(self), None, None, _revive)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return self.__reduce__()

    @property
    def __reduce_package__(self) -> NoReturn:
        raise AttributeError("__reduce_package__")


def _empty(stock: type[nn.Module]) -> Rewritten:
    """A rewritten network without anything in it."""
    return object.__new__(class_for(Rewritten, stock, bound))


def _unfilled(name: str, stock: type[nn.Module]) -> Rewritten:
    network = _empty(stock)
    type(network).__name__ = name
    type(network).forward = later  # until there are graphs
    network.__dict__.update(graph_state())
    network.__dict__["_stock_class"] = stock
    return network


def _revive(network: Rewritten, kept: tuple[Any, ...]) -> None:
    """Pickles name this function and the one above."""
    copying.fill_again(network, kept)
