"""Batches: the same images in the same steps for any number of processes, starting at any epoch and step."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from surgeon.data import Images
from surgeon.errors import DataError
from surgeon.images import check_stored, check_taken, plain, tell_dark
from surgeon.training.past_its_length import up_to_its_length
from surgeon.training.randomness import seed_of

Source: TypeAlias = "Images | Dataset"


class Batch(NamedTuple):
    """A process's part of a step's batch: samples `offset` to offset + n of `total`.

    x: (n, C, H, W) as stored. y: (n,) int64. numbers: (n,) int64, their indices in the data; None for a stream.
    """

    x: Tensor
    y: Tensor
    offset: int
    total: int
    numbers: Tensor | None = None


class Batches:
    """The steps of a training, as one of several processes sees them.

    Each epoch draws the images in a new order, fixed by `seed`. A last batch that is too small for batch norm
    on every process joins the batch before it. A stream keeps its own order, drops images that fill no batch,
    and is read from its start again to continue in the middle of an epoch.

    Args:
        data: Images, a Dataset of (image (C, H, W), label), or an IterableDataset of them that knows its
            length.
        batch_size: Images in a step, of all processes together.
        seed: Seed of the orders.
        rank: Index of this process.
        world: Number of processes.
        workers: Processes that read a Dataset; 0 reads in this process.

    Raises:
        DataError: A stream's length is unknown, shorter than a batch, or its batches cannot be shared evenly.
    """

    def __init__(
        self, data: Source, batch_size: int, seed: int, *, rank: int = 0, world: int = 1, workers: int = 0
    ) -> None:
        self.data, self.size, self.seed = data, batch_size, seed
        self.rank, self.world, self.workers = rank, world, workers
        self.streams = isinstance(data, IterableDataset)
        self.count = _length(data)
        if self.streams:
            self.count -= self.count % batch_size
            if not self.count or batch_size % world:
                raise DataError(
                    f"a stream of {_length(data)} images gives no batch of {batch_size} to {world} processes; "
                    "choose a batch_size that they share"
                )
        self.steps = self.count // batch_size if self.streams else len(self.order(0))

    def order(self, epoch: int) -> list[Tensor]:
        """Return the indices of each step's whole batch in an epoch.

        Args:
            epoch: Index of the epoch.

        Returns:
            One (n,) int64 tensor for each step.
        """
        # A large step between seeds: two trainings do not share an order at other epochs.
        generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        parts = list(torch.randperm(self.count, generator=generator).split(self.size))
        # Batch norm needs at least two samples on each process.
        if self.size > 1 and len(parts) > 1 and len(parts[-1]) < 2 * self.world:
            parts[-2:] = [torch.cat(parts[-2:])]
        return parts

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield this process's batches of an epoch.

        Args:
            epoch: Index of the epoch.
            start: Index of the first step.

        Yields:
            One batch for each step.
        """
        if self.streams:
            yield from self._streamed(epoch, start)
            return
        whole = self.order(epoch)[start:]
        bounds = [(len(p) * self.rank // self.world, len(p) * (self.rank + 1) // self.world) for p in whole]
        own = [p[a:b] for p, (a, b) in zip(whole, bounds, strict=True)]
        if isinstance(self.data, Images):
            loaded: Any = ((self.data.x[i], self.data.y[i]) for i in own)
        else:
            items = Seeded(self.data, self.seed, epoch)
            loaded = _read(items, "train", batch_sampler=[i.tolist() for i in own], num_workers=self.workers)
        for (x, y), numbers, part, (a, _) in zip(loaded, own, whole, bounds, strict=True):
            yield Batch(x, labels_of(y, "train", numbers=numbers), a, len(part), numbers)

    def _streamed(self, epoch: int, start: int) -> Iterator[Batch]:
        data: Any = self.data
        if hasattr(data, "set_epoch"):
            data.set_epoch(epoch)
        size = self.size // self.world
        loader = _read(data, "train", batch_size=size, num_workers=self.workers, drop_last=True)
        given: Any = {"count": _length(data), "shared_by": (self.world, self.workers), "look": epoch == 0}
        for x, y in up_to_its_length(loader, start, self.steps, **given):
            yield Batch(x, labels_of(y, "train"), self.rank * size, self.size)


class Seeded(Dataset):
    """A dataset whose random transforms are functions of (seed, epoch, image), independent of the worker."""

    def __init__(self, data: Dataset, seed: int, epoch: int, name: str = "train") -> None:
        self.data, self.seed, self.epoch, self.name = data, seed, epoch, name

    def __getitem__(self, index: int) -> Any:
        import numpy

        old_states = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
        seed = seed_of(self.seed, self.epoch, index)
        random.seed(seed)
        numpy.random.seed(seed % 2**32)
        # Not torch.manual_seed, which would seed the GPUs too, whose state is not given back here.
        torch.random.default_generator.manual_seed(seed)
        try:
            return _pair(self.data[index], self.name, index)
        except StopIteration as error:  # it would end the loop over the batches
            raise DataError(f"{self.name}: sample {index} raised StopIteration") from error
        finally:
            random.setstate(old_states[0])
            numpy.random.set_state(old_states[1])
            torch.set_rng_state(old_states[2])


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


def in_order(
    data: Source, size: int, *, rank: int = 0, world: int = 1, workers: int = 0
) -> Iterator[Sequence[Tensor]]:
    """Yield every image once, in order, for validation. Random transforms of a Dataset give the same at each time.

    Processes take whole batches in turn, which are the same whatever their number is: what is drawn for a batch is too.

    Args:
        data: Images, a Dataset or an IterableDataset.
        size: The largest number of images in a batch.
        rank: Index of this process, which gets batches rank, rank + world, and so on.
        world: Number of processes.
        workers: Processes that read a Dataset; 0 reads in this process.

    Yields:
        (x, y): images (n, C, H, W) as stored, and labels (n,).
    """
    if isinstance(data, IterableDataset):
        loader = _read(data, "val", batch_size=size, num_workers=workers)
        yield from (b for n, b in enumerate(loader) if n % world == rank)
        return
    own = torch.arange(_length(data)).split(size)[rank::world] if _length(data) else ()
    if isinstance(data, Images):
        yield from ((data.x[i], data.y[i]) for i in own)
    else:
        # An epoch that no training has: validation repeats no draws of one.
        items = Seeded(data, 0, -1, "val")
        yield from _read(items, "val", batch_sampler=[i.tolist() for i in own if len(i)], num_workers=workers)


def _read(data: Dataset, name: str, **how: Any) -> Iterator[Any]:
    """Batches of a Dataset; images that no training takes are refused as they come, as those in memory are at once.

    Training images that are not finite are left to the loss: it stops every process, and says in which step.
    """
    for batch in _collated(data, name, how):
        if form := _other_form(batch):  # of a stream: `_pair` has seen others
            raise DataError(f"{name}: samples are {form}; a stream gives (image, label)")
        x = batch[0]
        if isinstance(x, Tensor) and (name == "val" or bool(x.isfinite().all())):
            check_stored(x, name, pixels=False)
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


def check(name: str, data: Source, model: nn.Module, *, pixels: bool, channels: int = 1) -> None:
    """Check the images and labels of a training.

    Of a Dataset only the first image is checked here, of a stream no image: reading it could not be undone. Images and
    labels of both are checked batch by batch, as they are read.

    Args:
        name: Name of the data in error messages.
        data: Images, a Dataset or an IterableDataset.
        model: The network that takes the images.
        pixels: Whether floats must be in [0, 1].
        channels: So many channels a normalisation has; 1 without a normalisation, or with one number for all.

    Raises:
        DataError: The data are of another kind, or validation images are missing; images are invalid or do not fit the
            model, or labels are missing or not class indices.

    Warns:
        CalibrationWarning: No pixel of images in memory has a tenth of white's value.
    """
    if isinstance(data, DataLoader):
        raise DataError(f"{name} is a DataLoader; give its dataset, as fit makes the batches: {name}.dataset")
    if not isinstance(data, Images) and (
        isinstance(data, (tuple, Tensor)) or not hasattr(data, "__getitem__")
    ):
        raise DataError(
            f"{name} is a {type(data).__name__}; give surgeon.data.Images(x, y), or a Dataset of (image, label)"
        )
    if name == "val" and not _length(data):
        raise DataError("val has no images; give None to train without validation")
    if not isinstance(data, Images):
        first = (
            None if isinstance(data, IterableDataset) or not _length(data) else Seeded(data, 0, 0, name)[0][0]
        )
        if isinstance(first, Tensor):
            check_stored(first.unsqueeze(0), name, pixels=pixels)
            _check_shape(first.unsqueeze(0), name, model, channels)
        return
    check_stored(data.x, name, pixels=pixels)
    _check_shape(data.x, name, model, channels)
    if data.x.dtype == torch.uint8 and data.x.numel() and int(data.x.max()) == 1:
        raise DataError(
            f"{name} has bytes of 0 and 1 alone, and bytes are 0–255: give images.float() where 1 is white, or "
            "images * 255"
        )
    tell_dark(data.x, name)
    if not isinstance(data.y, Tensor):
        raise DataError(
            f"{name} has labels in a {type(data.y).__name__}; give a tensor (N,) of class indices: torch.as_tensor(y)"
        )
    plain(data.y, f"{name}: labels")
    if len(data.x) != len(data.y):
        raise DataError(f"{name} has {len(data.x)} images and {len(data.y)} labels; give one label each")
    labels_of(data.y, name, numbers=torch.arange(len(data.y)))


def _check_shape(x: Tensor, name: str, model: nn.Module, channels: int) -> None:
    """Check that a network takes images of the shape of x (N, C, …), and that a normalisation has their channels."""
    check_taken(x, model, f"{name}: images", sizes=True)
    if channels != 1 and x.dim() == 4 and x.shape[1] != channels:
        raise DataError(
            f"{name} has images of {x.shape[1]} channels, and normalize has {channels} numbers each: give one for each "
            "channel"
        )


def labels_of(y: object, name: str, classes: int | None = None, *, numbers: Tensor | None = None) -> Tensor:
    """Return labels as class indices.

    Args:
        y: (N,) whole numbers of any integer type.
        name: Name of the data in error messages.
        classes: Number of the network's outputs; None where it is not known yet.
        numbers: (N,) indices of the images in their data; None where they are not numbered.

    Returns:
        (N,) int64.

    Raises:
        DataError: They are of another type or shape, below 0, or not below `classes`.
    """
    try:
        y = torch.as_tensor(y)
    except (TypeError, ValueError, RuntimeError):
        first = y[0] if isinstance(y, (tuple, list)) and y else y
        raise DataError(
            f"{name} has labels such as {first!r:.80}; give class indices, whole numbers from 0"
        ) from None
    if y.dim() != 1:
        remedy = (
            "labels.argmax(1) of one-hot labels" if y.dim() == 2 and y.shape[1] > 1 else "labels.flatten()"
        )
        raise DataError(f"{name} has labels of the shape {tuple(y.shape)}; give class indices (N,): {remedy}")
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise DataError(
            f"{name} has labels of {y.dtype}; give class indices, whole numbers from 0: labels.long()"
        )
    y = y.to(torch.int64)
    low, high = (int(v) for v in y.aminmax()) if len(y) else (0, 0)
    if low < 0:
        at = None if numbers is None else int(numbers[int(y.argmin())])
        raise DataError(f"{name} has the label {low}{_at(at)}; give class indices from 0")
    if classes is not None:
        highest_of(y, numbers).demand(name, classes)
    return y


class Highest(NamedTuple):
    """The highest label of some, and the index of an image that has it; -1 and None where they are not known."""

    label: int = -1
    number: int | None = None

    def demand(self, name: str, classes: int) -> None:
        """Check that a network has an output for it.

        Args:
            name: Name of the data in the message.
            classes: Number of the network's outputs.

        Raises:
            DataError: The network has no output for it.
        """
        if self.label >= classes:
            raise DataError(
                f"{name} has the label {self.label}{_at(self.number)}, and the network has {classes} outputs, for "
                "labels from 0"
            )


def highest_of(y: Tensor, numbers: Tensor | None) -> Highest:
    """Find the highest of labels.

    Args:
        y: (N,) labels.
        numbers: (N,) indices of the images in their data; None where they are not numbered.

    Returns:
        The label, and the index of the first image that has it.
    """
    if not len(y):
        return Highest()
    place = int(y.argmax())
    return Highest(int(y[place]), None if numbers is None else int(numbers[place]))


def highest(data: Source) -> Highest:
    """Find the highest label.

    Args:
        data: Images, a Dataset or an IterableDataset.

    Returns:
        The highest label and its place; -1 if it is not known without reading the data.
    """
    labels = data.y if isinstance(data, Images) else getattr(data, "labels", None)
    if not isinstance(labels, Tensor) or labels.dim() != 1:
        return Highest()
    return highest_of(labels, torch.arange(len(labels)))


def _at(number: int | None) -> str:
    return "" if number is None else f" at index {number}"


def _length(data: Source) -> int:
    if isinstance(data, Images):
        return len(data.x)
    try:
        return len(data)  # type: ignore[arg-type]  # the error is what is asked for
    except TypeError:
        raise DataError(
            "the data do not know how many images they have; wrap them so that len() does"
        ) from None
