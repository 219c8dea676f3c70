"""Modules for functions that a network's code calls, where a plan edits one."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from surgeon.edits import Edit
from surgeon.graph.places.callees import functions
from surgeon.graph.rewritten.region import Region
from surgeon.selection import is_call


def hang_functions(tree: nn.Module, regions: Iterable[Region], edits: Iterable[Edit]) -> None:
    """Give the modules whose code calls edited functions children that do the same, under the calls' names.

    Args:
        tree: The network, changed in place.
        regions: Its traceable regions.
        edits: The edits. One at a call that the regions do not show gets no module.
    """
    wanted = {e.site for e in edits if is_call(e.site)}
    if not wanted:
        return
    for region in regions:
        inside = tree.get_submodule(region.name)
        prefix = f"{region.name}." if region.name else ""
        for graph in (region.traced.eval, region.traced.train):
            for place in functions(graph, inside):
                owner, _, leaf = place.name.rpartition(".")
                holder = inside.get_submodule(owner)
                if prefix + place.name in wanted and leaf not in holder._modules:
                    place.module.train(holder.training)
                    holder._modules[leaf] = place.module
