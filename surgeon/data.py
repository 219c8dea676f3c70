"""Images by name: scikit-learn's digits, folders, and parquet files in the Hugging Face image layout."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from surgeon.errors import DataError

SPLITS = ("train", "val", "test")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
DIGITS_SIZE = 16


class Images(NamedTuple):
    """A labelled set: x float32 (N, C, H, W) in [0, 1], y int64 (N,)."""

    x: Tensor
    y: Tensor


def digits(size: int = DIGITS_SIZE, *, seed: int = 0) -> dict[str, Images]:
    """scikit-learn's 1,797 scanned digits, (N, 1, size, size), in the splits train, val and test (60/20/20).

    The splits are stratified by class and fixed by `seed`; the 8×8 scans, of values 0 to 16, are divided by 16
    and resized by bilinear interpolation.

    Raises DataError without scikit-learn, or for a size below 1.
    """
    if size < 1:
        raise DataError(f"size={size} pixels are no image; the scans are 8 wide")
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError:
        raise DataError("the digits come with scikit-learn: pip install 'surgeon[train]'") from None
    loaded = load_digits()
    x = torch.tensor(loaded.images, dtype=torch.float32).unsqueeze(1) / 16
    if size != 8:
        x = torch.nn.functional.interpolate(x, (size, size), mode="bilinear", antialias=False).clamp(0, 1)
    y = torch.tensor(loaded.target, dtype=torch.int64)
    rest, test = train_test_split(range(len(y)), test_size=0.2, random_state=seed, stratify=y)
    train, val = train_test_split(rest, test_size=0.25, random_state=seed, stratify=y[rest])
    return {n: Images(x[part], y[part]) for n, part in zip(SPLITS, (train, val, test), strict=True)}


def images(source: str | Path, count: int, input_size: tuple[int, ...], *, seed: int = 0) -> Tensor:
    """`count` images (or all there are) from a source, (N, C, H, W) float32 in [0, 1], chosen by `seed`.

    source: 'digits', a folder with images anywhere below it, or a parquet file in the Hugging Face layout
    (`image: {bytes, path}`, `label`).

    Raises DataError for a missing or empty source, an image that cannot be read (named), or sizes that
    are none of an image's.
    """
    return labelled(source, input_size, count=count, seed=seed, need_labels=False).x


def labelled(
    source: str | Path,
    input_size: tuple[int, ...] | None = None,
    *,
    count: int | None = None,
    split: str = "train",
    seed: int = 0,
    need_labels: bool = True,
) -> Images:
    """Images with labels from a source, in an order fixed by `seed`; `split` chooses among its own splits.

    input_size: (C, H, W), C 1 (gray) or 3 (RGB); images are resized to it with no regard to their aspect. By
    default that of the first image. A folder's classes are the names of its sub-folders, in alphabetical
    order; a folder that has sub-folders named like splits is read from the one asked for, and numbers the
    classes of all its splits together, so that a class which one of them lacks shifts no other. A parquet
    file is one split, whatever `split` says.

    Raises DataError as `images`, for a split that the source lacks, and for images without a label.
    """
    if input_size is not None and (
        len(input_size) != 3 or input_size[0] not in (1, 3) or min(input_size[1:]) < 1
    ):
        raise DataError(f"images are (1 or 3, H, W), not {tuple(input_size)}")
    if count is not None and count < 1:
        raise DataError(f"count={count} images are none; give 1 or more, or None for all")
    if str(source) == "digits":
        return _digits(input_size, count, split, seed)
    path = Path(source)
    if path.is_dir():
        entries: list[tuple[Any, int]] = list(_folder(path, split))
    elif path.suffix == ".parquet" and path.is_file():
        entries = list(_parquet(path))
    else:
        why = "" if path.exists() else " (nothing is there)"
        raise DataError(
            f"{source} is no source of images; give 'digits', a folder of images, or a .parquet file{why}"
        )
    if not entries:
        raise DataError(f"{source} has no images ({', '.join(SUFFIXES[:4])}, …)")
    if need_labels:
        bare = next((item for item, label in entries if label < 0), None)
        if bare is not None:
            name = bare[0] if isinstance(bare, tuple) else bare
            raise DataError(
                f"{source} has images without a label ({name}): put them in one sub-folder a class, or give "
                "the parquet file a column 'label' of class indices"
            )
    chosen = [entries[i] for i in _order(len(entries), count, seed)]
    if input_size is None:
        first = _read(entries[0][0], None)
        input_size = tuple(first.shape)
    x = torch.stack([_read(item, input_size) for item, _ in chosen])
    return Images(x, torch.tensor([label for _, label in chosen], dtype=torch.int64))


def _digits(input_size: tuple[int, ...] | None, count: int | None, split: str, seed: int) -> Images:
    if split not in SPLITS:
        raise DataError(f"the digits have the splits {', '.join(SPLITS)}, not {split!r}")
    channels, height, width = input_size or (1, DIGITS_SIZE, DIGITS_SIZE)
    found = digits(height, seed=0)[split]
    x = found.x if width == height else torch.nn.functional.interpolate(found.x, (height, width))
    order = _order(len(x), count, seed)
    return Images(x[order].expand(-1, channels, -1, -1).clone(), found.y[order])


def _order(total: int, count: int | None, seed: int) -> list[int]:
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed)).tolist()
    return order if count is None else order[:count]


def _folder(path: Path, split: str) -> Iterator[tuple[Path, int]]:
    there = [s for s in SPLITS if (path / s).is_dir()]
    siblings = [path]
    if (path / split).is_dir():
        siblings = [path / s for s in {*there, split}]
        path = path / split
    elif len(there) > 1 or split not in SPLITS:
        found = f"the splits {', '.join(there)}" if there else "no splits"
        raise DataError(f"{path} has {found}, not {split!r}")
    classes = sorted(
        {p.name for s in siblings for p in s.iterdir() if p.is_dir() and not p.name.startswith(".")}
    )
    place = {name: number for number, name in enumerate(classes)}
    for file in sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()):
        parts = file.relative_to(path).parts
        if not any(part.startswith(".") for part in parts):
            yield file, place[parts[0]] if len(parts) > 1 else -1


def _parquet(path: Path) -> Iterator[tuple[tuple[str, bytes], int]]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise DataError("parquet files need pyarrow: pip install 'surgeon[train]'") from None
    try:
        table = parquet.read_table(path)
        pictures = table["image"].to_pylist()
        labels = table["label"].to_pylist() if "label" in table.column_names else [None] * len(pictures)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} is no parquet file with a column 'image': {reason}") from error
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        row = f"{path}, row {number}"
        if not isinstance(picture, dict) or not isinstance(picture.get("bytes"), bytes):
            raise DataError(f"{row}: 'image' holds no bytes; the Hugging Face layout is {{bytes, path}}")
        if label is not None and not isinstance(label, int):
            raise DataError(f"{row}: the label {label!r} is no class index; give integers from 0")
        yield (row, picture["bytes"]), -1 if label is None else label


def _read(item: Any, input_size: tuple[int, ...] | None) -> Tensor:
    """(C, H, W) float32 in [0, 1] of a file, or of a pair of a name and a file's bytes."""
    import numpy
    from PIL import Image

    name, content = item if isinstance(item, tuple) else (str(item), None)
    try:
        with Image.open(io.BytesIO(content) if content is not None else name) as file:
            opened: Image.Image = file
            if input_size is None:
                gray = opened.mode in ("1", "L") or opened.mode.startswith("I")
                input_size = (1 if gray else 3, opened.height, opened.width)
            if opened.mode == "F":
                raise ValueError("its values are floats, of a range that nothing tells")
            if opened.mode.startswith("I"):  # 16 bits, which convert would cut off at 255
                wide = numpy.asarray(opened).astype(numpy.float64)
                opened = Image.fromarray(numpy.round(wide.clip(0, 65535) / 257).astype(numpy.uint8))
            picture = opened.convert("L" if input_size[0] == 1 else "RGB")
            if picture.size != (input_size[2], input_size[1]):
                picture = picture.resize((input_size[2], input_size[1]), Image.Resampling.BILINEAR)
    except Exception as error:  # decoders raise nearly anything, and a bomb is none of OSError
        raise DataError(f"{name} cannot be read as an image: {error}") from error
    values = torch.from_numpy(numpy.asarray(picture).copy()).float() / 255
    return values.unsqueeze(0) if values.dim() == 2 else values.permute(2, 0, 1)
