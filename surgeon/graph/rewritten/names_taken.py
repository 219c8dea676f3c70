"""Names that a rewritten network has for itself, and that a network which is to be rewritten must not have as well.

A GraphModule and what is added to it here keep their attributes beside the network's own, so that a child `graph` or
an attribute `surgery` would hide, or be hidden by, one of theirs. What torch.fx keeps in plain attributes without
reading it here, such as `meta`, may be the network's own: it stays, and comes back.
"""

from __future__ import annotations

from torch import fx, nn

from surgeon.errors import SurgeryError
from surgeon.graph.trees.own_attributes import GRAPH_STATE, OWN, RECORD

_HELD = ("_modules", "_parameters", "_buffers")
_KINDS = dict(zip(_HELD, ("child", "parameter", "buffer"), strict=True))
LENT = tuple(k for k in GRAPH_STATE if not k.startswith("_"))
"""Plain attributes of a GraphModule that a network may have itself."""


def demand_free(network: nn.Module, base: type[nn.Module]) -> None:
    """Check that a network has no attribute of a name that it would have for surgeon once it is rewritten.

    Args:
        network: The network, before it is rewritten.
        base: The class of rewritten networks.

    Raises:
        SurgeryError: It has one; the message names it.
    """
    if isinstance(network, fx.GraphModule):
        return  # torch.fx has those names already
    ours = {*OWN, *RECORD, *GRAPH_STATE, *(n for n in dir(base) if not hasattr(nn.Module, n))}
    own = [(n, kind) for key, kind in _KINDS.items() for n in network.__dict__.get(key, ()) if n in ours]
    plain = [(n, "attribute") for n in network.__dict__ if n in ours and n not in LENT]
    if clashes := [*own, *plain]:
        key, kind = clashes[0]
        beside = "" if kind == "attribute" else ", and its key in files of weights"
        raise SurgeryError(
            f"the {kind} {key!r} of this {type(network).__name__} has a name that a rewritten network has for "
            f"its graphs or its record: rename it in the network's code{beside}"
        )


def lent(network: nn.Module) -> tuple[str, ...]:
    """Which of the plain attributes of a GraphModule a network has itself."""
    return () if isinstance(network, fx.GraphModule) else tuple(k for k in LENT if k in network.__dict__)
