"""The code of a rewritten network: each graph made into a function, and the `forward` that chooses one of them.

It stands on the network's class, of which each network has one of its own (`kinship.py`): torch and other code look for
`forward` there. What hung where at that time is written down beside it, for `following.py` to compare with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import fx

from surgeon.graph.changes import anchors, asked, exchanged, geometry, homes, looked_into, ties, unheard
from surgeon.graph.rewritten import classes
from surgeon.graph.rewritten.compiled import Code, compiled
from surgeon.graph.rewritten.dispatch import dispatcher
from surgeon.graph.rewritten.joined import joined
from surgeon.graph.tracing import checkpointing

if TYPE_CHECKING:
    from surgeon.graph.rewritten.network import Rewritten


def generate(network: Rewritten) -> None:
    """Make the code of all graphs anew, those for other calls among them."""
    for name in network._rebound:  # functions of graphs that no longer exist
        del network.__dict__[name]
    # While the code is made, `anchor` has nothing to compare: what hung where before belongs to the old graphs.
    network.__dict__["_holders"] = None
    # A copy of a network still has the original's variants here (`copying.fill`): it needs graphs of its own.
    network.__dict__["_variants"] = network._variants.copied(
        lambda graph, mode: coded(network, graph, mode)[0]
    )
    for key, graph in network._programs.items():
        # A copied graph names the network that it was copied from.
        graph.owning_module = network
        network._code_of[key] = coded(network, graph, key[1])
    arguments = [n.target for n in network._programs["forward", True, ()].nodes if n.op == "placeholder"]
    setattr(type(network), "_forward_train", network._code_of["forward", True, ()][0])
    setattr(type(network), "_forward_eval", network._code_of["forward", False, ()][0])
    type(network).forward = dispatcher(
        network._stock_class.forward,
        [str(a) for a in arguments],
        network._held,
        network._sized is not None or network._asked.by_type,
    )
    network.__dict__["_hung"] = anchors.hung(network, network._points)
    network.__dict__["_opened"] = exchanged.opened(network, network._programs.values(), network._points)
    listen(network)
    network.__dict__["_ties"] = ties.ties(network, network._programs.values())
    # Last: from here on `anchor` compares with all that was written down above.
    network.__dict__["_holders"] = (
        *anchors.holders(network, network._programs.values()),
        *ties.held(network._ties),
    )
    network.__dict__["_code"] = network.code
    # torch.compile asks a GraphModule for the lines of its one graph; here there are two
    network.__dict__["_lineno_map"] = network.__dict__["_prologue_start"] = None


def listen(network: Rewritten) -> None:
    """Write down how what the code read, or asked for, stands now."""
    network.__dict__["_types"] = asked.types_made_for(network, network._asked, network._example)
    network.__dict__["_read"] = (
        homes.watched(network, network._asked),
        *exchanged.read(network, network._programs.values()),
        *asked.watched(network, network._asked),
        *looked_into.watched(network, network._asked, network._opened, network._programs.values()),
        classes.watched(network, network._opened, network._stock_class),
        *geometry.watched(network),
        unheard.watched(network._opened),
    )


def coded(network: Rewritten, graph: fx.Graph, training: bool) -> Code:
    """A graph as a function of (network, *inputs), and its source; where checkpointing is wanted, one of training mode
    runs in segments."""
    called = joined(graph, network)
    made = compiled(called)
    if training and checkpointing.wanted(network):
        # The source that is shown stays the whole graph's: segments are made for the backward pass alone.
        return checkpointing.in_segments(called, network, lambda part: compiled(part)[0]), made[1]
    return made
