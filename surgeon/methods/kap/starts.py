"""The pooling of one site, and the convolution before it with the weights that it starts from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor, nn

from surgeon.methods.kap.module import KernelAveragePool
from surgeon.methods.kap.order import channel_order, lstsq_ordered_weight, pooling_loss, weight_order
from surgeon.methods.kap.prenorm import PreNormKernelAveragePool
from surgeon.methods.kap.weighted import WeightedKernelPool
from surgeon.methods.kap.weights import (
    fold_weight,
    lstsq_data_weight,
    lstsq_grouped_weight,
    lstsq_weight,
    replicate_weight,
)
from surgeon.tensors.convolution import effective_weight, with_channels, with_weight
from surgeon.tensors.equations import equations

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
    replacement: nn.Module | None = None
    residual: float | None = None
    if blank or operation.widens and start == "naive":
        replacement = with_channels(conv, wide, generator)
    elif start in ("lstsq", "sequential"):
        replacement, residual = _refitted(operation, conv, pool, ordered=bool(given.get("ordered")))
    elif start == "replicate":
        weight, bias = replicate_weight(
            effective_weight(conv), conv.bias, operation.kernel_size, operation.dims, generator=generator
        )
        replacement = with_weight(conv, weight, bias)
    if start == "anneal":
        layer.set_alpha(0.0)
    return replacement, layer, residual


def _refitted(
    operation: KernelAveragePooling, conv: Any, pool: KernelAveragePool, *, ordered: bool
) -> tuple[nn.Module, float | None]:
    """Return a convolution whose pooled kernels approach those that it has now, and their relative error.

    Those that it has now are pooled already where a pooling stands behind it. Where that one is not linear, no weights
    are known to make up for another one: they stay, and there is no error to tell.
    """
    weight, bias = effective_weight(conv), conv.bias
    between = poolings(conv)
    if not all(_linear(each, pool.channels) for each in between):
        return with_weight(conv, weight, bias), None
    before = _product(between) if between else None
    if (groups := conv.groups) > 1:
        matrix = pool.matrix() if before is None else pool.matrix() @ before
        fitted, residual = lstsq_grouped_weight(weight, matrix, groups, operation.damping, behind=before)
        shift = (
            None if bias is None else lstsq_weight(_mixed(before, bias.detach()), matrix, operation.damping)
        )
        return with_weight(conv, fitted, shift), residual
    wanted = _mixed(before, weight)
    # Set the order here too: sites in sub-networks and wide layers are never fitted to images.
    if ordered:
        pool.set_order(weight_order(wanted, pool.factors(), operation.damping))

    def solved(values: Tensor) -> Tensor:
        if before is not None:
            return lstsq_weight(values, pool.matrix() @ before, operation.damping)
        if operation.kernel != "average":
            return lstsq_weight(values, pool.matrix(), operation.damping)
        return lstsq_ordered_weight(values, pool.factors(), operation.damping, pool.order)

    fitted = solved(wanted)
    reached = pool.fold(_mixed(before, fitted.double()))
    shift = None if bias is None else solved(_mixed(before, bias.detach()))
    return with_weight(conv, fitted, shift), _residual(reached, _mixed(before, weight.double()))


def poolings(conv: nn.Module, but: nn.Module | None = None) -> list[Any]:
    """List the poolings that stand behind a convolution, in the order in which they run.

    Args:
        conv: The convolution.
        but: One that is left out.

    Returns:
        The layers.
    """
    kinds = (KernelAveragePool, PreNormKernelAveragePool)
    return [child for child in conv.children() if isinstance(child, kinds) and child is not but]


def _linear(layer: Any, channels: int) -> bool:
    """Say whether a pooling is a square matrix alone."""
    square = isinstance(layer, KernelAveragePool) and layer.channels == layer.out_channels == channels
    return square and layer.pool == "mean"


def _product(layers: Sequence[KernelAveragePool]) -> Tensor:
    """Return the matrix of several poolings, the first of which runs first."""
    matrix = layers[0].matrix()
    for layer in layers[1:]:
        matrix = layer.matrix() @ matrix
    return matrix


def _mixed(matrix: Tensor | None, weight: Tensor) -> Tensor:
    """Return a matrix times kernels or a bias, in their dtype; without a matrix these."""
    return weight if matrix is None else fold_weight(weight, None, matrix)[0]


def fit_to_images(seen: Observed, ridge: float) -> float | None:
    """Fit a convolution so that its pooled outputs approach the stock ones: eq. 3, solved for W.

    Args:
        seen: The calibration images at the edit.
        ridge: The ridge.

    Returns:
        The relative error of the pooled outputs; None where a pooling that is not linear stands between the two, and
        nothing is fitted.

    Raises:
        Unfitted: The module is not a 2-D convolution, or too wide.
    """
    conv: Any = seen.module
    pool: Any = seen.layer
    problem, between = seen.problem, poolings(conv, but=pool)
    if not all(_linear(each, pool.channels) for each in between):
        return None
    normal = problem.equations
    if between and (kept := [each for each in between if each in seen.kept]):
        wanted = _product(kept).to(seen.wanted)
        aim = torch.einsum("ab,nb...->na...", wanted, seen.wanted)
        normal = equations(conv, seen.inputs, aim, centred=seen.centred, fit_bias=problem.biased)
    regression = normal.solve(ridge)[0]
    if pool.order is not None:
        # The covariance of the outputs, as the norm behind scales them, says which channels are alike.
        scaled = problem.scale.unsqueeze(1) * regression
        covariance = scaled @ normal.gram[0] @ scaled.mT
        pool.set_order(channel_order(pooling_loss(pool.factors(), ridge), covariance))
    matrix = _product([*between, pool])
    solved = lstsq_data_weight(matrix, regression, problem.scale, ridge)
    error = normal.error((matrix.to(solved) @ solved).unsqueeze(0))
    weight = solved[:, :-1] if problem.biased else solved
    conv.weight.copy_(weight.view(-1, *conv.weight.shape[1:]).to(conv.weight))
    if problem.biased:
        conv.bias.copy_(solved[:, -1].to(conv.bias))
    return error


def _residual(reached: Tensor, wanted: Tensor) -> float:
    """Return the relative error of weights."""
    return float((reached - wanted).norm() / wanted.norm().clamp_min(1e-30))
