"""What a convolution in a rewritten network should give, so that the network behind it is as it was.

Not only its own old output: where its branch ends in an addition, what the other branch has drifted by is added, so that
the *sum* is the old one and errors do not pile up along a residual stream. A norm behind scales the drift's share; a mask
behind says which places count.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from surgeon.graph.network import Rewritten
from surgeon.graph.pairs import Call, Pair
from surgeon.torch_private import BatchNorm, DropoutNd

_ADDITIONS = (operator.add, operator.iadd, torch.add)
_ADDING_METHODS = ("add", "add_")
_PASSES_BY_NAME = ("DropPath", "StochasticDepth")
_LEAST_SCALE = 1e-2


class Target(NamedTuple):
    """What to fit.

    wanted: the outputs to reach, (N, C, *spatial). scale: (C,), what the norm behind multiplies each channel by, 1 without
    one. mask: (C, H, W) bool, the places that layers behind let through; None: all. centred: whether a norm behind takes
    each channel's mean away, so that it need not be reached. norm: the name of that norm.
    """

    wanted: Tensor
    scale: Tensor
    mask: Tensor | None
    centred: bool
    norm: str | None


Passing = Callable[[], Tensor | None]
"""Which places an inserted layer lets through in evaluation mode, (C, *spatial) bool; None: all."""


def target(call: Call, network: Rewritten, stock: nn.Module, inserted: Mapping[str, Passing]) -> Target:
    """The target of the convolution (or what replaced it) whose call this is.

    inserted: the layers that surgery put in, by name. What they do to numbers belongs to the convolution before them; only
    which places they let through is asked for (`Operation.passes`).
    """
    old: Tensor = call.old
    scale = old.new_ones(old.shape[1])
    mask: Tensor | None = None
    norm: str | None = None
    node = call.node
    while len(node.users) == 1:
        before, node = node, next(iter(node.users))
        if node.op == "call_module":
            name, module = str(node.target), network.get_submodule(str(node.target))
            if name in inserted:
                mask = inserted[name]() if mask is None else mask
            elif (
                isinstance(module, BatchNorm)
                and module.running_mean is not None
                and norm is None
                and mask is None
            ):
                scale, norm = _scale(stock.get_submodule(name)), name
            elif not _passes(module):
                break
            continue
        other = _other_summand(node, before)
        drift = _drift(call.values, other, old) if other is not None else None
        if drift is not None:
            old = old + drift / _bounded(scale).view(-1, *[1] * (old.dim() - 2))
        break
    if mask is not None and mask.shape != old.shape[1:]:
        mask = None
    return Target(old, scale, mask, norm is not None, norm)


def _scale(norm: Any) -> Tensor:
    deviation = (norm.running_var + norm.eps).sqrt()
    return (1 / deviation if norm.weight is None else norm.weight / deviation).detach()


def _bounded(scale: Tensor) -> Tensor:
    """The scale, away from 0: a channel that the norm all but switches off cannot take up a drift."""
    least = _LEAST_SCALE * scale.abs().max().clamp_min(1e-12)
    sign = torch.where(scale < 0, -1.0, 1.0).to(scale)
    return sign * scale.abs().clamp_min(least)


def _passes(module: nn.Module) -> bool:
    return isinstance(module, (nn.Identity, DropoutNd)) or type(module).__name__ in _PASSES_BY_NAME


def _other_summand(node: fx.Node, before: fx.Node) -> fx.Node | None:
    adds = (node.op == "call_function" and node.target in _ADDITIONS) or (
        node.op == "call_method" and node.target in _ADDING_METHODS
    )
    if not adds or len(node.args) != 2 or node.kwargs:
        return None
    others = [a for a in node.args if isinstance(a, fx.Node) and a is not before]
    return others[0] if len(others) == 1 else None


def _drift(values: Mapping[fx.Node, Any], node: fx.Node, like: Tensor) -> Tensor | None:
    """Old minus new of a value that both networks have computed already, if it has the shape of `like`."""
    pair = values.get(node)
    if not isinstance(pair, Pair) or not isinstance(pair.old, Tensor) or pair.old.shape != like.shape:
        return None
    return pair.old - pair.new
