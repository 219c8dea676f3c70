"""What weights from a file leave in a network as it was, though no error says so."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from surgeon.errors import ArtifactError
from surgeon.extra_state import without_extra


def left_alone(
    model: nn.Module, weights: Mapping[str, Tensor], optional: Collection[str], source: str, *, strict: bool
) -> str:
    """Say which tensors of a network weights do not reach, and which of the weights reach none.

    Args:
        model: The network.
        weights: Name → tensor.
        optional: The names that a state dict of the network may lack: state of inserted layers.
        source: Where the weights come from.
        strict: Whether names had to match.

    Returns:
        The sentence; "" where there is nothing to say.

    Raises:
        ArtifactError: None of the weights is the network's.
    """
    own = without_extra(model.state_dict())
    known = [k for k in own if k in weights]
    if own and not known:
        raise ArtifactError(
            f"{source} has not one of the {len(own)} tensors of this {type(model).__name__}: nothing would be loaded. "
            f"It has {some_of([*weights])}; the network has {some_of([*own])}"
        )
    if strict:
        missing = [k for k in own if k not in weights and k in optional]
        if not missing or any(k in weights for k in optional):
            return ""
        return (
            f"{source} has no tensors of the layers that surgery inserted ({some_of(missing)}), as a network before "
            "surgery has none: they stay as they are, and where they, or the weights around them, were fitted to the "
            "former weights, that is lost; load the weights first and apply the recipe then"
        )
    missing = [k for k in own if k not in weights]
    unexpected = [k for k in weights if k not in own]
    parts = [f"{len(missing)} tensors stay as they were ({some_of(missing)})"] if missing else []
    parts += [f"{len(unexpected)} of the file have no place ({some_of(unexpected)})"] if unexpected else []
    return f"{source}: {len(known)} tensors are loaded; {'; '.join(parts)}" if parts else ""


def some_of(keys: list[str]) -> str:
    """Write the first three of some names, and whether there are more.

    Args:
        keys: The names.
    """
    return ", ".join(keys[:3]) + (", …" if len(keys) > 3 else "")
