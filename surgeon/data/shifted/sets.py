"""A published shifted set that was opened: its parts, whose images are read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Kind = Literal["cifar-c", "imagenet-c", "imagenet", "imagenet-subset", "cue-conflict"]
Reading = Callable[[Sequence[int], tuple[int, ...]], Tensor]


@dataclass(frozen=True)
class Part:
    """One part of a set.

    Attributes:
        name: the corruption, or the set's own name.
        severity: 1 to 5; None for a set without severities.
        read: given places and (C, H, W), the images (n, C, H, W), float32 in [0, 1].
    """

    name: str
    severity: int | None
    read: Reading


@dataclass(frozen=True)
class ShiftSet:
    """An opened set.

    Attributes:
        name: what it is called, such as "CIFAR-10-C".
        kind: its layout.
        source: where it lies.
        parts: its parts, all of the same images.
        labels: (N,) int64, places in `classes`, of each part's images.
        classes: what the labels mean: names of CIFAR's classes, WordNet ids, or the 16 classes of cue conflicts.
        textures: (N,) int64, likewise, of cue conflicts; None for other sets.
        contents: a hash of labels and names, of sizes unless there are millions, and of bytes: all, or 256 files.
        whole: whether it has as many images as were published.
        notes: sentences on what it lacks.
    """

    name: str
    kind: Kind
    source: str
    parts: tuple[Part, ...]
    labels: Tensor
    classes: tuple[str, ...]
    contents: str
    whole: bool
    textures: Tensor | None = None
    notes: tuple[str, ...] = ()
