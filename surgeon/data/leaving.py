"""Leave classes without training images out of all splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from surgeon.data.faults import NAMED, Faults
from surgeon.data.lazy_images import Borrowed, Item
from surgeon.data.names import shown

DROPPED = "images of classes without training images"
Entries = list[tuple[Item, int]]


class Left(NamedTuple):
    """What is left: the entries of each split, newly numbered, the classes' names, and the faults."""

    splits: dict[str, Entries]
    classes: tuple[str, ...]
    faults: Faults


def without_untrained(splits: Mapping[str, Entries], classes: Sequence[str], faults: Faults) -> Left:
    """Leave out each class without training images; images of such a class in other splits are faults.

    Args:
        splits: usable entries by split.
        classes: the classes' names, by label.
        faults: the faults so far.
    """
    trained = {label for _, label in splits.get("train", [])}
    if not trained or len(trained) == len(classes):
        return Left(dict(splits), tuple(classes), faults)
    kept = [c for c in range(len(classes)) if c in trained]
    place = {c: number for number, c in enumerate(kept)}
    dropped = [shown(_name(i)) for e in splits.values() for i, c in e if c not in place]
    counts, named = dict(faults.counts), dict(faults.named)
    if dropped:
        counts[DROPPED], named[DROPPED] = len(dropped), tuple(dropped[:NAMED])
    names = tuple(classes[c] for c in kept)
    left = Faults(
        images=faults.images - len(dropped),
        classes={n: faults.classes.get(n, 0) for n in names},
        counts=counts,
        named=named,
    )
    return Left({s: [(i, place[c]) for i, c in e if c in place] for s, e in splits.items()}, names, left)


def _name(item: Item) -> Path | str | Borrowed:
    return item[0] if isinstance(item, tuple) else item
