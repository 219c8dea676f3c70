"""Values that a state dict has otherwise than its network: hooks on it may scale, round or merge them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from surgeon import tree
from surgeon.graph.rewritten.displaced import Displaced
from surgeon.graph.trees.bound_hooks import is_ours
from surgeon.store.dropped import own_tensors
from surgeon.values import has_values


def altered(model: nn.Module, state: Mapping[str, Any]) -> list[str]:
    """Name the parameters and persistent buffers of which a state dict holds other values, which loading keeps.

    Code of a module's class that puts them back as it is loaded, such as one that packs its weights, alters nothing. A
    hook that does so is on this network, and on no other that its file is loaded into.

    Args:
        model: the network.
        state: its state dict.

    Examples:
        >>> layer = nn.Linear(2, 3)
        >>> altered(layer, layer.state_dict()), altered(layer, {**layer.state_dict(), "bias": layer.bias * 2})
        ([], ['bias'])
    """
    names = list(_otherwise(model, state))
    if not names:
        return []
    try:
        read = _without_hooks_of_loading(copy.deepcopy(model))
        read.load_state_dict(dict(state))
    except Exception:  # what its own code raises: nothing says that the values come back
        return names
    kept = {name: tensor.detach() for name, tensor in own_tensors(read, {})}
    return [n for n in names if n in set(_otherwise(model, kept))]


def altered_at_rest(model: nn.Module) -> list[str]:
    """Name such tensors of the modules that a surgery replaced, which a revert puts back.

    Args:
        model: the network.
    """
    out = (model.__dict__.get("displaced") or Displaced()).modules
    return [
        f"{site}.{name}, as revert restores it,"
        for site, m in out.items()
        for name in altered(m, m.state_dict())
    ]


def _otherwise(model: nn.Module, state: Mapping[str, Any]) -> Iterator[str]:
    for name, tensor in own_tensors(model, state):
        held = state.get(name)
        if isinstance(held, Tensor) and has_values(held) and has_values(tensor) and not _equal(held, tensor):
            yield name


def _equal(one: Tensor, other: Tensor) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    one, other = one.detach(), other.detach()
    if (one.data_ptr(), one.stride()) == (other.data_ptr(), other.stride()):
        return True
    one = one.to(other.device)
    return bool(((one == other) | ((one != one) & (other != other))).all())  # NaN is equal to NaN here


def _without_hooks_of_loading(network: nn.Module) -> nn.Module:
    """The network, with those hooks of a caller's taken off that are called when a state dict is loaded."""
    for _, module in tree.modules(network):
        for kind in ("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"):
            hooks = module.__dict__.get(kind) or {}
            for key in [k for k, hook in hooks.items() if not is_ours(hook)]:
                del hooks[key]
    return network
