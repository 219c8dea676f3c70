"""Whether a layer's code runs eagerly, or is recorded into a graph."""

from __future__ import annotations

import torch

from surgeon.torch_private import is_functionalised, recorded_by_export


def recording() -> bool:
    """Say whether code is recorded by torch.compile, torch.export or torch.jit.trace, or goes through functionalize.

    Returns:
        True if so: code must then use plain operations, which every format knows.
    """
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or is_functionalised()


def exporting() -> bool:
    """Say whether code is recorded by torch.export.

    Returns:
        Whether it is.
    """
    return recorded_by_export()
