"""Hashes of weights and images: what an evaluation was of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.torch_private import is_traceable_wrapper_subclass


def weights_hash(model: nn.Module) -> str:
    """16 hex digits over the names, types, shapes and values of all parameters and buffers."""
    return state_hash(model.state_dict())


def state_hash(state: Mapping[str, Any]) -> str:
    """`weights_hash` of the model that a state dict is of."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(state.items()):
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(_bytes(value))
    return digest.hexdigest()


def said(model: nn.Module, images: Tensor, count: int = 64) -> str:
    """16 hex digits over what a model of pixels predicts for the first images: equal weights are no equal model."""
    from surgeon.evaluation.engine.scoring import device_of
    from surgeon.models.quiet import held_still

    with held_still(model, 0), torch.no_grad():
        found = model(images[:count].to(device_of(model))).argmax(1)
    return joined([str(int(k)) for k in found])


def image_hashes(images: Tensor) -> list[str]:
    """16 hex digits for each of `images` (N, …)."""
    return [hashlib.blake2b(_bytes(image), digest_size=8).hexdigest() for image in images]


def joined(parts: list[str]) -> str:
    """16 hex digits over many."""
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


def _bytes(value: Tensor) -> bytes:
    if is_traceable_wrapper_subclass(value):  # as quantised weights are: tensors, and how they are read
        names, how = value.__tensor_flatten__()
        return b"".join([*(_bytes(getattr(value, n)) for n in names), repr(how).encode()])
    return value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
