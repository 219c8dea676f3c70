"""The reference that starts are compared with, even if the stock network's batch-norm statistics lag behind.

A short or interrupted training leaves running means and variances that do not fit the weights. Such a network
computes something else with statistics of its images, whichever images they are taken from. A start that
re-estimates statistics moves towards that, and would be penalised for it. In this case starts are compared
with, and fitted to, the stock network with re-estimated statistics.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn

from surgeon.edits import Note
from surgeon.models.logits import drift_of, logits_of
from surgeon.models.norm_statistics import put_back, reestimate_statistics, separate_statistics

_MOVED, _TIMES = 0.8, 3.0
"""Statistics lag if new ones move the logits by 0.8 and by 3 times the drift between two halves."""


class Reference(NamedTuple):
    """What starts are compared with on the held-out images.

    Attributes:
        stock: The stock network's logits, (N, ...), or None.
        logits: The logits to compare with: the same, or those with re-estimated statistics.
        note: A note if the two differ.
    """

    stock: Tensor | None
    logits: Tensor | None
    note: Note | None


def reference(stock: nn.Module, fitted: Tensor, held_out: Tensor) -> Reference:
    """Compute what starts are compared with.

    Args:
        stock: The network before the cut, which is left as it was.
        fitted: (M, C, H, W), the images that starts are fitted to.
        held_out: (N, C, H, W), the others.

    Returns:
        The reference.
    """
    own = logits_of(stock, held_out)
    if own is None:
        return Reference(None, None, None)
    whole, first, second = (_anew(stock, part, held_out) for part in (fitted, fitted[::2], fitted[1::2]))
    moved, chance = drift_of(own, whole, "calibration"), drift_of(first, second, "calibration")
    if moved is None or chance is None or not moved.relative > max(_MOVED, _TIMES * chance.relative):
        return Reference(own, own, None)
    text = (
        "the network's stored batch-norm statistics lag behind its weights, or are of other "
        "images: with those of the calibration "
        f"images its logits move by {100 * moved.relative:.0f} %; starts are compared with the network as it then is"
    )
    return Reference(own, whole, Note(code="images", text=text))


def as_it_is(stock: nn.Module, held_out: Tensor) -> Reference:
    """Compute the reference for starts that leave batch-norm statistics alone: the stock network as it is.

    Args:
        stock: The network before the cut.
        held_out: (N, C, H, W), the images to compare on.

    Returns:
        The reference.
    """
    own = logits_of(stock, held_out)
    return Reference(own, own, None)


@contextlib.contextmanager
def statistics_of(stock: nn.Module, images: Tensor) -> Iterator[None]:
    """Context manager: the network has batch-norm statistics of the images; its own are restored at the end.

    Args:
        stock: The network.
        images: (N, C, H, W).

    Yields:
        Nothing.
    """
    before = separate_statistics(stock)
    try:
        reestimate_statistics(stock, images)
        yield
    finally:
        put_back(before)


def _anew(stock: nn.Module, images: Tensor, held_out: Tensor) -> Tensor | None:
    """Return the logits with statistics re-estimated on images."""
    with statistics_of(stock, images):
        return logits_of(stock, held_out)
