"""Write files atomically: each appears complete or not at all."""

from __future__ import annotations

import contextlib
import csv
import errno
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from surgeon.disk.writing import written
from surgeon.errors import ArtifactError, MissingPackageError
from surgeon.settings_faults import describe

Row = TypeVar("Row", bound=BaseModel)

_HALF = re.compile("[\ud800-\udfff]")
_ROWS = 4096
"""Rows of a table that are held at once."""


def absolute(name: str | None) -> str | None:
    """Make a path absolute, valid in every working directory; a name at which nothing exists is unchanged.

    Args:
        name: a path, another name, or None.
    """
    return str(Path(name).resolve()) if name and Path(name).exists() else name


def path_given(path: object) -> Path:
    """Convert a caller's path.

    Args:
        path: text or a path object.

    Raises:
        ArtifactError: it is neither, or empty; or it begins with a ~ that stands for a home folder in a shell alone.
    """
    if not isinstance(path, (str, os.PathLike)) or isinstance(path, bytes):
        raise ArtifactError(f"{path!r:.80} is not a path; give one as text or as a pathlib.Path")
    if isinstance(path, str) and not path:
        raise ArtifactError("an empty text names no file and no folder; name one")
    if os.fspath(path)[:1] in ("~", b"~") and (at_home := os.path.expanduser(path)) != os.fspath(path):
        raise ArtifactError(
            f"{path} begins with ~, which no shell has replaced; give {at_home} to mean the home folder, or "
            f"{os.path.abspath(path)} to mean a folder of that name"
        )
    return Path(path)


def resolved(path: object, shown: object = None) -> Path:
    """The path with all links resolved; parts that do not exist are kept as they are.

    Args:
        path: text or a path object.
        shown: what to call it in the error; by default itself.

    Raises:
        ArtifactError: it is not a path, is empty, or its links lead in a circle.
    """
    given = path_given(path)
    try:
        # The real path of a circle is the circle itself: Python 3.11 and 3.12 raise RuntimeError, later ones do not.
        real = given.resolve()
        os.stat(real)
    except FileNotFoundError:
        return real
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno != errno.ELOOP:
            return real
        raise ArtifactError(
            f"{shown or path} is a link that leads back to itself; name another place"
        ) from None
    return real


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8; bytes of names that are not UTF-8 are written as `\\udcff`.

    Args:
        path: the file.
        text: its content.

    Raises:
        WritingError: it cannot be written.
    """
    with written(path) as beside:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, content: object) -> None:
    """Write JSON, indented, as `json_text` gives it.

    Args:
        path: the file.
        content: plain data.

    Raises:
        WritingError: it cannot be written.
    """
    write_text(path, json_text(content) + "\n")


def json_text(content: object) -> str:
    r"""JSON that every reader takes: bytes of names that are not UTF-8 stand as the text `\udcff`.

    Python keeps such a byte as half of a surrogate pair, which is no JSON.

    Args:
        content: plain data.
    """
    plain = json.dumps(content, ensure_ascii=False)
    if _HALF.search(plain):
        content = json.loads(_HALF.sub(lambda m: rf"\\u{ord(m[0]):04x}", plain))
    return json.dumps(content, indent=2)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV table.

    Args:
        path: the file.
        header: the columns' names.
        rows: the rows.

    Raises:
        WritingError: it cannot be written.
    """
    with (
        written(path) as beside,
        beside.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a binary file.

    Args:
        path: the file.
        content: its content.

    Raises:
        WritingError: it cannot be written.
    """
    with written(path) as beside:
        beside.write_bytes(content)


def write_parquet(path: Path, columns: dict[str, str], rows: Iterable[dict[str, Any]]) -> None:
    """Write a parquet table, so many rows at a time that memory does not grow with them.

    Args:
        path: the file.
        columns: name → pyarrow's name of a type.
        rows: the rows, name → value.

    Raises:
        WritingError: it cannot be written.
        MissingPackageError: pyarrow is not installed.
    """
    arrow, parquet = _arrow()
    schema = arrow.schema([(name, getattr(arrow, kind)()) for name, kind in columns.items()])
    left = iter(rows)
    part = list(itertools.islice(left, _ROWS))
    # pyarrow takes paths as UTF-8 text, which a name need not be.
    with (
        written(path) as beside,
        beside.open("wb") as file,
        parquet.ParquetWriter(file, schema, write_page_checksum=True) as table,
    ):
        table.write_table(arrow.Table.from_pylist(part, schema=schema))
        while part := list(itertools.islice(left, _ROWS)):
            table.write_table(arrow.Table.from_pylist(part, schema=schema))


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """Read a parquet table.

    Args:
        path: the file.

    Returns:
        The rows, name → value.

    Raises:
        ArtifactError: the file cannot be read as parquet.
        MissingPackageError: pyarrow is not installed.
    """
    return list(each_of_parquet(path))


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """Read a parquet table of records.

    Args:
        path: the file.
        kind: the pydantic model of a row.

    Returns:
        The records.

    Raises:
        ArtifactError: the file cannot be read as parquet, or has a row that is no such record.
        MissingPackageError: pyarrow is not installed.
    """
    try:
        return [kind(**row) for row in read_parquet(path)]
    except (ValidationError, TypeError) as error:
        reason = describe(error, kind) if isinstance(error, ValidationError) else str(error)
        raise ArtifactError(f"{path} is damaged, or is no table of {kind.__name__}: {reason}") from None


def each_of_parquet(path: Path) -> Iterator[dict[str, Any]]:
    """Read a parquet table row by row, for tables that need not fit into memory.

    Args:
        path: the file.

    Yields:
        The rows, name → value.

    Raises:
        ArtifactError: the file cannot be read as parquet.
        MissingPackageError: pyarrow is not installed.
    """
    with _opened(path) as table:
        for part in table.iter_batches(_ROWS):
            yield from part.to_pylist()


def count_parquet(path: Path) -> int:
    """Number of rows of a parquet table, by its last bytes.

    Args:
        path: the file.

    Raises:
        ArtifactError: the file cannot be read as parquet.
        MissingPackageError: pyarrow is not installed.
    """
    with _opened(path) as table:
        return int(table.metadata.num_rows)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    arrow, parquet = _arrow()
    try:
        with path.open("rb") as file:
            yield parquet.ParquetFile(file, page_checksum_verification=True)
    except (OSError, UnicodeDecodeError, arrow.ArrowException) as error:
        raise ArtifactError(f"{path} cannot be read as parquet: {error}") from None


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingPackageError("tables of verdicts need pyarrow: pip install 'fx-surgeon[eval]'") from None
    return pyarrow, pyarrow.parquet
