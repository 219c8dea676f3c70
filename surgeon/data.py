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

    The splits are stratified by class and fixed by `seed`; 8×8 scans are enlarged by bilinear interpolation.
    """
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

    source: 'digits', a folder with images anywhere below it, or a parquet file.

    Raises DataError for a missing or empty source, an image that cannot be read (named), or sizes that
    are none of an image's.
    """
    return labelled(source, input_size, count=count, seed=seed, need_labels=False).x


def labelled(
    source: str | Path,
    input_size: tuple[int, ...],
    *,
    count: int | None = None,
    split: str = "train",
    seed: int = 0,
    need_labels: bool = True,
) -> Images:
    """Images with labels from a source; `split` chooses among a source's own splits.

    A folder's classes are the names of its sub-folders, in alphabetical order; a folder that has
    sub-folders named like splits is read from the one asked for.
    """
    if len(input_size) != 3 or input_size[0] not in (1, 3):
        raise DataError(f"images are (1 or 3, H, W), not {tuple(input_size)}")
    if str(source) == "digits":
        if split not in SPLITS:
            raise DataError(f"the digits have the splits {', '.join(SPLITS)}, not {split!r}")
        found = digits(input_size[1], seed=0)[split]
        x = torch.nn.functional.interpolate(found.x, input_size[1:]) if found.x.shape[2:] != input_size[1:] else found.x
        order = _order(len(x), count, seed)
        return Images(x[order].expand(-1, input_size[0], -1, -1).clone(), found.y[order])
    path = Path(source)
    if path.is_dir():
        entries: list[tuple[Any, int]] = list(_folder(path, split))
    elif path.suffix == ".parquet" and path.is_file():
        entries = list(_parquet(path))
    else:
        raise DataError(f"{source} is no source of images; give 'digits', a folder of images, or a .parquet file")
    if not entries:
        raise DataError(f"{source} has no images ({', '.join(SUFFIXES[:4])}, …)")
    if need_labels and any(label < 0 for _, label in entries):
        raise DataError(f"{source} has images without a label: put them in one sub-folder a class")
    chosen = [entries[i] for i in _order(len(entries), count, seed)]
    x = torch.stack([_read(item, input_size) for item, _ in chosen])
    return Images(x, torch.tensor([label for _, label in chosen]))


def _order(total: int, count: int | None, seed: int) -> list[int]:
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed)).tolist()
    return order if count is None else order[:count]


def _folder(path: Path, split: str) -> Iterator[tuple[Path, int]]:
    if (path / split).is_dir():
        path = path / split
    classes = sorted(p.name for p in path.iterdir() if p.is_dir())
    for file in sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES):
        top = file.relative_to(path).parts[0]
        yield file, classes.index(top) if top in classes else -1


def _parquet(path: Path) -> Iterator[tuple[tuple[str, bytes], int]]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise DataError("parquet files need pyarrow: pip install 'surgeon[train]'") from None
    try:
        table = parquet.read_table(path)
        pictures = table["image"].to_pylist()
        labels = table["label"].to_pylist() if "label" in table.column_names else [-1] * len(pictures)
    except Exception as error:
        raise DataError(f"{path} is no parquet file with a column 'image': {error}") from error
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        yield (f"{path}, row {number}", picture["bytes"]), int(label)


def _read(item: Any, input_size: tuple[int, ...]) -> Tensor:
    import numpy
    from PIL import Image, UnidentifiedImageError

    name, content = item if isinstance(item, tuple) else (str(item), None)
    try:
        with Image.open(io.BytesIO(content) if content is not None else name) as opened:
            picture = opened.convert("L" if input_size[0] == 1 else "RGB")
            if picture.size != (input_size[2], input_size[1]):
                picture = picture.resize((input_size[2], input_size[1]), Image.Resampling.BILINEAR)
    except (UnidentifiedImageError, OSError, ValueError, TypeError) as error:
        raise DataError(f"{name} cannot be read as an image: {error}") from error
    values = torch.from_numpy(numpy.asarray(picture).copy()).float() / 255
    return values.unsqueeze(0) if values.dim() == 2 else values.permute(2, 0, 1)
