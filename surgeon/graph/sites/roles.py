"""Which layers are a network's stem and its heads: as timm's configuration names them, else by where they stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from surgeon.selection import Site


def stem_of(model: nn.Module, sites: Sequence[Site]) -> str | None:
    """The first convolution or patch embedding, by its site's name; None without a layer with weights."""
    layers = _layers(sites)
    named = [s for name in _configured(model, "first_conv") for s in layers if _at(s, name)]
    return next((s.name for s in named or layers), None)


def heads_of(model: nn.Module, sites: Sequence[Site]) -> list[str]:
    """The layers that write the classes, by their sites' names; empty of a network without a classifier."""
    layers = _layers(sites)
    names = _configured(model, "classifier")
    heads = [last for name in names for last in [s.name for s in layers if _at(s, name)][-1:]]
    if heads:
        return heads
    if any(isinstance(_module(model, name), nn.Identity) for name in names):
        return []
    logits = [s.name for s in layers if s.logits and "eval" in s.modes]
    return logits or [s.name for s in layers if s.kind == "linear"][-1:]


def _layers(sites: Sequence[Site]) -> list[Site]:
    return [s for s in sites if s.kind in ("conv", "linear")]


def _at(site: Site, name: str) -> bool:
    return site.name == name or site.name.startswith(f"{name}.")


def _module(model: nn.Module, name: str) -> nn.Module | None:
    try:
        return model.get_submodule(name)
    except AttributeError:
        return None


def _configured(model: nn.Module, key: str) -> tuple[str, ...]:
    """What timm's configuration of a network says about a layer, if anything."""
    config: Any = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    value = config.get(key) if isinstance(config, dict) else getattr(config, key, None)
    return (value,) if isinstance(value, str) else tuple(v for v in value or () if isinstance(v, str))
