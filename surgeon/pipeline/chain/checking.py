"""Checks: fits, does not fit, or cannot be examined. Nothing here writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from surgeon.errors import SurgeonError
from surgeon.ownership import read_manifest
from surgeon.verification import Check


class Misfit(SurgeonError):
    """Two things that belong together do not match."""


class Unknown(Exception):
    """Something cannot be checked; the text is the reason."""


Keep = Callable[[dict[str, Any]], None]
"""Takes the settings that further checks go by."""


def checked(name: str, look: Callable[[], str]) -> Check:
    """Make a check.

    Args:
        name: the check's name.
        look: returns the check's text; raises `Misfit` or another error where something does not match, and
            `Unknown` where it cannot be checked.
    """
    try:
        return Check(name=name, ok=True, detail=look())
    except Unknown as reason:
        return Check(name=name, ok=None, detail=str(reason))
    except (SurgeonError, OSError) as error:
        return Check(name=name, ok=False, detail=_line(error))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        return Check(name=name, ok=False, detail=f"is damaged ({type(error).__name__}: {_line(error)[:160]})")


def unknown(name: str, why: str) -> Check:
    """A check that could not be made.

    Args:
        name: the check's name.
        why: the reason.
    """
    return Check(name=name, ok=None, detail=why)


def within(place: str, checks: Iterable[Check]) -> list[Check]:
    """Put a folder's name in front of the names of its checks: `cut/files` for `files`.

    Args:
        place: the folder's name.
        checks: its checks.
    """
    return [c.model_copy(update={"name": f"{place}/{c.name}"}) for c in checks]


def some(names: Iterable[str], most: int = 3) -> str:
    """The first names, and how many more there are.

    Args:
        names: all names.
        most: how many to list.
    """
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def in_use(folder: Path) -> list[Check]:
    """A check that notes that another process may be working in a folder; empty otherwise.

    Args:
        folder: the folder.
    """
    from surgeon.disk.hidden import lock_beside, lock_inside

    if lock_beside(folder).exists() or lock_inside(folder).exists():
        return [
            unknown(
                "in use", "another process works here, or one was killed: what is not finished may differ"
            )
        ]
    return []


def opened(
    folder: Path, what: str, name: str, read: Callable[[Path, Keep], str]
) -> tuple[list[Check], dict[str, Any] | None]:
    """The first checks of a folder, and the settings that all others go by.

    Args:
        folder: the folder.
        what: what its manifest says that it is.
        name: name of the check of its settings.
        read: returns that check's text, and keeps the settings as soon as others can go by them.

    Returns:
        The checks; the settings, or None where they cannot be read.
    """
    contents: list[dict[str, Any]] = []

    def look() -> str:
        demand_manifest(folder, what)
        return read(folder, contents.append)

    checks = [*in_use(folder), checked(name, look)]
    return checks, contents[0] if contents else None


def demand_manifest(folder: Path, what: str) -> None:
    """Raise `Misfit` where no manifest says what a folder is.

    Args:
        folder: the folder.
        what: what it must be, such as "run".
    """
    known = read_manifest(folder)
    if known is None or known.what != what:
        raise Misfit(
            f"the manifest .surgeon.json, which says that surgeon wrote the {what}, is not there or damaged"
        )


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
