"""Which stage of a network each site is in: as timm's feature_info lists them, else by names, else by resolution."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import nn

from surgeon.selection import Site

_STAGE_NAME = re.compile(r"^((?:layer|stage|block|denseblock|layers|stages|blocks|res)\.?_?\d+)(\.|$)")


def stages_of(model: nn.Module, sites: Sequence[Site]) -> Mapping[str, int]:
    """The stages by the sites' names; 0 is the stem. Empty if they cannot be told."""
    return _from_features(model, sites) or _from_names(sites) or _from_sizes(sites)


def _from_features(model: nn.Module, sites: Sequence[Site]) -> dict[str, int]:
    """Stages as timm's feature_info lists them: a stage ends where its feature is taken; the stem is 0."""
    info = getattr(model, "feature_info", None)
    entries = getattr(info, "info", info)
    if not isinstance(entries, (list, tuple)) or not entries:
        return {}
    modules = [str(e["module"]) for e in entries if isinstance(e, dict) and e.get("module")]
    ends = [
        max((s.index for s in sites if s.name == m or s.name.startswith(m + ".")), default=None)
        for m in modules
    ]
    known = [e for e in ends if e is not None]
    if len(known) < 2:
        return {}
    if not _is_stem(modules[0], sites):
        first = min(s.index for s in sites if s.name.startswith(modules[0] + ".") or s.name == modules[0])
        known = [first - 1, *known]
    return {s.name: next((i for i, e in enumerate(known) if s.index <= e), len(known)) for s in sites}


def _is_stem(module: str, sites: Sequence[Site]) -> bool:
    return sum(
        s.kind == "conv" and s.name.startswith(module + ".") for s in sites
    ) < 2 and not _STAGE_NAME.match(module)


def _from_names(sites: Sequence[Site]) -> dict[str, int]:
    """Stages by numbered containers such as `layer1` or `stages.0`: what comes before the first is 0."""
    order: dict[str, int] = {}
    stages: dict[str, int] = {}
    current = 0
    for site in sites:
        match = _STAGE_NAME.match(site.name)
        if match:
            current = order.setdefault(match.group(1), len(order) + 1)
        stages[site.name] = current
    return stages if len(order) >= 2 else {}


def _from_sizes(sites: Sequence[Site]) -> dict[str, int]:
    """Stages by resolution: a new one begins whenever a feature map is smaller than all before."""
    stages: dict[str, int] = {}
    current, smallest = 0, None
    for site in sites:
        if site.kind == "conv" and site.out_shape and len(site.out_shape) >= 2:
            area = site.out_shape[-1]
            if smallest is not None and area < smallest:
                current += 1
            smallest = area if smallest is None else min(area, smallest)
        stages[site.name] = current
    return stages if smallest is not None else {}
