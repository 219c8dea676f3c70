"""A survey of a network of which torch.fx must be able to follow some part."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from surgeon.errors import SurgeryError
from surgeon.graph.survey import Survey, survey


def seen_of(
    model: nn.Module, size: tuple[int, ...] | None, refused: Mapping[str, str] | None = None
) -> Survey:
    """Survey a network that may be traced in place.

    Args:
        model: The network, or a copy that tracing may write to.
        size: (C, H, W) or (C, T, H, W) of one image, or None.
        refused: Modules that must keep their code, with the reason, where an earlier survey found them.

    Returns:
        The survey, with at least one traceable region.

    Raises:
        SurgeryError: torch.fx can trace no part of the network.
    """
    seen = survey(model, size, refused)
    if not seen.regions:
        reason = next(iter(seen.hidden.values()), "it has no convolution and no norm")
        raise SurgeryError(f"{type(model).__name__} has no part that torch.fx can follow: {reason}")
    return seen
