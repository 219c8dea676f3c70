"""Where a random stream stands, as bytes: a pickle that holds a tensor made for it alone cannot go to another process.

torch hands tensors over by a handle to their memory, and one that only the pickle knows is gone before the other process asks for it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def stream_state(generator: torch.Generator) -> bytes:
    """The state of a generator on the CPU."""
    return generator.get_state().numpy().tobytes()


def stream_at(state: bytes | Tensor) -> torch.Generator:
    """A generator on the CPU in that state; a tensor is what pickles before version 0.2 hold."""
    if not isinstance(state, Tensor):
        state = torch.frombuffer(bytearray(state), dtype=torch.uint8)
    generator = torch.Generator(device="cpu")
    generator.set_state(state)
    return generator
