"""Making the graphs of a rewritten network: the stock class's code is traced, and the layers are put into the graphs.

There is a graph for each mode, since Python branches on `self.training` and a graph cannot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import fx, nn

from surgeon import tree
from surgeon.errors import TraceError
from surgeon.graph.changes import held_tensors
from surgeon.graph.changes.anchors import walk
from surgeon.graph.changes.late_code import late
from surgeon.graph.changes.variants import with_demand
from surgeon.graph.changes.walked import put_in
from surgeon.graph.measuring.traced import Example, Traced
from surgeon.graph.places.attention import parts_of
from surgeon.graph.places.cuts import cut_graph
from surgeon.graph.tracing.exporting import with_demand_plain
from surgeon.graph.tracing.modes import follow_modes
from surgeon.graph.tracing.trace import trace
from surgeon.graph.trees.hooks_of_others import unheard_in
from surgeon.graph.trees.twin import twin
from surgeon.host import own_state

if TYPE_CHECKING:
    from surgeon.graph.rewritten.network import Rewritten

Key = tuple[str, bool, tuple[tuple[str, Any], ...]]
"""What a graph is kept under: the method, whether it is of training mode, and the arguments that it holds."""


@own_state()
def trace_and_cut(
    network: Rewritten,
    method: str,
    constants: tuple[tuple[str, Any], ...],
    traced: Traced | None = None,
    *,
    changed: bool = False,
) -> Mapping[str, str]:
    """Make the graphs of a method for both modes, with the cuts, or cut those of `traced`.

    constants: values of its arguments that the graphs hold. changed: as for `late`. Returns what the graphs call whole
    because no trace could go into it, with the reasons.
    """
    forward = method == "forward"
    traced = traced or traced_anew(
        network,
        network.stock_view(),
        method,
        network._held if forward else dict(constants),
        network._inputs if forward else (),
        network._example,
        changed=changed,
    )
    if traced.sized:
        network.__dict__["_sized"] = network._example
    held_tensors.adopt(network, traced.constants, (traced.train, traced.eval), "" if forward else method)
    follow_modes(traced.train, traced.eval, traced.asked.settings)
    network.__dict__["_asked"] = traced.asked if forward else traced.asked | network._asked
    for training, graph in ((True, traced.train), (False, traced.eval)):
        # forward_head begins at features: the network's input is not in its graph.
        cut(network, graph, with_input=method != "forward_head")
        with_demand_plain(graph, network._stock_class.__name__, traced.questions)
        if traced.sized and forward and network._example:
            with_demand(graph, network._stock_class.__name__, network._example)
        network._programs[method, training, constants] = graph
    return traced.opaque


def traced_anew(
    network: Rewritten,
    view: nn.Module,
    method: str,
    constants: Mapping[str, Any],
    inputs: Iterable[str],
    example: Example | None,
    *,
    changed: bool = False,
) -> Traced:
    """What tracing `view`, modules of the network under its stock class, gives for a method, before the cut.

    changed: as for `late`. Raises TraceError where that cannot be done, and for code that came after the cut, has a
    site inside, and writes into itself; ModelError where a function stands among the modules.
    """
    tree.demand_modules(view)
    at_input = {p.layer for p in network._points if not p.site}
    # code that goes through all modules, such as a Sequential's, knows nothing of a layer that hangs among them
    view.__dict__["_modules"] = {k: v for k, v in view._modules.items() if k not in at_input}
    sites = {p.site for p in network._points if p.site}
    behind = {
        s: [p.layer for p in network._points if p.site == s and p.layer and not p.before] for s in sites
    }
    through = {s for s in sites if (m := walk(view, s)) is not None and parts_of(m, s)}
    came = late(view, network.__dict__.get("_known"), network._points, changed)
    with unheard_in(view, network.__dict__.get("_opened") or ()):
        traced = trace(
            view,
            method=method,
            leaves={*(sites - through), *network._leaves, *came.whole},
            watched=came.watched,
            ours=put_in(network),
            constants=constants,
            example=example,
            behind=behind,
            inputs=inputs,
        )
    for name in came.watched & traced.opaque.keys():
        if any(p.site.startswith(f"{name}.") for p in network._points):
            raise TraceError(f"{name}: {traced.opaque[name]}")
    return traced


def cut(network: Rewritten, graph: fx.Graph, *, with_input: bool) -> None:
    """Insert the layers into a graph; `with_input`: also those before the first module."""
    cleared = cut_graph(graph, network._points, network, with_input=with_input, cleared=network._cleared)
    network.__dict__["_cleared"] = tuple(dict.fromkeys((*network._cleared, *cleared)))


def apart(view: nn.Module, network: nn.Module) -> nn.Module:
    """A copy of a tree of modules on the same tensors, so that tracing it turns no mode that another
    thread computes in.

    network: whose view it is, which hooks may be bound to and is not copied.
    """
    held = [t for _, m in tree.modules(view) for t in (*m._parameters.values(), *m._buffers.values())]
    memo: dict[int, Any] = {id(t): t for t in held if t is not None}
    memo[id(network)] = network
    try:
        return twin(view, memo)
    except Exception:  # something hangs on it that cannot be copied, such as a hook's connection
        return view
