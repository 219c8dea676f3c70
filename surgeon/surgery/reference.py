"""What starts are compared with: the stock network, or, where its batch-norm statistics lag behind its weights, with those of the images.

A short or broken-off training leaves running means and variances that are not those of the weights. Such a network says
something else with statistics of its images, whichever of them they are taken from. A start that takes statistics anew then
moves towards that, and would be blamed for it. Starts are then fitted to it, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn

from surgeon.edits import Note
from surgeon.surgery.drift import drift_of, logits_of
from surgeon.surgery.statistics import put_back, reestimate_statistics, separate_statistics

_MOVED, _TIMES = 0.8, 3.0
"""Drift between stored and new statistics from which they lag: in itself, and as a multiple of that between two halves."""


class Reference(NamedTuple):
    """The stock network's logits on the images held out as it is, those to compare with, and a note where they differ."""

    stock: Tensor | None
    logits: Tensor | None
    note: Note | None


def reference(stock: nn.Module, fitted: Tensor, held_out: Tensor) -> Reference:
    """What starts are compared with on `held_out`; `fitted`: the other images. `stock` is left as it was."""
    own = logits_of(stock, held_out)
    if own is None:
        return Reference(None, None, None)
    whole, first, second = (_anew(stock, part, held_out) for part in (fitted, fitted[::2], fitted[1::2]))
    moved, chance = drift_of(own, whole, "calibration"), drift_of(first, second, "calibration")
    if moved is None or chance is None or not moved.relative > max(_MOVED, _TIMES * chance.relative):
        return Reference(own, own, None)
    text = (
        f"the network's stored batch-norm statistics lag behind its weights, or are of other images: with those of the calibration "
        f"images its logits move by {100 * moved.relative:.0f} %; starts are compared with the network as it then is"
    )
    return Reference(own, whole, Note(code="images", text=text))


@contextlib.contextmanager
def statistics_of(stock: nn.Module, images: Tensor) -> Iterator[None]:
    """Meanwhile the network has batch-norm statistics of the images; its own come back afterwards, also on an error."""
    before = separate_statistics(stock)
    try:
        reestimate_statistics(stock, images)
        yield
    finally:
        put_back(before)


def _anew(stock: nn.Module, images: Tensor, held_out: Tensor) -> Tensor | None:
    with statistics_of(stock, images):
        return logits_of(stock, held_out)
