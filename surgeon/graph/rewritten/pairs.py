"""Running a rewritten network and the stock one side by side, or the stock one alone, along the rewritten graph."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from surgeon.graph.places.lifting import FUNCTION
from surgeon.graph.rewritten.network import Rewritten
from surgeon.graph.trees.fused import is_fused, is_opened, open_fused
from surgeon.graph.trees.kept import keep, keep_in
from surgeon.graph.trees.left_alone import left_alone
from surgeon.graph.trees.paths import has
from surgeon.kept_modes import mode, modes_kept


class Pair(NamedTuple):
    """The same value in the stock network and in the rewritten one."""

    old: Any
    new: Any


class Call(NamedTuple):
    """A module about to be called: its name and node, its first input and the stock module's output, and what
    is known by
    then of other nodes, `values`."""

    name: str
    inputs: Pair
    old: Any
    node: fx.Node
    values: Mapping[fx.Node, Any]


Visit = Callable[[Call], None]
Seen = Callable[[str, Pair], None]


class _AlongTheGraph(fx.Interpreter):
    """Runs the evaluation graph of a rewritten network, and knows the node that runs and which layers are inserted."""

    def __init__(self, network: Rewritten, stock: nn.Module) -> None:
        super().__init__(network, graph=network.eval_graph)
        self.network, self.stock = network, stock
        self.inserted = _inserted(network, stock)

    def run_node(self, n: fx.Node) -> Any:
        self.node = n
        return super().run_node(n)


class _SideBySide(_AlongTheGraph):
    def __init__(self, network: Rewritten, stock: nn.Module, visit: Visit | None, seen: Seen | None) -> None:
        super().__init__(network, stock)
        self.visit, self.seen = visit, seen

    def placeholder(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().placeholder(target, args, kwargs)
        if isinstance(value, Tensor):  # each its own, as code may write into its input
            return Pair(value.clone(), value.clone())
        return Pair(value, value)

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        new = super().get_attr(target, args, kwargs)
        return Pair(_of_stock(self.stock, target, new), new)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target in (keep, keep_in):  # nothing is left on either network by this pass
            return Pair(None, None)
        return Pair(*(super(_SideBySide, self).call_function(target, *s) for s in _split(args, kwargs)))

    def call_method(self, target: Any, args: Any, kwargs: Any) -> Any:
        return Pair(*(super(_SideBySide, self).call_method(target, *s) for s in _split(args, kwargs)))

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        (old_args, old_kwargs), (new_args, new_kwargs) = _split(args, kwargs)
        name = str(target)
        if name in self.inserted:
            old = old_args[0]
        else:
            old = _stock_gives(self.network, self.stock, self.node, old_args, old_kwargs)
        inputs = Pair(old_args[0] if old_args else None, new_args[0] if new_args else None)
        if self.visit:
            self.visit(Call(name, inputs, old, self.node, self.env))
        module = self.network.get_submodule(name)
        # the visit's changes stay; those that the network's own code makes of these images do not
        ours = type(module).__module__.startswith("surgeon.")
        with contextlib.nullcontext() if ours else left_alone(module):
            outputs = Pair(old, module(*new_args, **new_kwargs))
        if self.seen:
            self.seen(name, outputs)
        return outputs


class _StockAlone(_AlongTheGraph):
    def __init__(self, network: Rewritten, stock: nn.Module, seen: Callable[[str, Any], None]) -> None:
        super().__init__(network, stock)
        self.seen = seen

    def placeholder(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().placeholder(target, args, kwargs)
        return value.clone() if isinstance(value, Tensor) else value  # code may write into its input

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        return _of_stock(self.stock, target, super().get_attr(target, args, kwargs))

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        return None if target in (keep, keep_in) else super().call_function(target, args, kwargs)

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        name = str(target)
        if name in self.inserted:
            given = args[0]
        else:
            given = _stock_gives(self.network, self.stock, self.node, args, kwargs)
        self.seen(name, given)
        return given


def _inserted(network: Rewritten, stock: nn.Module) -> set[str]:
    """The layers that the stock network lacks: one that has had surgery itself calls those of its own."""
    return {p.layer for p in network.points if p.layer and not has(stock, p.layer)}


def _of_stock(stock: nn.Module, target: Any, otherwise: Any) -> Any:
    """An attribute of the stock network, or another value where it has no such attribute."""
    owner, _, leaf = str(target).rpartition(".")
    try:
        return getattr(stock.get_submodule(owner), leaf)
    except AttributeError:
        return otherwise


def _stock_gives(network: nn.Module, stock: nn.Module, node: fx.Node, args: Any, kwargs: Any) -> Any:
    """What the stock network's module gives at a call of the rewritten graph."""
    name = str(node.target)
    module = node.meta.get(FUNCTION) or stock.get_submodule(name)
    if is_opened(network.get_submodule(name)) and is_fused(module):
        module = open_fused(module)  # the graph calls its drop and act by themselves
    with left_alone(module):
        return module(*args, **kwargs)


def _split(args: Any, kwargs: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    def side(which: int) -> tuple[Any, Any]:
        return _pick(args, which), _pick(kwargs, which)

    return side(0), side(1)


def _pick(value: Any, which: int) -> Any:
    if isinstance(value, Pair):
        return value[which]
    if isinstance(value, dict):
        return {k: _pick(v, which) for k, v in value.items()}
    if isinstance(value, slice):
        return slice(*(_pick(v, which) for v in (value.start, value.stop, value.step)))
    if isinstance(value, (list, tuple)):
        picked = [_pick(v, which) for v in value]
        # A named tuple takes its items one by one.
        return type(value)(*picked) if hasattr(value, "_fields") else type(value)(picked)
    return value


def run_side_by_side(
    network: Rewritten, stock: nn.Module, images: Tensor, visit: Visit | None = None, seen: Seen | None = None
) -> Pair:
    """Run both networks on `images`, in evaluation mode and without gradients.

    Before each module's call in the rewritten network, `visit(call)` may change that module; what comes after
    sees the change. After it, `seen(name, outputs)` is told what both networks' modules gave. Returns both
    networks' outputs.
    """
    with modes_kept(network, stock), torch.no_grad():
        network.eval()
        stock.eval()
        result = _SideBySide(network, stock, visit, seen).run(images)
    return result if isinstance(result, Pair) else Pair(_pick(result, 0), _pick(result, 1))


def run_stock(network: Rewritten, stock: nn.Module, images: Tensor, seen: Callable[[str, Any], None]) -> None:
    """Run the stock network alone along the rewritten graph, in evaluation mode and without gradients.

    `seen(name, value)` is told what each module gives, and at an inserted layer what the layer would be given.
    """
    with mode(stock, False), torch.no_grad():
        _StockAlone(network, stock, seen).run(images)
