"""Sites: the places of a traced network where an operation can cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import fx, nn

from surgeon.graph.measuring.layout import Axis, channel_axes
from surgeon.graph.measuring.measure import Measured, Shape
from surgeon.graph.measuring.shapes import add_shapes
from surgeon.graph.measuring.traced import Traced
from surgeon.graph.places.callees import MODES, Mode, Place, indistinct, places
from surgeon.graph.places.read_weights import read_beside
from surgeon.graph.sites.described import details, kind_of_site, why_altered
from surgeon.graph.sites.roles import heads_of, stem_of
from surgeon.graph.sites.stages import stages_of
from surgeon.graph.trees.leaves import runs_children
from surgeon.selection import INPUT, Kind, Parts, Site

_READ = "its weight is read by a function that its parent's code calls"


def find_sites(
    model: nn.Module,
    regions: Sequence[tuple[str, Traced]],
    seen: Measured | None = None,
    input_size: Shape | None = None,
) -> tuple[Site, ...]:
    """Every input, convolution, linear layer, norm, activation, pool, residual sum and attention that the graphs show,
    in execution order.

    Functions that code calls, and layers whose weight a function reads, are among them (`places.py`).

    A region's sites stand where its parent calls it. Sites that only the training graph calls come where
    that graph has them.
    """
    seen = seen or Measured()
    called = {name: _places(model.get_submodule(name), traced) for name, traced in regions}
    add_shapes(model, regions, called, seen, input_size)
    calls = _ordered_calls(called)
    read = {
        f"{r}.{p.name}" if r else p.name for r, at in called.items() for c in at.values() for p in c if p.read
    }
    links = _links(regions)
    logits = _logits(model, dict(regions).get(""))
    axes = channel_axes(model, regions, called, seen.outputs)
    # A layer may have several reasons against folding; the one that stands last is kept.
    shared = {
        **seen.read_beside,
        **_read_beside(regions),
        **dict.fromkeys(read, _READ),
        **_shared_weights(model),
    }
    sites: list[Site] = []
    whole = dict(regions).get("")
    if whole is not None and not _takes_numbers_of_words(model, whole):
        size = tuple(input_size) if input_size else None
        sites.append(
            Site(
                name=INPUT,
                kind="input",
                cls=type(model).__name__,
                index=0,
                stage=0,
                in_shape=size,
                out_shape=size,
                channels=size[0] if size else None,
                channel_axis=0,
            )
        )
    for name, (place, count, modes) in calls.items():
        module = place.module
        kind: Kind | None = "attention" if place.parts else kind_of_site(module)
        if kind is None:
            continue
        sites.append(
            Site(
                name=name,
                kind=kind,
                cls=type(module).__name__,
                index=len(sites),
                calls=max(count, seen.calls.get(name, 0)),
                modes=modes,
                in_shape=seen.inputs.get(name),
                out_shape=seen.outputs.get(name),
                call_shapes=_call_shapes(seen, name),
                folded=name in seen.folded,
                logits=name in logits,
                read=name in read,
                parts=_under(place.parts, name),
                altered=why_altered(kind, module) or shared.get(name, ""),
                **_placed(kind, module, seen.outputs.get(name), axes.get(name)),
                **links.get(name, {}),
            )
        )
    return _with_roles(model, _with_stages(model, sites))


def _takes_numbers_of_words(model: nn.Module, traced: Traced) -> bool:
    """Whether the network's first input goes to an embedding: no layer for images can stand there."""
    first = next((n for n in traced.eval.nodes if n.op == "placeholder"), None)
    for node in first.users if first is not None else ():
        if node.op == "call_module" and isinstance(
            model.get_submodule(str(node.target)), (nn.Embedding, nn.EmbeddingBag)
        ):
            return True
        if node.op == "call_function" and node.target in (F.embedding, F.embedding_bag):
            return True
    return False


def _under(parts: Parts | None, name: str) -> Parts | None:
    """The layers of an attention module by their whole names."""
    if parts is None:
        return None
    leaves = {k: v and f"{name}.{v.rpartition('.')[2]}" for k, v in parts.model_dump().items()}
    return Parts(**leaves)


def _places(module: nn.Module, traced: Traced) -> dict[Mode, list[Place]]:
    """What the graphs of a region call, without functions whose calls cannot be told apart, or to which nothing can
    hang."""
    by_mode: dict[Mode, list[Place]] = {
        "train": list(places(traced.train, module)),
        "eval": list(places(traced.eval, module)),
    }
    odd = indistinct(*by_mode.values())
    for mode, calls in by_mode.items():
        by_mode[mode] = [
            p
            for p in calls
            if p.call is None or (p.name not in odd and not runs_children(module.get_submodule(p.call.owner)))
        ]
    return by_mode


def _ordered_calls(
    called: dict[str, dict[Mode, list[Place]]],
) -> dict[str, tuple[Place, int, tuple[Mode, ...]]]:
    """By name what is called, how often, and in which modes, in execution order."""
    ordered: dict[str, tuple[Place, int, tuple[Mode, ...]]] = {}

    walked: set[str] = set()

    def walk(region: str) -> None:
        if region in walked:
            return
        walked.add(region)
        counts = {mode: Counter(p.name for p in calls) for mode, calls in called[region].items()}
        first = {p.name: p for calls in called[region].values() for p in reversed(calls)}
        for target in _merge(list(counts["eval"]), list(counts["train"])):
            full = f"{region}.{target}" if region else target
            if full in called:
                walk(full)
                if not first[target].parts:
                    continue
            for inner in [r for r in called if r.startswith(f"{full}.") and r not in walked]:
                walk(inner)  # parts of what stays whole, because no graph shows its own code
            if full not in ordered:
                n = max(counts["eval"][target], counts["train"][target])
                modes = tuple(m for m in MODES if target in counts[m])
                ordered[full] = (first[target], n, modes)

    nested = {r for r in called if any(r != o and (not o or r.startswith(o + ".")) for o in called)}
    for region in called:
        if region not in nested:
            walk(region)
    return ordered


def _merge(first: list[str], second: list[str]) -> list[str]:
    """`second`'s order where it has everything of `first`, else `first`, then what only `second` has."""
    if set(first) <= set(second):
        return second
    return [*first, *(s for s in second if s not in set(first))]


def _call_shapes(seen: Measured, name: str) -> tuple[Shape, ...]:
    """The output's shape at each call of a module that is called several times."""
    shapes = seen.each_output.get(name, ())
    return tuple(shapes) if len(shapes) > 1 else ()


def _placed(kind: Kind, module: Any, out_shape: Shape | None, axis: Axis | None) -> dict[str, Any]:
    """What the module says of itself, and the axis of its channels, whose size is their number."""
    described = details(kind, module)
    if kind in ("activation", "pool", "residual", "attention") and out_shape and axis is not None:
        described["channels"] = out_shape[axis]
    return {**described, "channel_axis": axis}


def _shared_weights(model: nn.Module) -> dict[str, str]:
    """Convolutions whose weight another module has too, under its own name: a change of one would be one of both."""
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                owners.setdefault(id(parameter), []).append(name)
    twins: dict[str, str] = {}
    for names in owners.values():
        for name in names:
            others = [n for n in names if n != name]
            if others:
                twins[name] = f"it shares its weight with {', '.join(others)}"
    return twins


def _read_beside(regions: Iterable[tuple[str, Traced]]) -> dict[str, str]:
    """Modules whose parameter the code around them reads beside calling them."""
    return {
        f"{region}.{name}" if region else name: why
        for region, traced in regions
        for graph in (traced.train, traced.eval)
        for name, why in read_beside(graph).items()
    }


def _links(regions: Iterable[tuple[str, Traced]]) -> dict[str, dict[str, str]]:
    """Which norm alone consumes a convolution, and which convolution feeds a norm, in every graph and call."""
    after: dict[str, set[str]] = {}
    before: dict[str, set[str]] = {}
    for region, traced in regions:
        prefix = f"{region}." if region else ""
        for graph in (traced.train, traced.eval):
            for node in graph.nodes:
                if node.op != "call_module":
                    continue
                name = prefix + str(node.target)
                users = list(node.users)
                after.setdefault(name, set()).update(
                    [prefix + str(u.target) if u.op == "call_module" else "?" for u in users] or ["?"]
                )
                source = node.args[0] if node.args else None
                known = isinstance(source, fx.Node) and source.op == "call_module"
                called = prefix + str(source.target) if known else "?"  # type: ignore[union-attr]  # known: a node
                before.setdefault(name, set()).add(called)
    links: dict[str, dict[str, str]] = {}
    for name, followers in after.items():
        (only,) = followers if len(followers) == 1 else ("?",)
        if only != "?" and before.get(only) == {name}:
            links.setdefault(name, {})["next_norm"] = only
            links.setdefault(only, {})["follows"] = name
    return links


def _logits(model: nn.Module, traced: Traced | None) -> set[str]:
    """Convolutions and linear layers on no path to another module with weights: they write the outputs."""
    names: set[str] = set()
    for graph in (traced.train, traced.eval) if traced else ():
        last: dict[fx.Node, bool] = {}
        for node in reversed(graph.nodes):
            last[node] = all(last[u] and not _weighted(model, u) for u in node.users)
            if (
                node.op == "call_module"
                and last[node]
                and kind_of_site(model.get_submodule(str(node.target))) in ("conv", "linear")
            ):
                names.add(str(node.target))
    return names


def _weighted(model: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        return any(True for _ in model.get_submodule(str(node.target)).parameters())
    return node.op in ("call_function", "call_method") and any(
        a.op == "get_attr" for a in node.all_input_nodes
    )


def _with_roles(model: nn.Module, sites: Sequence[Site]) -> tuple[Site, ...]:
    """The same, with the stem and the heads named."""
    stem, heads = stem_of(model, sites), heads_of(model, sites)
    role = {**dict.fromkeys(heads, "head"), **({stem: "stem"} if stem else {})}
    return tuple(s.model_copy(update={"role": role[s.name]}) if s.name in role else s for s in sites)


def _with_stages(model: nn.Module, sites: list[Site]) -> tuple[Site, ...]:
    kinds = {s.name: s.kind for s in sites if not (s.kind == "norm" and s.altered)}
    stages = stages_of(model, sites)
    return tuple(
        s.model_copy(
            update=dict(
                stage=stages.get(s.name, s.stage),
                next_norm=s.next_norm
                if kinds.get(s.next_norm or "") == "norm" and s.kind == "conv"
                else None,
                follows=s.follows if kinds.get(s.follows or "") == "conv" and s.kind == "norm" else None,
            )
        )
        for s in sites
    )
