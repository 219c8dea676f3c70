"""Looking over a network before the cut: the parts that torch.fx can follow, and every site in them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from surgeon.errors import TraceError
from surgeon.graph.calls import Given
from surgeon.graph.functional import functional_convolutions
from surgeon.graph.leaves import is_leaf, is_norm, is_weighted
from surgeon.graph.measure import Measured, Shape, measure
from surgeon.graph.sites import find_sites
from surgeon.graph.trace import trace
from surgeon.graph.traced import Example, Traced
from surgeon.selection import Site


@dataclass
class Region:
    """A sub-network with graphs of its own: the whole network (name ''), or a part of it, `given` what
    its parent calls it with."""

    name: str
    traced: Traced
    example: Example | None = None
    given: Given = field(default_factory=Given)


@dataclass
class Survey:
    """What was seen of a network: `regions` outermost first, `sites` in execution order, `measured` on fake
    tensors (None without an input size), `hidden`: sites-to-be that no graph shows, with the reason, and `functional`:
    modules that call a convolution as a function, with what they call."""

    regions: list[Region]
    sites: tuple[Site, ...]
    measured: Measured | None
    hidden: dict[str, str]
    functional: dict[str, str] = field(default_factory=dict)


def survey(model: nn.Module, input_size: Shape | None = None) -> Survey:
    """Trace a network, part by part where it cannot be traced whole, and list its sites.

    `input_size` gives shapes to the sites; without it they have none.
    """
    seen = _measured(model, input_size)
    regions, hidden = _explored(model, input_size, lambda: seen)
    if seen and not seen.error and any(_train_only(r.traced) for r in regions):
        _add_training_shapes(model, input_size, seen)  # type: ignore[arg-type]  # seen: there is a size
    sites = find_sites(model, [(r.name, r.traced) for r in regions], seen, input_size)
    graphs = [(r.name, (r.traced.train, r.traced.eval)) for r in regions]
    functional = functional_convolutions(model, graphs, seen.functional if seen else {})
    return Survey(regions, sites, seen, hidden, functional)


def find_regions(model: nn.Module, input_size: Shape | None = None) -> list[Region]:
    """The regions of a survey, and nothing else: the network is run only where shapes are needed to trace it.

    Networks write into attributes of their own while they run: like `survey`, this wants a copy that is thrown away.
    """
    return _explored(model, input_size, functools.cache(lambda: _measured(model, input_size)))[0]


def _measured(model: nn.Module, input_size: Shape | None) -> Measured | None:
    return measure(model, input_size, extra=_candidates(model)) if input_size else None


def _candidates(model: nn.Module) -> list[str]:
    sites = [n for n, m in model.named_modules() if is_leaf(m) and (is_weighted(m) or is_norm(m))]
    above = {site.rsplit(".", depth)[0] for site in sites for depth in range(1, site.count(".") + 1)}
    return [n for n, m in model.named_modules() if n in above and not is_leaf(m)]


def _explored(
    model: nn.Module, input_size: Shape | None, measured: Callable[[], Measured | None]
) -> tuple[list[Region], dict[str, str]]:
    regions: list[Region] = []
    hidden: dict[str, str] = {}
    _explore(model, "", measured, input_size, regions, hidden)
    return regions, hidden


def _explore(
    model: nn.Module,
    name: str,
    measured: Callable[[], Measured | None],
    input_size: Shape | None,
    regions: list[Region],
    hidden: dict[str, str],
) -> None:
    module = model.get_submodule(name)

    def given() -> Given:
        seen = measured() if name else None
        return (seen.arguments.get(name) if seen else None) or Given()

    def example() -> Example | None:
        if not name and input_size:
            return ((2, *input_size),)
        return given().example(module) if given().shapes else None

    called = given()
    try:
        if type(module).forward is nn.Module.forward:
            raise TraceError(f"{name or 'the model'} is a list of modules, without code of its own")
        traced = trace(module, example=example, constants=called.values, inputs=tuple(called.shapes))
    except TraceError as error:
        for child_name, child in module.named_children():
            full = f"{name}.{child_name}" if name else child_name
            if is_leaf(child):
                if is_weighted(child) or is_norm(child):
                    hidden[full] = str(error)
            elif _has_site(child):
                _explore(model, full, measured, None, regions, hidden)
        return
    regions.append(Region(name, traced, example() if traced.sized else None, called))
    for inner in traced.opaque:
        full = f"{name}.{inner}" if name else inner
        if _has_site(model.get_submodule(full)):
            _explore(model, full, measured, None, regions, hidden)


def _has_site(module: nn.Module) -> bool:
    return any(is_weighted(m) or is_norm(m) for m in module.modules())


def _train_only(traced: Traced) -> bool:
    calls = [{str(n.target) for n in g.nodes if n.op == "call_module"} for g in (traced.train, traced.eval)]
    return bool(calls[0] - calls[1])


def _add_training_shapes(model: nn.Module, input_size: Shape, seen: Measured) -> None:
    more = measure(model, input_size, training=True)
    for name in more.inputs:
        seen.inputs.setdefault(name, more.inputs[name])
    for name in more.outputs:
        seen.outputs.setdefault(name, more.outputs[name])
