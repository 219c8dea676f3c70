"""Activations with their positions first: (H·W, N, C), where a product per position is one batched matrix product.

Between the two lies channels_last, (N, H·W, C): each step then copies either whole rows or within an image, which a CPU
does faster than the way there in one. Gradients take the same steps back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from surgeon.tensors.recording import recording


def to_places(x: Tensor) -> Tensor:
    """(N, C, H, W) → (H·W, N, C), the numbers at a position side by side, which a matrix product reads as they are."""
    n, channels, height, width = x.shape
    rows = _copied(x, (0, 2, 3, 1)).view(n, height * width, channels)
    return _copied(rows, (1, 0, 2), view=True)


def as_one(places: Tensor, height: int, width: int) -> Tensor:
    """(H·W, N, C) → (1, N·C, H, W) in channels_last, a view: a filter goes through all images at once, in rows of N·C."""
    return places.view(1, height, width, -1).permute(0, 3, 1, 2)


def places_of(one: Tensor, n: int) -> Tensor:
    """(1, N·C, H, W) → (H·W, N, C), a view where that is in channels_last."""
    _, channels, height, width = one.shape
    return one.permute(0, 2, 3, 1).reshape(height * width, n, channels // n)


def from_places(places: Tensor, height: int, width: int) -> Tensor:
    """(H·W, N, C) → (N, C, H, W) in channels_last."""
    _, n, channels = places.shape
    return _copied(places, (1, 0, 2)).view(n, height, width, channels).permute(0, 3, 1, 2)


def from_channels_last(x: Tensor) -> Tensor:
    """(N, C, H, W) in channels_last → the same, contiguous."""
    return _copied(x.permute(0, 2, 3, 1), (0, 3, 1, 2))


@dataclass(frozen=True, slots=True)
class _Turn:
    """An order of axes, as a copy or as a view. One thing to torch.func, which counts the members of a tuple."""

    axes: tuple[int, ...]
    view: bool = False

    @property
    def adjoint(self) -> _Turn:
        """What gradients go through."""
        return _Turn(tuple(self.axes.index(k) for k in range(len(self.axes))))


def _copied(x: Tensor, axes: tuple[int, ...], *, view: bool = False) -> Tensor:
    """`x.permute(axes)`, contiguous or as a view, with gradients that are contiguous."""
    if recording():
        return x.permute(axes) if view else x.permute(axes).contiguous()
    return _Copied.apply(x, _Turn(axes, view))


class _Copied(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, turn: _Turn) -> Tensor:
        # A copy even where the order of one number changes nothing: what follows may write into it.
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
