"""Whether a layer's code is run, or recorded to be run by something else."""

from __future__ import annotations

import torch


def recording() -> bool:
    """True under torch.compile, torch.export and torch.jit.trace: then plain operations alone, that every format knows."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def exporting() -> bool:
    """True under torch.export alone. Inside torch.compile torch 2.11's own `is_exporting` says so too; its flag does not."""
    return bool(torch.compiler._is_exporting_flag)
