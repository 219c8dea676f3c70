"""A stream's batches and the length that it says it has, and a word where it gives more or fewer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from surgeon.errors import DataError
from surgeon.warned import warn

_BEGINS = "a stream has to begin again each time that it is iterated"


def up_to_its_length(
    batches: Iterator[Any], start: int, steps: int, *, count: int, shared_by: tuple[int, int], look: bool
) -> Iterator[Any]:
    """Yield the batches of an epoch of a stream.

    Args:
        batches: What the stream gives, in batches.
        start: Index of the first step.
        steps: Number of steps that the stream's length makes.
        count: The stream's length.
        shared_by: (number of processes, number of workers in each).
        look: Whether to look for a batch beyond the last step, which reads one more.

    Yields:
        The batches from `start` on.

    Raises:
        DataError: It gives no batch at all.

    Warns:
        UserWarning: There is a batch beyond the last step, or the batches end before it.
    """
    number, workers = 0, shared_by[1]
    for number, batch in enumerate(itertools.islice(batches, steps), 1):
        if number > start:
            yield batch
    if not number:
        raise DataError(
            f"train gives no batch in this epoch, where its __len__ ({count}) makes {steps}: {_BEGINS}"
        )
    if number < steps:
        parts = (
            f"; each of {workers} workers leaves out what fills no batch of its own" if workers > 1 else ""
        )
        warn(
            f"train gives {number} batches where its __len__ ({count}) makes {steps}: the epoch ends there, and the "
            f"learning rate goes by {steps} steps an epoch{parts}"
        )
    elif look and next(batches, None) is not None:
        warn(
            f"train gives more images than its __len__ says ({count}): an epoch ends there, and the rest is not "
            f"trained on{_of_each(shared_by)}"
        )


def all_of_its_length(batches: Iterator[Any], *, count: int, shared_by: tuple[int, int]) -> Iterator[Any]:
    """Yield all batches of a stream that is validated on.

    Args:
        batches: What the stream gives, in batches.
        count: The stream's length.
        shared_by: (number of processes, number of workers in each).

    Yields:
        The batches.

    Raises:
        DataError: It gives no image.

    Warns:
        UserWarning: It gives more or fewer images than its length.
    """
    number = 0
    for batch in batches:
        number += len(batch[0])
        yield batch
    if not number:
        raise DataError(f"val gives no image in this pass, where its __len__ says {count}: {_BEGINS}")
    if number != count:
        more = _of_each((1, shared_by[1])) if number > count else ""
        warn(
            f"val gives {number} images where its __len__ says {count}: the figures are of these {number}, and those "
            f"of epochs are of the same images only where it gives the same each time{more}"
        )


def _of_each(shared_by: tuple[int, int]) -> str:
    """A clause on processes and workers that each give all of a stream; "" for a single one."""
    processes, workers = shared_by
    if processes * max(workers, 1) == 1:
        return ""
    return (
        "; where each of its processes and workers gives all images, let each give a part of its own "
        "(torch.utils.data.get_worker_info(), torch.distributed.get_rank())"
    )
