"""The manifest of a folder, `.surgeon.json`: what surgeon wrote there, with the hashes of the files."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from surgeon.disk.files import write_text
from surgeon.disk.hashes import own_hash
from surgeon.disk.hidden import MANIFEST, is_own


class Manifest(BaseModel):
    """What surgeon wrote in a folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str = Field(description="such as network, run, evaluation")
    files: dict[str, str] | None = Field(
        default=None,
        description="name → hash of every file; None for a folder that grows while work goes on, such as a run's",
    )
    texts: dict[str, str] = Field(
        default_factory=dict,
        description="name → hash of the records of such a folder, once its work had ended",
    )


def write_manifest(folder: Path, what: str, *, files: bool) -> None:
    """Record that surgeon wrote a folder.

    Args:
        folder: the folder.
        what: such as network, run, evaluation.
        files: also record the hashes of all files in it now.

    Raises:
        WritingError: it cannot be written.
    """
    hashes = {name: own_hash(folder / name) for name in _names(folder)} if files else None
    write_text(folder / MANIFEST, Manifest(what=what, files=hashes).model_dump_json(indent=2) + "\n")


def add_to_manifest(folder: Path, name: str) -> None:
    """Record a file that was added to a folder or rewritten. Nothing is done if the manifest lists no files.

    Args:
        folder: the folder.
        name: the file's name.
    """
    known = read_manifest(folder)
    if known is not None and known.files is not None:
        files = {**known.files, name: own_hash(folder / name)}
        write_text(folder / MANIFEST, Manifest(what=known.what, files=files).model_dump_json(indent=2) + "\n")


def seal(folder: Path, names: Iterable[str], *, anew: Collection[str] = ()) -> None:
    """Record the hashes of a folder's records once its work has ended. Hashes recorded before remain.

    Args:
        folder: the folder.
        names: the records' names.
        anew: those that this work wrote itself, also where an earlier one had ended here: their hashes are recorded
            again.
    """
    known = read_manifest(folder)
    if known is None:
        return
    new = [n for n in names if n not in known.texts or n in anew]
    hashes = {n: own_hash(folder / n) for n in new if (folder / n).is_file()}
    if hashes:
        sealed = known.model_copy(update={"texts": {**known.texts, **hashes}})
        write_text(folder / MANIFEST, sealed.model_dump_json(indent=2) + "\n")


@contextlib.contextmanager
def sealed_again(folder: Path, name: str) -> Iterator[None]:
    """Inside, a sealed record may be rewritten: its hash is recorded anew, where it was as it was sealed.

    Args:
        folder: the folder.
        name: the record's name.
    """
    known = read_manifest(folder)
    intact = known is not None and known.texts.get(name) == own_hash(folder / name)
    yield
    if known is not None and intact:
        sealed = known.model_copy(update={"texts": {**known.texts, name: own_hash(folder / name)}})
        write_text(folder / MANIFEST, sealed.model_dump_json(indent=2) + "\n")


def unsealed(folder: Path) -> list[str]:
    """The names of a folder's records that have changed since its work ended.

    A record of a part goes with it: where the part's folder is gone, there is nothing left that it belongs to.

    Args:
        folder: the folder.
    """
    known = read_manifest(folder)
    texts = {} if known is None else known.texts
    there = {n: recorded for n, recorded in texts.items() if (folder / n).parent.is_dir()}
    return [
        n for n, recorded in there.items() if not (folder / n).is_file() or own_hash(folder / n) != recorded
    ]


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of a folder.

    Args:
        folder: the folder.

    Returns:
        The manifest; None for a folder that surgeon did not write.
    """
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None


def strangers(folder: Path, known: Manifest) -> list[str]:
    """The files below a folder that surgeon did not write or that were changed, and empty sub-folders.

    Args:
        folder: the folder.
        known: its manifest.

    Returns:
        Their names; a folder's ends in "/".
    """
    files = known.files or {}
    names = [n for n in _names(folder) if n not in files or own_hash(folder / n) != files[n]]
    empty = [p for p in folder.rglob("*") if p.is_dir() and not p.is_symlink() and not any(p.iterdir())]
    return sorted([*names, *(f"{p.relative_to(folder).as_posix()}/" for p in empty)])


def _names(folder: Path) -> list[str]:
    """All files and links below a folder, except surgeon's hidden ones."""
    return [
        p.relative_to(folder).as_posix()
        for p in sorted(folder.rglob("*"))
        if (p.is_symlink() or not p.is_dir()) and not is_own(p.name)
    ]
