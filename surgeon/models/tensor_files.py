"""Compare two files of weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from surgeon.models.checkpoints import read_weights


def same_tensors(one: Path, other: Path) -> bool:
    """Whether two files hold the same tensors: names, types, shapes and bytes.

    Args:
        one: a file of weights.
        other: another.

    Raises:
        ArtifactError: a file cannot be read.
    """
    a, b = read_weights(one), read_weights(other)
    return {*a} == {*b} and all(_same(a[k], b[k]) for k in a)


def _same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(_bytes(a), _bytes(b))


def _bytes(tensor: Tensor) -> Tensor:
    """The bytes of a tensor, by which a NaN is equal to itself."""
    return tensor.contiguous().flatten().view(torch.uint8)
