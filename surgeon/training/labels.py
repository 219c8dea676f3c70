"""The labels of a training's images: class indices, each one of an output that the network has."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from surgeon.data import Images
from surgeon.errors import DataError
from surgeon.training.source import Source


def labels_of(y: object, name: str, classes: int | None = None, *, numbers: Tensor | None = None) -> Tensor:
    """Return labels as class indices.

    Args:
        y: (N,) whole numbers of any integer type.
        name: Name of the data in error messages.
        classes: Number of the network's outputs; None where it is not known yet.
        numbers: (N,) indices of the images in their data; None where they are not numbered.

    Returns:
        (N,) int64.

    Raises:
        DataError: They are of another type or shape, below 0, or not below `classes`.
    """
    try:
        y = torch.as_tensor(y)
    except (TypeError, ValueError, RuntimeError):
        first = y[0] if isinstance(y, (tuple, list)) and y else y
        raise DataError(
            f"{name} has labels such as {first!r:.80}; give class indices, whole numbers from 0"
        ) from None
    if y.dim() != 1:
        remedy = (
            "labels.argmax(1) of one-hot labels" if y.dim() == 2 and y.shape[1] > 1 else "labels.flatten()"
        )
        raise DataError(f"{name} has labels of the shape {tuple(y.shape)}; give class indices (N,): {remedy}")
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise DataError(
            f"{name} has labels of {y.dtype}; give class indices, whole numbers from 0: labels.long()"
        )
    y = y.to(torch.int64)
    low, high = (int(v) for v in y.aminmax()) if len(y) else (0, 0)
    if low < 0:
        at = None if numbers is None else int(numbers[int(y.argmin())])
        raise DataError(f"{name} has the label {low}{_at(at)}; give class indices from 0")
    if classes is not None:
        highest_of(y, numbers).demand(name, classes)
    return y


class Highest(NamedTuple):
    """The highest label of some, and the index of an image that has it; -1 and None where they are not known."""

    label: int = -1
    number: int | None = None

    def demand(self, name: str, classes: int) -> None:
        """Check that a network has an output for it.

        Args:
            name: Name of the data in the message.
            classes: Number of the network's outputs.

        Raises:
            DataError: The network has no output for it.
        """
        if self.label >= classes:
            raise DataError(
                f"{name} has the label {self.label}{_at(self.number)}, and the network has {classes} outputs, for "
                "labels from 0"
            )


def highest_of(y: Tensor, numbers: Tensor | None) -> Highest:
    """Find the highest of labels.

    Args:
        y: (N,) labels.
        numbers: (N,) indices of the images in their data; None where they are not numbered.

    Returns:
        The label, and the index of the first image that has it.
    """
    if not len(y):
        return Highest()
    place = int(y.argmax())
    return Highest(int(y[place]), None if numbers is None else int(numbers[place]))


def highest(data: Source) -> Highest:
    """Find the highest label.

    Args:
        data: Images, a Dataset or an IterableDataset.

    Returns:
        The highest label and its place; -1 if it is not known without reading the data.
    """
    labels = data.y if isinstance(data, Images) else getattr(data, "labels", None)
    if not isinstance(labels, Tensor) or labels.dim() != 1:
        return Highest()
    return highest_of(labels, torch.arange(len(labels)))


def _at(number: int | None) -> str:
    return "" if number is None else f" at index {number}"
