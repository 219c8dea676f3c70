"""Copies and pickles of a rewritten network.

A copy gets copies of the graphs, so that edits made to them by hand stay, and their code is made anew, since it must
run on the copy's own modules. A pickle has no graphs, since code cannot be pickled: it holds the tree and what the
surgery was, and the graphs are made anew from the stock class's code when it is read.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from surgeon.errors import SurgeryError
from surgeon.graph import checkpointing, tree
from surgeon.graph.compiled import same_code
from surgeon.graph.kinship import slots_of
from surgeon.graph.own_attributes import GRAPH_STATE, OWN
from surgeon.graph.variants import same

if TYPE_CHECKING:
    from surgeon.graph.network import Rewritten

_OF_ONE = (
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
    "_asked",
    "_types",
)
"""What of a network is its own, and made anew for a copy of it."""


def fill(new: Rewritten, network: Rewritten, memo: dict[int, Any]) -> None:
    """Make an empty network a deep copy of another, and one of its class where both run the same code."""
    programs = network._programs
    for key, value in network.__dict__.items():
        if key in _OF_ONE or key in network._rebound:
            continue
        new.__dict__[key] = value if key == "_stock_class" else copy.deepcopy(value, memo)
    for key, value in slots_of(network):
        object.__setattr__(new, key, copy.deepcopy(value, memo))
    new.__dict__["_graph"] = network._graph
    new.__dict__["_programs"] = {k: copy.deepcopy(g) for k, g in programs.items()}
    new.__dict__["_code_of"] = {}
    new.__dict__["_variants"] = network._variants
    new.__dict__["_asked"] = network._asked
    new._regenerate()
    new.__dict__["_by_hand"] = network._by_hand
    _join_class(new, network)


def _join_class(network: Rewritten, other: Rewritten) -> None:
    """Become an object of the class of `other`, of which this is a copy, where both run the same code.

    Code that computes with several networks at once asks for one class. A network whose code is
    made anew leaves it.
    """
    mine, theirs = network._code_of, other._code_of
    if checkpointing.wanted(network) or mine.keys() != theirs.keys():
        return
    held = all(same(v, other._held.get(k)) for k, v in network._held.items())
    if held and all(same_code(mine[k], theirs[k]) for k in mine):
        type(other)._shared = True
        object.__setattr__(network, "__class__", type(other))
        network.__dict__["_code_of"] = dict(theirs)


def state(network: Rewritten) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a pickle holds: the attributes, but for the graphs and what was made of them, and the slots.

    Raises SurgeryError for a network with a part that is a function: no graphs could be made when it is read.
    """
    for name in tree.functions(network):
        raise SurgeryError(
            f"{name} is not an nn.Module, so that no graphs could be made when the network is "
            "read: put a module around it that calls it"
        )
    left_out = {*OWN, *GRAPH_STATE, *network._rebound}
    kept = {k: v for k, v in network.__dict__.items() if k not in left_out}
    return kept, dict(slots_of(network))


def fill_again(network: Rewritten, kept: tuple[dict[str, Any], Mapping[str, Any]]) -> None:
    """Give an empty network what a pickle held, and make its graphs anew."""
    state, slots = kept
    network.__dict__.update(state)
    for key, value in slots.items():
        object.__setattr__(network, key, value)
    network.retrace()
