"""Weights that a network rounds as it loads them: a file in float64 for a network in float32."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from surgeon.errors import ArtifactWarning
from surgeon.values import has_values
from surgeon.warned import warn


def tell_rounding(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Tell of weights that are not, number for number, what a network will hold of them.

    Args:
        model: the network, which the weights fit.
        weights: name → tensor; names that the network lacks are ignored.
        source: where the weights come from, for the message.

    Warns:
        ArtifactWarning: some are rounded to the network's type.

    Examples:
        >>> import torch
        >>> tell_rounding(torch.nn.Linear(1, 1), {"weight": torch.full((1, 1), 0.1)}, "w.pt")
    """
    own = model.state_dict()
    rounded = [n for n, t in weights.items() if n in own and _rounds(t, own[n])]
    if not rounded:
        return
    first = rounded[0]
    types = [str(t.dtype).removeprefix("torch.") for t in (weights[first], own[first])]
    warn(
        f"{source} is in {types[0]}, and the network in {types[1]}: {len(rounded)} of {len(weights)} tensors, the "
        f"first {first}, are rounded to it",
        ArtifactWarning,
    )


def _rounds(tensor: Tensor, own: object) -> bool:
    """Whether a tensor has other values in the type of the network's own."""
    if not isinstance(own, Tensor) or tensor.itemsize <= own.itemsize or not has_values(tensor):
        return False
    if not all(t.is_floating_point() or t.is_complex() for t in (tensor, own)):
        return False
    return bool((tensor.to(own.dtype).to(tensor.dtype) != tensor).any())
