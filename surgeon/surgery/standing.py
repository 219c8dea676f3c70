"""Check whether each site still is what the surgery left: class, shapes, weights and layer.

Other code may replace, wrap, prune or parametrise modules after the cut. What depends on a site asks here
first, and reports what differs; `findings` returns the same as values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from surgeon.edits import Edit
from surgeon.errors import SurgeryError
from surgeon.extra_state import without_extra
from surgeon.graph.fused import is_opened
from surgeon.graph.leaves import exchanged_methods
from surgeon.graph.left_alone import left_alone
from surgeon.graph.made_weights import maker
from surgeon.selection import INPUT
from surgeon.surgery.door import surgery_of
from surgeon.surgery.tree import has

_COUNTERS = ("num_batches_tracked",)


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
        own: Names of the methods that its weights go through and that the object has in a way of its own.
    """

    kind: str
    shape: tuple[int, ...] | None
    tensors: tuple[tuple[str, tuple[int, ...]], ...]
    groups: int | None
    made: str
    opened: bool
    own: tuple[str, ...] = ()


class Finding(BaseModel):
    """One site that is not what the record says.

    Attributes:
        site: Dotted name.
        recorded: What the record says.
        found: What is there.
        remedy: What to do.
        loads: Whether a folder that is saved now would load: a frozen batch norm has the tensors of the one
            it replaced.
        same: Whether it still is a module of that class and shape, with weights that a hook or
            parametrization computes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    site: str
    recorded: str
    found: str
    remedy: str
    loads: bool = False
    same: bool = False

    def __str__(self) -> str:
        return f"at {self.site} the surgery left {self.recorded}, and {self.found} stands there now: {self.remedy}"


def standing(tree: nn.Module, edits: Iterable[Edit]) -> dict[str, Standing]:
    """Describe what is at the sites of edits now.

    Args:
        tree: The network.
        edits: The edits.

    Returns:
        The description of each site that exists.
    """
    edits = tuple(edits)
    layers = {e.layer for e in edits if e.layer}
    found = {}
    for site in {e.site: None for e in edits if e.site != INPUT}:
        if has(tree, site):
            found[site] = _of(
                tree.get_submodule(site), {n.rpartition(".")[2] for n in layers if n.startswith(site + ".")}
            )
    return found


def findings(model: nn.Module) -> tuple[Finding, ...]:
    """List the sites of a rewritten network that are not what its record says.

    Args:
        model: The network.

    Returns:
        The findings; none if all sites are as recorded, and for a stock network.
    """
    record = surgery_of(model)
    if record is None:
        return ()
    recorded: dict[str, Standing] = getattr(model.__dict__.get("displaced"), "standing", None) or {}
    layers = {e.site: [n.layer for n in record.edits if n.site == e.site and n.layer] for e in record.edits}
    return tuple(
        f for site in layers if site != INPUT for f in at(model, site, recorded.get(site), layers[site])
    )


def at(tree: nn.Module, site: str, was: Standing | None, layers: Iterable[str] = ()) -> list[Finding]:
    """List what differs at one site.

    Args:
        tree: The network.
        site: Dotted name.
        was: What was there after the surgery, or None if that is unknown.
        layers: Dotted names of the layers that were inserted there.

    Returns:
        At most one finding.
    """
    if not has(tree, site):
        return [_finding(site, was, "nothing", _ORDER)]
    now = _of(tree.get_submodule(site), {n.rpartition(".")[2] for n in layers})
    gone = [n for n in layers if not has(tree, n)]
    if gone:
        return [_finding(site, was, f"{now.kind} without {gone[0]}", _ORDER)]
    if was is None or now == was:
        return []
    loads = _named(now) == _named(was)
    if now.kind != was.kind or now.opened != was.opened:
        wrapped = any(_kind(m) == was.kind for m in list(tree.get_submodule(site).modules())[1:])
        return [_finding(site, was, now.kind, _MERGE if wrapped else _ORDER, loads)]
    if was.made and not now.made:
        return []  # plainer than it was
    if now.made != was.made:
        text, _, remedy = now.made.partition("; ")
        finding = _finding(site, was, f"one of which {text}", remedy, loads)
        same = now.groups == was.groups and now.shape == was.shape
        return [finding.model_copy(update=dict(same=same))]
    if now.own != was.own:
        return [_finding(site, was, f"one {_methods(now, was)}", _METHODS, loads)]
    if _shapes(now) == _shapes(was):
        return [_finding(site, was, f"one {_other_tensors(now, was)}", _PLAIN, loads)]
    return [
        _finding(site, was, _shapes(now), "prune channels before surgeon.apply, or after surgeon.fold", loads)
    ]


def demand(found: Iterable[Finding], verb: str) -> None:
    """Raise an error if sites are not what the record says.

    Args:
        found: The findings.
        verb: What cannot be done, such as "reverted".

    Raises:
        SurgeryError: There is a finding; the message has the first.
    """
    found = tuple(found)
    if found:
        more = f" (and {len(found) - 1} more sites)" if len(found) > 1 else ""
        raise SurgeryError(f"this network cannot be {verb}: {found[0]}{more}")


_MERGE = "merge or unload what was put around it first (of PEFT: merge_and_unload), then go on"
_ORDER = (
    "exchange, fuse or reparameterise modules before surgeon.apply, or after surgeon.fold or surgeon.revert"
)

_PLAIN = (
    "what computes its weights, as a hook or a parametrization does, is to be taken off "
    "first, so that they are plain parameters again"
)

_METHODS = (
    "what its weights do there is not known: put back what was there first (as del module.forward, or accelerate's "
    "remove_hook_from_module), or do that before surgeon.apply, or after surgeon.fold or surgeon.revert"
)


def _methods(now: Standing, was: Standing) -> str:
    """Describe how the methods that two objects have in a way of their own differ."""
    if now.own:
        return f"with {' and '.join(f'a {n}' for n in now.own)} that was put on the object"
    return f"without the {' and '.join(was.own)} of its own"


def _other_tensors(now: Standing, was: Standing) -> str:
    """Describe how the tensors of two modules of one shape differ."""
    new, old = ([f"{k} {'×'.join(map(str, v))}".strip() for k, v in s.tensors] for s in (now, was))
    only, gone = [t for t in new if t not in old], [t for t in old if t not in new]
    parts = [f"with {', '.join(only)}"] if only else []
    return " and ".join([*parts, *([f"without {', '.join(gone)}"] if gone else [])]) or "in another way"


def _finding(site: str, was: Standing | None, found: str, remedy: str, loads: bool = False) -> Finding:
    """Make the finding for a site."""
    return Finding(
        site=site, recorded=_shapes(was) if was else "a module", found=found, remedy=remedy, loads=loads
    )


def _kind(module: nn.Module) -> str:
    """Name a module's class, with its package unless torch.nn: PEFT has a Conv2d of its own."""
    kind = type(module).__bases__[0] if hasattr(module, "parametrizations") else type(module)
    return (
        kind.__name__ if kind.__module__.startswith("torch.nn.") else f"{kind.__module__}.{kind.__qualname__}"
    )


def _of(module: Any, layers: set[str]) -> Standing:
    """Describe a module, without layers that surgery inserted below it."""
    own = without_extra(nn.Module.state_dict(module))
    tensors = tuple(sorted((k, tuple(v.shape)) for k, v in own.items() if k.partition(".")[0] not in layers))
    groups = getattr(module, "groups", None)
    with left_alone(module):  # a parametrization may write where it is only read, as a spectral norm does
        weight = getattr(module, "weight", None)
    return Standing(
        kind=_kind(module),
        shape=tuple(weight.shape) if isinstance(weight, Tensor) else None,
        tensors=tensors,
        groups=groups if isinstance(groups, int) else None,
        made=maker(module),
        opened=is_opened(module),
        own=exchanged_methods(module),
    )


def _named(standing: Standing) -> list[tuple[str, tuple[int, ...]]]:
    """List names and shapes of tensors, without batch counters, which frozen batch norms lack."""
    return sorted(t for t in standing.tensors if t[0] not in _COUNTERS)


def _shapes(standing: Standing) -> str:
    """Describe class, weight shape and groups in words."""
    shape = f" with a weight of {'×'.join(map(str, standing.shape))}" if standing.shape else ""
    return f"{standing.kind}{shape}" + (f" in {standing.groups} groups" if (standing.groups or 1) > 1 else "")
