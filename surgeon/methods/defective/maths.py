"""Draw the mask of defective neurons (Luo et al., abstract)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from surgeon.errors import LayerError

MODES = ("neuron", "same", "channel")
Shape = tuple[int, int, int]


def defective_mask(
    shape: Shape, keep: float, *, mode: str = "neuron", generator: torch.Generator | None = None
) -> Tensor:
    """Draw a mask that is True where a neuron works.

    Exactly round(keep · C H W) neurons are kept with "neuron", round(keep · H W) positions shared by all
    channels with "same", round(keep · C) whole channels with "channel" (Python's round, halves to even).
    Masks from generators in equal states are nested: that of a smaller `keep` is part of that of a larger
    one.

    Args:
        shape: (C, H, W).
        keep: Share that works, in [0, 1].
        mode: "neuron", "same" or "channel".
        generator: Source of the random numbers. Default: torch's global one.

    Returns:
        (C, H, W) bool, on the CPU.

    Raises:
        LayerError: `keep` is outside [0, 1], the mode is unknown, or the shape is empty.

    Examples:
        >>> import torch
        >>> mask = defective_mask((4, 2, 2), 0.5, mode="channel", generator=torch.Generator().manual_seed(0))
        >>> int(mask.sum()), mask.flatten(1).all(1).sum().item()
        (8, 2)
    """
    if not 0 <= keep <= 1:
        raise LayerError(f"keep={keep} is outside [0, 1]; it is the share of neurons that work")
    if mode not in MODES:
        raise LayerError(f"mode={mode!r} is not known; 'neuron', 'same' and 'channel' are")
    if len(shape) != 3 or min(shape) < 1:
        raise LayerError(f"shape={tuple(shape)} is not (C, H, W) with every size at least 1")
    drawn = {"neuron": tuple(shape), "same": (1, *shape[1:]), "channel": (shape[0], 1, 1)}[mode]
    count = math.prod(drawn)
    # int32 gives the same permutation, faster: a shuffle accesses memory at random.
    narrow = torch.int32 if count < 2**31 else torch.int64
    order = torch.randperm(count, generator=generator, device="cpu", dtype=narrow)
    mask = torch.zeros(count, dtype=torch.bool, device="cpu")
    mask.index_fill_(0, order[: round(keep * count)].long(), True)
    return mask.view(drawn).expand(shape).clone()
