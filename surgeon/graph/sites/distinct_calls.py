"""Which of a module's calls is which: where a layer is to belong to one call alone, its graph must show them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from torch import nn

from surgeon.edits import Edit
from surgeon.graph.places.callees import places
from surgeon.graph.sites.survey import Survey


def mixed_up(seen: Survey, tree: nn.Module, edits: Iterable[Edit]) -> dict[str, str]:
    """Find sites with a layer for each call, of which a graph shows other calls than the network makes.

    That is so where code that torch.fx cannot follow calls a sub-network several times: the graph of the sub-network
    is the same each time.

    Args:
        seen: What was seen of the network.
        tree: The network.
        edits: The edits.

    Returns:
        The reasons, by site.
    """
    numbers: dict[str, int] = {}
    for edit in edits:
        if edit.call is not None:
            numbers[edit.site] = max(numbers.get(edit.site, 0), edit.call + 1)
    reasons: dict[str, str] = {}
    for region in seen.regions if numbers else ():
        prefix = f"{region.name}." if region.name else ""
        for graph in (region.traced.eval, region.traced.train):
            there = Counter(prefix + p.name for p in places(graph, tree.get_submodule(region.name)))
            for site in numbers.keys() & there.keys():
                if there[site] != numbers[site]:
                    reasons[site] = (
                        f"it is called {numbers[site]} times, and {there[site]} of the calls stand in the graph of "
                        f"{region.name or 'the network'}: each is to have a layer of its own, and they cannot be "
                        "told apart"
                    )
    return reasons
