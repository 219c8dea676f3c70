"""Batches: the same images in the same steps for any number of processes, starting at any epoch and step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from surgeon.data import Images
from surgeon.errors import DataError
from surgeon.training.labels import labels_of
from surgeon.training.past_its_length import all_of_its_length, up_to_its_length
from surgeon.training.reading import Seeded, read
from surgeon.training.source import Source, length_of
from surgeon.training.wanted import Wanted


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
        wanted: What the images of a Dataset or a stream have to be; None for nothing beside their form.

    Raises:
        DataError: A stream's length is unknown, shorter than a batch, or its batches cannot be shared evenly.
    """

    def __init__(
        self,
        data: Source,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        wanted: Wanted | None = None,
    ) -> None:
        self.data, self.size, self.seed = data, batch_size, seed
        self.seen = partial((wanted or Wanted()).seen, name="train", data=data)
        self.rank, self.world, self.workers = rank, world, workers
        self.streams = isinstance(data, IterableDataset)
        self.count = length_of(data)
        if self.streams:
            self.count -= self.count % batch_size
            if not self.count or batch_size % world:
                raise DataError(
                    f"a stream of {length_of(data)} images gives no batch of {batch_size} to {world} processes; "
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
            sampled: Any = {"batch_sampler": [i.tolist() for i in own], "num_workers": self.workers}
            loaded = read(items, "train", self.seen, **sampled)
        for (x, y), numbers, part, (a, _) in zip(loaded, own, whole, bounds, strict=True):
            yield Batch(x, labels_of(y, "train", numbers=numbers), a, len(part), numbers)

    def _streamed(self, epoch: int, start: int) -> Iterator[Batch]:
        data: Any = self.data
        if hasattr(data, "set_epoch"):
            data.set_epoch(epoch)
        size = self.size // self.world
        how: Any = {"batch_size": size, "num_workers": self.workers, "drop_last": True}
        loader = read(data, "train", self.seen, (self.seed, epoch, "stream"), **how)
        given: Any = {"count": length_of(data), "shared_by": (self.world, self.workers), "look": epoch == 0}
        for x, y in up_to_its_length(loader, start, self.steps, **given):
            yield Batch(x, labels_of(y, "train"), self.rank * size, self.size)


def in_order(
    data: Source, size: int, *, rank: int = 0, world: int = 1, workers: int = 0, wanted: Wanted | None = None
) -> Iterator[Sequence[Tensor]]:
    """Yield every image once, in order, for validation. Random transforms give the same at each time.

    Processes take whole batches in turn, which are the same whatever their number is: what is drawn for a batch is too.

    Args:
        data: Images, a Dataset or an IterableDataset.
        size: The largest number of images in a batch.
        rank: Index of this process, which gets batches rank, rank + world, and so on.
        world: Number of processes.
        workers: Processes that read a Dataset; 0 reads in this process.
        wanted: What the images of a Dataset or a stream have to be; None for nothing beside their form.

    Yields:
        (x, y): images (n, C, H, W) as stored, and labels (n,).

    Raises:
        DataError: Images are not as they have to be, or a stream gives none.

    Warns:
        UserWarning: A stream gives more or fewer images than it says.
    """
    seen = partial((wanted or Wanted()).seen, name="val", data=data)
    # An epoch that no training has: validation repeats no draws of one.
    if isinstance(data, IterableDataset):
        loader = read(data, "val", seen, (0, -1, "stream"), batch_size=size, num_workers=workers)
        counted = all_of_its_length(loader, count=length_of(data), shared_by=(world, workers))
        yield from (b for n, b in enumerate(counted) if n % world == rank)
        return
    own = torch.arange(length_of(data)).split(size)[rank::world] if length_of(data) else ()
    if isinstance(data, Images):
        yield from ((data.x[i], data.y[i]) for i in own)
    else:
        items, sampled = Seeded(data, 0, -1, "val"), [i.tolist() for i in own if len(i)]
        yield from read(items, "val", seen, batch_sampler=sampled, num_workers=workers)
