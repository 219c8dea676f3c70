"""Images that a start is taken from: some of the training images, drawn over all of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surgeon.arguments import checked_count, checked_seed
from surgeon.data.images import Images, pixels
from surgeon.host import in_own_state


@in_own_state()
def drawn(train: Any, count: int, *, seed: int = 0) -> Tensor:
    """`count` of the training images, or all, (N, C, H, W) float32 in [0, 1].

    train: Images or Records. Drawn by `seed`, not taken from the front, where a folder has its first classes alone.
    """
    count, seed = checked_count("count", count), checked_seed(seed)
    whole = len(train.x) if isinstance(train, Images) else len(train)
    chosen = torch.randperm(whole, generator=torch.Generator().manual_seed(seed))[:count].sort().values
    if isinstance(train, Images):
        return pixels(train.x[chosen])
    return pixels(train.subset(chosen.tolist()).in_memory().x)
