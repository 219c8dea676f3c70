"""Tensors that the graphs hold as constants: made by the stock network's code while it was traced, such as a mask.

They are buffers of the network that no state dict has, so no load can fill them: through the meta device and empty
memory their values are kept aside.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from surgeon.graph.measuring.traced import PLAIN_CONSTANT
from surgeon.values import empties

if TYPE_CHECKING:
    from surgeon.graph.rewritten.network import Rewritten


def adopt(
    network: Rewritten, constants: Mapping[str, torch.Tensor], graphs: Iterable[fx.Graph], suffix: str
) -> tuple[str, ...]:
    """Keep tensors that the code made while it was traced, as buffers that graphs name; returns their names.

    torch.fx names them alike in each trace, so those of other graphs than `forward`'s get the `suffix`.
    """
    names = {name: f"{name}_{suffix}" if suffix else name for name in constants}
    for name, own in names.items():
        network.register_buffer(own, constants[name], persistent=False)
    for node in (n for g in graphs for n in g.nodes if n.op == "get_attr"):
        node.target = names.get(str(node.target), node.target)
    network.__dict__["_constants"] = (*network._constants, *names.values())
    return tuple(names.values())


def drop(network: Rewritten, names: Iterable[str] | None = None) -> None:
    """Forget those tensors, or some of them, with the graphs that name them."""
    gone = set(network._constants if names is None else names)
    for name in gone:
        network._buffers.pop(name, None)
        network._non_persistent_buffers_set.discard(name)
    network.__dict__["_constants"] = tuple(n for n in network._constants if n not in gone)


@contextlib.contextmanager
def kept_through(network: Rewritten, fn: Callable[..., Any]) -> Iterator[None]:
    """Keep their values while `nn.Module._apply` runs `fn` on every tensor, which may empty them or take them to
    the meta device."""
    before = {n: t for n in network._constants if (t := network._buffers.get(n)) is not None}
    aside = network.__dict__.get("_aside", {}) | {n: t for n, t in before.items() if not t.is_meta}
    yield
    network.__dict__["_aside"] = {}
    for name, old in before.items():
        new = network._buffers[name]
        if new is None or name not in aside:
            continue
        if name.startswith(PLAIN_CONSTANT) and new.dtype != old.dtype:
            new = network._buffers[name] = old.to(new.device)  # as the code would make it again
        if new.is_meta:
            network.__dict__["_aside"][name] = aside[name]
        elif old.is_meta or empties(fn):
            with torch.no_grad():
                new.copy_(aside[name])


def bring_back(network: Rewritten, state: Mapping[str, Any]) -> None:
    """Give those on the meta device their values again, on the device of a state that was assigned to the network."""
    at = next((t.device for t in state.values() if isinstance(t, torch.Tensor)), None)
    if at is None:
        return
    for name, value in network.__dict__.get("_aside", {}).items():
        there = network._buffers.get(name)
        if there is not None and there.is_meta:
            network._buffers[name] = value.to(at, there.dtype)
