"""Images for calibration, drawn from the whole training set."""

from __future__ import annotations

import torch
from torch import Tensor

from surgeon.arguments import checked_count, checked_seed
from surgeon.data.images import Images, pixels
from surgeon.data.lazy_images import Records
from surgeon.data.refusals import streamed
from surgeon.errors import DataError
from surgeon.host import in_own_state


@in_own_state()
def drawn(train: Images | Records, count: int, *, seed: int = 0) -> Tensor:
    """Draw calibration images from a training set.

    They are drawn at random, since the first images of a folder all come from its first classes.

    Args:
        train: Images or Records.
        count: number of images; all of them if there are fewer.
        seed: seed of the draw.

    Returns:
        (N, C, H, W) float32 in [0, 1], in the set's order.

    Raises:
        ArgumentError: `count` or `seed` is not valid.
        DataError: the set is a stream.

    Examples:
        >>> from surgeon.data import digits, drawn
        >>> drawn(digits()["train"], 32).shape
        torch.Size([32, 1, 16, 16])
    """
    count, seed = checked_count("count", count), checked_seed(seed)
    if not isinstance(train, (Images, Records)):
        raise DataError(streamed("the source", "a start that is fitted to images"))
    whole = len(train.x) if isinstance(train, Images) else len(train)
    chosen = torch.randperm(whole, generator=torch.Generator().manual_seed(seed))[:count].sort().values
    if isinstance(train, Images):
        return pixels(train.x[chosen])
    return pixels(train.subset(chosen.tolist()).in_memory().x)
