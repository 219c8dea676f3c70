"""Tracing a network twice, in training and in evaluation mode, without changing it.

Python code branches on `self.training`, and one graph cannot hold both ways: hence two of them. What stays whole
in one mode does in the other, so that both graphs call the same modules. Where nothing reads or sets a module's mode,
one trace serves for both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn

from surgeon.errors import TraceError
from surgeon.graph.measuring.traced import Asked, Behind, Example, Traced
from surgeon.graph.tracing import exporting
from surgeon.graph.tracing.checkpointing import switched_off
from surgeon.graph.tracing.one_trace import trace_once
from surgeon.graph.tracing.tracer import LeafTracer
from surgeon.graph.tracing.value_tracer import ValueTracer
from surgeon.graph.trees.one_at_a_time import LOCK
from surgeon.kept_modes import mode
from surgeon.values import has_values


def trace(
    model: nn.Module,
    *,
    method: str = "forward",
    leaves: Iterable[str] = (),
    constants: Mapping[str, Any] | None = None,
    example: Example | Callable[[], Example | None] | None = None,
    behind: Behind | None = None,
    inputs: Iterable[str] = (),
    questions: bool = True,
    watched: Iterable[str] = (),
    ours: Iterable[str] = (),
) -> Traced:
    """Trace one method in both modes.

    A module that cannot be traced is kept whole and reported in `opaque`; the trace is then started
    again. If the method itself cannot be traced and an `example` is given (or a function that gives one, which
    is called then alone), it is traced with values, for which `behind` tells the layers that are called after
    a module. `inputs`: arguments with a default that are inputs all the same. `questions`: where the method itself asks
    whether it is exported, its graphs hold for the answer no; else it cannot be traced. `watched`: modules
    whose code must leave nothing on them that a graph would not. `ours`: what a surgery put into the tree, which the
    code does not see where it goes through modules and tensors.
    The model is left as it was: modes, attributes, buffers.

    Raises TraceError when the method itself cannot be traced, with the reason.
    """
    given: Callable[[], Example | None] = (
        functools.cache(example) if callable(example) else functools.partial(_itself, example)
    )
    tracer = functools.partial(
        _tracer,
        method=method,
        constants=constants,
        inputs=tuple(inputs),
        given=given,
        watched=frozenset(watched),
        ours=frozenset(ours),
    )
    leaves = tuple(leaves)

    def traced() -> Traced:
        try:
            return _trace_both(model, tracer, leaves, None)
        except TraceError:
            known = given()
            if known is None:
                raise
        return _with_values(model, functools.partial(tracer, behind=behind or {}), leaves, known)

    # Most code never asks whether it is exported, and one trace is enough. Where it asks and the answer changes the
    # graphs, the module that asks has to keep its code, which a third trace finds out by refusing the question.
    with exporting.met_by("no") as export:
        graphs = traced()
    if not export.asked or _same_under_export(graphs, traced):
        return graphs
    try:
        with exporting.met_by("refused"):
            return traced()
    except TraceError as error:
        if not questions or not exporting.of_a_question(error):
            raise
    return replace(graphs, questions=tuple(sorted(export.asked)))


def _same_under_export(graphs: Traced, traced: Callable[[], Traced]) -> bool:
    """Whether graphs are the same where code that asks is told that it is traced or exported."""
    try:
        with exporting.met_by("yes"):
            other = traced()
    except TraceError:
        return False
    return (
        _alive(graphs.train) == _alive(other.train)
        and _alive(graphs.eval) == _alive(other.eval)
        and graphs.constants.keys() == other.constants.keys()
        and all(_same(value, other.constants[name]) for name, value in graphs.constants.items())
    )


def _itself(example: Example | None) -> Example | None:
    return example


def _trace_both(
    model: nn.Module,
    tracer: Callable[[Iterable[str]], LeafTracer],
    leaves: Iterable[str],
    example: Example | None,
) -> Traced:
    """Both graphs, made until no module stays whole in one of them that the other goes into."""
    opaque: dict[str, str] = {}
    made: dict[bool, dict[str, torch.Tensor]] = {}
    graphs: dict[bool, fx.Graph] = {}
    known: dict[bool, set[str]] = {}
    asked: dict[bool, Asked] = {}
    # One trace at a time: it patches functions of torch for the whole process.
    with LOCK:
        # A trace in one mode may find modules that must stay whole, which the other graph then has to call whole too.
        while any(known.get(training) != set(opaque) for training in (False, True)):
            training = known.get(False) == set(opaque)  # what stays whole in one mode does in the other
            with mode(model, training), switched_off(model):
                graphs[training], made[training], asked[training] = trace_once(model, tracer, leaves, opaque)
            known[training] = set(opaque)
            if not asked[training].modes:  # the code does the same in the other one
                graphs[not training], known[not training] = deepcopy(graphs[training]), set(opaque)
                made[not training], asked[not training] = made[training], asked[training]
    constants = _own_names(graphs, made)
    return Traced(
        graphs[True], graphs[False], opaque, constants, example is not None, asked[True] | asked[False]
    )


def _own_names(
    graphs: Mapping[bool, fx.Graph], made: Mapping[bool, Mapping[str, torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """The tensors that the code made on the way, each under one name: torch.fx counts them in each trace from 0."""
    tensors: dict[str, torch.Tensor] = {}
    for training, graph in graphs.items():
        names: dict[str, str] = {}
        for node in [n for n in graph.nodes if n.op == "get_attr" and n.target in made[training]]:
            name, value = str(node.target), made[training][str(node.target)]
            if name not in names:
                names[name] = name
                while names[name] in tensors and not _same(tensors[names[name]], value):
                    names[name] += "_"
                tensors[names[name]] = value
            node.target = names[name]
    return tensors


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one is other:
        return True
    alike = one.dtype == other.dtype and one.device == other.device and one.shape == other.shape
    return alike and has_values(one) and has_values(other) and torch.equal(one, other)


def _with_values(
    model: nn.Module, tracer: Callable[..., LeafTracer], leaves: Iterable[str], example: Example
) -> Traced:
    """A trace with the values of an example; numbers that code makes of sizes must not be those of the batch."""
    made: list[LeafTracer] = []

    def noted(kept: Iterable[str], example: Example = example) -> LeafTracer:
        made.append(tracer(kept, example=example))
        return made[-1]

    traced = _trace_both(model, noted, leaves, example)
    valued = [t for t in made if isinstance(t, ValueTracer)]
    if any(t.fixed or t.decides for t in valued):
        doubled = tuple(_of_images(given, _twice) for given in example)
        _demand_same(
            traced, _trace_both(model, functools.partial(noted, example=doubled), leaves, doubled), model
        )
    if any(t.decides for t in valued):
        single = tuple(_of_images(given, _one) for given in example)
        again = _trace_both(model, functools.partial(noted, example=single), leaves, single)
        if again.opaque == traced.opaque:  # else its layers refuse so few images
            _demand_same(traced, again, model)
    return traced


def _demand_same(traced: Traced, again: Traced, model: nn.Module) -> None:
    """Raise TraceError where graphs for another number of images are others."""
    if _written(again.train) != _written(traced.train) or _written(again.eval) != _written(traced.eval):
        raise TraceError(
            f"{type(model).__name__} makes a number of how many images there are, or decides by it, which a graph "
            "would keep"
        )


def _twice(images: int) -> int:
    return 2 * images


def _one(images: int) -> int:
    return min(1, images)


def _of_images(
    given: tuple[int, ...] | torch.Tensor | None, number: Callable[[int], int]
) -> tuple[int, ...] | torch.Tensor | None:
    """An input of an example with another number of images."""
    if isinstance(given, torch.Tensor):
        return given.new_empty((number(given.shape[0]), *given.shape[1:])) if given.dim() else given
    return (number(given[0]), *given[1:]) if given else given


def _written(graph: fx.Graph) -> list[str]:
    return [f"{n.op} {n.target} {n.args} {n.kwargs}" for n in graph.nodes]


def _alive(graph: fx.Graph) -> list[str]:
    """What of a graph reaches its output or leaves something behind, whatever its nodes are called."""
    alive: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        kept = node.op in ("placeholder", "output", "call_module") or node.is_impure()
        if kept or alive & node.users.keys():
            alive.add(node)
    places = {node: f"%{i}" for i, node in enumerate(n for n in graph.nodes if n in alive)}
    return [f"{n.op} {n.target} {fx.node.map_arg((n.args, n.kwargs), places.__getitem__)}" for n in places]


def _tracer(
    kept: Iterable[str],
    *,
    method: str,
    constants: Mapping[str, Any] | None,
    inputs: Sequence[str],
    given: Callable[[], Example | None],
    watched: frozenset[str],
    ours: frozenset[str],
    example: Example | None = None,
    behind: Behind | None = None,
) -> LeafTracer:
    tracer = (
        LeafTracer(kept, method, constants, inputs, given)
        if example is None
        else ValueTracer(example, behind or {}, kept, method, constants, inputs)
    )
    tracer.watched, tracer.ours = watched, ours
    return tracer
