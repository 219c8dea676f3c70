"""What several networks of the zoo share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.fx
from torch import Tensor

from surgeon.errors import ModelError


def sides(img_size: int | Sequence[int]) -> tuple[int, int]:
    """Return (H, W) of an image size.

    Args:
        img_size: One number for both sides, or two.

    Returns:
        (H, W).

    Raises:
        ModelError: It is something else.
    """
    given = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
    if len(given) != 2 or not all(isinstance(n, int) and n > 0 for n in given):
        raise ModelError(f"img_size is {img_size!r}; write one side or two, for instance 28 or [28, 28]")
    return given[0], given[1]


def flat(x: Tensor, shape: Sequence[int], img_size: Sequence[int]) -> Tensor:
    """Flatten maps for a fully connected layer that is built for one size.

    Args:
        x: (N, C, H, W).
        shape: The (C, H, W) that fits.
        img_size: (H, W) of the images that give it, for the message.

    Returns:
        (N, C·H·W).

    Raises:
        ModelError: (C, H, W) is not `shape`.
    """
    if tuple(x.shape[1:]) != tuple(shape):
        raise ModelError(
            f"the network is built for images of {img_size[0]}×{img_size[1]}: its first fully connected layer "
            f"takes maps of {_size(shape)}, not {_size(x.shape[1:])}; for another size build it with img_size"
        )
    return torch.flatten(x, 1)


def _size(shape: Sequence[int]) -> str:
    """Write a size with × between its numbers."""
    return "×".join(str(int(n)) for n in shape)


torch.fx.wrap("flat")  # one node of a graph, if called as `parts.flat`: the sizes are compared when it runs
