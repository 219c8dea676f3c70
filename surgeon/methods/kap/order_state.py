"""The order of channels in state dicts: whether a layer has one hangs on the weights that its network was cut with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from surgeon.tensors.optional_state import tell

if TYPE_CHECKING:
    from surgeon.methods.kap.module import KernelAveragePool


def takes_order(layer: KernelAveragePool, weights: Mapping[str, Any], prefix: str) -> bool:
    """Say whether a layer without an order takes the one of a state dict.

    Args:
        layer: The layer.
        weights: The state dict.
        prefix: Prefix of the layer's names in it.

    Returns:
        Whether there is an order of its channels, and it can have one.
    """
    given: Any = weights.get(f"{prefix}order")
    return (
        layer.order is None
        and layer.out_channels == layer.channels
        and getattr(given, "shape", None) == (layer.channels,)
        and not given.is_floating_point()
    )


def follow(layer: KernelAveragePool, weights: Mapping[str, Any], prefix: str) -> str:
    """Give a layer a place for the order in a state dict, or take away the one that the state dict is without.

    A state dict with other state of the layer comes from a cut network, so that a missing order is the order row by
    row; one without comes from a network without such layers, and changes nothing.

    Args:
        layer: The layer.
        weights: The state dict, which is loaded afterwards.
        prefix: Prefix of the layer's names in it.

    Returns:
        Why the order in it cannot be taken, or "".

    Warns:
        SurgeryWarning: The layer had an order, and has none any more.
    """
    key = f"{prefix}order"
    if key in weights and layer.order is None:
        if not takes_order(layer, weights, prefix):
            return (
                f"{key}: {weights[key].dtype} of shape {tuple(weights[key].shape)} is no order for a layer that pools "
                f"{layer.channels} channels to {layer.out_channels}; integers of ({layer.channels},) are, with stride=1"
            )
        layer.order = torch.arange(layer.channels, device=layer.alpha.device)
    elif key not in weights and layer.order is not None and f"{prefix}alpha" in weights:
        layer.order = None
        tell(
            "kap layers had an order of channels and were given a state dict without it: channels lie row by row "
            "now, as in the network that it comes from (order='given' in the recipe cuts so from the start)"
        )
    return ""
