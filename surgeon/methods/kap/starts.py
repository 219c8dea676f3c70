"""The pooling of one site, and the convolution before it with the weights that it starts from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor, nn

from surgeon.methods.kap.module import KernelAveragePool
from surgeon.methods.kap.order import channel_order, lstsq_ordered_weight, pooling_loss, weight_order
from surgeon.methods.kap.prenorm import PreNormKernelAveragePool
from surgeon.methods.kap.weighted import WeightedKernelPool
from surgeon.methods.kap.weights import (
    lstsq_data_weight,
    lstsq_grouped_weight,
    lstsq_weight,
    replicate_weight,
)
from surgeon.tensors.convolution import effective_weight, with_channels, with_weight

if TYPE_CHECKING:
    from surgeon.methods.base import Observed
    from surgeon.methods.kap.operation import KernelAveragePooling


def started(
    operation: KernelAveragePooling, given: dict[str, Any], conv: Any, generator: Generator, *, blank: bool
) -> tuple[nn.Module | None, nn.Module, float | None]:
    """Make the pooling, and a convolution with the start's weights.

    Args:
        operation: The operation.
        given: The settings of the edit.
        conv: The convolution.
        generator: Source of the random numbers.
        blank: Whether the convolution only needs the right shape, as its weights are loaded afterwards.

    Returns:
        The convolution, or None where the old one stays; the pooling; and the relative error of the pooled kernels
        after least squares.
    """
    start, wide = given.get("start"), math.prod(given["sheet"])
    made: dict[str, Any] = dict(
        pool=operation.pool,
        sigma=operation.sigma,
        sheet=given["sheet"],
        spatial_dims=given.get("spatial_dims"),
    )
    sizes = (wide, operation.kernel_size, operation.stride, operation.dims)
    pool = (
        KernelAveragePool(*sizes, even=operation.even, divisor=operation.divisor, **made)
        if operation.kernel == "average"
        else WeightedKernelPool(*sizes, kernel=operation.kernel, spread=operation.spread, **made)
    )
    layer: KernelAveragePool | PreNormKernelAveragePool = pool
    if operation.pre_norm:
        layer = PreNormKernelAveragePool(pool, wide, given["spatial_dims"])
    if given.get("ordered"):
        pool.set_order(torch.arange(wide))  # a buffer, so that a fitted order can be loaded
    replacement, residual = None, None
    if blank or operation.widens and start == "naive":
        replacement = with_channels(conv, wide, generator)
    elif start in ("lstsq", "sequential"):
        weight, bias = effective_weight(conv), conv.bias
        if (groups := conv.groups) > 1:
            fitted, residual = lstsq_grouped_weight(weight, pool.matrix(), groups, operation.damping)
            shift = None if bias is None else lstsq_weight(bias.detach(), pool.matrix(), operation.damping)
            return with_weight(conv, fitted, shift), layer, residual
        # Set the order here too: sites in sub-networks and wide layers are never fitted to images.
        if given.get("ordered"):
            pool.set_order(weight_order(weight, pool.factors(), operation.damping))

        def solved(values: Tensor) -> Tensor:
            if operation.kernel != "average":
                return lstsq_weight(values, pool.matrix(), operation.damping)
            return lstsq_ordered_weight(values, pool.factors(), operation.damping, pool.order)

        fitted = solved(weight)
        residual = _residual(pool.fold(fitted.double()), weight.double())
        shift = None if bias is None else solved(bias.detach())
        replacement = with_weight(conv, fitted, shift)
    elif start == "replicate":
        weight, bias = replicate_weight(
            effective_weight(conv), conv.bias, operation.kernel_size, operation.dims, generator=generator
        )
        replacement = with_weight(conv, weight, bias)
    if start == "anneal":
        layer.set_alpha(0.0)
    return replacement, layer, residual


def fit_to_images(seen: Observed, ridge: float) -> float:
    """Fit a convolution so that its pooled outputs approach the stock ones: eq. 3, solved for W.

    Args:
        seen: The calibration images at the edit.
        ridge: The ridge.

    Returns:
        The relative error of the pooled outputs.

    Raises:
        Unfitted: The module is not a 2-D convolution, or too wide.
    """
    conv: Any = seen.module
    pool: Any = seen.layer
    problem = seen.problem
    regression = problem.equations.solve(ridge)[0]
    if pool.order is not None:
        # The covariance of the outputs, as the norm behind scales them, says which channels are alike.
        scaled = problem.scale.unsqueeze(1) * regression
        covariance = scaled @ problem.equations.gram[0] @ scaled.mT
        pool.set_order(channel_order(pooling_loss(pool.factors(), ridge), covariance))
    solved = lstsq_data_weight(pool.matrix(), regression, problem.scale, ridge)
    error = problem.equations.error((pool.matrix().to(solved) @ solved).unsqueeze(0))
    weight = solved[:, :-1] if problem.biased else solved
    conv.weight.copy_(weight.view(-1, *conv.weight.shape[1:]).to(conv.weight))
    if problem.biased:
        conv.bias.copy_(solved[:, -1].to(conv.bias))
    return error


def _residual(reached: Tensor, wanted: Tensor) -> float:
    """Return the relative error of weights."""
    return float((reached - wanted).norm() / wanted.norm().clamp_min(1e-30))
