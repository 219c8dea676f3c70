"""Statistics that norms note while they are trained, kept through a pass that no part of the training is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.torch_private import NormBase, SpectralNorm, copy_all


@contextlib.contextmanager
def kept_statistics(model: nn.Module) -> Iterator[None]:
    """Restore norm statistics at exit; copied in few calls, since a network has hundreds of them.

    Args:
        model: The network; norms in evaluation mode do not write them.

    Yields:
        None.
    """
    norms = [m for m in model.modules() if isinstance(m, (NormBase, SpectralNorm)) and m.training]
    statistics = [(norm, key, b) for norm in norms for key, b in norm._buffers.items() if b is not None]
    by_kind: dict[Any, list[Tensor]] = {}
    for _, _, statistic in statistics:
        by_kind.setdefault((statistic.device, statistic.dtype), []).append(statistic)
    with torch.no_grad():
        kept = [[torch.empty_like(b) for b in buffers] for buffers in by_kind.values()]
        for copies, buffers in zip(kept, by_kind.values(), strict=True):
            copy_all(copies, buffers)
    try:
        yield
    finally:
        for norm, key, statistic in statistics:
            norm._buffers[key] = statistic
        with torch.no_grad():
            for copies, buffers in zip(kept, by_kind.values(), strict=True):
                copy_all(buffers, copies)
