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
from surgeon.models.norm_statistics import (
    Statistics,
    put_back,
    reestimate_statistics,
    separate_statistics,
    statistics_in,
)

_MOVED, _TIMES = 0.8, 3.0
"""Statistics lag if new ones move the logits by 0.8 and by 3 times the drift between two halves."""


class Reference(NamedTuple):
    """What starts are compared with on the held-out images.

    Attributes:
        stock: The stock network's logits, (N, ...), or None.
        logits: The logits to compare with: the same, or those with re-estimated statistics.
        note: A note if the two differ.
        statistics: The re-estimated statistics, by batch norm, if the two differ.
    """

    stock: Tensor | None
    logits: Tensor | None
    note: Note | None
    statistics: Statistics | None = None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Context manager: the stock network is what starts are compared with, and what it was at the end.

        Yields:
            Nothing.
        """
        anew = self.statistics or []
        before = [(norm, statistics_in(norm)) for norm, _ in anew]
        try:
            put_back(anew)
            yield
        finally:
            put_back(before)


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
    with statistics_of(stock, fitted) as statistics:
        whole = logits_of(stock, held_out)
    moved = drift_of(own, whole, "calibration")
    if moved is None or not moved.relative > _MOVED:
        return Reference(own, own, None)
    first, second = (_anew(stock, half, held_out) for half in (fitted[::2], fitted[1::2]))
    chance = drift_of(first, second, "calibration")
    if chance is None or not moved.relative > _TIMES * chance.relative:
        return Reference(own, own, None)
    text = (
        "the network's stored batch-norm statistics lag behind its weights, or are of other "
        "images: with those of the calibration "
        f"images its logits move by {100 * moved.relative:.0f} %; starts are compared with the network as it then is"
    )
    return Reference(own, whole, Note(code="images", text=text), statistics)


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
def statistics_of(stock: nn.Module, images: Tensor) -> Iterator[Statistics]:
    """Context manager: the network has batch-norm statistics of the images; its own are restored at the end.

    Args:
        stock: The network.
        images: (N, C, H, W).

    Yields:
        The statistics of the images, by batch norm.
    """
    before = separate_statistics(stock)
    try:
        reestimate_statistics(stock, images)
        yield [(norm, statistics_in(norm)) for norm, _ in before]
    finally:
        put_back(before)


def _anew(stock: nn.Module, images: Tensor, held_out: Tensor) -> Tensor | None:
    """Return the logits with statistics re-estimated on images."""
    with statistics_of(stock, images):
        return logits_of(stock, held_out)
