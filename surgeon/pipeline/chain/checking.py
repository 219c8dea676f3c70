"""A check: what it says where something fits, does not fit, or cannot be looked at. Nothing here writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from surgeon.errors import SurgeonError
from surgeon.verification import Check


class Misfit(SurgeonError):
    """Two things that belong together do not fit."""


class Unknown(Exception):
    """Something cannot be checked: the reason."""


def checked(name: str, look: Callable[[], str]) -> Check:
    """The check of a name: what `look` says, or the `Misfit` or the error that it ends with, or why it is `Unknown`."""
    try:
        return Check(name=name, ok=True, detail=look())
    except Unknown as reason:
        return Check(name=name, ok=None, detail=str(reason))
    except (SurgeonError, OSError) as error:
        return Check(name=name, ok=False, detail=_line(error))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        return Check(name=name, ok=False, detail=f"is damaged ({type(error).__name__}: {_line(error)[:160]})")


def unknown(name: str, why: str) -> Check:
    """A check that could not be made."""
    return Check(name=name, ok=None, detail=why)


def within(place: str, checks: Iterable[Check]) -> list[Check]:
    """The checks of a folder below: `cut/files` for `files`."""
    return [c.model_copy(update={"name": f"{place}/{c.name}"}) for c in checks]


def some(names: Iterable[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def in_use(folder: Path) -> list[Check]:
    """A word on a folder that another process may be working in."""
    from surgeon.disk.hidden import lock_beside, lock_inside

    if lock_beside(folder).exists() or lock_inside(folder).exists():
        return [
            unknown(
                "in use", "another process works here, or one was killed: what is not finished may differ"
            )
        ]
    return []


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
