"""Batches of a Dataset or a stream as they are read: (image, label), drawn by position."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset, IterableDataset

from surgeon.errors import DataError
from surgeon.training.draws import drawn_apart, read_apart


class Seeded(Dataset):
    """A dataset whose random transforms are functions of (seed, epoch, image), independent of the worker."""

    def __init__(self, data: Dataset, seed: int, epoch: int, name: str = "train") -> None:
        self.data, self.seed, self.epoch, self.name = data, seed, epoch, name

    def __getitem__(self, index: int) -> Any:
        with drawn_apart(self.seed, self.epoch, index):
            try:
                return _pair(self.data[index], self.name, index)
            except StopIteration as error:  # it would end the loop over the batches
                raise DataError(f"{self.name}: sample {index} raised StopIteration") from error


def read(
    data: Dataset,
    name: str,
    seen: Callable[[object, bool], None],
    drawn: tuple[object, ...] = (),
    **how: Any,
) -> Iterator[Any]:
    """Yield batches, each looked at as it comes.

    Args:
        data: A Dataset, or a stream.
        name: Name of the data in error messages.
        seen: Called with the images of each batch, and whether it is the first.
        drawn: By what a stream's own random numbers are seeded, such as (seed, epoch).
        how: Arguments of the DataLoader.

    Yields:
        (x, y).

    Raises:
        DataError: Samples are no pairs, or images are of several sizes.
    """
    batches = _collated(data, name, how)
    if isinstance(data, IterableDataset):
        batches = read_apart(batches, *drawn)
    for number, batch in enumerate(batches):
        if form := _other_form(batch):  # of a stream: `_pair` has seen others
            raise DataError(f"{name}: samples are {form}; a stream gives (image, label)")
        seen(batch[0], number == 0)
        yield batch


def _collated(data: Dataset, name: str, how: dict[str, Any]) -> Iterator[Any]:
    try:
        yield from DataLoader(data, **how)
    except RuntimeError as error:
        if "equal size" not in str(error):
            raise
        sizes = str(error).strip().rpartition("equal size, but ")[2]
        raise DataError(
            f"{name} has images of several sizes in one batch ({sizes}); give all one size"
        ) from error


def _other_form(sample: Any) -> str:
    """What a sample, or a batch of them, is where it is not two things, in words; "" where it is."""
    if not isinstance(sample, (tuple, list)):
        return f"a {type(sample).__name__}"
    return "" if len(sample) == 2 else f"{len(sample)} values"


def _pair(sample: Any, name: str, index: int) -> Any:
    """Check that a sample of a Dataset is an image and its label."""
    if form := _other_form(sample):
        raise DataError(
            f"{name}: sample {index} is {form}; a Dataset gives (image, label), so wrap it in one that does"
        )
    image = sample[0]
    if not hasattr(image, "shape") or not hasattr(image, "dtype"):
        remedy = ": torchvision.transforms.functional.to_tensor(image)" if hasattr(image, "getbands") else ""
        raise DataError(
            f"{name}: the image of sample {index} is a {type(image).__name__}; give a tensor (C, H, W){remedy}"
        )
    return sample
