"""Names of the attributes that a rewritten network has beside those of the stock network.

Its own attributes lie in one `__dict__` with the stock network's, so that whoever copies, pickles or views it must
know which are which.
"""

from __future__ import annotations

from typing import Any

from torch import fx, nn

OWN = (
    "_programs",
    "_code_of",
    "_variants",
    "_by_hand",
    "_graph",
    "_code",
    "_lineno_map",
    "_prologue_start",
    "_fused",
    "_holders",
    "_hung",
    "_opened",
    "_aside",
    "_read",
    "_ties",
    "_asked",
    "_types",
    "_remade",
    "_replica_of",
    "_told_of_all",
)
"""What belongs to the graphs of one network: never pickled, since code cannot be."""

RECORD = (
    "_stock_class",
    "_points",
    "_leaves",
    "_cleared",
    "_example",
    "_sized",
    "_constants",
    "_held",
    "_inputs",
    "_known",
    "_lent",
    "surgery",
    "displaced",
)
"""What the surgery was: copied and pickled, and nothing of the stock network's."""

_FRESH = fx.GraphModule({}, fx.Graph())
GRAPH_STATE = tuple(k for k in _FRESH.__dict__ if k not in nn.Module().__dict__ and k != "training")
"""What torch.fx keeps in every GraphModule."""


OURS = frozenset((*OWN, *RECORD, *GRAPH_STATE))
"""All of these names."""


def graph_state() -> dict[str, Any]:
    """What torch.fx keeps in every GraphModule, for a new network: its values can be written to."""
    fresh = fx.GraphModule({}, fx.Graph())
    return {k: v for k, v in fresh.__dict__.items() if k in GRAPH_STATE}
