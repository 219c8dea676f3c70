"""What a machine can do at most: operations a second in a large matrix product, bytes a second in a copy."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from pathlib import Path

import torch


@functools.cache
def ceilings(device: str = "cpu") -> tuple[float, float]:
    """(floating-point operations a second of torch.mm, bytes read and written a second by a copy), the best of five.

    In float32 on a CPU, in bfloat16 and larger on a GPU.
    """
    cpu = device == "cpu"
    side, size, dtype = (1536, 1 << 25, torch.float32) if cpu else (8192, 1 << 29, torch.bfloat16)
    a, b = torch.randn(2, side, side, device=device, dtype=dtype)
    source, target = torch.randn(2, size, device=device, dtype=dtype)
    moved = 2 * source.element_size() * size
    return 2 * side**3 / _best(lambda: torch.mm(a, b)), moved / _best(lambda: target.copy_(source))


def caches() -> str:
    """Sizes of the first core's caches, level by level, as Linux tells them; empty elsewhere."""
    sizes = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        with contextlib.suppress(OSError):
            level, kind, size = ((index / n).read_text().strip() for n in ("level", "type", "size"))
            if kind != "Instruction":
                sizes[f"L{level}"] = size
    return " ".join(f"{level} {size}" for level, size in sizes.items())


def _best(task: Callable[[], object]) -> float:
    times = []
    for _ in range(6):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        began = time.perf_counter()
        task()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return min(times[1:])
