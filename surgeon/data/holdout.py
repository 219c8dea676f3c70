"""The images that a network is tested on: a source's test images, balanced by class, always the same."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from surgeon.arguments import checked_count, checked_seed
from surgeon.data.faults import check_labelled
from surgeon.data.images import Images, pixels
from surgeon.data.lazy_images import Records
from surgeon.data.refusals import streamed
from surgeon.data.scans import digits_as
from surgeon.data.sets import Sets
from surgeon.data.sources import open_source
from surgeon.errors import DataError
from surgeon.host import in_own_state

_PREFERRED = ("test", "val", "train")


class HeldOut(NamedTuple):
    """Images to test on.

    Attributes:
        x: (N, C, H, W) float32 in [0, 1].
        y: (N,) int64.
        examples: the images' numbers in the split.
        split: the split that they come from.
        classes: the classes' names, or their numbers as text.

    Examples:
        >>> from surgeon.data import held_out
        >>> result = held_out("digits", (1, 8, 8), count=20)
        >>> result.x.shape, result.split, len(result.classes)
        (torch.Size([20, 1, 8, 8]), 'test', 10)
    """

    x: Tensor
    y: Tensor
    examples: tuple[int, ...]
    split: str
    classes: tuple[str, ...]


@in_own_state()
def held_out(
    source: str,
    input_size: tuple[int, ...],
    *,
    count: int | None = None,
    root: str | None = None,
    seed: int = 0,
) -> HeldOut:
    """Read a source's test images.

    Of a source's splits the test images are taken, else the validation images. A source with neither (a
    single file, a folder of classes) is used whole.

    Args:
        source: as for `open_source`, or 'digits'.
        input_size: (C, H, W), C 1 (gray) or 3 (RGB).
        count: number of images, with equal shares of each class; None for all.
        root: the folder that the source needs, if it needs one.
        seed: decides which images are taken.

    Returns:
        The images, in the split's order.

    Raises:
        DataError: nothing can be read under this name, the source is a stream, or images have no labels.
        ArgumentError: `count` or `seed` is not valid.

    Examples:
        >>> from surgeon.data import held_out
        >>> test = held_out("digits", (1, 16, 16), count=50)
        >>> test.split, tuple(test.x.shape), test.y.bincount().tolist()
        ('test', (50, 1, 16, 16), [5, 5, 5, 5, 5, 5, 5, 5, 5, 5])
    """
    seed = checked_seed(seed)
    count = None if count is None else checked_count("count", count)
    if len(input_size) != 3 or input_size[0] not in (1, 3) or min(input_size[1:]) < 1:
        raise DataError(f"images are (1 or 3, H, W), not {tuple(input_size)}")
    if source == "digits":
        return _digits_held_out(input_size, count, seed)
    opened = open_source(source, root)
    if opened.streams:
        raise DataError(streamed(source, "an evaluation"))
    split = next(s for s in _PREFERRED if s in opened.splits)
    entries = list(opened.splits[split])
    if not entries:
        raise DataError(f"{source} has no images in its split {split}")
    check_labelled(source, entries)
    labels = torch.tensor([label for _, label in entries], dtype=torch.int64)
    chosen = stratified(labels, count, seed=seed)
    images: Images = Records([entries[i] for i in chosen], tuple(input_size)).in_memory()
    names = opened.classes or tuple(map(str, range(int(labels.max()) + 1)))
    return HeldOut(pixels(images.x), images.y, tuple(chosen), split, names)


@in_own_state()
def held_out_of(sets: Sets, count: int | None = None) -> HeldOut:
    """Take the test images of sets that were made for a training.

    Args:
        sets: the sets.
        count: number of images, with equal shares of each class; None for all.

    Returns:
        The images with their labels, in memory.

    Raises:
        DataError: the test images are a stream, from which none can be chosen.

    Examples:
        >>> from surgeon.data import held_out_of, load_sets
        >>> held_out_of(load_sets("digits"), 20).y.bincount().tolist()
        [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    """
    test = sets.test
    if not isinstance(test, (Images, Records)):
        raise DataError(streamed("the source", "an evaluation"))
    chosen = stratified(test.y if isinstance(test, Images) else test.labels, count)
    some = (
        Images(test.x[chosen], test.y[chosen])
        if isinstance(test, Images)
        else test.subset(chosen).in_memory()
    )
    return HeldOut(pixels(some.x), some.y, tuple(chosen), "test", tuple(sets.classes))


@in_own_state()
def stratified(labels: Tensor, count: int | None, *, seed: int = 0) -> list[int]:
    """Choose indices so that classes appear equally often, as far as they have enough images.

    Args:
        labels: (N,) int64.
        count: number of indices; None for all.
        seed: decides which are chosen.

    Returns:
        The indices, sorted. The counts of two classes differ by at most one unless a class runs out.

    Examples:
        >>> import torch
        >>> from surgeon.data import stratified
        >>> chosen = stratified(torch.tensor([0, 0, 0, 0, 1, 1]), 4)
        >>> torch.tensor([0, 0, 0, 0, 1, 1])[chosen].tolist()
        [0, 0, 1, 1]
    """
    if count is None or count >= len(labels):
        return list(range(len(labels)))
    generator = torch.Generator().manual_seed(seed)
    classes = [g[torch.randperm(len(g), generator=generator)].tolist() for g in _by_class(labels)]
    order = torch.randperm(len(classes), generator=generator).tolist()
    taken: list[int] = []
    while len(taken) < count:  # each round takes one image of each class
        for c in order:
            if classes[c] and len(taken) < count:
                taken.append(classes[c].pop())
    return sorted(taken)


def _by_class(labels: Tensor) -> list[Tensor]:
    return [(labels == c).nonzero().flatten() for c in labels.unique()]


def _digits_held_out(size: tuple[int, ...], count: int | None, seed: int) -> HeldOut:
    scans = digits_as(size)["test"]
    chosen = stratified(scans.y, count, seed=seed)
    x = scans.x[chosen].contiguous()
    return HeldOut(x, scans.y[chosen], tuple(chosen), "test", tuple(map(str, range(10))))
