"""Find what is wrong with data: count and name it, then refuse it or leave it out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from surgeon.data.decoding import picture_of
from surgeon.data.lazy_images import Borrowed, Item
from surgeon.data.names import alike, shown
from surgeon.errors import DataError

NAMED = 5
CLASSES = 1_000_000
"""The most classes of data without class names: one stray label must not create millions of them."""


class Faults(BaseModel):
    """The faults of a data set.

    Attributes:
        images: number of usable images.
        classes: class → its number of usable images.
        counts: kind of fault → how many.
        named: kind of fault → names of the first few.

    Examples:
        >>> faults = Faults(images=98, counts={"empty classes": 2}, named={"empty classes": ("cat", "dog")})
        >>> faults.lines()
        ['2 empty classes: cat, dog']
    """

    model_config = ConfigDict(frozen=True)

    images: int = 0
    classes: dict[str, int] = {}
    counts: dict[str, int] = {}
    named: dict[str, tuple[str, ...]] = {}

    def lines(self) -> list[str]:
        """Say each kind of fault in a sentence.

        Returns:
            The sentences; an empty list for data without faults.
        """
        return [
            f"{n} {kind}: {', '.join(self.named[kind])}{', …' if n > len(self.named[kind]) else ''}"
            for kind, n in self.counts.items()
            if n
        ]


def inspect(
    entries: Sequence[tuple[Any, int]],
    classes: Sequence[str],
    *,
    policy: Literal["refuse", "skip"] = "refuse",
    source: str = "",
    decode: bool = True,
    complete: bool = True,
) -> tuple[list[tuple[Any, int]], Faults]:
    """Separate the usable entries of a data set from the faulty ones.

    Args:
        entries: (item, label) of each image.
        classes: the classes' names; empty if they have no names.
        policy: "refuse" raises an error for any fault; "skip" leaves faulty entries out.
        source: the data's name, for the message.
        decode: decode every image, to find those that cannot be read.
        complete: count a class without images as a fault.

    Returns:
        The usable entries, and the faults of the others.

    Raises:
        DataError: with policy "refuse", if there are faults; the message counts each kind and names the
            first.
    """
    bad: dict[str, list[str]] = {
        "images without a label": [],
        "labels that are no class": [],
        "images that cannot be read": [],
        "empty classes": [],
    }
    good = []
    for item, label in entries:
        name = shown(item[0] if isinstance(item, tuple) else item)
        if label < 0:
            bad["images without a label" if label == -1 else "labels that are no class"].append(name)
        elif label >= (len(classes) or CLASSES):
            bad["labels that are no class"].append(f"{name} ({label} of {len(classes) or CLASSES})")
        elif decode and (reason := _unreadable(item)):
            bad["images that cannot be read"].append(reason)
        else:
            good.append((item, label))
    numbers = Counter(label for _, label in good)
    highest = max(numbers, default=-1) + 1
    names = list(classes) or [str(c) for c in range(highest)]
    full = [n for c, n in enumerate(names) if numbers[c]]
    bad["empty classes"] = [_beside(n, full) for c, n in enumerate(names) if complete and not numbers[c]]
    faults = Faults(
        images=len(good),
        classes={n: numbers[c] for c, n in enumerate(names)},
        counts={k: len(v) for k, v in bad.items() if v},
        named={k: tuple(v[:NAMED]) for k, v in bad.items() if v},
    )
    if policy == "refuse" and faults.counts:
        raise DataError(f"{shown(source)} has {'; '.join(faults.lines())}. data.faults=skip leaves them out")
    return good, faults


def check_labelled(source: object, entries: Sequence[tuple[Any, int]]) -> None:
    """Check that every entry has a class index as its label.

    Args:
        source: the data's name, for the message.
        entries: (item, label) of each image.

    Raises:
        DataError: one has not; the message names the first.
    """
    for item, label in entries:
        if not 0 <= label < CLASSES:
            what = "images without a label" if label == -1 else f"a label that is not a class index, {label}"
            name = shown(item[0] if isinstance(item, tuple) else item)
            raise DataError(
                f"{shown(source)} has {what} ({name}): put images in one sub-folder a class, "
                "or give the parquet file a "
                f"column 'label' of class indices, 0 to {CLASSES - 1:,}"
            )


def _beside(name: str, full: Sequence[str]) -> str:
    """The name of an empty class, with the one that it may be a misspelling of."""
    other = alike(name, full)
    return f"{shown(name)} (beside {shown(other)}: one class under two names?)" if other else shown(name)


def _unreadable(item: Item) -> str:
    try:
        (item.picture() if isinstance(item, Borrowed) else picture_of(item)).load()
    except DataError as error:
        return str(error)
    return ""
