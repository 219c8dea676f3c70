"""The manifest of a folder, `.surgeon.json`: that surgeon wrote it, what it is, and which files with which content."""

from __future__ import annotations

from collections.abc import Iterable
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
    """Write down that a folder is surgeon's. files: and which ones are in it, all of them now."""
    found = {name: own_hash(folder / name) for name in _names(folder)} if files else None
    write_text(folder / MANIFEST, Manifest(what=what, files=found).model_dump_json(indent=2) + "\n")


def add_to_manifest(folder: Path, name: str) -> None:
    """Write down a file that was added to a folder of surgeon's, or written anew."""
    known = read_manifest(folder)
    if known is not None and known.files is not None:
        files = {**known.files, name: own_hash(folder / name)}
        write_text(folder / MANIFEST, Manifest(what=known.what, files=files).model_dump_json(indent=2) + "\n")


def seal(folder: Path, names: Iterable[str]) -> None:
    """Write down the hashes of a folder's records, once its work has ended; those that are written down already stay."""
    known = read_manifest(folder)
    if known is None:
        return
    found = {n: own_hash(folder / n) for n in names if n not in known.texts and (folder / n).is_file()}
    if found:
        sealed = known.model_copy(update={"texts": {**known.texts, **found}})
        write_text(folder / MANIFEST, sealed.model_dump_json(indent=2) + "\n")


def unsealed(folder: Path) -> list[str]:
    """The records of a folder that are not as they were when its work ended, by name."""
    known = read_manifest(folder)
    texts = {} if known is None else known.texts
    return [n for n, told in texts.items() if not (folder / n).is_file() or own_hash(folder / n) != told]


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None for a folder that is none of surgeon's."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None


def strangers(folder: Path, known: Manifest) -> list[str]:
    """The files below a folder that surgeon did not write, or not as they are, and empty sub-folders, by name."""
    files = known.files or {}
    found = [n for n in _names(folder) if n not in files or own_hash(folder / n) != files[n]]
    empty = [p for p in folder.rglob("*") if p.is_dir() and not p.is_symlink() and not any(p.iterdir())]
    return sorted([*found, *(f"{p.relative_to(folder).as_posix()}/" for p in empty)])


def _names(folder: Path) -> list[str]:
    """All files below a folder, and links, but for surgeon's hidden ones."""
    return [
        p.relative_to(folder).as_posix()
        for p in sorted(folder.rglob("*"))
        if (p.is_symlink() or not p.is_dir()) and not is_own(p.name)
    ]
