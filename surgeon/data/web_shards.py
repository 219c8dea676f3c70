"""A web data set in a folder: tars of samples, each an image beside its label, listed in `_info.json` or by name."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from surgeon.data.images import split_of
from surgeon.data.names import shown
from surgeon.data.shards import files_by_split
from surgeon.data.whole_tar import DAMAGES, check_whole, unreadable
from surgeon.errors import ArtifactError, DataError
from surgeon.reading import read_json

_INFO = ("_info.json", "info.json")
"""Files in which a web data set lists its tars."""
_IMAGES = (".jpg", ".jpeg", ".png", ".webp")
"""How the image of a sample ends, in any case."""
_LABEL = ".cls"


class Sample(NamedTuple):
    """One image of a web data set.

    Attributes:
        tar: the file that it lies in.
        name: its name in there.
        offset, size: where its bytes are.
        label: its class; -1 for "no label".
    """

    tar: Path
    name: str
    offset: int
    size: int
    label: int


class Shards:
    """The samples of one split, to be read one by one in any order, also in several processes.

    Args:
        samples: the samples.

    Attributes:
        reader: itself: where a library's data set has its reader.
        targets: the labels.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self.targets = [s.label for s in samples]

    @property
    def reader(self) -> Shards:
        return self

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> tuple[IO[bytes], int]:
        sample = self._samples[index]
        # Opened anew for each: processes that share an open file would move each other's position in it.
        with sample.tar.open("rb") as file:
            file.seek(sample.offset)
            return io.BytesIO(file.read(sample.size)), sample.label

    def filename(self, index: int) -> str:
        """Where an image lies: its tar and its name in there.

        Args:
            index: the image's number.
        """
        sample = self._samples[index]
        return f"{sample.tar.name}/{sample.name}"


def web_shards(name: str, root: str | None) -> dict[str, Shards]:
    """Find the samples of a web data set, by split. Images are read when they are asked for.

    Args:
        name: the data set's name, for messages.
        root: the folder of its tars.

    Raises:
        DataError: there is no such folder, a tar is named that does not lie in it (elsewhere webdataset accepts
            commands and addresses), a tar is damaged, or a sample has not one image and one label.
    """
    folder = Path(root or "").absolute()
    if not root or not folder.is_dir():
        raise DataError(
            f"{shown(name)} needs the folder where its tars lie as root (--root), not {shown(root)}"
        )
    listed = _listed(folder)
    splits = {s: [q for tar in tars for q in _samples(tar)] for s, (tars, _) in listed.items()}
    for split, (_, number) in listed.items():
        if number is not None and number != len(splits[split]):
            raise DataError(
                f"{shown(folder)} lists {number:,} samples of the split {split}, and its tars hold "
                f"{len(splits[split]):,}: copy them again, or correct the list"
            )
    if not any(splits.values()):
        raise DataError(f"{shown(folder)} has no tars of samples (NAME.png or .jpg beside NAME{_LABEL})")
    return {split: Shards(samples) for split, samples in splits.items()}


def _listed(folder: Path) -> dict[str, tuple[list[Path], int | None]]:
    """The tars of each split, and how many samples the list says that they hold."""
    place = next((folder / n for n in _INFO if (folder / n).is_file()), None)
    if place is None:
        return {split: (tars, None) for split, tars in files_by_split(folder, ".tar").items()}
    try:
        splits: Mapping[str, Any] = read_json(place)["splits"]
        named = {s: [str(f) for f in of["filenames"]] for s, of in splits.items()}
        numbers = {
            s: None if of.get("num_samples") is None else int(of["num_samples"]) for s, of in splits.items()
        }
        labels = {s: of.get("alt_label") for s, of in splits.items()}
    except (ArtifactError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{shown(place)} lists no tars by split: {type(error).__name__}: {shown(error)}"
        ) from error
    result: dict[str, tuple[list[Path], int | None]] = {}
    for split, files in named.items():
        own = split_of(split)
        if own is None or own in result:
            raise DataError(
                f"{shown(place)} has the split {shown(split)}, which is "
                f"{'not train, val or test' if own is None else f'a second one for {own}'}: rename or remove it"
            )
        if labels[split]:
            raise DataError(
                f"{shown(place)} takes the labels of {shown(split)} from {shown(labels[split])} of JSON files, and "
                f"those of files NAME{_LABEL} are read alone: write such files"
            )
        for file in files:
            if "::" in file or not (folder / file).resolve().is_relative_to(folder.resolve()):
                raise DataError(
                    f"{shown(place)} names {shown(file)}, which is not a file below {shown(folder)}"
                )
        result[own] = ([folder / f for f in files], numbers[split])
    return result


def _samples(path: Path) -> Iterator[Sample]:
    """The samples of a tar, in its order."""
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, int] = {}
    check_whole(path)
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                key, ending = _parts(member.name)
                if ending not in (*_IMAGES, _LABEL):
                    continue
                if not member.isfile():
                    _refuse(path, member.name, "it is a link: write the tar with its content")
                if key in (labels if ending == _LABEL else images):
                    _refuse(path, member.name, "its sample has another of its kind: keep one of them")
                if ending == _LABEL:
                    labels[key] = _label(path, member.name, tar.extractfile(member))
                else:
                    images[key] = member
    except DAMAGES as error:
        raise unreadable(path, error) from error
    for key, one in images.items():
        if key not in labels:
            _refuse(path, one.name, f"its label, {PurePosixPath(key).name}{_LABEL}, does not lie beside it")
    for key in labels:
        if key not in images:
            _refuse(path, f"{key}{_LABEL}", f"no image ({', '.join(_IMAGES)}) lies beside it")
    return (Sample(path, m.name, m.offset_data, m.size, labels[key]) for key, m in images.items())


def _parts(name: str) -> tuple[str, str]:
    """A sample's key and the ending, which begins at the first dot of the file's name."""
    path = PurePosixPath(name)
    stem, dot, ending = path.name.partition(".")
    return str(path.parent / stem), (dot + ending).lower()


def _label(path: Path, name: str, file: IO[bytes] | None) -> int:
    content = b"" if file is None else file.read(32)
    try:
        return int(content)
    except ValueError:
        _refuse(
            path, name, f"its label is {shown(content.decode(errors='replace')[:20])!r}, and no whole number"
        )
        raise  # never reached


def _refuse(path: Path, name: str, why: str) -> None:
    raise DataError(f"{shown(path)} has {shown(name)}: {why}")
