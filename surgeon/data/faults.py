"""What is wrong with data, counted and named; refused, or left out and said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from surgeon.data.decoding import picture_of
from surgeon.data.names import shown
from surgeon.data.records import Borrowed
from surgeon.errors import DataError

NAMED = 5
CLASSES = 1_000_000
"""The most that data without names of their classes may have: a stray label must not make as many of them."""


class Faults(BaseModel):
    """images: usable ones. classes: how many of each. The rest: names of what is wrong, the first few of `counts`."""

    model_config = ConfigDict(frozen=True)

    images: int = 0
    classes: dict[str, int] = {}
    counts: dict[str, int] = {}
    named: dict[str, tuple[str, ...]] = {}

    def lines(self) -> list[str]:
        """A sentence for each kind of fault; none for data without any."""
        return [f"{n} {kind}: {', '.join(self.named[kind])}{', …' if n > len(self.named[kind]) else ''}"
                for kind, n in self.counts.items() if n]  # fmt: skip


def inspect(
    entries: Sequence[tuple[Any, int]], classes: Sequence[str], *, policy: Literal["refuse", "skip"] = "refuse",
    source: str = "", decode: bool = True,
    complete: bool = True,
) -> tuple[list[tuple[Any, int]], Faults]:  # fmt: skip
    """The entries that are usable, and what was wrong with the others.

    decode: also read every image, to find those that cannot be. complete: a class without an image is a fault.

    Raises DataError, with policy "refuse", that counts the faults of each kind and names the first ones.
    """
    bad: dict[str, list[str]] = {
        "images without a label": [], "labels that are no class": [], "images that cannot be read": [], "empty classes": [],
    }  # fmt: skip
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
    bad["empty classes"] = [n for c, n in enumerate(names) if complete and not numbers[c]]
    found = Faults(
        images=len(good), classes={n: numbers[c] for c, n in enumerate(names)},
        counts={k: len(v) for k, v in bad.items() if v}, named={k: tuple(v[:NAMED]) for k, v in bad.items() if v},
    )  # fmt: skip
    if policy == "refuse" and found.counts:
        raise DataError(f"{shown(source)} has {'; '.join(found.lines())}. data.faults=skip leaves them out")
    return good, found


def check_labelled(source: object, entries: Sequence[tuple[Any, int]]) -> None:
    """Raise DataError, naming the first, unless every entry has a label that is a class index."""
    for item, label in entries:
        if not 0 <= label < CLASSES:
            what = "images without a label" if label == -1 else f"a label that is no class index, {label}"
            name = shown(item[0] if isinstance(item, tuple) else item)
            raise DataError(
                f"{shown(source)} has {what} ({name}): put images in one sub-folder a class, or give the parquet file a "
                f"column 'label' of class indices, 0 to {CLASSES - 1:,}"
            )


def _unreadable(item: Any) -> str:
    try:
        (item.picture() if isinstance(item, Borrowed) else picture_of(item)).load()
    except DataError as error:
        return str(error)
    return ""
