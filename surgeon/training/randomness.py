"""Random streams that are functions of where the training is, so that a resumed one draws the same numbers."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from surgeon.tensors.gaussian import Drawing
from surgeon.tensors.shard import Shard


def seed_of(*parts: object) -> int:
    """A seed for these parts, such as (seed, epoch, step, name): the same everywhere, others for others."""
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest())


def stream(*parts: object) -> torch.Generator:
    """A stream on the CPU that starts at the seed of these parts."""
    return torch.Generator().manual_seed(seed_of(*parts))


class NoiseStreams:
    """Streams of the layers that add Gaussian noise: one each, the same on all processes, begun anew each step."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.layers = [(n, m) for n, m in model.named_modules() if isinstance(m, Drawing)]
        for _, layer in self.layers:
            layer.stream = torch.Generator(device)

    def begin(self, *parts: object) -> None:
        """Begin the step called `parts`."""
        for name, layer in self.layers:
            if layer.stream is not None:
                layer.stream.manual_seed(seed_of(*parts, name))

    def share(self, shard: Shard | None) -> None:
        """Say which samples of the batch are this process's."""
        for _, layer in self.layers:
            layer.shard = shard

    def end(self) -> None:
        """Give the layers back to torch's global stream."""
        for _, layer in self.layers:
            layer.stream = layer.shard = None
