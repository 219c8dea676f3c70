"""Compare two files of weights."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from surgeon.models.checkpoints import read_weights
from surgeon.values import raw


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
    """Whether tensors are equal byte by byte, so that a NaN is equal to itself."""
    return a.dtype == b.dtype and a.shape == b.shape and bool((raw(a) == raw(b)).all())
