"""Check whether each site still is what the surgery left: class, shapes, weights and layer.

Other code may replace, wrap, prune or parametrise modules after the cut. What depends on a site asks here
first, and reports what differs; `changed_sites` returns the same as values.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict
from torch import nn

from surgeon.edits import Plan
from surgeon.errors import SurgeryError
from surgeon.graph.sites.standing import Standing, described, emptied
from surgeon.graph.trees.implants import Implant, class_name_of, exchanged
from surgeon.graph.trees.paths import has
from surgeon.selection import INPUT

_COUNTERS = ("num_batches_tracked",)


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


def changed_sites(model: nn.Module, record: Plan) -> tuple[Finding, ...]:
    """List the sites of a rewritten network that are not what its record says.

    Batch norms that have lost their running statistics since are listed too, wherever they are: the network's record
    is of one that has them.

    Args:
        model: The network.
        record: Its record.

    Returns:
        The findings; empty if all sites are as recorded.
    """
    displaced = model.__dict__.get("displaced")
    recorded: dict[str, Standing] = getattr(displaced, "standing", None) or {}
    left: dict[str, Implant] = getattr(displaced, "implants", None) or {}
    layers = {e.site: [n.layer for n in record.edits if n.site == e.site and n.layer] for e in record.edits}
    others = {e.site: other for e in record.edits if (other := exchanged(model, e, left))}
    listed = [_other_implant(model, site, *others[site]) for site in layers if site in others]
    for site in layers:
        if site not in others and site != INPUT:
            listed += at(model, site, recorded.get(site), layers[site])
    lost = [(n, m) for n, m in model.named_modules() if n not in {*layers, *recorded} and emptied(m)]
    return (*listed, *(_without_statistics(n, m) for n, m in lost))


def at(tree: nn.Module, site: str, old: Standing | None, layers: Iterable[str] = ()) -> list[Finding]:
    """List what differs at one site.

    Args:
        tree: The network.
        site: Dotted name.
        old: What was there after the surgery, or None if that is unknown.
        layers: Dotted names of the layers that were inserted there.

    Returns:
        At most one finding.
    """
    if not has(tree, site):
        return [_finding(site, old, "nothing", _ORDER)]
    now = described(tree.get_submodule(site), {n.rpartition(".")[2] for n in layers})
    gone = [n for n in layers if not has(tree, n)]
    if gone:
        return [_finding(site, old, f"{now.kind} without {gone[0]}", _ORDER)]
    if old is None or now == old:
        return []
    if emptied(tree.get_submodule(site)) and "running_mean" in dict(old.tensors):
        return [_without_statistics(site, tree.get_submodule(site))]
    loads = _named(now) == _named(old)
    if now.kind != old.kind or now.opened != old.opened:
        wrapped = _is_around(tree.get_submodule(site), old.kind)
        return [_finding(site, old, now.kind, _MERGE if wrapped else _ORDER, loads)]
    if old.made and not now.made:
        return []  # plainer than it was
    if now.made != old.made:
        text, _, remedy = now.made.partition("; ")
        finding = _finding(site, old, f"one of which {text}", remedy, loads)
        same = now.groups == old.groups and now.shape == old.shape
        return [finding.model_copy(update=dict(same=same))]
    if now.own != old.own:
        return [_finding(site, old, f"one {_methods(now, old)}", _METHODS, loads)]
    if _shapes(now) == _shapes(old):
        return [_finding(site, old, f"one {_other_tensors(now, old)}", _PLAIN, loads)]
    return [
        _finding(site, old, _shapes(now), "prune channels before surgeon.apply, or after surgeon.fold", loads)
    ]


def demand(listed: Iterable[Finding], verb: str) -> None:
    """Raise an error if sites are not what the record says.

    Args:
        listed: The findings.
        verb: What cannot be done, such as "reverted".

    Raises:
        SurgeryError: There is a finding; the message has the first.
    """
    listed = tuple(listed)
    if listed:
        more = f" (and {len(listed) - 1} more sites)" if len(listed) > 1 else ""
        raise SurgeryError(f"this network cannot be {verb}: {listed[0]}{more}")


_MERGE = "merge or unload what was put around it first (of PEFT: merge_and_unload), then go on"
_ORDER = (
    "exchange, fuse or reparameterise modules before surgeon.apply, or after surgeon.fold or surgeon.revert"
)

_STATISTICS = (
    "adaptation at test time, such as TENT, leaves norms so, and a folder's record is of a network that has the "
    "statistics; put them back first (track_running_stats = True, and running_mean and running_var of a copy from "
    "before), or save what surgeon.fold(model) gives"
)
_PLAIN = (
    "what computes its weights, as a hook or a parametrization does, is to be taken off "
    "first, so that they are plain parameters again"
)

_METHODS = (
    "what its weights do there is not known: put back what was there first (as del module.forward, or accelerate's "
    "remove_hook_from_module), or do that before surgeon.apply, or after surgeon.fold or surgeon.revert"
)


def _methods(now: Standing, old: Standing) -> str:
    """Describe how the methods that two objects have in a way of their own differ."""
    if now.own:
        return f"with {' and '.join(f'a {n}' for n in now.own)} that was put on the object"
    return f"without the {' and '.join(old.own)} of its own"


def _without_statistics(site: str, module: nn.Module) -> Finding:
    return Finding(
        site=site,
        recorded=f"{class_name_of(module)} with running statistics",
        found="one without running_mean and running_var",
        remedy=_STATISTICS,
    )


def _other_tensors(now: Standing, before: Standing) -> str:
    """Describe how the tensors of two modules of one shape differ."""
    new, old = ([f"{k} {'×'.join(map(str, v))}".strip() for k, v in s.tensors] for s in (now, before))
    only, gone = [t for t in new if t not in old], [t for t in old if t not in new]
    parts = [f"with {', '.join(only)}"] if only else []
    return " and ".join([*parts, *([f"without {', '.join(gone)}"] if gone else [])]) or "in another way"


def _is_around(module: nn.Module, kind: str) -> bool:
    """Say whether a module has one of a class inside, as what is put around another has."""
    return any(class_name_of(m) == kind for m in list(module.modules())[1:])


def _other_implant(tree: nn.Module, site: str, name: str, old: str, now: str) -> Finding:
    """Make the finding for a module of the surgery's in whose place another one stands: no record gives that."""
    below = "" if name == site else f" in {name}"
    remedy = _MERGE if _is_around(tree.get_submodule(name), old) else _ORDER
    return Finding(site=site, recorded=f"{old}{below}", found=now, remedy=remedy)


def _finding(site: str, old: Standing | None, now_there: str, remedy: str, loads: bool = False) -> Finding:
    """Make the finding for a site."""
    return Finding(
        site=site, recorded=_shapes(old) if old else "a module", found=now_there, remedy=remedy, loads=loads
    )


def _named(standing: Standing) -> list[tuple[str, tuple[int, ...]]]:
    """List names and shapes of tensors, without batch counters, which frozen batch norms lack."""
    return sorted(t for t in standing.tensors if t[0] not in _COUNTERS)


def _shapes(standing: Standing) -> str:
    """Describe class, weight shape and groups in words."""
    shape = f" with a weight of {'×'.join(map(str, standing.shape))}" if standing.shape else ""
    return f"{standing.kind}{shape}" + (f" in {standing.groups} groups" if (standing.groups or 1) > 1 else "")
