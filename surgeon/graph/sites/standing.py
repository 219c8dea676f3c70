"""What is at a site: class, shapes, groups, and what makes its weights."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from surgeon.edits import Edit
from surgeon.extra_state import without_extra
from surgeon.graph.rewritten.displaced import Displaced
from surgeon.graph.trees.fused import is_opened
from surgeon.graph.trees.implants import class_name_of, implants, roots
from surgeon.graph.trees.leaves import exchanged_methods
from surgeon.graph.trees.left_alone import left_alone
from surgeon.graph.trees.made_weights import maker
from surgeon.graph.trees.paths import has
from surgeon.selection import INPUT
from surgeon.torch_private import BatchNorm


@dataclass(frozen=True)
class Standing:
    """What was at a site when the surgery was done.

    Attributes:
        kind: Class of the module.
        shape: Shape of its weight, or None.
        tensors: Names and shapes of its tensors.
        groups: Number of groups of a convolution, or None.
        made: How hooks or parametrizations compute its weights, in words; "" for plain parameters.
        opened: Whether it is an opened norm.
        own: Names of the methods that its weights go through and that were replaced on the object itself.
    """

    kind: str
    shape: tuple[int, ...] | None
    tensors: tuple[tuple[str, tuple[int, ...]], ...]
    groups: int | None
    made: str
    opened: bool
    own: tuple[str, ...] = ()


def remember(displaced: Displaced, tree: nn.Module, edits: Iterable[Edit], new: Iterable[Edit] = ()) -> None:
    """Keep what a surgery leaves, to be compared with what is there later.

    Args:
        displaced: Where it is kept; of modules that an earlier surgery put in, what that left is kept.
        tree: The network.
        edits: The edits, with those of earlier surgery.
        new: Those of this surgery, which may have put others in the place of those modules.
    """
    edits = tuple(edits)
    now = tuple(root for e in new for root in roots(e))
    earlier = {
        n: i for n, i in displaced.implants.items() if not any(n == r or n.startswith(f"{r}.") for r in now)
    }
    displaced.standing = standing(tree, edits)
    displaced.implants = {n: earlier.get(n, i) for n, i in implants(tree, edits).items()}


def remember_rest(
    displaced: Displaced, tree: nn.Module, edits: Iterable[Edit], untouched: Collection[str]
) -> None:
    """Keep what a surgery left where some of its edits were folded.

    What is known of sites that folding left alone stays known, so that what other code made of them since the surgery
    is still found; so it does of batch norms that lost their statistics since.

    Args:
        displaced: Where it is kept.
        tree: The network.
        edits: The edits that remain.
        untouched: Their sites at which nothing was folded.
    """
    earlier = displaced.standing
    remember(displaced, tree, edits)
    if not earlier:
        return
    sites = {e.site for e in edits}
    displaced.standing = {
        name: earlier.get(name, now) if name in untouched else now
        for name, now in displaced.standing.items()
        if name in sites or (name in earlier and "running_mean" not in dict(earlier[name].tensors))
    }


def standing(tree: nn.Module, edits: Iterable[Edit]) -> dict[str, Standing]:
    """Describe what is at the sites of edits now.

    Args:
        tree: The network.
        edits: The edits.

    Returns:
        The description of each site that exists, and of batch norms that have lost their statistics already.
    """
    edits = tuple(edits)
    layers = {e.layer for e in edits if e.layer}
    by_site = {}
    for site in {e.site: None for e in edits if e.site != INPUT}:
        if has(tree, site):
            by_site[site] = described(
                tree.get_submodule(site), {n.rpartition(".")[2] for n in layers if n.startswith(site + ".")}
            )
    return by_site | {
        n: described(m, set()) for n, m in tree.named_modules() if n not in by_site and emptied(m)
    }


def emptied(module: nn.Module) -> bool:
    """Say whether a batch norm was made with running statistics and lost them: one made without counts no batches.

    Args:
        module: The module.

    Returns:
        Whether it has lost them.
    """
    return (
        isinstance(module, BatchNorm)
        and module.running_mean is None
        and module.num_batches_tracked is not None
    )


def described(module: Any, layers: set[str]) -> Standing:
    """Describe a module, without layers that surgery inserted below it.

    Args:
        module: The module. Children that a blending layer drops by itself are left out.
        layers: The names, below it, of the inserted layers.

    Returns:
        The description.
    """
    own = without_extra(nn.Module.state_dict(module))
    apart = {*layers, *getattr(type(module), "drops", ())}  # of `tensors/blending.py`
    tensors = tuple(sorted((k, tuple(v.shape)) for k, v in own.items() if k.partition(".")[0] not in apart))
    groups = getattr(module, "groups", None)
    with left_alone(module):  # a parametrization may write where it is only read, as a spectral norm does
        weight = getattr(module, "weight", None)
    return Standing(
        kind=class_name_of(module),
        shape=tuple(weight.shape) if isinstance(weight, Tensor) else None,
        tensors=tensors,
        groups=groups if isinstance(groups, int) else None,
        made=maker(module),
        opened=is_opened(module),
        own=exchanged_methods(module),
    )
