"""Write folders and files atomically, replacing only what surgeon wrote."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from surgeon import interrupts
from surgeon.disk.files import resolved
from surgeon.disk.hidden import is_own, replaced, unfinished
from surgeon.disk.writing import telling, written
from surgeon.errors import ArtifactError, either
from surgeon.ownership.lock import check_input, holds, locked
from surgeon.ownership.manifest import read_manifest, strangers, write_manifest
from surgeon.ownership.parts import check_no_part

Inputs = Iterable[str | Path | None]


@contextlib.contextmanager
def reserved(
    folder: str | Path, what: str = "network", *, overwrite: bool = False, inputs: Inputs = ()
) -> Iterator[Path]:
    """Lock a folder in which something new will be written. Nothing is written yet.

    Args:
        folder: the folder.
        what: what will be written, such as "network".
        overwrite: permit an existing folder with the same kind of content that surgeon wrote.
        inputs: names of inputs; those that are paths must not lie in the folder.

    Yields:
        The folder, with links resolved.

    Raises:
        ArtifactError: the folder is in use, contains an input, exists and may not be overwritten, or contains
            anything that surgeon did not write.
    """
    check_input(folder, inputs)
    check_no_part(resolved(folder), folder, holds)
    with locked(folder) as target:
        _check_free(target, folder, what, overwrite)
        yield target


@contextlib.contextmanager
def new_folder(
    folder: str | Path, what: str = "network", *, overwrite: bool = False, inputs: Inputs = ()
) -> Iterator[Path]:
    """Give a folder to write in that appears under its name when everything is written.

    An error inside changes nothing.

    Args:
        folder: the folder.
        what: what is written, such as "network".
        overwrite: replace an existing folder of the same kind that surgeon wrote.
        inputs: names of inputs; those that are paths must not lie in the folder.

    Yields:
        The folder to write in.

    Raises:
        ArtifactError: as for `reserved`, or the folder cannot be written.
    """
    with reserved(folder, what, overwrite=overwrite, inputs=inputs) as target:
        work = unfinished(target)
        try:
            with telling(Path(folder)):
                work.mkdir()
                yield work
                # Last, since it lists the files, by which a later command knows what is surgeon's own.
                write_manifest(work, what, files=True)
            # A signal between its two renames would leave nothing under the name.
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
    """Give a file to write that appears under its name when it is complete. An error changes nothing.

    Args:
        path: the file.
        overwrite: replace an existing file.
        ours: whether an existing file may be replaced; by default any.
        inputs: names of inputs; the file must not be one of them.

    Yields:
        The file to write.

    Raises:
        ArtifactError: the path is in use, is an input, lies in a part of a run, exists, or cannot be written.
    """
    check_input(path, inputs)
    check_no_part(resolved(path), path, holds)
    with locked(path) as target:
        if target.is_dir():
            raise ArtifactError(f"{path} is a folder; name a file")
        if target.exists() and not overwrite:
            replace = either("pass overwrite=True", "--overwrite")
            raise ArtifactError(f"{path} exists already; choose another file, or {replace}")
        if target.exists() and not ours(target):
            raise ArtifactError(
                f"{path} is a file that surgeon did not write, or that was changed since, and is not replaced; choose "
                "another file"
            )
        with written(target) as work:
            yield work


def _check_free(target: Path, shown: str | Path, what: str, overwrite: bool) -> None:
    if target.exists() and not target.is_dir():
        raise ArtifactError(f"{shown} exists and is not a folder")
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
            f"{shown} holds what surgeon did not write, or not as it is "
            f"({', '.join(foreign[:3])}{more}), and only what "
            f"surgeon wrote is overwritten; move it away, or choose another folder"
        )


def _put(work: Path, target: Path, shown: str | Path) -> None:
    """Rename a finished folder to its place. If that fails, the previous content is restored."""
    try:
        if not target.exists() or not any(target.iterdir()):
            os.rename(work, target)
            return
        # Renamed and not removed: a command that is killed between the two renames leaves it for `_recover`.
        old = replaced(target)
        os.rename(target, old)
    except OSError as error:
        raise ArtifactError(
            f"{shown} could not be written: {error.strerror or error}; nothing of it was kept"
        ) from error
    try:
        os.rename(work, target)
    except OSError as error:
        try:
            os.rename(old, target)
        except OSError:
            raise ArtifactError(
                f"{shown} could not be replaced ({error.strerror or error}); what was there "
                f"lies in {old} now, and the next "
                f"command that writes {shown} puts it back"
            ) from error
        raise ArtifactError(
            f"{shown} could not be replaced, and is as it was: {error.strerror or error}"
        ) from error
    shutil.rmtree(old, ignore_errors=True)
