"""Data sets whose images are decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from surgeon.data.decoding import picture_of, start_no_programs, to_bytes, whole
from surgeon.data.images import Images
from surgeon.data.names import shown
from surgeon.errors import DataError

Item: TypeAlias = "Path | tuple[str, bytes] | Borrowed"
"""Where an image is: a file, a name with bytes, or a place in a library's data set."""


class Records(Dataset):
    """A map-style Dataset of (image, label). Works in the workers of a DataLoader.

    Args:
        entries: (item, label) of each image; an item is a file, a name with bytes, or a library's own.
        size: (C, H, W) to which images are converted, as uint8.
        transform: a function from a PIL image to a tensor that replaces the resizing, such as the one of
            `timm.data.create_transform`.

    Attributes:
        labels: (N,) int64.

    Raises:
        DataError: on reading, if an image cannot be read; the message names it.

    Examples:
        >>> import io
        >>> from PIL import Image
        >>> from surgeon.data import Records
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (8, 4)).save(file, format="PNG")
        >>> records = Records([(("black.png", file.getvalue()), 3)], (3, 16, 16))
        >>> image, label = records[0]
        >>> image.shape, label
        (torch.Size([3, 16, 16]), 3)
        >>> records.subset([0]).in_memory().x.shape
        torch.Size([1, 3, 16, 16])
    """

    def __init__(
        self,
        entries: Sequence[tuple[Any, int]],
        size: tuple[int, ...],
        *,
        transform: Callable[[Any], Tensor] | None = None,
    ) -> None:
        self.entries, self.size, self.transform = entries, size, transform
        self.labels = torch.tensor([label for _, label in entries], dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        item, label = self.entries[index]
        gray = self.size[0] == 1
        picture = item.picture(gray) if isinstance(item, Borrowed) else picture_of(item, gray)
        if self.transform is not None:
            return self.transform(picture), label
        return to_bytes(picture, self.size), label

    def subset(self, indices: Sequence[int] | Tensor) -> Records:
        """A data set of these images alone, in this order.

        Args:
            indices: the images' numbers.

        Returns:
            The data set; images are read when they are asked for.
        """
        return Records([self.entries[int(i)] for i in indices], self.size, transform=self.transform)

    def in_memory(self) -> Images:
        """Read all images.

        Returns:
            The images, uint8 (N, C, H, W), with their labels.
        """
        if not self.entries:
            return Images(torch.zeros(0, *self.size, dtype=torch.uint8), self.labels)
        return Images(torch.stack([self[i][0] for i in range(len(self))]), self.labels)


class Borrowed:
    """One image of a library's data set.

    Args:
        dataset: the data set.
        index: the image's number.
    """

    def __init__(self, dataset: Any, index: int) -> None:
        self.dataset, self.index = dataset, index

    def picture(self, gray: bool | None = None) -> Any:
        """The PIL image.

        Where timm reads, its reader is called directly: timm's data sets return the next image for one that
        cannot be read, which would then have this image's label.

        Args:
            gray: True for gray, False for RGB, None for whichever is stored.

        Raises:
            DataError: the image cannot be read.
        """
        reader = getattr(self.dataset, "reader", None)
        loader = getattr(self.dataset, "loader", None)
        if hasattr(self.dataset, "samples") and getattr(loader, "__module__", "").startswith("torchvision."):
            # torchvision's own loader of a folder of images would clip gray of 16 bits at 255
            return picture_of(Path(self.dataset.samples[self.index][0]), gray)
        try:
            image: Any = whole(self.dataset[self.index][0]) if reader is None else reader[self.index][0]
        except Exception as error:  # decoders raise almost anything
            raise DataError(f"{self} cannot be read as an image: {shown(error)}") from error
        return image if reader is None else picture_of((str(self), image), gray)

    def __str__(self) -> str:
        reader = getattr(self.dataset, "reader", None)
        name = "" if reader is None else f" ({shown(reader.filename(self.index))})"
        return f"image {self.index} of {type(self.dataset).__name__}{name}"


class Stream(IterableDataset):
    """An IterableDataset of (uint8 (C, H, W), label) over a library's stream of (PIL image, label).

    Its length is the one that the library states.

    Args:
        dataset: the library's stream.
        size: (C, H, W) to which images are converted.

    Examples:
        >>> from PIL import Image
        >>> from torch.utils.data import IterableDataset
        >>> class Blacks(IterableDataset):
        ...     def __iter__(self):
        ...         yield Image.new("RGB", (8, 4)), 3
        >>> stream = Stream(Blacks(), (3, 16, 16))
        >>> stream.set_epoch(1)  # nothing to do for one that does not shuffle
        >>> image, label = next(iter(stream))
        >>> image.shape, label
        (torch.Size([3, 16, 16]), 3)
    """

    def __init__(self, dataset: Any, size: tuple[int, ...]) -> None:
        self.dataset, self.size = dataset, size

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        start_no_programs()  # in each worker process
        for picture, label in self.dataset:
            yield to_bytes(whole(picture), self.size), int(label)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which decides how the library shuffles.

        Args:
            epoch: its number.
        """
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)
