"""Which layers with weights of a model are sites.

A layer with weights is a convolution or a linear layer in the tree, whatever its class; `out_proj` of torch's
attention, which its module reads without calling it, counts as one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from surgeon.graph.leaves import is_weighted
from surgeon.selection import Site


@dataclass(frozen=True)
class Reach:
    """How far one model is reached."""

    layers: int
    missed: tuple[str, ...]
    """Names of layers with weights that are no sites."""
    kinds: Counter[str]
    """Their classes."""
    norms: frozenset[str]
    """Families of norms among the sites."""


def reach(model: nn.Module, sites: Iterable[Site]) -> Reach:
    """Count layers with weights, and find those that are no sites."""
    sites = tuple(sites)
    there = {s.name for s in sites}
    layers = {n: m for n, m in model.named_modules() if is_weighted(m)}
    missed = tuple(n for n in layers if n not in there)
    return Reach(
        layers=len(layers),
        missed=missed,
        kinds=Counter(type(layers[n]).__name__ for n in missed),
        norms=frozenset(str(s.family) for s in sites if s.kind == "norm"),
    )
