"""Parquet files in Hugging Face's image layout: one entry per row, with its class, not yet decoded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from surgeon.data.joining import check_distinct
from surgeon.data.names import shown
from surgeon.errors import ArtifactError, DataError, MissingPackageError
from surgeon.reading import parse_json

ROWS = 64
"""Rows read at a time: a row group may be huge."""
INFLATED, FREE = 100, 2**30
"""A file is refused if its images exceed both INFLATED times its size and FREE bytes: encoded images hardly
compress, so such a file was made to fill the memory."""
_OVERHEAD = 256
"""Bytes that a row needs in addition to its image."""


def parquet_entries(path: Path) -> Iterator[tuple[tuple[str, bytes], int]]:
    """Read the rows of a parquet file.

    Args:
        path: the file.

    Yields:
        ((name, encoded bytes), class); class −1 for a row without a label.

    Raises:
        DataError: the file has another layout or a column twice, or would fill the memory.
        MissingPackageError: pyarrow is not installed.
    """
    with _opened(path) as file:
        columns = [c for c in ("image", "label") if c in file.schema_arrow.names]
        batches = file.iter_batches(batch_size=ROWS, columns=columns)
        most = max(FREE, INFLATED * path.stat().st_size)
        number = total = 0
        while (rows := _next(batches, path)) is not None:
            for row in rows:
                name = f"{path}, row {number}"
                content = _bytes(row["image"], name)
                total += len(content) + _OVERHEAD
                if total > most:
                    raise DataError(
                        f"{shown(name)}: the images so far come to {total:,} bytes, out of a "
                        f"file of {path.stat().st_size:,}: no "
                        "images shrink so much"
                    )
                yield (name, content), _label(row.get("label"), name)
                number += 1


def parquet_classes(path: Path) -> tuple[str, ...]:
    """The class names in a file's schema, as Hugging Face writes them; empty if it does not name them.

    Args:
        path: the file.

    Raises:
        DataError: the file is damaged, a name is empty, or two classes have one name.
        MissingPackageError: pyarrow is not installed.
    """
    with _opened(path) as file:
        metadata = file.schema_arrow.metadata or {}
    try:
        schema: Any = parse_json(metadata.get(b"huggingface", b"{}"), str(path))
        names = schema["info"]["features"]["label"]["names"]
        classes = tuple(map(str, names)) if isinstance(names, list) else ()
        for name in classes:
            name.encode()
    except (ArtifactError, ValueError, KeyError, TypeError, RecursionError):
        return ()
    check_distinct(path, classes)
    return classes


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise MissingPackageError("parquet files need pyarrow: pip install 'fx-surgeon[train]'") from None
    with contextlib.ExitStack() as stack:
        try:
            # pyarrow takes paths as UTF-8 text, which a name need not be.
            file = parquet.ParquetFile(stack.enter_context(path.open("rb")))
        except Exception as error:  # pyarrow has many errors for a damaged file
            raise _damaged(path, error) from error
        names = file.schema_arrow.names
        if "image" not in names:
            raise _damaged(path, f"it has {', '.join(map(shown, names[:8])) or 'none'}")
        if twice := next((c for c in ("image", "label") if names.count(c) > 1), ""):
            raise DataError(
                f"{shown(path)} has {names.count(twice)} columns {twice!r}: keep the one that is right"
            )
        yield file


def _next(batches: Any, path: Path) -> list[dict[str, Any]] | None:
    try:
        batch = next(batches, None)
        return None if batch is None else batch.to_pylist()
    except Exception as error:  # as above, for a damaged page
        raise _damaged(path, error) from error


def _damaged(path: Path, why: object) -> DataError:
    reason = shown(" ".join(str(why).split()))[:200]
    return DataError(f"{shown(path)} is not a parquet file with a column 'image', or is damaged: {reason}")


def _bytes(picture: object, name: str) -> bytes:
    content = picture.get("bytes") if isinstance(picture, dict) else None
    if not isinstance(content, bytes) or not content:
        raise DataError(f"{shown(name)}: 'image' holds no bytes; the Hugging Face layout is {{bytes, path}}")
    return content


def _label(label: object, name: str) -> int:
    if label is None:
        return -1
    if not isinstance(label, int) or isinstance(label, bool):
        raise DataError(
            f"{shown(name)}: the label {shown(repr(label))[:80]} is not a class index; give integers from 0"
        )
    return label
