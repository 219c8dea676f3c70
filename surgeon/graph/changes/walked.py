"""Walks of torch's over modules and tensors that the network's own code asks for, such as `self.parameters()`.

A graph has what came of such a walk and not the walk. So what it went through is written down (`asked.py`), and it
passes over what a surgery put into the network: the stock network's code knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from surgeon.selection import is_call

WALKS = (
    "parameters",
    "named_parameters",
    "buffers",
    "named_buffers",
    "children",
    "named_children",
    "modules",
    "named_modules",
    "state_dict",
)
_OF_MODULES = "torch.nn."


def asked_by(frame: Any) -> Any:
    """The frame that asked for the walk which reads in this frame of torch's; None where it is no such walk."""
    walks = False
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith(_OF_MODULES):
        walks |= frame.f_code.co_name in WALKS
        frame = frame.f_back
    return frame if walks else None


def without(held: dict[str, Any], path: str, ours: Collection[str]) -> dict[str, Any]:
    """What a module of this name has in a dict of its children or tensors, without what a surgery put there.

    ours: the names of that, from the network on.
    """
    prefix = f"{path}." if path else ""
    own = {k: v for k, v in held.items() if prefix + k not in ours and not is_call(k)}
    return held if len(own) == len(held) else own


def put_in(network: nn.Module) -> frozenset[str]:
    """The names of what a surgery put into a network: layers, and the constants of its graphs."""
    own: Mapping[str, Any] = network.__dict__
    layers = (p.layer for p in own.get("_points", ()) if p.layer)
    return frozenset((*layers, *own.get("_constants", ())))
