"""The lock of a path: one process writes there at a time. The system releases it when the process ends."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from surgeon.disk.files import resolved
from surgeon.disk.hidden import MANIFEST, is_temporary, left_beside, lock_beside, lock_inside, unfinished
from surgeon.errors import ArtifactError
from surgeon.ownership.manifest import Manifest, read_manifest

_WAIT = 1.0
"""Seconds to wait for a lock: the file of an owner that leaves may take a moment to disappear."""

_ELSEWHERE = "choose a place in a folder that you may write to"


@dataclass
class _Hold:
    process: int
    thread: int
    depth: int


_held: dict[Path, _Hold] = {}
_guard = threading.Lock()


@contextlib.contextmanager
def locked(path: str | Path) -> Iterator[Path]:
    """Lock a path for this thread, a file or a folder that may or may not exist.

    What a killed process left beside the path is removed, and what it was replacing is restored, or kept
    where something that surgeon did not write has its place. The same thread may lock a path again. Missing
    parent folders are made, and removed afterwards if nothing was written.

    Args:
        path: the path.

    Yields:
        The path, with links resolved.

    Raises:
        ArtifactError: another process or thread writes there (the message names it), or the path cannot be
            written, such as where its name is too long.
    """
    shown, path = path, resolved(path)
    if not path.name:
        raise ArtifactError(f"{shown} is the root of a file system; name a folder below it")
    with _guard:
        hold = _held.get(path)
        # After a fork the child has a copy of this table, but not its locks.
        if hold is not None and hold.process == os.getpid():
            if hold.thread != threading.get_ident():
                raise ArtifactError(f"{shown} is in use by another thread of this process")
            hold.depth += 1
        else:
            hold = None
    if hold is not None:
        try:
            yield path
        finally:
            hold.depth -= 1
        return
    made = _make_parents(path, shown)
    try:
        _check_length(path, shown)
        lock = _acquire(path, shown)
        try:
            _held[path] = _Hold(os.getpid(), threading.get_ident(), 1)
            _recover(path)
            yield path
        finally:
            _held.pop(path, None)
            # Remove the file while holding the lock: a waiting process then sees that it is gone
            # and makes another.
            # Removed afterwards, it might already be the lock of the next owner.
            with contextlib.suppress(OSError):
                os.unlink(lock.lock_file)
            lock.release()
    finally:
        # The innermost first, so that each is empty when its turn comes.
        for folder in made:
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()


def holds(path: Path) -> bool:
    """Whether this thread has the lock of a path.

    Args:
        path: the path, with links resolved.
    """
    hold = _held.get(path)
    return hold is not None and (hold.process, hold.thread) == (os.getpid(), threading.get_ident())


def check_input(path: str | Path, inputs: Iterable[str | Path | None]) -> None:
    """Check that writing would not replace an input.

    Args:
        path: the path to write.
        inputs: names of inputs; those that are not paths are ignored.

    Raises:
        ArtifactError: `path` is an input or contains one.
    """
    target = resolved(path)
    for given in inputs:
        if given is None or not Path(given).exists():
            continue
        source = Path(given).resolve()
        if target == source or target in source.parents:
            raise ArtifactError(
                f"{path} is or holds the input {given}, which would be lost; choose another place"
            )


def check_apart(path: str | Path, sources: Iterable[str | Path | None]) -> None:
    """Check that a path can be written, and does not overlap with images: what is among them is read as images.

    Args:
        path: the path to write.
        sources: names of images; those that are not paths are ignored.

    Raises:
        ArtifactError: the path lies in a source, is one, or contains one, or its name is too long.
    """
    target = resolved(path)
    _check_length(target, path)
    for given in sources:
        if given is None or str(given) == "digits" or not Path(given).exists():
            continue
        source = Path(given).resolve()
        if source == target or source in target.parents or target in source.parents:
            what = "is or lies in" if source == target or source in target.parents else "holds"
            raise ArtifactError(
                f"{path} {what} the images {given}, and would become a part of them; choose a place apart from them"
            )


def _make_parents(path: Path, shown: str | Path) -> list[Path]:
    """Make the folders above `path`; returns those that did not exist, the innermost first."""
    missing = [p for p in path.parents if not os.path.lexists(p)]
    above = next(p for p in path.parents if p not in missing)
    if not above.is_dir():
        raise ArtifactError(
            f"{shown} cannot be written: {above} is a file, and not a folder that could hold it; {_ELSEWHERE}"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_place(shown, error) from error
    return missing


def _check_length(path: Path, shown: str | Path) -> None:
    """Raise ArtifactError if a new name leaves no room for what is put before it until it is written."""
    if os.path.lexists(path) or not hasattr(os, "pathconf"):
        return
    number = len(os.fsencode(path.name))
    there = next(p for p in path.parents if p.is_dir())
    # The name of the unfinished file is longer than the path's own by a fixed number of bytes.
    most = os.pathconf(there, "PC_NAME_MAX") + number - len(os.fsencode(unfinished(path).name))
    if number > most:
        raise ArtifactError(
            f"{shown} cannot be written: its name has {number} bytes, and {most} are the most, as a longer one is "
            "needed until all is written; choose a shorter name"
        )


def _no_place(shown: str | Path, error: OSError) -> ArtifactError:
    remedy = "choose a shorter name" if error.errno == errno.ENAMETOOLONG else _ELSEWHERE
    return ArtifactError(f"{shown} cannot be written: {error.strerror or error}; {remedy}")


def _acquire(path: Path, shown: str | Path) -> BaseFileLock:
    # A folder in a place where nothing may be written is locked from inside.
    beside = os.access(path.parent, os.W_OK)
    lock = FileLock(lock_beside(path) if beside or not path.is_dir() else lock_inside(path), timeout=_WAIT)
    try:
        try:
            lock.acquire(poll_interval=0.05)
        except Timeout:
            if os.path.lexists(lock.lock_file):
                owner = _owner(Path(lock.lock_file))
                raise ArtifactError(
                    f"{shown} is in use{owner}; wait until that has ended, or choose another place"
                ) from None
            lock.acquire(timeout=0)  # its owner left just now, or it could not be made
    except Timeout:
        raise ArtifactError(
            f"{shown} cannot be written: no file can be made in {Path(lock.lock_file).parent}; {_ELSEWHERE}"
        ) from None
    except OSError as error:
        raise _no_place(shown, error) from error
    _sign(Path(lock.lock_file))
    return lock


def _sign(file: Path) -> None:
    """Write into the lock's file which process holds it."""
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    text = json.dumps(
        {
            "process": os.getpid(),
            "machine": platform.node(),
            "command": command[:200],
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
    )
    # Not "w": if the file is gone by now, no new one may be made, on which nobody has a lock.
    with contextlib.suppress(OSError), file.open("r+", encoding="utf-8") as opened:
        opened.truncate()
        opened.write(text)


def _owner(file: Path) -> str:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        return f" by process {record['process']} on {record['machine']} since {record['since']} ({record['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return " by another process"


def _recover(path: Path) -> None:
    """Restore what a killed process was replacing, and remove what it had not finished.

    What was being replaced is removed only where surgeon wrote what took its place: its last copy is never
    removed for an empty folder or for somebody else's.
    """
    leftovers, replaced = left_beside(path)
    if replaced:
        # Several commands may have been killed, one after the other: the newest of what they replaced counts.
        latest = max(replaced, key=lambda p: p.lstat().st_mtime_ns)
        if _is_empty(path):
            os.rmdir(path)
        if not os.path.lexists(path):
            os.rename(latest, path)
            leftovers += [p for p in replaced if p != latest]
        elif _took_its_place(path, latest):
            leftovers += replaced
        else:
            print(
                f"{path} is not what surgeon wrote there; the {_kind(latest)} that an "
                "interrupted command was replacing lies "
                f"in {latest}, and is kept: move either away",
                file=sys.stderr,
            )
    if (path / MANIFEST).is_file():
        leftovers += _left_inside(path)
    for left in leftovers:
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _took_its_place(path: Path, old: Path) -> bool:
    """Whether `path` is a complete folder that surgeon wrote, of the same kind as `old`."""
    now, before = read_manifest(path), read_manifest(old)
    return now is not None and (before is None or now.what == before.what) and _has_all(path, now)


def _kind(folder: Path) -> str:
    known = read_manifest(folder)
    return "folder" if known is None else known.what


def _has_all(folder: Path, known: Manifest) -> bool:
    return all((folder / name).is_file() for name in known.files or {})


def _left_inside(folder: Path) -> Iterator[Path]:
    """What was left below a folder, except in parts that somebody has locked."""
    for place, folders, files in os.walk(folder):
        here = Path(place)
        yield from (here / n for n in [*folders, *files] if is_temporary(n))
        # In place: os.walk goes down into what is left in its list.
        folders[:] = [n for n in folders if not is_temporary(n) and not _is_locked(here / n)]


def _is_locked(path: Path) -> bool:
    """Whether anybody holds the lock beside a path now: a killed process leaves the file, and not the lock."""
    file = lock_beside(path)
    if not file.exists():
        return False
    try:
        with FileLock(file, timeout=0):
            return False
    except (Timeout, OSError):
        return True
