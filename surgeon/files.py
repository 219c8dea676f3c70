"""Files that appear whole or not at all, and folders that belong to one set of settings."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from surgeon.errors import ArtifactError, SurgeonError, either


def write_text(path: Path, text: str) -> None:
    """Write a text file beside its place, then rename it there."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, indented."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a binary file beside its place, then rename it there."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_parquet(path: Path, columns: dict[str, str], rows: Sequence[dict[str, Any]]) -> None:
    """Write a table of `columns` (name → pyarrow's name of a type). Raises SurgeonError without pyarrow."""
    arrow, parquet = _arrow()
    schema = arrow.schema([(name, getattr(arrow, kind)()) for name, kind in columns.items()])
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        parquet.write_table(arrow.Table.from_pylist(list(rows), schema=schema), beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """The rows of a table. Raises ArtifactError for a file that is none."""
    arrow, parquet = _arrow()
    try:
        return parquet.read_table(path).to_pylist()
    except (OSError, arrow.ArrowException) as error:
        raise ArtifactError(f"{path} cannot be read as parquet: {error}") from None


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise SurgeonError("tables of verdicts need pyarrow: pip install 'surgeon[eval]'") from None
    return pyarrow, pyarrow.parquet


def claim(folder: Path, name: str, settings: dict[str, Any], what: str) -> None:
    """Raise ArtifactError unless the folder is free, or holds a `what` with these settings in its file `name`."""
    path = folder / name
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(before, dict):
                raise ValueError("no mapping")
        except ValueError as error:
            raise ArtifactError(f"{path} is damaged ({error}); choose another folder") from None
        now = json.loads(json.dumps(settings))
        other = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
        if other:
            raise ArtifactError(
                f"{folder} holds {what} with other settings ({', '.join(other)}); choose another folder"
            )
        return
    cut_short = f".{name}."  # what a kill leaves of settings on their way into place
    if folder.is_file() or (
        folder.is_dir() and any(not p.name.startswith(cut_short) for p in folder.iterdir())
    ):
        raise ArtifactError(f"{folder} exists already and holds no {what.split()[-1]}; choose another folder")


def take(folder: Path, name: str, settings: dict[str, Any], what: str) -> None:
    """As `claim`, and write the settings where they are not there yet."""
    claim(folder, name, settings, what)
    if not (folder / name).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / name, settings)


@contextmanager
def new_folder(folder: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A folder to write in that appears under its name only when all is written; on an error nothing is left.

    Raises ArtifactError if `folder` exists (and is not to be overwritten), or cannot be written.
    """
    folder = Path(folder)
    check_free(folder, overwrite=overwrite)
    try:
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.absolute().parent))
    except OSError as error:
        raise ArtifactError(f"{folder} cannot be written: {error.strerror or error}") from error
    try:
        yield work
        work.chmod(0o755)
        if folder.exists():
            old = work.with_name(work.name + ".old")
            os.rename(folder, old)
            os.rename(work, folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(work, folder)
    except OSError as error:
        raise ArtifactError(
            f"{folder} could not be written, nothing was kept: {error.strerror or error}"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check_free(folder: str | Path, *, overwrite: bool = False) -> None:
    """Raise ArtifactError if `folder` exists and is neither empty nor to be overwritten."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ArtifactError(f"{folder} exists and is no folder")
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        replace = either("pass overwrite=True", "--overwrite")
        raise ArtifactError(f"{folder} exists already; choose another folder, or {replace}")
