"""A part of a network that has graphs of its own, and a tree of modules with such parts in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import nn

from surgeon.graph.measuring.calls import Given
from surgeon.graph.measuring.traced import Example, Traced
from surgeon.graph.places.cuts import Point
from surgeon.graph.rewritten.guard import guard, guarded_containers
from surgeon.graph.rewritten.network import Rewritten
from surgeon.graph.trees.bound_hooks import bound_in, rebind


@dataclass
class Region:
    """A sub-network with graphs of its own: the whole network (name ''), or a part of it, `given` what
    its parent calls it with, `kept` the modules inside that its graphs call whole because a graph would give other
    values than their code."""

    name: str
    traced: Traced
    example: Example | None = None
    given: Given = field(default_factory=Given)
    kept: tuple[str, ...] = ()

    def graphs_on(self, module: nn.Module, points: Iterable[Point] = ()) -> Rewritten:
        """The region as a rewritten network that takes over `module`, with its graphs cut at `points`."""
        return Rewritten(
            module,
            points,
            leaves=self.kept,
            example=self.example,
            traced=self.traced,
            constants=self.given.values,
            inputs=tuple(self.given.shapes),
        )


def innermost_first(regions: Iterable[Region]) -> list[Region]:
    """Regions in the order in which they get their graphs: the graph of an outer one calls the inner one."""
    return sorted(regions, key=lambda r: r.name.count(".") if r.name else -1, reverse=True)


def assembled(tree: nn.Module, regions: Iterable[Region]) -> nn.Module:
    """A tree, changed in place, whose regions are graphs without a layer in them."""
    bound = bound_in(tree)
    root = tree
    for region in innermost_first(regions):
        module = tree.get_submodule(region.name)
        graphs = region.graphs_on(module)
        called = [str(n.target) for g in graphs.graphs for n in g.nodes if n.op == "call_module"]
        guard(graphs, guarded_containers(graphs, called))  # as where there are layers inside
        if not region.name:
            root = graphs
            continue
        for holder in list(nn.Module.modules(tree)):
            for key, child in holder._modules.items():
                if child is module:
                    holder._modules[key] = graphs
    rebind(root, bound)
    return root
