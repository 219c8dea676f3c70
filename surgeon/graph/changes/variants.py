"""Graphs of a rewritten network for other calls than the one that it was cut for: other sizes, other values
of optional arguments.

They are made when such a call first comes, by tracing the stock class's code again for it, with the same
cuts, and kept: at most `MOST` of them, those called last.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from surgeon.errors import SurgeryError, either
from surgeon.graph.changes.asked import types_of
from surgeon.graph.measuring.signatures import placeholders
from surgeon.graph.measuring.traced import Example, Traced

MOST = 16
"""How many calls of other sizes or arguments a network keeps graphs for."""

_log = logging.getLogger(__name__)
Key = tuple[Any, ...]


@dataclass(frozen=True)
class ForwardCall:
    """How `forward` is called: the values of its inputs by name, in the order of the graph's, and what
    the other arguments are."""

    tensors: Mapping[str, Any]
    constants: Mapping[str, Any]

    @property
    def key(self) -> Key:
        """What graphs that hold for every size are kept under."""
        return (tuple(self.tensors), tuple((n, type(v), _hashable(v)) for n, v in self.constants.items()))

    @property
    def sized(self) -> Key:
        """What graphs that hold for these sizes and types alone are kept under."""
        return (*self.key, tuple(_spec(v) for v in self.tensors.values()))

    @property
    def keys(self) -> Iterator[Key]:
        """All that graphs for the call may be kept under."""
        # The most general first: graphs that hold for every size serve this call too.
        yield self.key
        if self.tensors:
            types = types_of(self.tensors.values())
            yield (*self.key, types)
            yield self.sized
            yield (*self.sized, types)

    def kept_under(self, traced: Traced) -> Key:
        """What graphs that were traced for the call are kept under: what they hold for."""
        key = self.sized if traced.sized else self.key
        return (*key, types_of(self.tensors.values())) if traced.asked.by_type else key

    def example(self, fewest: int) -> Example:
        """The inputs as meta tensors, of at least `fewest` images: code may branch on a batch of one."""
        return tuple(_like(v, fewest) for v in self.tensors.values())


def call_of(
    method: Callable[..., Any], given: Mapping[str, Any], inputs: Iterable[str], held: Mapping[str, Any]
) -> ForwardCall | str:
    """How a method is called with the arguments `given`; the name of one that can be neither an input nor a constant.

    inputs: arguments that are inputs of its graphs. held: values of the others in these, and their defaults.
    """
    tensors, constants = {}, {}
    for name, value in given.items():
        if isinstance(value, torch.Tensor) or (name in inputs and value is not None):
            tensors[name] = value
        # None for an input is a constant: such a call needs graphs without that input.
        elif name not in held or not same_argument(value, held[name]) or name in inputs:
            try:
                # Constants are a part of the key that graphs are kept under.
                hash(_hashable(value))
            except TypeError:
                return name
            constants[name] = value
    order = placeholders(method, constants, tuple(tensors))
    return ForwardCall({n: tensors[n] for n in order if n in tensors}, constants)


def same_argument(value: Any, other: Any) -> bool:
    """Whether an argument is what a graph was made for."""
    if value is other:
        return True
    # True == 1 == 1.0, and the network's code may ask for the type.
    if type(value) is not type(other):
        return False
    if isinstance(value, tuple):
        return len(value) == len(other) and all(
            same_argument(a, b) for a, b in zip(value, other, strict=True)
        )
    # Of anything else `==` may give any answer, a tensor among them: only the same object is the same.
    return isinstance(value, (int, float, str)) and value == other


@dataclass
class Variant:
    """The graphs for one call by mode, the functions made of them, and the buffers that they own."""

    graphs: dict[bool, fx.Graph]
    run: dict[bool, Callable[..., Any]]
    constants: tuple[str, ...]


class Variants:
    """The graphs of one network for other calls, those called last at the end."""

    def __init__(self) -> None:
        self.kept: dict[Key, Variant] = {}
        self._told = False

    def find(self, call: ForwardCall) -> Variant | None:
        """The graphs for a call, or None where they are not made yet."""
        return next((self.kept[k] for k in call.keys if k in self.kept), None)

    def keep(self, key: Key, variant: Variant, network: nn.Module) -> list[Variant]:
        """Keep graphs; returns those that had to go."""
        self.kept[key] = variant
        # A dict keeps its order, and `use` moves a call's graphs to the end: the first were called longest ago.
        gone = [self.kept.pop(k) for k in list(self.kept)[: max(0, len(self.kept) - MOST)]]
        if gone and not self._told:
            self._told = True
            _log.warning(
                "%s was called with more than %d other sizes or arguments, each of which "
                "needs graphs of its own: those called "
                "least recently are made anew when they come again, which takes about as "
                "long as the cut; resize images to fewer sizes",
                type(network).__name__,
                MOST,
            )
        return gone

    def use(self, call: ForwardCall) -> None:
        """Move a call's graphs to the end."""
        for key in call.keys:
            variant = self.kept.pop(key, None)
            if variant is not None:
                self.kept[key] = variant

    def shared(self) -> Variants:
        """The same graphs, kept apart."""
        new = Variants()
        new.kept.update(self.kept)
        new._told = self._told
        return new

    def copied(self, compiled: Callable[[fx.Graph, bool], Callable[..., Any]]) -> Variants:
        """The same with graphs of its own, made into functions by `compiled`."""
        new = Variants()
        for key, old in list(self.kept.items()):
            graphs = {mode: copy.deepcopy(graph) for mode, graph in old.graphs.items()}
            run = {mode: compiled(graph, mode) for mode, graph in graphs.items()}
            new.kept[key] = Variant(graphs, run, old.constants)
        return new


def fits(inputs: Iterable[Any], example: Example) -> bool:
    """Whether inputs have the sizes of a graph's example, the number of images aside."""
    for value, made_for in zip(inputs, example, strict=False):
        if isinstance(value, torch.Tensor) and made_for is not None:
            shape = made_for.shape if isinstance(made_for, torch.Tensor) else made_for
            if value.shape[1:] != tuple(shape[1:]):
                return False
    return True


def sizes(value: torch.Tensor) -> tuple[int, ...]:
    """The shape of one of a batch; while torch.jit.trace runs, sizes are tensors."""
    return tuple(int(s) for s in value.shape[1:])


# Nobody uses its result: without the mark torch.fx would remove the call as dead code.
@fx.node.has_side_effect
def demand_sizes(name: str, example: Example, *inputs: Any) -> None:
    """Raise SurgeryError for inputs of other sizes: in the graph itself, since torch.export runs that and
    no `forward`."""
    for value, made_for in zip(inputs, example, strict=False):
        if not fits((value,), (made_for,)):
            shape = made_for.shape if isinstance(made_for, torch.Tensor) else made_for
            raise SurgeryError(
                f"{name} decides by the size of its input and was rewritten for "
                f"{tuple((shape or ())[1:])}; it was given "
                f"{sizes(value)}, for which no graph can be made here: apply the recipe again with "
                f"{either('input_size', '--input-size')} for that size"
            )


def with_demand(graph: fx.Graph, name: str, example: Example) -> None:
    """Have a graph check the sizes of its inputs first."""
    inputs = [n for n in graph.nodes if n.op == "placeholder"]
    if inputs:
        with graph.inserting_after(inputs[-1]):
            graph.call_function(demand_sizes, (name, example, *inputs))


def traced_elsewhere() -> bool:
    """Whether the present call is recorded by torch.compile, torch.export or torch.jit.trace, in which no
    graph can be made."""
    # Making graphs runs torch.fx, which neither may record; and a graph made for symbolic sizes would hold for no
    # call.
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def traced_by_fx(given: Mapping[str, Any]) -> bool:
    """Whether a call with these arguments is recorded by a tracer of torch.fx, in which no graph can be made either."""
    return not torch.compiler.is_compiling() and any(isinstance(v, fx.Proxy) for v in given.values())


def at_defaults(name: str, given: Mapping[str, Any], held: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call that a tracer of torch.fx records, with what a graph holds for those that are
    nothing but inputs with
    that default; the recorded graph refuses any other value for them. name: of the network's class."""
    settled = dict(given)
    for argument, value in given.items():
        if argument not in held or not isinstance(value, fx.Proxy):
            continue
        node = value.node
        if node.op == "placeholder" and node.args and same_argument(node.args[0], held[argument]):
            value.tracer.create_proxy(
                "call_function", demand_default, (name, argument, held[argument], value), {}
            )
            settled[argument] = held[argument]
    return settled


# As above: a check that nobody reads would be removed as dead code.
@fx.node.has_side_effect
def demand_default(name: str, argument: str, default: Any, value: Any) -> None:
    """Raise SurgeryError for another value of an argument than the one that the graph was made for."""
    if not same_argument(value, default):
        raise SurgeryError(
            f"{name}.forward was traced with {argument}={default!r}, and its graph knows no other value; trace it with "
            f"{argument} held at the value that is wanted, or leave {argument} out"
        )


def _hashable(value: Any) -> Any:
    return tuple(_hashable(v) for v in value) if isinstance(value, list) else value


def _spec(value: Any) -> Any:
    return (sizes(value), value.dtype) if isinstance(value, torch.Tensor) else None


def _like(value: Any, fewest: int) -> torch.Tensor | None:
    if not isinstance(value, torch.Tensor):
        return None
    shape = tuple(value.shape)
    return torch.empty((max(fewest, shape[0]), *shape[1:]) if shape else (), dtype=value.dtype, device="meta")
