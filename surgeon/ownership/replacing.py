"""Folders and files that appear whole or not at all, and replace only what surgeon wrote."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from surgeon import interrupts
from surgeon.disk.hidden import is_own, replaced, unfinished
from surgeon.disk.writing import telling, written
from surgeon.errors import ArtifactError, either
from surgeon.ownership.lock import check_input, locked
from surgeon.ownership.manifest import read_manifest, strangers, write_manifest

Inputs = Iterable[str | Path | None]


@contextlib.contextmanager
def reserved(
    folder: str | Path, what: str = "network", *, overwrite: bool = False, inputs: Inputs = ()
) -> Iterator[Path]:
    """`folder`, with links resolved, in which this process alone will write a new `what`; nothing is written yet.

    inputs: names, of which those that are paths must not lie there.

    Raises ArtifactError for a folder that is in use, that holds an input, that exists and is not to be overwritten, or
    that holds anything that surgeon did not write.
    """
    check_input(folder, inputs)
    with locked(folder) as target:
        _check_free(target, folder, what, overwrite)
        yield target


@contextlib.contextmanager
def new_folder(
    folder: str | Path, what: str = "network", *, overwrite: bool = False, inputs: Inputs = ()
) -> Iterator[Path]:
    """A folder to write in that appears under its name only when all is written; on an error nothing has changed.

    Raises ArtifactError as `reserved`, and for a folder that cannot be written.
    """
    with reserved(folder, what, overwrite=overwrite, inputs=inputs) as target:
        work = unfinished(target)
        try:
            with telling(Path(folder)):
                work.mkdir()
                yield work
                write_manifest(work, what, files=True)
            with interrupts.deferred():
                _put(work, target, folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def new_file(
    path: str | Path,
    *,
    overwrite: bool = False,
    ours: Callable[[Path], bool] = lambda path: True,
    inputs: Inputs = (),
) -> Iterator[Path]:
    """A file to write that appears under its name only when all is written; on an error nothing has changed.

    ours: whether the file that is there may be replaced, where it is to be overwritten.

    Raises ArtifactError for a path that is in use, is an input, is taken, or cannot be written.
    """
    check_input(path, inputs)
    with locked(path) as target:
        if target.is_dir():
            raise ArtifactError(f"{path} is a folder; name a file")
        if target.exists() and not overwrite:
            replace = either("pass overwrite=True", "--overwrite")
            raise ArtifactError(f"{path} exists already; choose another file, or {replace}")
        if target.exists() and not ours(target):
            raise ArtifactError(
                f"{path} is a file that surgeon did not write, and is not replaced; choose another file"
            )
        with written(target) as work:
            yield work


def _check_free(target: Path, shown: str | Path, what: str, overwrite: bool) -> None:
    if target.exists() and not target.is_dir():
        raise ArtifactError(f"{shown} exists and is no folder")
    if not target.exists() or all(is_own(p.name) for p in target.iterdir()):
        return
    if not overwrite:
        replace = either("pass overwrite=True", "--overwrite")
        raise ArtifactError(f"{shown} exists already; choose another folder, or {replace}")
    known = read_manifest(target)
    if known is None:
        raise ArtifactError(
            f"{shown} was not written by surgeon, and only what surgeon wrote is overwritten; choose another folder"
        )
    if known.what != what or known.files is None:
        raise ArtifactError(
            f"{shown} holds a {known.what}, which a {what} does not replace; choose another folder"
        )
    foreign = strangers(target, known)
    if foreign:
        more = ", …" if len(foreign) > 3 else ""
        raise ArtifactError(
            f"{shown} holds what surgeon did not write, or not as it is ({', '.join(foreign[:3])}{more}), and only what "
            f"surgeon wrote is overwritten; move it away, or choose another folder"
        )


def _put(work: Path, target: Path, shown: str | Path) -> None:
    """Rename a finished folder into its place; where that fails, what was there is there again."""
    try:
        if not target.exists() or not any(target.iterdir()):
            os.rename(work, target)
            return
        old = replaced(target)
        os.rename(target, old)
    except OSError as error:
        raise ArtifactError(
            f"{shown} could not be written: {error.strerror or error}; nothing was kept"
        ) from error
    try:
        os.rename(work, target)
    except OSError as error:
        try:
            os.rename(old, target)
        except OSError:
            raise ArtifactError(
                f"{shown} could not be replaced ({error.strerror or error}); what was there lies in {old} now, and the next "
                f"command that writes {shown} puts it back"
            ) from error
        raise ArtifactError(
            f"{shown} could not be replaced, and is as it was: {error.strerror or error}"
        ) from error
    shutil.rmtree(old, ignore_errors=True)
