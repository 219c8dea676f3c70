"""The state of a random stream as bytes, so that it can be pickled to another process.

torch passes tensors between processes by a handle to shared memory. A tensor that was made for the pickle
alone is freed before the other process opens the handle.
"""

from __future__ import annotations

import torch
from torch import Tensor


def stream_state(generator: torch.Generator) -> bytes:
    """Return the state of a generator.

    Args:
        generator: A generator on the CPU.

    Returns:
        The state.
    """
    return generator.get_state().numpy().tobytes()


def stream_at(state: bytes | Tensor) -> torch.Generator:
    """Return a CPU generator in a given state.

    Args:
        state: The state; a tensor in pickles from before version 0.2.

    Returns:
        The generator.
    """
    if not isinstance(state, Tensor):
        state = torch.frombuffer(bytearray(state), dtype=torch.uint8)
    generator = torch.Generator(device="cpu")
    generator.set_state(state)
    return generator
