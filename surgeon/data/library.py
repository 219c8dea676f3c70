"""timm's data sets by name, with everything that would download, unpack or execute switched off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from surgeon.data.decoding import start_no_programs
from surgeon.data.images import SYNONYMS
from surgeon.data.members import check_members
from surgeon.data.names import shown
from surgeon.data.shards import ending
from surgeon.data.whole_tar import DAMAGES, check_whole, unreadable
from surgeon.errors import DataError


class Refused(DataError):
    """A data set asks for more than reading files, and is refused."""


def library(name: str, root: str | None, split: str) -> Any:
    """Open a split of a data set of timm's `create_dataset`.

    Args:
        name: timm's name, such as `torch/cifar10`.
        root: the folder that holds the files.
        split: the library's name of the split.

    Raises:
        Refused: the data set asks for more than reading its files.
        Exception: whatever the libraries raise for a data set that is missing.
    """
    from timm.data import create_dataset

    prefix, _, rest = name.partition("/")
    kind = prefix.lower()
    start_no_programs()
    if kind == "tfds" and ":" in rest:
        raise Refused(f"{shown(name)} is a community's data set, made by code of its own, which is not run")
    if name.lower() == "torch/imagenet":
        _check_unpacked(root, split)
    more: dict[str, Any] = {} if kind == "torch" else {"input_img_mode": "RGB"}
    training: dict[str, Any] = {"is_training": split == "train"} if kind in ("tfds", "hfids") else {}
    with offline():
        return create_dataset(
            name, root=root, split=split, download=False, trust_remote_code=False, **more, **training
        )


def tars_at(path: Path) -> Any:
    """Open a tar, or all tars of a folder, as one data set, with timm's reader.

    Nothing is unpacked; no index is read or written. Each image opens its tar anew: processes that share an
    open file would move each other's position in it.

    Args:
        path: a tar or a folder of tars.

    Raises:
        DataError: there is no readable tar with images, one ends before its end, or as for `check_members`.
    """
    from timm.data import ImageDataset
    from timm.data.readers.reader_image_in_tar import ReaderImageInTar

    for tar in [path] if path.is_file() else ending(path, ".tar"):
        check_whole(tar)
        try:
            check_members(tar)
        except DAMAGES as error:
            raise unreadable(tar, error) from error
    try:
        return ImageDataset(
            str(path), reader=ReaderImageInTar(str(path), cache_tarfiles=False, cache_tarinfo=False)
        )
    except Exception as error:  # tarfile has many errors for damage, and the reader has none for an empty tar
        raise unreadable(path, error) from error


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Inside, Hugging Face's libraries use only local files: their cache, and what lies in the folder."""
    import huggingface_hub.constants as hub

    places: list[Any] = [hub]
    with contextlib.suppress(ImportError):
        import datasets.config

        places.append(datasets.config)
    old_values = [p.HF_HUB_OFFLINE for p in places]
    try:
        for place in places:
            place.HF_HUB_OFFLINE = True
        yield
    finally:
        for place, value in zip(places, old_values, strict=True):
            place.HF_HUB_OFFLINE = value


def _check_unpacked(root: str | None, split: str) -> None:
    """Refuse archives of ImageNet: torchvision would unpack them, which is left to the user."""
    folder = Path(root or ".")
    missing = [
        n for n in ("meta.bin", "train" if split in SYNONYMS["train"] else "val") if not (folder / n).exists()
    ]
    if missing:
        raise DataError(
            f"ImageNet is not unpacked there: {', '.join(missing)} missing, and archives are not unpacked"
        )
