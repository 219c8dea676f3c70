"""A start from data: each re-fitted convolution learns, in execution order, to undo the drift before it.

Layer by layer, on the rewritten network's own inputs, the weights are set by least squares so that layer and
convolution together give the stock convolution's outputs; the batch norm behind takes its statistics anew
before the next layer's turn. One pass over the graph, both networks side by side.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from surgeon.edits import Edit, Plan
from surgeon.graph.network import Rewritten
from surgeon.graph.pairs import Pair, run_side_by_side
from surgeon.operations import Operation

_MOST_IMAGES = 2048
_MOST_NUMBERS = 6e8
"""Activations held at once, counted as numbers: what one image writes in all, times the images."""


def refit(
    network: nn.Module, stock: nn.Module, record: Plan, operations: dict[str, Operation], images: Tensor
) -> dict[str, float]:
    """Re-fit the convolutions that ask for it (`settings["start"] == "sequential"`); returns relative errors.

    network: after the cut; its convolutions and batch-norm statistics are written to. stock: the network
    before it. images: (N, C, H, W); as many as memory allows, at most 2048. Sites inside sub-networks that
    were rewritten by themselves keep the start they have.
    """
    wanted = {e.site: e for e in record.edits if e.settings.get("start") == "sequential"}
    if not wanted or not isinstance(network, Rewritten):
        return {}
    number = min(len(images), _MOST_IMAGES, max(16, int(_MOST_NUMBERS / max(record.before.activations, 1))))
    like = next(p for p in stock.parameters() if p.is_floating_point())
    errors: dict[str, float] = {}

    def visit(name: str, inputs: Pair, old_output: Any) -> None:
        module = network.get_submodule(name)
        if name in wanted and isinstance(module, _ConvNd):
            error = _refit_one(module, wanted[name], network, operations, inputs.new, old_output)
            if error is not None:
                errors[name] = error
        elif isinstance(module, _BatchNorm) and module.running_mean is not None:
            _take_statistics(module, inputs.new)

    run_side_by_side(network, stock, images[:number].to(like), visit)
    return errors


def _refit_one(
    conv: Any, edit: Edit, network: nn.Module, operations: dict[str, Operation], x: Tensor, wanted: Tensor
) -> float | None:
    if edit.layer is None or wanted.shape[2:] != conv(x[:1]).shape[2:]:
        return None
    gram, cross, energy = _normal_equations(conv, x, wanted)
    weight, bias, error = operations[edit.operation].fit(
        edit, network.get_submodule(edit.layer), gram, cross, energy
    )
    shape = (weight.shape[0], *conv.weight.shape[1:])
    conv.weight.copy_(weight.view(shape).to(conv.weight))
    if bias is not None and conv.bias is not None:
        conv.bias.copy_(bias.to(conv.bias))
    return error


def _normal_equations(conv: Any, x: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means over images and places of u·uᵀ, y·uᵀ and y·yᵀ's diagonal sum, u the patch (and a 1 for the bias)."""
    size = conv.weight[0].numel() + (conv.bias is not None)
    gram = torch.zeros(size, size, dtype=torch.float64, device=x.device)
    cross = torch.zeros(wanted.shape[1], size, dtype=torch.float64, device=x.device)
    energy = torch.zeros((), dtype=torch.float64, device=x.device)
    count = 0
    for part, out in zip(x.split(32), wanted.split(32), strict=True):
        patches = torch.nn.functional.unfold(part, conv.kernel_size, conv.dilation, conv.padding, conv.stride)
        u = patches.transpose(0, 1).flatten(1)
        if conv.bias is not None:
            u = torch.cat([u, u.new_ones(1, u.shape[1])])
        y = out.flatten(2).transpose(0, 1).flatten(1)
        gram += (u @ u.mT).double()
        cross += (y @ u.mT).double()
        energy += y.double().square().sum()
        count += u.shape[1]
    return gram / count, cross / count, energy / count


def _take_statistics(norm: _BatchNorm, x: Tensor) -> None:
    axes = [0, *range(2, x.dim())]
    norm.running_mean.copy_(x.mean(axes))  # type: ignore[union-attr]
    norm.running_var.copy_(x.var(axes, unbiased=x.numel() // x.shape[1] > 1))  # type: ignore[union-attr]
