"""Changing the spatial size of weights that are maps, as vision transformers do with position embeddings."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgeon.errors import LayerError


def resize_maps(maps: Tensor, height: int, width: int) -> Tensor:
    """Bicubic interpolation of the last two axes of `maps` (..., H, W) to (..., height, width), same dtype.

    Interpolated in at least float32, corners not aligned.
    Raises LayerError for a size below 1.
    """
    if height < 1 or width < 1:
        raise LayerError(f"cannot resize maps to {height}x{width}; both sides must be at least 1")
    size = (height, width)
    if maps.shape[-2:] == size:
        return maps.clone()
    stack = maps.reshape(1, -1, *maps.shape[-2:])
    wide = torch.promote_types(maps.dtype, torch.float32)
    out = F.interpolate(stack.to(wide), size=size, mode="bicubic", align_corners=False)
    return out.reshape(*maps.shape[:-2], *size).to(maps.dtype)


def resized_parameter(parameter: nn.Parameter, height: int, width: int) -> nn.Parameter:
    """A new parameter holding `parameter` (..., H, W) resized to (..., height, width)."""
    return nn.Parameter(resize_maps(parameter.detach(), height, width), requires_grad=parameter.requires_grad)


def warn_resized(what: str, old: tuple[int, int], new: tuple[int, int]) -> None:
    """Say that learned maps were interpolated, which no method's paper covers."""
    warnings.warn(
        f"{what}: maps learned at {old[0]}x{old[1]} were interpolated (bicubic) to {new[0]}x{new[1]}; "
        "fine-tune before use, with an optimizer made anew",
        stacklevel=3,
    )
