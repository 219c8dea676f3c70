"""Folders whose work can be resumed: each belongs to one set of settings, and to one job at a time."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from surgeon.disk.files import json_text, path_given, resolved, write_json
from surgeon.disk.hidden import is_own
from surgeon.errors import ArtifactError
from surgeon.interrupts import Stopped
from surgeon.ownership.lock import holds, locked
from surgeon.ownership.manifest import read_manifest, write_manifest
from surgeon.ownership.parts import check_no_part
from surgeon.processes import everyone, first, gathered, world
from surgeon.reading import read_mapping

P = ParamSpec("P")
R = TypeVar("R")
Compared = Callable[[dict[str, Any]], dict[str, Any]]


@contextlib.contextmanager
def owned(folder: str | Path) -> Iterator[Path]:
    """Lock a folder for a job. All processes that share the job call this, and the first one holds the lock.

    Args:
        folder: the folder.

    Yields:
        The folder, with links resolved.

    Raises:
        ArtifactError: another job uses the folder. Raised in every process.
    """
    with contextlib.ExitStack() as stack:
        target, refused = resolved(folder), ""
        if first():
            try:
                check_no_part(target, folder, holds)
                target = stack.enter_context(locked(folder))
            except ArtifactError as error:
                refused = str(error)
        if world() > 1:
            # All learn of it, since the others would wait for ever for a first process that has given up.
            refused = next((r for r in gathered([refused]) if r), "")
        if refused:
            raise ArtifactError(refused)
        try:
            yield target
        except Stopped as stopped:
            stopped.kept = str(folder) if target.exists() else ""
            raise


def owning(argument: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a decorator that runs a function inside `owned`.

    Args:
        argument: name of the function's argument that is the folder, or has it as its attribute `folder`.
            None as its value needs no lock.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def owner(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(*args, **kwargs).arguments.get(argument)
            if given is None:
                return function(*args, **kwargs)
            with owned(getattr(given, "folder", given)):
                return function(*args, **kwargs)

        return owner

    return decorate


def settings_in(folder: Path, name: str) -> dict[str, Any] | None:
    """Read the settings that a folder belongs to.

    Args:
        folder: the folder.
        name: the settings file's name.

    Returns:
        The settings; None without settings.

    Raises:
        ArtifactError: the file is damaged.
    """
    path = folder / name
    if not path.is_file():
        return None
    try:
        return read_mapping(path)
    except ArtifactError as error:
        raise ArtifactError(f"{error}; choose another folder") from None


def claim(
    folder: Path,
    name: str,
    settings: dict[str, Any],
    what: str,
    *,
    later: Collection[str] = (),
    compared: Compared = dict,
) -> dict[str, Any] | None:
    """Check that a folder is free or belongs to these settings. Nothing is written.

    Args:
        folder: the folder.
        name: the settings file's name.
        settings: the settings.
        what: what the folder holds, with its article, such as "a run".
        later: keys that are not known yet; the caller compares them later.
        compared: what of settings tells one work from another; all of them by default.

    Returns:
        The settings that the folder has already; None for a free folder.

    Raises:
        ArtifactError: the folder has other settings, or holds something else.
    """
    folder = path_given(folder)
    before, known = settings_in(folder, name), read_manifest(folder)
    if known is not None and known.what != what.split()[-1]:
        raise ArtifactError(f"{folder} holds surgeon's {known.what}, not {what}; choose another folder")
    if before is not None:
        # Through JSON, as the old settings came: a tuple is a list there.
        here, now = compared(before), compared(json.loads(json_text(settings)))
        keys = {*here, *now} - {*later}
        other = sorted(k for k in keys if here.get(k) != now.get(k))
        if other:
            values = "".join(f"; {v}" for k in other for v in _values(k, here.get(k), now.get(k)))
            raise ArtifactError(
                f"{folder} holds {what} with other settings ({', '.join(other)}){values}; choose another folder"
            )
        return before
    if folder.is_file() or (folder.is_dir() and not all(is_own(p.name) for p in folder.iterdir())):
        raise ArtifactError(f"{folder} exists already and holds no {what.split()[-1]}; choose another folder")
    return None


_PLAIN, _LONGEST, _MOST = (bool, int, float, str, list, type(None)), 60, 4


def _values(name: str, here: object, now: object) -> list[str]:
    """Say what a setting is in a folder and what it is now, or what of it differs; nothing of what is long."""
    if isinstance(here, dict) and isinstance(now, dict):
        inner = sorted(k for k in {*here, *now} if here.get(k) != now.get(k))
        return [v for k in inner for v in _values(f"{name}.{k}", here.get(k), now.get(k))][:_MOST]
    if isinstance(here, list) and isinstance(now, list) and any(isinstance(v, dict) for v in (*here, *now)):
        if len(here) != len(now):
            return [f"the length of {name} is {len(here)} there, and {len(now)} now"]
        pairs = enumerate(zip(here, now, strict=True))
        return [v for k, (a, b) in pairs if a != b for v in _values(f"{name}[{k}]", a, b)][:_MOST]
    one, other = json.dumps(here, ensure_ascii=False), json.dumps(now, ensure_ascii=False)
    plain = all(isinstance(v, _PLAIN) for v in (here, now)) and len(one) + len(other) < _LONGEST
    return [f"{name} is {one} there, and {other} now"] if plain else []


def take(folder: Path, name: str, settings: dict[str, Any], what: str, *, compared: Compared = dict) -> None:
    """Check as `claim` does, and write the settings into a free folder as its first file.

    Args:
        folder: the folder.
        name: the settings file's name.
        settings: the settings.
        what: what the folder holds, with its article, such as "a run".
        compared: as for `claim`.

    Raises:
        ArtifactError: as for `claim`.
    """
    claim(folder, name, settings, what, compared=compared)
    if not (folder / name).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        # The manifest first: a folder of a process killed before the settings is known as surgeon's, and free.
        write_manifest(folder, what.split()[-1], files=False)
        write_json(folder / name, settings)


@contextlib.contextmanager
def taken(
    folder: Path, name: str, settings: dict[str, Any], what: str, *, compared: Compared = dict
) -> Iterator[None]:
    """Take a folder in the first process; after an error inside, remove it if it holds only the settings.

    A mistaken call therefore does not block the next one.

    Args:
        folder: the folder.
        name: the settings file's name.
        settings: the settings.
        what: what the folder holds, with its article, such as "a run".
        compared: as for `claim`.

    Raises:
        ArtifactError: as for `claim`.
    """
    claim(folder, name, settings, what, compared=compared)
    # All processes look before the first one writes: a process must not see a folder that is half taken.
    everyone()
    if first():
        take(folder, name, settings, what, compared=compared)
    try:
        yield
    except Exception:  # raised again below
        # Only where no work was kept yet: finished parts are what a resumed call goes on from.
        if first() and all(is_own(p.name) or p.name == name for p in folder.iterdir()):
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        raise
