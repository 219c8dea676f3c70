"""Which layers with weights of a model are sites.

A layer with weights is a convolution or a linear layer in the tree, whatever its class; `out_proj` of torch's
attention, which its module reads without calling it, counts as one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from surgeon.graph.sites.survey import Survey
from surgeon.graph.trees.leaves import is_weighted
from surgeon.selection import Site

UNKNOWN = "no graph calls it"


@dataclass(frozen=True)
class Reach:
    """How far one model is reached."""

    layers: int
    missed: Mapping[str, str]
    """Layers with weights that are no sites, with the reason."""
    kinds: Counter[str]
    """Their classes."""
    norms: frozenset[str]
    """Families of norms among the sites."""


def reach(model: nn.Module, sites: Iterable[Site], why: Mapping[str, str] | None = None) -> Reach:
    """Count layers with weights, and find those that are no sites. why: what is known of those."""
    sites = tuple(sites)
    there = {s.name for s in sites}
    layers = {n: m for n, m in model.named_modules() if is_weighted(m)}
    missed = {n: (why or {}).get(n, UNKNOWN) for n in layers if n not in there}
    return Reach(
        layers=len(layers),
        missed=missed,
        kinds=Counter(type(layers[n]).__name__ for n in missed),
        norms=frozenset(str(s.family) for s in sites if s.kind == "norm"),
    )


def reasons(seen: Survey) -> dict[str, str]:
    """Why layers are no sites, as far as a look at the network tells."""
    return {n: _first(w) for n, w in seen.hidden.items()}


def _first(why: str) -> str:
    """A reason without the class of torch.fx's error, and without what it advises."""
    return re.sub(r"^(\S+ cannot be traced): \w+: ([^.(]*).*", r"\1: \2", why).strip()
