"""Change the spatial size of weights that are maps, as vision transformers do with position embeddings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgeon.errors import LayerError
from surgeon.warned import warn


def resize_maps(maps: Tensor, height: int, width: int) -> Tensor:
    """Interpolate maps to another size: bicubic, corners not aligned, in at least float32.

    Args:
        maps: (..., H, W).
        height: New height.
        width: New width.

    Returns:
        (..., height, width), in the dtype of `maps`; a copy if the size is the same.

    Raises:
        LayerError: A side is below 1.

    Examples:
        >>> import torch
        >>> resize_maps(torch.ones(3, 4, 4), 2, 6).shape
        torch.Size([3, 2, 6])
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
    """Return a new parameter, resized as by `resize_maps`.

    Args:
        parameter: (..., H, W).
        height: New height.
        width: New width.

    Returns:
        (..., height, width), frozen if `parameter` is.
    """
    return nn.Parameter(resize_maps(parameter.detach(), height, width), requires_grad=parameter.requires_grad)


def warn_resized(what: str, old: tuple[int, int], new: tuple[int, int]) -> None:
    """Warn that learned maps were interpolated, which no method's paper covers.

    Args:
        what: Name of the layer.
        old: (H, W) before.
        new: (H, W) after.
    """
    warn(
        f"{what}: maps learned at {old[0]}x{old[1]} were interpolated (bicubic) to {new[0]}x{new[1]}; "
        "fine-tune before use, with an optimizer made anew",
    )
