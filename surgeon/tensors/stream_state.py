"""The state of a random stream as bytes, so that it can be pickled to another process.

torch passes tensors between processes by a handle to shared memory. A tensor that was made for the pickle
alone is freed before the other process opens the handle.
"""

from __future__ import annotations

import torch


def stream_state(generator: torch.Generator) -> bytes:
    """Return the state of a generator.

    Args:
        generator: A generator on the CPU.

    Returns:
        The state.
    """
    return generator.get_state().numpy().tobytes()


def stream_at(state: bytes) -> torch.Generator:
    """Return a CPU generator in a given state.

    Args:
        state: The state.

    Returns:
        The generator.
    """
    generator = torch.Generator(device="cpu")
    generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
    return generator
