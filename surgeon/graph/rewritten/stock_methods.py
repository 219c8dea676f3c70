"""Methods of the stock class on a rewritten network: what each does there, by how `kinship.py` sorts its name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from surgeon.errors import SurgeryError
from surgeon.graph.changes.unheard import tell_of_all
from surgeon.graph.rewritten import copying, making
from surgeon.graph.rewritten.hosts import instead_of, save_weights
from surgeon.graph.rewritten.indexed import by_index
from surgeon.graph.rewritten.kinship import How
from surgeon.graph.trees.bound_hooks import is_called_back, rebind
from surgeon.graph.trees.one_at_a_time import alone
from surgeon.graph.trees.paths import has
from surgeon.host import own_state
from surgeon.torch_private import HOOKS_ON_ALL, never_compiled, without_tracing
from surgeon.warned import warn

if TYPE_CHECKING:
    from surgeon.graph.rewritten.network import Rewritten


def bound(
    network: Rewritten,
    name: str,
    how: How,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """A method of the stock class on a rewritten network: run in effect, run and rebuild, on a view, or refused."""
    given = dict(kwargs or {})
    if how == "run":
        return _run(network, name, args, given)
    if how == "rebuild":
        return _rebuild_after(network, name, args, given)
    if how == "flag":
        return _flag(network, name, args, given)
    if how == "view":
        return _on_view(network, name, args, given)
    if how == "weights":
        return save_weights(network, *args, **given)
    if how == "index":
        done, result = by_index(network, network.points, name, args, given)
        if done:
            return result
    if is_called_back(network):
        return inspect.getattr_static(network._stock_class, name).__get__(network)(*args, **given)
    raise SurgeryError(
        f"{network._stock_class.__name__}.{name} runs code from before the surgery and was not run; "
        f"{instead_of(network._stock_class, name)}"
    )


def _run(network: Rewritten, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run the graph of a method beside `forward`, which is made when it is first called."""
    network.anchor()
    if any(HOOKS_ON_ALL):
        tell_of_all(network)
    given = inspect.signature(getattr(network._stock_class, method)).bind(network, *args, **kwargs)
    names = list(given.arguments)[1:]
    inputs = [given.arguments[names[0]]]
    constants = tuple((n, _hashable(given.arguments[n])) for n in names[1:])
    key = (method, network.training, constants)
    if key not in network._code_of:
        _add(network, method, constants)
    return network._code_of[key][0](network, *inputs)


@never_compiled("the graph of a method is made in its first call: call it once before torch.compile")
@without_tracing()
@alone
@own_state()
def _add(network: Rewritten, method: str, constants: tuple[tuple[str, Any], ...]) -> None:
    """Make the graphs of a method beside `forward`, on modules of their own: other threads may
    compute meanwhile."""
    if (method, True, constants) in network._code_of:  # another thread made them meanwhile
        return
    if network._replica_of is not None:  # its parameters are plain tensors, which code is not traced with
        _add(network._replica_of, method, constants)
        copying.take_graphs(network, network._replica_of)
        return
    making.trace_and_cut(
        network,
        method,
        constants,
        making.traced_anew(
            network,
            making.apart(network.stock_view(), network),
            method,
            dict(constants),
            (),
            network._example,
        ),
    )
    network._regenerate(network._by_hand)


@alone
def _flag(network: Rewritten, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a method that sets flags which the graphs do not show, but their code does."""
    result = _on_view(network, method, args, kwargs)
    network._regenerate(network._by_hand)
    return result


def _on_view(network: Rewritten, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a method on the network's stock view, and take over what it set."""
    view = network.stock_view()
    result = getattr(view, method)(*args, **kwargs)
    network.__dict__.update(view.__dict__)
    return network if result is view else result


def _rebuild_after(network: Rewritten, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a method that changes modules, such as `reset_classifier`, and make the graphs anew."""
    view = network.stock_view()
    result = getattr(view, method)(*args, **kwargs)
    network.__dict__.update(view.__dict__)
    rebind(network, {"": view})
    lost = [p.layer for p in network._points if p.layer and not has(network, p.layer)]
    network.__dict__["_points"] = tuple(p for p in network._points if p.layer not in lost)
    network.retrace()
    if lost:
        warn(f"{method} removed edited layers: {', '.join(map(str, lost))}")
    return result


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
