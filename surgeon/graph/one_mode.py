"""All modules of a network in one mode for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Put every module in one mode, and give each its own back afterwards, also on an error."""
    before = [(m, m.training) for m in model.modules()]
    for m, _ in before:
        object.__setattr__(m, "training", training)  # nn.Module's own takes a tenth of a whole surgery
    try:
        yield
    finally:
        for m, was in before:
            object.__setattr__(m, "training", was)
