"""What a training's images have to be, looked at before the first step where they can be, and as they are read."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, default_collate

from surgeon.data import Images, Records
from surgeon.errors import DataError
from surgeon.images import check_stored, check_taken, plain, tell_dark
from surgeon.processes import world
from surgeon.training.labels import labels_of
from surgeon.training.reading import Seeded
from surgeon.training.source import Source, length_of


class Wanted(NamedTuple):
    """What the images of a training have to be.

    model: The network that takes them; None for any. pixels: Whether floats must be in [0, 1]. channels: So many a
    normalisation has; 1 without one, or with one number for all.
    """

    model: nn.Module | None = None
    pixels: bool = False
    channels: int = 1

    def check(self, name: str, data: Source) -> None:
        """Check the images and labels of a set.

        Of a Dataset only the first image is checked here, of a stream no image: reading it could not be undone. Images
        and labels of both are checked batch by batch, by `seen`.

        Args:
            name: Name of the data in error messages.
            data: Images, a Dataset or an IterableDataset.

        Raises:
            DataError: The data are of another kind, or validation images are missing; images are invalid or do not fit
                the model, or labels are missing or not class indices.

        Warns:
            CalibrationWarning: No pixel of images in memory has a tenth of white's value.
        """
        if isinstance(data, DataLoader):
            raise DataError(
                f"{name} is a DataLoader; give its dataset, as fit makes the batches: {name}.dataset"
            )
        if not isinstance(data, Images) and (
            isinstance(data, (tuple, Tensor)) or not hasattr(data, "__getitem__")
        ):
            raise DataError(
                f"{name} is a {type(data).__name__}; give surgeon.data.Images(x, y), or a Dataset of (image, label)"
            )
        if name == "val" and not length_of(data):
            raise DataError("val has no images; give None to train without validation")
        if not isinstance(data, Images):
            if not isinstance(data, IterableDataset) and length_of(data):
                self._first(Seeded(data, 0, 0, name)[0][0], name, data)
            return
        self._stored(data.x, name)
        self._fits(data.x, name)
        tell_dark(data.x, name)
        if not isinstance(data.y, Tensor):
            raise DataError(
                f"{name} has labels in a {type(data.y).__name__}; give a tensor (N,) of class indices: "
                "torch.as_tensor(y)"
            )
        plain(data.y, f"{name}: labels")
        if len(data.x) != len(data.y):
            raise DataError(f"{name} has {len(data.x)} images and {len(data.y)} labels; give one label each")
        labels_of(data.y, name, numbers=torch.arange(len(data.y)))

    def seen(self, x: object, first: bool, *, name: str, data: Source) -> None:
        """Check a batch as it is read from a Dataset or a stream.

        Training images that are not finite are left to the loss: it stops every process, and says in which step.

        Args:
            x: The batch.
            first: Whether it is the first of its epoch.
            name: Name of the data in error messages.
            data: What it was read from.

        Raises:
            DataError: Training takes no such images.
        """
        if not isinstance(x, Tensor):
            return
        if name == "val" or bool(x.isfinite().all()):
            self._stored(x, name, made=_made(data))
        # Of several processes each may have a part of the weights alone, with which nothing can be tried.
        if first and isinstance(data, IterableDataset) and world() == 1:
            self._fits(x, name)

    def _first(self, image: Any, name: str, data: Source) -> None:
        """Check the first image of a Dataset, as a batch of it is made."""
        x = default_collate([image])
        if isinstance(x, Tensor):
            self._stored(x, name, made=_made(data))
            self._fits(x, name)

    def _stored(self, x: Tensor, name: str, *, made: bool = False) -> None:
        """Check the numbers of images; those that a transform made may leave [0, 1], as random erasing does."""
        check_stored(x, name, pixels=self.pixels and not made)
        if x.dtype == torch.uint8 and len(x) > 1 and x.numel() and int(x.max()) == 1:
            raise DataError(
                f"{name} has bytes of 0 and 1 alone, and bytes are 0–255: give images.float() where 1 is white, or "
                "images * 255"
            )

    def _fits(self, x: Tensor, name: str) -> None:
        """Check that the network takes images of the shape of x (N, C, …), and a normalisation has their channels."""
        if self.model is not None:
            check_taken(x, self.model, f"{name}: images", sizes=True)
        if self.channels != 1 and x.dim() == 4 and x.shape[1] != self.channels:
            raise DataError(
                f"{name} has images of {x.shape[1]} channels, and normalize has {self.channels} numbers each: give one "
                "for each channel"
            )


def _made(data: Source) -> bool:
    """Whether images are made of pixels by a transform of the settings."""
    return isinstance(data, Records) and data.transform is not None
