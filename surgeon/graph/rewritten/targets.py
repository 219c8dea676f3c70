"""What a convolution in a rewritten network should give, so that the network behind it computes what it did.

This is not only its own old output. If its branch ends in an addition, the other branch's drift is added, so
that the *sum* is the old one and errors do not accumulate along a residual stream. A norm behind scales the
drift's share; a mask behind says which positions count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from surgeon.graph.places.lifting import FUNCTION
from surgeon.graph.places.residual import Sum, is_sum
from surgeon.graph.rewritten.network import Rewritten
from surgeon.graph.rewritten.pairs import Call, Pair
from surgeon.torch_private import BatchNorm, DropoutNd

_PASSES_BY_NAME = ("DropPath", "StochasticDepth")
_LEAST_SCALE = 1e-2


class Target(NamedTuple):
    """What to fit a layer to.

    Attributes:
        wanted: (N, C, *spatial), the outputs to reach.
        scale: (C,), the factor of the norm behind, 1 without one.
        mask: (C, H, W) bool, the positions that layers behind let through; None for all.
        centred: Whether a norm behind subtracts each channel's mean, so that it need not be reached.
        norm: Name of that norm, or None.
    """

    wanted: Tensor
    scale: Tensor
    mask: Tensor | None
    centred: bool
    norm: str | None


Passing = Callable[[], Tensor | None]
"""Which places an inserted layer lets through in evaluation mode, (C, *spatial) bool; None: all."""


def target(call: Call, network: Rewritten, stock: nn.Module, inserted: Mapping[str, Passing]) -> Target:
    """Find what a convolution, or what replaced it, should give.

    Args:
        call: The call of the convolution.
        network: The rewritten network.
        stock: The network before the cut.
        inserted: For each inserted layer, a function that returns which positions it lets through
            (`Operation.passes`). What it does to numbers belongs to the convolution before it.

    Returns:
        The target.
    """
    old: Tensor = call.old
    scale = old.new_ones(old.shape[1])
    mask: Tensor | None = None
    norm: str | None = None
    node = call.node
    while len(node.users) == 1:
        before, node = node, next(iter(node.users))
        if node.op == "call_module" and not isinstance(node.meta.get(FUNCTION), Sum):
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
    # A pooling between convolution and mask changes the size: the mask then says nothing about these outputs.
    if mask is not None and mask.shape != old.shape[1:]:
        mask = None
    return Target(old, scale, mask, norm is not None, norm)


def _scale(norm: Any) -> Tensor:
    """Return the factor that a norm multiplies each channel by."""
    deviation = (norm.running_var + norm.eps).sqrt()
    return (1 / deviation if norm.weight is None else norm.weight / deviation).detach()


def _bounded(scale: Tensor) -> Tensor:
    """Keep the scale away from 0: a channel that the norm almost switches off cannot make up for a drift."""
    least = _LEAST_SCALE * scale.abs().max().clamp_min(1e-12)
    sign = torch.where(scale < 0, -1.0, 1.0).to(scale)
    return sign * scale.abs().clamp_min(least)


def _passes(module: nn.Module) -> bool:
    """Say whether a module passes its input unchanged in evaluation mode."""
    return isinstance(module, (nn.Identity, DropoutNd)) or type(module).__name__ in _PASSES_BY_NAME


def _other_summand(node: fx.Node, before: fx.Node) -> fx.Node | None:
    """Return the other summand, if a node is an addition of two."""
    if not (is_sum(node) or isinstance(node.meta.get(FUNCTION), Sum)):
        return None
    others = [a for a in node.args if isinstance(a, fx.Node) and a is not before]
    return others[0] if len(others) == 1 else None


def _drift(values: Mapping[fx.Node, Any], node: fx.Node, like: Tensor) -> Tensor | None:
    """Return old minus new of a value that both networks have computed, if it fits `like`."""
    pair = values.get(node)
    if not isinstance(pair, Pair) or not isinstance(pair.old, Tensor) or pair.old.shape != like.shape:
        return None
    return pair.old - pair.new
