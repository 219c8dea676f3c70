"""Files that appear whole or not at all."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from surgeon.disk.writing import written
from surgeon.errors import ArtifactError, MissingPackageError


def absolute(name: str | None) -> str | None:
    """A path as every working directory knows it; a name at which nothing lies is given back as it is."""
    return str(Path(name).resolve()) if name and Path(name).exists() else name


def path_given(path: object) -> Path:
    """A path that a caller names, as text or as a path. Raises ArtifactError for anything else."""
    if not isinstance(path, (str, os.PathLike)) or isinstance(path, bytes):
        raise ArtifactError(f"{path!r:.80} is no path; give one as text or as a pathlib.Path")
    return Path(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file. Raises WritingError, as all that write here."""
    with written(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, content: object) -> None:
    """Write JSON, indented."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table."""
    with written(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a binary file."""
    with written(path) as beside:
        beside.write_bytes(content)


def write_parquet(path: Path, columns: dict[str, str], rows: Sequence[dict[str, Any]]) -> None:
    """Write a table of `columns` (name → pyarrow's name of a type). Raises MissingPackageError without pyarrow."""
    arrow, parquet = _arrow()
    schema = arrow.schema([(name, getattr(arrow, kind)()) for name, kind in columns.items()])
    table = arrow.Table.from_pylist(list(rows), schema=schema)
    with written(path) as beside:
        parquet.write_table(table, beside)


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
        raise MissingPackageError("tables of verdicts need pyarrow: pip install 'fx-surgeon[eval]'") from None
    return pyarrow, pyarrow.parquet
