"""What a folder or a parquet file holds: an entry an image, with its class, nothing decoded yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from surgeon.data.images import SPLITS
from surgeon.errors import DataError
from surgeon.reading import parse_json

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
SYNONYMS = {"train": ("train", "training"), "val": ("val", "validation", "valid"), "test": ("test",)}


def split_folders(path: Path) -> dict[str, Path]:
    """The sub-folders that are splits, by the split's name: train/, val/ (or validation/, valid/), test/."""
    found = {s: next((path / n for n in names if (path / n).is_dir()), None) for s, names in SYNONYMS.items()}
    return {s: p for s, p in found.items() if p is not None}


def class_names(folders: list[Path]) -> tuple[str, ...]:
    """The classes of folders with a sub-folder each: of all of them together, in alphabetical order."""
    return tuple(
        sorted({p.name for f in folders for p in f.iterdir() if p.is_dir() and not p.name.startswith(".")})
    )


def folder_entries(path: Path, split: str) -> Iterator[tuple[Path, int]]:
    """(file, class) of one split of a folder; class −1 for an image that lies in no sub-folder.

    Raises DataError for a split that the folder lacks.
    """
    there = split_folders(path)
    siblings = [path]
    if split in there or (path / split).is_dir():
        own = there.get(split, path / split)
        siblings = list({*there.values(), own})
        path = own
    elif len(there) > 1 or split not in SPLITS:
        found = f"the splits {', '.join(there)}" if there else "no splits"
        raise DataError(f"{path} has {found}, not {split!r}")
    place = {name: number for number, name in enumerate(class_names(siblings))}
    for file in sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()):
        parts = file.relative_to(path).parts
        if not any(part.startswith(".") for part in parts):
            yield file, place[parts[0]] if len(parts) > 1 else -1


def parquet_entries(path: Path) -> Iterator[tuple[tuple[str, bytes], int]]:
    """((name, encoded bytes), class) of each row; class −1 for a row without one.

    Raises DataError for another layout than Hugging Face's.
    """
    table = _table(path)
    labels = table["label"].to_pylist() if "label" in table.column_names else [None] * table.num_rows
    number = 0
    for batch in table.select(["image"]).to_batches():
        for picture in batch.column(0).to_pylist():
            row, label = f"{path}, row {number}", labels[number]
            if not isinstance(picture, dict) or not isinstance(picture.get("bytes"), bytes):
                raise DataError(f"{row}: 'image' holds no bytes; the Hugging Face layout is {{bytes, path}}")
            if label is not None and not isinstance(label, int):
                raise DataError(f"{row}: the label {label!r} is no class index; give integers from 0")
            yield (row, picture["bytes"]), -1 if label is None else label
            number += 1


def parquet_classes(path: Path) -> tuple[str, ...]:
    """The class names in a file's schema, as Hugging Face writes them; none where it has none."""
    metadata = _parquet().read_schema(path).metadata or {}
    try:
        told: Any = parse_json(metadata.get(b"huggingface", b"{}"), str(path))
        names = told["info"]["features"]["label"]["names"]
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()


def parquet_splits(path: Path) -> dict[str, list[Path]]:
    """A folder's parquet files by split, as Hugging Face names them: train-00000-of-00002.parquet."""
    files = sorted(path.glob("*.parquet"))
    found = {
        s: [f for f in files if f.name.split("-")[0].removesuffix(".parquet") in n]
        for s, n in SYNONYMS.items()
    }
    named = {s: f for s, f in found.items() if f}
    return named or ({"train": files} if files else {})


def _table(path: Path) -> Any:
    try:
        table = _parquet().read_table(path)
        table["image"]
        return table
    except DataError:
        raise
    except Exception as error:  # pyarrow has many errors for a damaged file
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} is no parquet file with a column 'image': {reason}") from error


def _parquet() -> Any:
    try:
        from pyarrow import parquet
    except ImportError:
        raise DataError("parquet files need pyarrow: pip install 'surgeon[train]'") from None
    return parquet
