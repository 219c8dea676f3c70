"""Random streams that depend only on the position in the training, so that a resumed one draws the same."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from surgeon.tensors.gaussian import Drawing
from surgeon.tensors.shard import Shard


def seed_of(*parts: object) -> int:
    """Derive a seed from parts such as (seed, epoch, step, name).

    Args:
        parts: Values with a stable text form.

    Returns:
        56 bits; the same on every machine, and different for different parts.
    """
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest())


def stream(*parts: object) -> torch.Generator:
    """Return a CPU generator seeded by `seed_of`.

    Args:
        parts: As for `seed_of`.

    Returns:
        The generator.
    """
    return torch.Generator().manual_seed(seed_of(*parts))


class NoiseStreams:
    """One random stream for each layer that adds Gaussian noise.

    Streams are the same on all processes and restarted at each step.

    Args:
        model: The network.
        device: Where its layers draw.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.layers = [(n, m) for n, m in model.named_modules() if isinstance(m, Drawing)]
        for _, layer in self.layers:
            layer.stream = torch.Generator(device)

    def begin(self, *parts: object) -> None:
        """Restart the streams for a step.

        Args:
            parts: Names the step, such as (seed, epoch, step).
        """
        for name, layer in self.layers:
            if layer.stream is not None:
                layer.stream.manual_seed(seed_of(*parts, name))

    def share(self, shard: Shard | None) -> None:
        """Set which samples of the batch belong to this process.

        Args:
            shard: This process's part; None for a batch that is not shared.
        """
        for _, layer in self.layers:
            if layer.shard is not shard:  # setting an attribute of a module is slow
                layer.shard = shard

    def end(self) -> None:
        """Return the layers to torch's global stream."""
        for _, layer in self.layers:
            layer.stream = layer.shard = None
