"""Activations with positions first, (H·W, N, C): a product per position is then one batched product.

The way there and back goes through channels_last, (N, H·W, C): each step then copies either whole rows or
within one image, which is faster on a CPU than a single permutation. Gradients take the same steps back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from surgeon.tensors.recording import recording


def to_places(x: Tensor) -> Tensor:
    """Reorder activations with positions first, so that the numbers of a position are adjacent.

    Args:
        x: (N, C, H, W).

    Returns:
        (H·W, N, C).
    """
    n, channels, height, width = x.shape
    rows = _copied(x, (0, 2, 3, 1)).view(n, height * width, channels)
    return _copied(rows, (1, 0, 2), view=True)


def as_one(places: Tensor, height: int, width: int) -> Tensor:
    """View all images as one image with N·C channels, so that a filter runs once over long rows.

    Args:
        places: (H·W, N, C).
        height: H.
        width: W.

    Returns:
        (1, N·C, H, W) in channels_last, a view.
    """
    return places.view(1, height, width, -1).permute(0, 3, 1, 2)


def places_of(one: Tensor, n: int) -> Tensor:
    """Undo `as_one`.

    Args:
        one: (1, N·C, H, W).
        n: N.

    Returns:
        (H·W, N, C), a view if `one` is in channels_last.
    """
    _, channels, height, width = one.shape
    return one.permute(0, 2, 3, 1).reshape(height * width, n, channels // n)


def from_places(places: Tensor, height: int, width: int) -> Tensor:
    """Undo `to_places`.

    Args:
        places: (H·W, N, C).
        height: H.
        width: W.

    Returns:
        (N, C, H, W) in channels_last.
    """
    _, n, channels = places.shape
    return _copied(places, (1, 0, 2)).view(n, height, width, channels).permute(0, 3, 1, 2)


def from_channels_last(x: Tensor) -> Tensor:
    """Make a channels_last tensor contiguous.

    Args:
        x: (N, C, H, W) in channels_last.

    Returns:
        The same values, contiguous.
    """
    return _copied(x.permute(0, 2, 3, 1), (0, 3, 1, 2))


@dataclass(frozen=True, slots=True)
class _Turn:
    """An order of axes, as a copy or a view; one object, since torch.func counts a tuple's entries."""

    axes: tuple[int, ...]
    view: bool = False

    @property
    def adjoint(self) -> _Turn:
        """The order that gradients go through."""
        return _Turn(tuple(self.axes.index(k) for k in range(len(self.axes))))


def _copied(x: Tensor, axes: tuple[int, ...], *, view: bool = False) -> Tensor:
    """Return `x.permute(axes)`, contiguous or as a view, with gradients that are contiguous."""
    if recording():
        return x.permute(axes) if view else x.permute(axes).contiguous()
    return _Copied.apply(x, _Turn(axes, view))


class _Copied(torch.autograd.Function):
    """A permutation whose backward pass copies in the same steps."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, turn: _Turn) -> Tensor:
        # Copy even if the permutation changes nothing (one channel): in-place code behind may write into it.
        turned = x.permute(turn.axes)
        return turned if turn.view else turned.clone(memory_format=torch.contiguous_format)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, _Turn], output: Tensor) -> None:
        ctx.turn = inputs[1]

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, turn: None) -> Tensor:
        return _Copied.apply(tangent, ctx.turn)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Copied.apply(gradient, ctx.turn.adjoint), None
