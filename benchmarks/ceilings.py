"""What a machine can do at most: operations a second in a large matrix product, bytes a second in a copy."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import torch


@functools.cache
def ceilings(device: str = "cpu") -> tuple[float, float]:
    """(floating-point operations a second of torch.mm in float32, bytes read and written a second by a copy), the best of five."""
    side, size = 1536, 1 << 25
    a, b = torch.randn(2, side, side, device=device)
    source, target = torch.randn(2, size, device=device)
    return 2 * side**3 / _best(lambda: torch.mm(a, b)), 2 * 4 * size / _best(lambda: target.copy_(source))


def _best(task: Callable[[], object]) -> float:
    found = []
    for _ in range(6):
        began = time.perf_counter()
        task()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        found.append(time.perf_counter() - began)
    return min(found[1:])
