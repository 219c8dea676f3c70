"""Find the parts of a network that torch.fx can follow, in a survey or again for a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from surgeon.edits import Edit, Plan
from surgeon.errors import SurgeryError
from surgeon.graph.rewritten.module_tree import bare
from surgeon.graph.rewritten.region import Region
from surgeon.graph.sites.survey import Survey, find_regions, survey

_PARTED = ("a graph would", "control flow")
"""How reasons are worded that hold for a few lines of code, and not for all of a network."""


def seen_of(
    model: nn.Module,
    size: tuple[int, ...] | None,
    refused: Mapping[str, str] | None = None,
    edits: Sequence[Edit] = (),
) -> Survey:
    """Survey a network that may be traced in place.

    Args:
        model: The network, or a copy that tracing may write to.
        size: (C, H, W) or (C, T, H, W) of one image, or None.
        refused: Modules that must keep their code, with the reason, where an earlier survey found them.
        edits: Those of the record, where the model is the plain tree of a rewritten network.

    Returns:
        The survey, with at least one traceable region.

    Raises:
        SurgeryError: torch.fx can trace no part of the network.
    """
    seen = survey(model, size, refused, edits)
    if not seen.regions:
        reason = next(iter(seen.hidden.values()), "it has no convolution and no norm")
        way = (
            "; put the code that does this into a module of its own, which keeps its Python: the layers beside it are "
            "then cut"
            if any(text in reason for text in _PARTED) and "module of its own" not in reason
            else ""
        )
        raise SurgeryError(f"{type(model).__name__} has no part that torch.fx can follow: {reason}{way}")
    return seen


def regions_of(tree: nn.Module, made: Plan) -> list[Region]:
    """Find the traceable regions of a network, on a copy: tracing lets a network write to its own attributes.

    Args:
        tree: The network, which is left untouched.
        made: A plan for it, with its input size and the modules that must keep their code.

    Returns:
        The regions.
    """
    return find_regions(bare(tree, share=True)[0], made.input_size, made.refused)
