"""Refuse torch's own code that walks over a network's children and would go wrong on a rewritten one. It is
recognised by the file that asks, and refused before anything is done."""

from __future__ import annotations

from types import FrameType
from typing import TYPE_CHECKING

from surgeon import tree
from surgeon.errors import SurgeryError

if TYPE_CHECKING:
    from surgeon.graph.rewritten.network import Rewritten


def demand_walk(network: Rewritten, asking: FrameType) -> None:
    """Refuse the children of a network to code that calls them one by one, or converts them for another memory format.

    Raises:
        SurgeryError: For `checkpoint_sequential`; for `to_mkldnn` of a network with layers.
    """
    asks = asking.f_globals.get("__name__")
    if asks == "torch.utils.checkpoint":
        raise SurgeryError(
            f"checkpoint_sequential calls the children of a rewritten {network._stock_class.__name__} one by one, "
            "without the layers between them: checkpoint it as a whole, by torch.utils.checkpoint.checkpoint"
        )
    if asks == "torch.utils.mkldnn" and (layer := _layer(network)):
        raise SurgeryError(
            "to_mkldnn exchanges convolutions, linear layers and norms for modules that hold no other one, and on "
            f"whose outputs {layer} cannot compute: give it surgeon.fold(model), or surgeon.revert(model) where the "
            "surgery does not fold"
        )


def _layer(network: Rewritten) -> str:
    """The first layer of a network that is surgeon's, or another's that an operation hung there, in words; else ""."""
    hung = {p.layer for p in network.points}
    for name, module in tree.modules(network):
        if name in hung or type(module).__module__.startswith("surgeon.methods."):
            return f"{name} ({type(module).__name__})"
    return ""
