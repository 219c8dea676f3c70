"""Following what other code does to the modules of a rewritten network after the cut.

What hangs where is compared with what hung there when the graphs were made. Layers are hung anew where that is enough
(`anchors.py`); where containers, values that the code reads or shared modules changed (`exchanged.py`, `ties.py`)
the graphs are made anew; and where neither works an error says so before anything is computed.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import fx

from surgeon.errors import SurgeryError
from surgeon.graph.changes import anchors, exchanged, held_tensors, ties
from surgeon.graph.changes.variants import traced_elsewhere
from surgeon.graph.rewritten.making import Key
from surgeon.graph.trees.one_at_a_time import alone
from surgeon.graph.trees.own_attributes import OWN

if TYPE_CHECKING:
    from surgeon.graph.rewritten.network import Rewritten

_OFTEN = 8
_TRACED = "it is recorded by other code"
_log = logging.getLogger(__name__)


@alone
def follow(network: Rewritten, demand: bool, remake: bool) -> None:
    """Hang layers anew, or make the graphs anew, where the modules are not what they were; see `Rewritten.anchor`."""
    holders = network.__dict__["_holders"]
    if holders is None or (anchors.stand(holders) and exchanged.stand(network._read)):
        return  # another thread was first
    # torch.compile walks over the modules and then reads the code, without a call in between
    demand = demand or (remake and torch.compiler.is_compiling())
    settled = anchors.settle(network, network._hung, demand=demand)
    norm = anchors.fused(network, network._programs.values(), network._points, holders)
    lost = anchors.lost(network, network._programs.values())
    changes = exchanged.changes(network, network._opened, network._points)
    changes += [c for c in (one.change(network) for one in network._read) if c]
    changes += ties.parted(network._ties)
    if not demand:
        if remake and changes and settled and not norm and anchors.reaches(network, network._points):
            with contextlib.suppress(SurgeryError):  # the call that comes next says so
                follow(network, True, False)
            return
        if not settled or norm or lost or changes:
            return
    if norm:
        anchors.refuse_fused(norm)
    if lost and not (changes and anchors.reaches(network, network._points)):
        anchors.refuse(lost, changes)
    if changes:
        _remake(network, changes)
    network.__dict__["_holders"] = None  # what follows walks over the modules
    network._generate()


def _remake(network: Rewritten, changes: list[exchanged.Change]) -> None:
    """Make the graphs anew for containers that are not what they were; SurgeryError where that
    does not work and must."""
    reason = next((c.never for c in changes if c.never), "")
    if reason:
        changes = [c for c in changes if c.never]
    elif network._by_hand:
        reason = "its graph was edited by hand"
    elif traced_elsewhere():
        reason = _TRACED
    else:
        # What to go back to: a trace that fails has written over these by then.
        before = {
            k: network.__dict__[k]
            for k in (*OWN, "_constants", "_sized", "_cleared")
            if k in network.__dict__
        }
        tensors = {n: network._buffers[n] for n in network._constants}
        graphs = network._programs.values()
        norms = anchors.norms_behind(network, graphs, network._points, network._hung)
        try:
            network.retrace(changed=True)
            reason = anchors.uncalled(norms, network._programs.values())
        except Exception as error:  # the stock class's own code, traced anew
            reason = " ".join(str(error).split())[:300]
        made = _written(network._programs, before["_programs"]) and _hold(network, tensors)
        if reason or made:  # who holds the graphs goes on to
            held_tensors.drop(network)
            # What the new trace asked for is watched from now on, also where its graphs are the old ones.
            asked = before["_asked"] if reason else before["_asked"] | network._asked
            network.__dict__.update(before, _asked=asked)
            for name, value in tensors.items():
                network.register_buffer(name, value, persistent=False)
        network.__dict__["_remade"] = network.__dict__.get("_remade", 0) + 1
        if network._remade == _OFTEN:
            _log.warning(
                "%s: graphs were made anew for the %dth time (%s), which takes about as long as the cut: a number that "
                "changes from call to call had better be a buffer, which graphs read at each call",
                network._stock_class.__name__,
                _OFTEN,
                changes[0],
            )
    binding = [c for c in changes if c.binding]
    if reason and binding:
        more = f" (and {len(binding) - 1} more)" if len(binding) > 1 else ""
        head = (
            ", or use reset_classifier for another head"
            if hasattr(network._stock_class, "reset_classifier")
            else ""
        )
        if reason == _TRACED:
            raise SurgeryError(
                f"{binding[0]}{more}, and no graph can be made while torch.compile, torch.export or torch.jit.trace "
                "records the network: call it once on images before that"
            )
        way = binding[0].way or (
            f"change modules before surgeon.apply, or fold or revert, change, and apply again{head}"
        )
        raise SurgeryError(f"{binding[0]}{more}, and no graph can be made for that ({reason}): {way}")


def _hold(network: Rewritten, tensors: Mapping[str, torch.Tensor | None]) -> bool:
    """Whether the tensors that the graphs hold are these, under these names."""
    now = {n: network._buffers[n] for n in network._constants}
    return now.keys() == tensors.keys() and all(_equal(now[n], tensors[n]) for n in now)


def _equal(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    if one is None or other is None or one is other:
        return one is other
    alike = (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
    return alike and not one.is_meta and torch.equal(one, other)


def _written(graphs: Mapping[Key, fx.Graph], others: Mapping[Key, fx.Graph]) -> bool:
    """Whether the graphs are those of the same name among the others, call by call."""
    return all(
        [(n.op, n.target, str(n.args), str(n.kwargs)) for n in graph.nodes]
        == [(n.op, n.target, str(n.args), str(n.kwargs)) for n in others[key].nodes]
        for key, graph in graphs.items()
    )
