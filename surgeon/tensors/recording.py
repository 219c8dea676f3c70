"""Whether a layer's code runs eagerly, or is recorded into a graph."""

from __future__ import annotations

import torch


def recording() -> bool:
    """Say whether code is recorded by torch.compile, torch.export or torch.jit.trace.

    Returns:
        True if so: code must then use plain operations, which every format knows.
    """
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def exporting() -> bool:
    """Say whether code is recorded by torch.export.

    torch 2.11's own `is_exporting` is true inside torch.compile as well; its flag is not.

    Returns:
        Whether it is.
    """
    return bool(torch.compiler._is_exporting_flag)
