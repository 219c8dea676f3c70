"""Open a source of images by name: the entries of its splits, and its classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import IterableDataset

from surgeon.data.forms import are_left_over, check_one_form
from surgeon.data.images import SYNONYMS
from surgeon.data.joining import Part, joined
from surgeon.data.lazy_images import Borrowed
from surgeon.data.library import Refused, library, tars_at
from surgeon.data.listing import class_names, folder_entries, split_folders
from surgeon.data.names import readable, shown
from surgeon.data.refusals import LIBRARY, TORCH, meant, no_images, unlocated
from surgeon.data.shards import ending, files_by_split
from surgeon.data.tables import parquet_classes, parquet_entries
from surgeon.data.web_shards import web_shards
from surgeon.disk.files import absolute
from surgeon.errors import DataError, either

_BOTH_IN_ONE = ("cifar10", "cifar100", "mnist", "kmnist", "fashion_mnist", "qmnist", "imagenet", "places365")
"""torchvision's data sets whose evaluation images serve as the test set, not as the validation set."""
_OBJECTS = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".npy", ".npz")
_ARCHIVES = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


@dataclass(frozen=True)
class Source:
    """An opened source.

    Attributes:
        name: the source's name.
        splits: split → entries (item, label), or a library's stream.
        classes: the classes' names; empty if they have no names.
        streams: whether the splits are streams.
    """

    name: str
    splits: Mapping[str, Any]
    classes: tuple[str, ...] = ()
    streams: bool = False


def open_source(source: str | Path, root: str | None = None) -> Source:
    """Open a source of images. Nothing is downloaded, unpacked or executed.

    Args:
        source: a folder, a parquet file or a folder of them, a tar or a folder of them, or a name of timm's.
        root: the folder that holds a data set of timm's.

    Raises:
        DataError: nothing can be read under this name, there are no images, or reading would download, unpack
            or execute something.
    """
    with readable(source):
        return _opened(source, root)


def _opened(source: str | Path, root: str | None) -> Source:
    text = str(source)
    path = Path(source)
    if text.lower().startswith(LIBRARY) and not path.exists():
        return _library(text, root)
    if path.is_file() and path.suffix.lower() == ".parquet":
        return Source(text, {"train": list(parquet_entries(path))}, parquet_classes(path))
    if path.is_file() and path.suffix.lower() == ".tar":
        return _read(text, {"train": tars_at(path)})
    if not path.is_dir():
        why = "" if path.exists() else " (nothing is there)"
        hint = meant(text)
        if hint:
            raise DataError(f"{shown(source)} is not a source of images{why}; {hint}")
        raise DataError(
            f"{shown(source)} is not a source of images; give 'digits', a folder of images, a "
            ".parquet or .tar file, or a name of "
            f"timm's such as torch/cifar10{why}"
        )
    files = files_by_split(path, ".parquet")
    if files:
        check_one_form(path, "parquet files")
        return _tables(text, files)
    files = files_by_split(path, ".tar")
    there = split_folders(path)
    if files and not are_left_over(files, there):
        check_one_form(path, "tars")
        return _tars(text, files) if len(files) > 1 else _read(text, {s: tars_at(path) for s in files})
    if any(ending(p, ".tar") for p in there.values()):
        for folder in there.values():
            check_one_form(folder, "tars")
        return _read(text, {s: tars_at(p) for s, p in there.items()})
    own: dict[str, Any] = {s: list(folder_entries(path, s)) for s in there} or {
        "train": list(folder_entries(path, "train"))
    }
    if not any(own.values()):
        raise DataError(no_images(path))
    return Source(text, own, class_names(list(there.values()) or [path]))


def _tables(name: str, files: Mapping[str, Sequence[Path]]) -> Source:
    there = [(split, f) for split, many in files.items() for f in many]
    parts = [Part(f.name, list(parquet_entries(f)), parquet_classes(f)) for _, f in there]
    entries, classes = joined(parts, declared=True)
    splits: dict[str, Any] = {split: [] for split in files}
    for (split, _), rows in zip(there, entries, strict=True):
        splits[split] += rows
    return Source(name, splits, classes)


def _tars(name: str, files: Mapping[str, Sequence[Path]]) -> Source:
    there = [(split, f, tars_at(f)) for split, many in files.items() for f in many]
    parts = [Part(f.name, _borrowed(tar), _classes(tar)) for _, f, tar in there]
    order = Part(name, [], tuple(sorted({c for p in parts for c in p.classes})))
    (_, *entries), classes = joined([order, *parts], declared=False)
    splits: dict[str, Any] = {split: [] for split in files}
    for (split, *_), members in zip(there, entries, strict=True):
        splits[split] += members
    return Source(name, splits, classes)


def absolute_source(source: str) -> str:
    """Make a source an absolute path, valid in every working directory.

    Args:
        source: a path, 'digits', or a name of timm's; the last two are unchanged.

    Returns:
        The absolute path, or the name as it is.

    Examples:
        >>> from surgeon.data import absolute_source
        >>> absolute_source("digits"), absolute_source("torch/cifar10")
        ('digits', 'torch/cifar10')
    """
    return source if source == "digits" else str(absolute(source))


def _library(name: str, root: str | None) -> Source:
    prefix, _, rest = name.partition("/")
    if prefix.lower() == "torch" and (root is None or rest.lower() not in TORCH):
        raise DataError(unlocated(name, TORCH))
    if prefix.lower() == "wds":
        return _read(name, web_shards(name, root))
    if prefix.lower() == "torch":
        wanted = {"train": "train", "test" if rest.lower() in _BOTH_IN_ONE else "val": "validation"}
    else:
        wanted = {"train": "train", "val": "validation", "test": "test"}
    splits: dict[str, Any] = {}
    failed: dict[str, Exception] = {}
    for own, theirs in wanted.items():
        for synonym in dict.fromkeys((theirs, *SYNONYMS[own])):
            try:
                splits[own] = library(name, root, synonym)
                break
            except Refused:
                raise
            except Exception as error:  # libraries raise anything for a missing data set
                failed[own] = error
    if "train" not in splits:
        if prefix.lower() == "torch":
            there = "" if Path(str(root)).is_dir() else ", which is not a folder"
            if isinstance(failed["train"], DataError):
                there = f": {failed['train']}"
            raise DataError(
                f"{name} does not lie under {root}{there}: give the folder into which "
                "torchvision would download it; nothing is "
                "downloaded here"
            ) from failed["train"]
        why = " ".join(str(failed["train"]).split())[:200] or type(failed["train"]).__name__
        raise DataError(
            f"timm has no data set {name} under {root or 'no root'} ({why}); give the folder where it lies as "
            f"{either('root', '--root')}: nothing is downloaded"
        ) from failed["train"]
    return _read(name, splits)


def _read(name: str, datasets: Mapping[str, Any]) -> Source:
    first = next(iter(datasets.values()))
    if isinstance(first, IterableDataset):
        return Source(name, dict(datasets), (), streams=True)
    parts = [Part(s, _borrowed(d), _classes(d)) for s, d in datasets.items()]
    entries, classes = joined(parts, declared=False)
    return Source(name, dict(zip(datasets, entries, strict=True)), classes)


def _borrowed(dataset: Any) -> list[tuple[Any, int]]:
    return [(Borrowed(dataset, i), label) for i, label in enumerate(_labels(dataset))]


def _labels(dataset: Any) -> Sequence[int]:
    """The labels of a library's data set, without decoding images where it stores them."""
    for of in (
        lambda: dataset.targets,
        lambda: [label for _, label in dataset.samples],
        lambda: [label for *_, label in dataset.reader.samples],
        lambda: dataset.reader.targets,
        lambda: dataset.reader.dataset[dataset.reader.label_key],
    ):
        try:
            labels = [int(label) for label in of()]
        except (AttributeError, TypeError, ValueError, KeyError):
            continue
        if len(labels) == len(dataset):
            return labels
    return [int(dataset[i][1]) for i in range(len(dataset))]


def _classes(dataset: Any) -> tuple[str, ...]:
    names = getattr(dataset, "classes", None)
    if names:
        return tuple(str(n) for n in names)
    reader = getattr(dataset, "reader", None)
    places = getattr(reader, "class_to_idx", None) or getattr(reader, "class_name_to_idx", None)
    return tuple(sorted(places, key=places.__getitem__)) if places else ()
