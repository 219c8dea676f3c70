"""Opening modules that are norm and activation in one, so that a layer can stand between the two.

timm's BatchNormAct2d and its like inherit from torch's norm and hold their activation in the children
`drop` and `act`. Opened, the module keeps its tensors, its children and its names, but its class becomes
the plain torch norm, and the graph calls `drop` and `act` after it.
"""

from __future__ import annotations

from torch import nn

_PLAIN: dict[str, type[nn.Module]] = {
    "BatchNormAct2d": nn.BatchNorm2d,
    "SyncBatchNormAct": nn.SyncBatchNorm,
    "GroupNormAct": nn.GroupNorm,
    "LayerNormAct": nn.LayerNorm,
}
TAIL = ("drop", "act")
OPENED = "opened_from"
"""Attribute of an opened norm that holds the class it had."""


def is_fused(module: nn.Module) -> bool:
    """Whether the module normalises and then activates (an `act` that is the identity does not count)."""
    if is_opened(module):
        return False
    return isinstance(getattr(module, "act", None), nn.Module) and not isinstance(module.act, nn.Identity)


def is_opened(module: nn.Module) -> bool:
    """Whether the module is a norm that `open_fused` made."""
    return OPENED in module.__dict__


def can_open(module: nn.Module) -> bool:
    """Whether `open_fused` knows how to take the module apart."""
    plain = _PLAIN.get(type(module).__name__)
    return (
        plain is not None
        and type(module).__module__.startswith("timm.")
        and isinstance(module, plain)
        and all(isinstance(getattr(module, part, None), nn.Module) for part in TAIL)
        and not getattr(module, "_fast_norm", False)
    )


def open_fused(module: nn.Module) -> nn.Module:
    """The norm alone: an instance of the plain torch class that shares tensors and children with `module`."""
    plain = _PLAIN[type(module).__name__]
    norm = object.__new__(plain)
    norm.__dict__ = dict(module.__dict__)
    norm.__dict__["_modules"] = dict(module._modules)
    norm.__dict__[OPENED] = type(module)
    return norm


def close_fused(norm: nn.Module) -> nn.Module:
    """The inverse of `open_fused`: norm and activation in one module of its old class again."""
    module = object.__new__(norm.__dict__[OPENED])
    module.__dict__ = {k: v for k, v in norm.__dict__.items() if k != OPENED}
    module.__dict__["_modules"] = dict(norm._modules)
    return module
