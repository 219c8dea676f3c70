"""Looking over a network before the cut: the parts that torch.fx can follow, and every site in them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from surgeon.edits import Edit
from surgeon.errors import TraceError
from surgeon.graph.comparing.witness import Witness
from surgeon.graph.measuring.calls import Given
from surgeon.graph.measuring.measure import Measured, Shape, measure
from surgeon.graph.measuring.traced import Example, Traced
from surgeon.graph.places.functional import functional_convolutions
from surgeon.graph.places.read_weights import whole
from surgeon.graph.rewritten.kinship import TRACED_METHODS
from surgeon.graph.rewritten.region import Region
from surgeon.graph.sites.site import find_sites
from surgeon.graph.tracing.exporting import of_a_question
from surgeon.graph.tracing.trace import trace
from surgeon.graph.trees.leaves import is_convolution, is_leaf, is_norm, is_weighted
from surgeon.graph.trees.left_alone import left_alone
from surgeon.selection import Site


@dataclass
class Survey:
    """What was seen of a network: `regions` outermost first, `sites` in execution order, `measured` on fake
    tensors (None without an input size), `hidden`: sites-to-be that no graph shows, with the reason, `functional`:
    modules that call a convolution as a function, with what they call, and `refused`: modules that keep their code
    although they can be traced, since a graph gives other values, with the reason."""

    regions: list[Region]
    sites: tuple[Site, ...]
    measured: Measured | None
    hidden: dict[str, str]
    functional: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def survey(
    model: nn.Module,
    input_size: Shape | None = None,
    refused: Mapping[str, str] | None = None,
    edits: Sequence[Edit] = (),
) -> Survey:
    """Trace a network, part by part where it cannot be traced whole, and list its sites.

    `input_size` gives the sites their shapes. `refused`: modules that must keep their code, where that is known;
    otherwise graphs of code that is of no checked library are run beside it (`graph/comparing/witness.py`).
    `edits`: those of the record, where the model is the plain tree of a rewritten network.
    """
    witness = Witness(model, input_size) if refused is None else None  # before anything is written into it
    seen = _measured(model, input_size, edits)
    explorer = _Explorer(model, lambda: seen, input_size, dict(refused or {}), _layers(edits))
    regions, hidden = explorer.explored()
    while witness and (more := witness.refuses(regions, explorer.region)):
        explorer.refused |= more
        regions, hidden = explorer.explored()
    if seen and not seen.error and any(_train_only(r.traced) for r in regions):
        _add_training_shapes(model, input_size, seen, edits)  # type: ignore[arg-type]  # seen: there is a size
    sites = find_sites(model, [(r.name, r.traced) for r in regions], seen, input_size)
    graphs = [(r.name, (r.traced.train, r.traced.eval)) for r in regions]
    functional = functional_convolutions(model, graphs, seen.functional if seen else {})
    there = {s.name for s in sites}
    hidden |= {n: why for n, why in _kept_inside(regions).items() if n not in there}
    return Survey(regions, sites, seen, hidden, functional, explorer.refused)


def _kept_inside(regions: list[Region]) -> dict[str, str]:
    """Layers whose weight is given to a function that no graph looks into, with the reason why they are not
    sites."""
    return {
        f"{r.name}.{name}"
        if r.name
        else name: f"its weight is used inside of {function}, which torch.fx keeps whole"
        for r in regions
        for name, function in whole(r.traced.eval).items()
    }


def find_regions(
    model: nn.Module,
    input_size: Shape | None = None,
    refused: Mapping[str, str] | None = None,
    edits: Sequence[Edit] = (),
) -> list[Region]:
    """The regions of a survey that found `refused`, and nothing else: the network is run only where shapes are needed
    to trace it. `edits`: as for `survey`.

    Networks write into attributes of their own while they run: like `survey`, this wants a copy that is thrown away.
    """
    measured = functools.cache(lambda: _measured(model, input_size, edits))
    return _Explorer(model, measured, input_size, dict(refused or {}), _layers(edits)).explored()[0]


def norm_finder(tree: nn.Module, refused: Mapping[str, str]) -> Callable[[str], nn.Module | None]:
    """Return what finds the norm behind a site of a tree; the tree is looked at when it is first asked for one.

    Args:
        tree: The network as a plain tree of modules.
        refused: Modules that must keep their code.

    Returns:
        A function of the site; it gives None if no norm alone consumes the site's output.
    """
    links = functools.cache(lambda: {s.name: s.next_norm for s in survey(tree, refused=refused).sites})

    def norm_after(site: str) -> nn.Module | None:
        norm = links().get(site)
        return tree.get_submodule(norm) if norm else None

    return norm_after


def _layers(edits: Sequence[Edit]) -> frozenset[str]:
    return frozenset(e.layer for e in edits if e.layer)


def _measured(model: nn.Module, input_size: Shape | None, edits: Sequence[Edit]) -> Measured | None:
    if input_size is None:
        return None
    with left_alone(model):  # what its code makes once, it makes again while it is traced
        return measure(model, input_size, extra=_candidates(model), edits=edits)


def _candidates(model: nn.Module) -> list[str]:
    sites = [n for n, m in model.named_modules() if is_leaf(m) and (is_weighted(m) or is_norm(m))]
    above = {site.rsplit(".", depth)[0] for site in sites for depth in range(1, site.count(".") + 1)}
    return [n for n, m in model.named_modules() if n in above and not is_leaf(m)]


@dataclass
class _Explorer:
    """Looks for the parts of a network that can be traced, outermost first; those in `refused` keep their code."""

    model: nn.Module
    measured: Callable[[], Measured | None]
    input_size: Shape | None
    refused: dict[str, str]
    layers: frozenset[str] = frozenset()
    _questions: bool = False
    """Whether a part that asks whether it is exported gets graphs, which hold for the answer no."""
    _asks: bool = False
    """Whether one was refused for that question."""
    _shown: set[nn.Module] = field(default_factory=set)
    """The sites that the regions found so far call."""

    def explored(self) -> tuple[list[Region], dict[str, str]]:
        """The regions, and the sites that no region shows, with the reason."""
        regions = self._explored(False)
        if self._hides_all(regions[1]):
            regions = self._explored(True)
        return regions

    def _explored(self, questions: bool) -> tuple[list[Region], dict[str, str]]:
        regions: list[Region] = []
        hidden: dict[str, str] = {}
        self._questions, self._asks = questions, False
        self._shown.clear()
        self._explore("", regions, hidden)
        return regions, hidden

    def _hides_all(self, hidden: dict[str, str]) -> bool:
        """Whether code asks whether it is exported, and no convolution can be cut but beside that question."""
        there = any(is_convolution(self.model.get_submodule(n)) for n in hidden)
        return self._asks and there and not any(is_convolution(m) for m in self._shown)

    def region(self, name: str) -> Region:
        """One part. Raises TraceError where it can't be traced, or is refused."""
        module = self.model.get_submodule(name)
        if name in self.refused:
            raise TraceError(self.refused[name])
        if type(module).forward is nn.Module.forward:
            raise TraceError(f"{name or 'the model'} is a list of modules, without code of its own")
        if name and self._passed_over(module):
            raise TraceError("the code around it calls modules inside it, and never it as a whole")
        called = self._given(name)

        def example() -> Example | None:
            if not name and self.input_size:
                return ((2, *self.input_size),)
            return called.example(module) if called.shapes else None

        prefix = f"{name}." if name else ""
        kept = {n.removeprefix(prefix): why for n, why in self.refused.items() if n and n.startswith(prefix)}
        traced = trace(
            module,
            leaves=kept,
            example=example,
            constants=called.values,
            inputs=tuple(called.shapes),
            questions=self._questions,
            ours={n.removeprefix(prefix) for n in self.layers if n.startswith(prefix)},
        )
        # Of nested modules that keep their code only the outer one is named: its code is what the graph calls.
        traced.opaque |= {n: w for n, w in kept.items() if not _inside(n, {*kept, *traced.opaque})}
        return Region(name, traced, example() if traced.sized else None, called, tuple(kept))

    def _passed_over(self, module: nn.Module) -> bool:
        """Whether a run of the network called modules inside a part, and neither the part itself nor, as far as that
        can be told, a method of it that has graphs."""
        if any(hasattr(module, name) for name in TRACED_METHODS):
            return False
        seen = self.measured()
        name = next(n for n, m in self.model.named_modules() if m is module)
        if seen is None or seen.error or name in seen.calls:
            return False
        return any(called.startswith(f"{name}.") for called in seen.calls)

    def _given(self, name: str) -> Given:
        seen = self.measured() if name else None
        return (seen.arguments.get(name) if seen else None) or Given()

    def _explore(self, name: str, regions: list[Region], hidden: dict[str, str]) -> None:
        module = self.model.get_submodule(name)
        sites = {m for m in module.modules() if is_leaf(m) and (is_weighted(m) or is_norm(m))}
        if sites and sites <= self._shown:  # another name of a region, or of a part of it
            return
        try:
            if sites & self._shown:
                raise TraceError("it shares modules with another part, which has graphs of its own")
            region = self.region(name)
        except TraceError as error:
            self._asks = self._asks or of_a_question(error)
            for child_name, child in module.named_children():
                full = f"{name}.{child_name}" if name else child_name
                if is_leaf(child):
                    if is_weighted(child) or is_norm(child):
                        hidden[full] = str(error)
                elif _has_site(child):
                    self._explore(full, regions, hidden)
            return
        regions.append(region)
        for graph in (region.traced.train, region.traced.eval):
            called = {module.get_submodule(str(n.target)) for n in graph.nodes if n.op == "call_module"}
            self._shown |= sites & called
        for inner in region.traced.opaque:
            full = f"{name}.{inner}" if name else inner
            if _has_site(self.model.get_submodule(full)):
                self._explore(full, regions, hidden)


def _inside(name: str, others: set[str]) -> bool:
    return any(name.startswith(f"{other}.") for other in others)


def _has_site(module: nn.Module) -> bool:
    return any(is_weighted(m) or is_norm(m) for m in module.modules())


def _train_only(traced: Traced) -> bool:
    calls = [{str(n.target) for n in g.nodes if n.op == "call_module"} for g in (traced.train, traced.eval)]
    return bool(calls[0] - calls[1])


def _add_training_shapes(model: nn.Module, input_size: Shape, seen: Measured, edits: Sequence[Edit]) -> None:
    more = measure(model, input_size, training=True, edits=edits)
    for name in more.inputs:
        seen.inputs.setdefault(name, more.inputs[name])
    for name in more.outputs:
        seen.outputs.setdefault(name, more.outputs[name])
