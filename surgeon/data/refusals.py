"""Messages for names under which there are no images: what may have been meant."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from surgeon.data.listing import SUFFIXES
from surgeon.data.names import shown
from surgeon.data.shards import ending
from surgeon.disk.folder_kinds import NETWORK, instead
from surgeon.errors import either, nearest

LIBRARY = ("torch/", "hfds/", "hfids/", "tfds/", "wds/")
"""Prefixes of names that timm's create_dataset accepts."""
STREAMS = ("hfids/", "tfds/")
"""Prefixes of names whose images come one after the other, and cannot be chosen from."""
TORCH = (
    "cifar10",
    "cifar100",
    "mnist",
    "kmnist",
    "fashion_mnist",
    "qmnist",
    "imagenet",
    "places365",
    "inaturalist",
    "inat",
    "image_folder",
    "folder",
)
"""Data sets of torchvision that timm opens, as torch/NAME."""
_TABLES = (".csv", ".tsv", ".xlsx", ".json", ".jsonl", ".txt")
_ARCHIVES = (".zip", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst")
_ARRAYS = (
    ".npy",
    ".npz",
    ".pkl",
    ".pickle",
    ".joblib",
    ".pt",
    ".pth",
    ".mat",
    ".h5",
    ".hdf5",
    ".safetensors",
)


def meant(source: str, *, by_name: bool = True) -> str:
    """A clause on what to give instead of something that is not a source of images.

    Args:
        source: the name that was given.
        by_name: whether timm's data sets can be named here.

    Returns:
        The clause; '' where nothing fits.
    """
    if source.lower().startswith(LIBRARY) and not by_name and not Path(source).exists():
        return "data sets of timm's are not read here: give 'digits', a folder of images, or a .parquet file"
    path, plain = (
        Path(source),
        source.lower().replace("-", "_").removeprefix("torchvision/").removeprefix("torch/"),
    )
    suffix = path.suffix.lower()
    if suffix == ".tar" and not by_name and path.is_file():
        return "a tar is not read here: unpack it and give the folder"
    if suffix in _TABLES:
        return (
            "a table is not read: lay the images into one sub-folder a class, or write a parquet "
            "file with the columns image and label"
        )
    if suffix in _ARCHIVES:
        return "archives are not unpacked: unpack it, or give a plain .tar"
    if suffix in _ARRAYS:
        return (
            "files of Python objects and arrays are not read, since loading them may run code: "
            "write images, or a parquet file"
        )
    if suffix in SUFFIXES:
        return "it is one image: give the folder that it lies in"
    plain = {"fashionmnist": "fashion_mnist", "cifar_10": "cifar10", "cifar_100": "cifar100"}.get(
        plain, plain
    )
    if plain in TORCH and not path.exists():
        if not by_name:
            return "did you mean a folder of its images?"
        return "did you mean " + either(
            f"'torch/{plain}', with root='…', the folder where it lies?",
            f"torch/{plain} with --root FOLDER, where it lies?",
        )
    close = "" if path.exists() else nearest(source, ["digits"])
    return close if close.startswith("did you mean") else ""


def no_images(folder: Path) -> str:
    """The message for a folder without images.

    Args:
        folder: the folder.
    """
    other = instead(folder)
    if (folder / NETWORK).is_file():
        other = "is a network's folder"
    if tables := ending(folder, ".parquet"):
        names = ", ".join(shown(p.name) for p in tables[:3])
        other = f"has no image files, but tables: name one of them ({names}{', …' if tables[3:] else ''})"
    elif tars := ending(folder, ".tar"):
        other = f"has no image files, but tars such as {shown(tars[0].name)}, which are not read here: unpack them"
    what = f"{folder} {other}; images are wanted here" if other else f"{folder} has no images"
    return f"{what} ({', '.join(SUFFIXES[:4])}, …)"


def streamed(source: object, work: str) -> str:
    """The message for a stream where images must be chosen.

    Args:
        source: the source.
        work: what needs the images, such as "an evaluation".
    """
    return (
        f"{shown(source)} is a stream, read as it comes, and {work} needs images that can be chosen from: lay them "
        "into a folder with a sub-folder a class, or write parquet files"
    )


def unlocated(name: str, known: Iterable[str]) -> str:
    """The message for a torchvision data set, `torch/NAME`, for which no folder is given.

    Args:
        name: the data set's name.
        known: the names that timm opens.
    """
    rest = name.partition("/")[2].lower()
    if rest not in known:
        return f"timm knows no data set {name!r}; {nearest(name, [f'torch/{n}' for n in known])}"
    return (
        f"{name} needs the folder where it lies: "
        + either("root='…'", "--root FOLDER")
        + ". Nothing is downloaded"
    )
