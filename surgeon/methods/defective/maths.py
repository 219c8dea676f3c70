"""Drawing the mask of defective neurons (Luo et al., abstract)."""

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
    """A bool mask (C, H, W) on the CPU, True where the neuron works.

    Exactly round(keep * C H W) neurons are kept with "neuron", round(keep * H W) positions shared by all
    channels with "same", round(keep * C) whole channels with "channel" (Python's round, halves to even).
    Masks from generators in equal states are nested: that of a smaller `keep` is part of that of a larger
    one.
    Raises LayerError for a keep outside [0, 1], an unknown mode or an empty shape.
    """
    if not 0 <= keep <= 1:
        raise LayerError(f"keep={keep} is outside [0, 1]; it is the share of neurons that work")
    if mode not in MODES:
        raise LayerError(f"mode={mode!r} is not known; 'neuron', 'same' and 'channel' are")
    if len(shape) != 3 or min(shape) < 1:
        raise LayerError(f"shape={tuple(shape)} is not (C, H, W) with every size at least 1")
    drawn = {"neuron": tuple(shape), "same": (1, *shape[1:]), "channel": (shape[0], 1, 1)}[mode]
    count = math.prod(drawn)
    # 32 bits give the same permutation, in less of the memory that it jumps through
    narrow = torch.int32 if count < 2**31 else torch.int64
    order = torch.randperm(count, generator=generator, device="cpu", dtype=narrow)
    mask = torch.zeros(count, dtype=torch.bool, device="cpu")
    mask.index_fill_(0, order[: round(keep * count)].long(), True)
    return mask.view(drawn).expand(shape).clone()
