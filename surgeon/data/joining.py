"""Join parts of one source, each with class names of its own, by these names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from surgeon.data.names import shown
from surgeon.errors import DataError

_NAMED = 8


class Part(NamedTuple):
    """A file or a split of a source.

    Attributes:
        name: its name, for messages.
        entries: (item, label) of each image.
        classes: the classes' names, by this part's labels; empty if it has no names.
    """

    name: str
    entries: list[tuple[Any, int]]
    classes: tuple[str, ...]


def joined(parts: Sequence[Part], *, declared: bool) -> tuple[list[list[tuple[Any, int]]], tuple[str, ...]]:
    """Number the classes of all parts as the first one does, by name.

    A label outside its part's classes stays what it is.

    Args:
        parts: the parts.
        declared: whether names are declared by each part, so that all must have the same; else they are those
            of the images that a part happens to hold, and further ones are appended.

    Returns:
        The entries of each part, and the classes' names.

    Raises:
        DataError: declared names differ, one part has them and another does not, or names that would have to
            be matched stand for two classes.
    """
    if not parts:
        return [], ()
    first = parts[0]
    names = list(first.classes)
    for part in parts[1:]:
        if part.classes == first.classes:
            continue
        if declared and {*part.classes} != {*names}:
            raise DataError(_differing(first, part))
        names += [c for c in part.classes if c not in names]
    if any(p.classes not in ((), first.classes) for p in parts):
        for part in parts:
            check_distinct(part.name, part.classes)
    place = {name: number for number, name in enumerate(names)}
    return [
        p.entries
        if p.classes == tuple(names[: len(p.classes)])
        else [(i, place[p.classes[c]] if 0 <= c < len(p.classes) else c) for i, c in p.entries]
        for p in parts
    ], tuple(names)


def check_distinct(place: object, classes: Sequence[str]) -> None:
    """Check that each class has a name of its own.

    Args:
        place: where the names are written, for the message.
        classes: the names, by label.

    Raises:
        DataError: a name is empty, or two classes have one.
    """
    for number, name in enumerate(classes):
        if not name:
            raise DataError(f"{shown(place)} has an empty name for its class {number}: give it one")
        if (before := classes.index(name)) < number:
            raise DataError(
                f"{shown(place)} has the name {shown(name)} for its classes {before} and {number}: "
                "give each class a name of its own"
            )


def _differing(one: Part, other: Part) -> str:
    has = " and ".join(f"{shown(p.name)} {_of(p.classes)}" for p in (one, other))
    new = [c for c in other.classes if c not in one.classes]
    gone = [c for c in one.classes if c not in other.classes]
    apart = "; ".join(
        f"{_some(c)} {where}"
        for c, where in ((gone, "in the first alone"), (new, "in the second alone"))
        if c
    )
    return (
        f"the files of one source name their classes differently: {has} ({apart}): labels cannot be joined; "
        "write the same names into all"
    )


def _of(classes: Sequence[str]) -> str:
    return f"has {_some(classes)}" if classes else "has no names"


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names[:_NAMED])) + (", …" if len(names) > _NAMED else "")
