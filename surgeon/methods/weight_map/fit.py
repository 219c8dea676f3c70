"""Fit a weight map to the outputs of the convolution that it replaces: least squares on calibration images.

The layer is linear in its weights, with C_out · C_in · H · W unknowns: too many for normal equations.
Conjugate gradients on the least-squares problem (CGLS; Hestenes and Stiefel 1952, section 10) need only the
layer's forward pass and its adjoint, in blocks of images; stopping after few iterations is the
regularisation. Here: the paper trains from random weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from surgeon.methods.weight_map.maths import weight_map
from surgeon.methods.weight_map.module import WeightMap2d

_IMAGES = 64
_ROUNDINGS = 100
"""Stop at a gradient of this many rounding errors of the first one."""
Unknowns = list[Tensor]


def fit_weight_map(
    layer: WeightMap2d, x: Tensor, wanted: Tensor, *, centred: bool = False, iterations: int = 10
) -> float:
    """Set a layer's weights, in place, so that its outputs approach given ones.

    Memory: the residuals, as large as `wanted`, and the passes of 64 images.

    Args:
        layer: The layer.
        x: (N, C_in, H, W).
        wanted: (N, C_out, H_out, W_out).
        centred: Leave the mean of each channel out, since a norm behind subtracts it.
        iterations: Iterations of conjugate gradients.

    Returns:
        The relative error of the outputs.
    """
    fit_bias = layer.bias is not None and not centred
    residual = [part.clone() for part in wanted.split(_IMAGES)]
    if centred:
        mean = wanted.mean((0, 2, 3), keepdim=True)
        residual = [part - mean for part in residual]
    blocks = x.split(_IMAGES)
    solution = [torch.zeros_like(layer.by_channels())]
    if fit_bias:
        solution.append(torch.zeros_like(layer.bias))  # type: ignore[arg-type]  # fit_bias: there is a bias
    total = _square(residual)
    gradient = _adjoint(layer, solution, blocks, residual)
    direction, size = [g.clone() for g in gradient], _square(gradient)
    enough = size * (_ROUNDINGS * torch.finfo(x.dtype).eps) ** 2
    for _ in range(iterations):
        images = [_forward(layer, direction, block) for block in blocks]
        length = _square(images)
        # With `not`, since of NaN every comparison is false: it ends the iterations, too.
        if not size > enough or not length > 0:
            break
        step = size / length
        for value, towards in zip(solution, direction, strict=True):
            value.add_(towards, alpha=step)
        for rest, image in zip(residual, images, strict=True):
            rest.sub_(image, alpha=step)
        gradient = _adjoint(layer, solution, blocks, residual)
        size, last = _square(gradient), size
        direction = [g + (size / last) * d for g, d in zip(gradient, direction, strict=True)]
    with torch.no_grad():
        layer.by_channels().copy_(solution[0])
        if layer.bias is not None:
            layer.bias.copy_(solution[1] if fit_bias else torch.zeros_like(layer.bias))
    return (_square(residual) / total) ** 0.5 if total > 0 else 0.0


def _square(parts: list[Tensor]) -> float:
    """Return the sum of squares, in float64."""
    return float(sum(p.double().square().sum() for p in parts))


def _forward(layer: WeightMap2d, unknowns: Unknowns, x: Tensor) -> Tensor:
    """Apply the layer with other weights."""
    return weight_map(
        x,
        unknowns[0].to(x.dtype),
        unknowns[1] if len(unknowns) > 1 else None,
        kernel_size=layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
        mode=layer.mode,
        normalize=layer.normalize,
    )


def _adjoint(
    layer: WeightMap2d, like: Unknowns, blocks: tuple[Tensor, ...], values: list[Tensor]
) -> Unknowns:
    """Return the layer's adjoint on `values`: the gradient of their inner product with its outputs."""
    sums = [torch.zeros_like(t) for t in like]
    with torch.enable_grad():
        for x, value in zip(blocks, values, strict=True):
            unknowns = [t.detach().requires_grad_() for t in like]
            parts = torch.autograd.grad(_forward(layer, unknowns, x.detach()), unknowns, value)
            for total, part in zip(sums, parts, strict=True):
                total += part
    return sums
