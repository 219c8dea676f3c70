"""Calls of a rewritten network that its graphs were not made for: graphs for them are found, made, or refused.

The `forward` of the network (`dispatch.py`) comes here. `variants.py` says what tells one call from another, and keeps
the graphs.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from surgeon.errors import SurgeryError, TraceError, either
from surgeon.graph.changes import held_tensors
from surgeon.graph.changes.asked import of_types, types_of
from surgeon.graph.changes.variants import (
    ForwardCall,
    Variant,
    at_defaults,
    call_of,
    same_argument,
    sizes,
    traced_by_fx,
    traced_elsewhere,
)
from surgeon.graph.measuring.signatures import held_arguments
from surgeon.graph.measuring.traced import Asked, Traced
from surgeon.graph.rewritten import coding, copying, making, places_of_calls
from surgeon.graph.rewritten.compiled import compiled, numbers
from surgeon.graph.rewritten.guard import unguard
from surgeon.graph.tracing.exporting import with_demand_plain
from surgeon.graph.tracing.forms import same_form
from surgeon.graph.tracing.modes import follow_modes
from surgeon.graph.trees.one_at_a_time import alone

if TYPE_CHECKING:
    from surgeon.graph.rewritten.network import Rewritten


def otherwise(network: Rewritten, inputs: tuple[str, ...], given: dict[str, Any]) -> Any:
    """`forward` for sizes, or values of optional arguments, that its graphs were not made for."""
    defaults = held_arguments(network._stock_class.forward, inputs)
    recorded = traced_by_fx(given)
    if recorded:
        held = defaults | network._held
        given = at_defaults(network._stock_class.__name__, given, held)
        if all(n in inputs or (n in held and same_argument(v, held[n])) for n, v in given.items()):
            return _recorded(network, [given[n] for n in inputs])
    call = call_of(network._stock_class.forward, given, inputs, defaults)
    if isinstance(call, str):
        _refuse_argument(network, call, given[call])
    variant = network._variants.find(call)
    if variant is None:
        if recorded or traced_elsewhere() or network._by_hand:
            _refuse(network, inputs, given)
        variant = _made(network, call)
    # torch.compile would take the move within the dict for an effect of the call.
    elif not torch.compiler.is_compiling():
        network._variants.use(call)
    return variant.run[network.training](network, *call.tensors.values())


def unlike(network: Rewritten, given: dict[str, Any]) -> Any:
    """`forward` for a required input that is not a tensor, which the graphs take where the code
    hands it on as it is."""
    if traced_by_fx(given):
        return _recorded(network, [*given.values()])
    run = network._forward_train if network.training else network._forward_eval
    if traced_elsewhere():
        return run(*given.values())
    try:
        return run(*given.values())
    except (TypeError, AttributeError, LookupError) as error:
        name, value = next((n, v) for n, v in given.items() if not isinstance(v, torch.Tensor))
        raise SurgeryError(
            f"{network._stock_class.__name__}.forward was given {name} of type "
            f"{type(value).__name__}, and its graphs were made for what "
            f"{name} was at the cut ({' '.join(str(error).split())[:120]}): call it with "
            "a tensor, part by part where there are more"
        ) from error


def _recorded(network: Rewritten, inputs: list[Any]) -> Any:
    """`forward` in a tracer of torch.fx: by the code of its graph, or by the graph itself, which knows the modules
    of its calls, where the tracer writes those down."""
    key = ("forward", network.training, ())
    tracer = places_of_calls.writer(inputs)
    if tracer is None:
        return network._code_of[key][0](network, *inputs)
    return places_of_calls.run_placed(network, network._programs[key], inputs, tracer)


def more_than_traced(network: Rewritten, rest: tuple[Any, ...]) -> NoReturn:
    """Refuse the arguments of a call that the code takes as `*args`: its graphs were made without any.

    Raises:
        SurgeryError: Always.
    """
    name = network._stock_class.__name__
    raise SurgeryError(
        f"{name}.forward was given {len(rest)} more by position than it names, and its graphs were made "
        f"without any: give them names with defaults in the code of {name}.forward, and cut it then"
    )


@alone
def _made(network: Rewritten, call: ForwardCall) -> Variant:
    """Make the graphs for a call, on modules of their own: other threads may compute meanwhile."""
    meanwhile = network._variants.find(call)  # another thread may have made it meanwhile
    if meanwhile is not None:
        return meanwhile
    if network._replica_of is not None:  # its parameters are plain tensors, which code is not traced with
        meanwhile = network._replica_of._variants.find(call) or _made(network._replica_of, call)
        copying.take_graphs(network, network._replica_of)
        return meanwhile
    view = making.apart(network.stock_view(), network)
    anew = functools.partial(
        making.traced_anew, network, view, "forward", call.constants, tuple(call.tensors)
    )
    try:
        # Two images first, since code may do something else for one; some code takes one alone.
        traced = anew(call.example(2))
    except TraceError:
        try:
            traced = anew(call.example(1))
        except TraceError as error:
            raise _not_followed(network, call, error) from error
    hidden = next(
        (n for n in traced.opaque if any(p.site.startswith(f"{n}.") for p in network._points)), None
    )
    if hidden is not None:
        raise _not_followed(network, call, TraceError(f"{hidden}: {traced.opaque[hidden]}"))
    _demand_form(network, traced, call)
    graphs = {True: traced.train, False: traced.eval}
    number = next(numbers)
    constants = held_tensors.adopt(network, traced.constants, graphs.values(), f"call_{number}")
    follow_modes(traced.train, traced.eval, traced.asked.settings)
    for graph in graphs.values():
        making.cut(network, graph, with_input=True)
        with_demand_plain(graph, network._stock_class.__name__, traced.questions)
        graph.owning_module = network
    run = {mode: coding.coded(network, graph, mode)[0] for mode, graph in graphs.items()}
    variant = Variant(graphs, run, constants)
    if traced.asked != Asked() and traced.asked | network._asked != network._asked:
        network.__dict__["_asked"] = traced.asked | network._asked
        coding.listen(network)
    for gone in network._variants.keep(call.kept_under(traced), variant, network):
        held_tensors.drop(network, gone.constants)
    return variant


def _not_followed(network: Rewritten, call: ForwardCall, error: TraceError) -> SurgeryError:
    asked = _asked(call)
    way = f"leave {asked[-1]} out" if asked else "call it with images of the size of the cut"
    what = f" with {', '.join(asked)}" if asked else ""
    return SurgeryError(
        f"no graph can be made for {network._stock_class.__name__}.forward{what} ({error}); {way}"
    )


def _asked(call: ForwardCall) -> list[str]:
    """The arguments of a call beside its first input."""
    return [*call.constants, *list(call.tensors)[1:]]


def _demand_form(network: Rewritten, traced: Traced, call: ForwardCall) -> None:
    """Raise SurgeryError where other arguments give an output that the graph cannot give."""
    asked = _asked(call)
    if not asked:
        return
    view = making.apart(network.stock_view(), network)
    # The code of the view's containers runs here, which their guards would refuse.
    unguard(view)
    for name, value in traced.constants.items():
        view.register_buffer(name, value)
    if not same_form(view, compiled(traced.eval)[0], call.tensors, call.constants):
        raise SurgeryError(
            f"{network._stock_class.__name__}.forward with {', '.join(asked)} gives more, or "
            "less, than a graph shows, such as "
            f"what hooks collect on the way, or a tuple without what is None; leave {asked[-1]} out"
        )


def _refuse(network: Rewritten, inputs: tuple[str, ...], given: Mapping[str, Any]) -> None:
    """Say what the graphs were made for, where no further one can be made."""
    later = (
        "its graph was edited by hand, which another one would not have"
        if network._by_hand
        else "call it so once before torch.compile, torch.export or torch.jit.trace"
    )
    for name, shape in zip(inputs, network._sized or (), strict=False):
        value = given[name]
        if isinstance(value, torch.Tensor) and shape is not None and value.shape[1:] != tuple(shape[1:]):
            raise SurgeryError(
                f"{network._stock_class.__name__} decides by the size of its input and was rewritten for "
                f"{tuple(shape[1:])}; it was given {sizes(value)}: {later}, or apply the recipe again with "
                f"{either('input_size', '--input-size')} for that size"
            )
    made_for = network._types
    if made_for is not None and not of_types((given[n] for n in inputs), made_for):
        types, cast = types_of(given[n] for n in inputs)
        raise SurgeryError(
            f"{network._stock_class.__name__} decides by types and was rewritten for {_named(*made_for)}; it was given "
            f"{_named(types, cast)}: {later}"
        )
    defaults = held_arguments(network._stock_class.forward, inputs) | network._held
    name = next(n for n, v in given.items() if n not in inputs and not same_argument(v, defaults.get(n)))
    raise SurgeryError(
        f"{network._stock_class.__name__}.forward was traced with "
        f"{name}={defaults.get(name)!r}, and its graph knows no other "
        f"value; {later}, or leave {name} out"
    )


def _named(types: tuple[torch.dtype | None, ...], cast: torch.dtype | None) -> str:
    """The types of a call in words."""
    given = ", ".join(str(t).removeprefix("torch.") for t in types if t is not None)
    return f"{given} under autocast to {str(cast).removeprefix('torch.')}" if cast else given


def _refuse_argument(network: Rewritten, name: str, value: Any) -> NoReturn:
    raise SurgeryError(
        f"{network._stock_class.__name__}.forward was given {name} of type "
        f"{type(value).__name__}, for which no graph can be "
        f"made: a graph's arguments are tensors, or plain values such as numbers, texts, None and tuples of them"
    )
