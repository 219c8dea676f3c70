"""Hashes of weights, images and predictions, which identify an evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.torch_private import is_traceable_wrapper_subclass
from surgeon.values import raw


def weights_hash(model: nn.Module) -> str:
    """Hash the names, types, shapes and values of all parameters and buffers.

    Args:
        model: The network.

    Returns:
        16 hex digits.
    """
    return state_hash(model.state_dict())


def state_hash(state: Mapping[str, Any]) -> str:
    """Compute `weights_hash` from a state dict.

    Args:
        state: The state dict.

    Returns:
        16 hex digits.
    """
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(state.items()):
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(_bytes(value))
    return digest.hexdigest()


def said(model: nn.Module, images: Tensor, count: int = 64) -> str:
    """Hash a model's predictions on the first images.

    Models with equal weights may still compute differently.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) in [0, 1].
        count: Number of images.

    Returns:
        16 hex digits.
    """
    from surgeon.evaluation.engine.scoring import device_of
    from surgeon.models.quiet import held_still

    with held_still(model, 0), torch.no_grad():
        predicted = model(images[:count].to(device_of(model))).argmax(1)
    return joined([str(int(k)) for k in predicted])


def image_hashes(images: Tensor) -> list[str]:
    """Hash each image.

    Args:
        images: (N, …).

    Returns:
        16 hex digits for each.
    """
    return [hashlib.blake2b(_bytes(image), digest_size=8).hexdigest() for image in images]


def joined(parts: list[str]) -> str:
    """Hash a list of strings.

    Args:
        parts: The strings.

    Returns:
        16 hex digits.
    """
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


def _bytes(value: Tensor) -> bytes:
    if is_traceable_wrapper_subclass(value):  # quantised weights: several tensors and how to combine them
        names, how = value.__tensor_flatten__()
        return b"".join([*(_bytes(getattr(value, n)) for n in names), repr(how).encode()])
    return raw(value).tobytes()
