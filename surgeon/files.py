"""Files that appear whole or not at all, and folders that belong to one set of settings."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from surgeon.errors import ArtifactError, SurgeonError


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
