"""Calibration images: gather what the caller has into one tensor, and split off a held-out share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from surgeon.errors import DataError
from surgeon.images import check_inputs, plain, shown, times

MOST = 2048
"""Largest number of images that are used."""
FEWEST = 8
"""With fewer images, no image is held out, and `auto` fits no start to them."""
_NAME = "calibration: images"
_SHARE, _ENOUGH = 4, 64
"""Hold out 1 image in 4, at most 64."""


class Halves(NamedTuple):
    """Images that a start is fitted to, and other images on which starts are compared."""

    fitted: Tensor
    held_out: Tensor


def first_copies(images: Tensor) -> Tensor:
    """Find images that repeat an earlier one, pixel by pixel.

    Args:
        images: (N, ...).

    Returns:
        (N,) int64 on the CPU: the index of the first image that equals each, its own if it is the first.

    Examples:
        >>> first_copies(torch.tensor([[1.0], [2.0], [1.0]])).tolist()
        [0, 1, 0]
    """
    first = torch.arange(len(images))
    if images.is_meta or not images.numel():
        return first
    # Equal images have equal sums of their bytes, which are exact; those that share one are compared.
    raw = images.detach().resolve_neg().reshape(len(images), -1).contiguous().view(torch.uint8)
    alike: dict[int, list[int]] = {}
    for index, total in enumerate(raw.sum(1, dtype=torch.int64).tolist()):
        earlier = alike.setdefault(total, [])
        same = next((e for e in earlier if torch.equal(images[e], images[index])), None)
        if same is None:
            earlier.append(index)
        else:
            first[index] = same
    return first


def halves(images: Tensor, seed: int) -> Halves | None:
    """Split images at random into two parts.

    A quarter is held out, but at least 4 and at most 64 images: with fewer, starts differ by chance; more add
    nothing. Copies of an image are one image here: all that equal a held-out one are left out of the fitted part.

    Args:
        images: (N, ...).
        seed: Seed of the split.

    Returns:
        The two parts, or None for fewer than 8 distinct images.
    """
    first = first_copies(images)
    distinct = first.unique()
    if len(distinct) < FEWEST:
        return None
    number = min(_ENOUGH, max(FEWEST // 2, len(distinct) // _SHARE))
    order = torch.randperm(len(distinct), generator=torch.Generator().manual_seed(seed))
    held_out = distinct[order[:number]].sort().values
    fitted = torch.arange(len(images))[~torch.isin(first, held_out)]
    return Halves(images[fitted.to(images.device)], images[held_out.to(images.device)])


Calibration = Tensor | Iterable[Any] | Dataset[Any]
"""Images (N, C, H, W), batches of them with or without labels, or a Dataset of single images."""


def gathered(given: Calibration, dims: int = 3, most: int = MOST) -> Tensor:
    """Gather calibration images into one checked tensor.

    Args:
        given: A tensor (N, C, H, W), from which at most `most` evenly spaced images are used; or an iterable,
            read once from its start until there are enough: of batches, as a DataLoader yields them (tensors,
            or tuples, lists and dicts in which the images come first), or of single images, as a Dataset
            holds them.
        dims: Axes of one image: 3, or 4 for video.
        most: Largest number of images.

    Returns:
        (N, C, H, W) floats, N ≤ `most`.

    Raises:
        DataError: It is something else, is empty, has images of different sizes, or fails `check_inputs`.
    """
    if isinstance(given, Tensor):
        images = plain(given, _NAME)
        if images.dim() and len(images) > most:
            images = images[torch.linspace(0, len(images) - 1, most).round().long()]
        check_inputs(images, dims)
        return images
    if isinstance(given, (str, bytes)) or hasattr(given, "__fspath__"):
        raise DataError(
            f"calibration={shown(given)} is a name; give the images themselves: "
            f"surgeon.data.images({shown(given)}, 512, "
            "(3, 32, 32)) reads them, as pixels in [0, 1]"
        )
    if type(given).__module__ == "numpy":
        raise DataError(
            "calibration is a numpy array; give a tensor: torch.from_numpy(images).float(), normalised as in training"
        )
    if isinstance(given, Mapping) or not (isinstance(given, Iterable) or hasattr(given, "__getitem__")):
        raise DataError(
            f"calibration is a {type(given).__name__}; give a tensor (N, C, H, W), a list of them, or a DataLoader"
        )
    return _read(_items(given), dims, most)


def _read(items: Iterator[Any], dims: int, most: int) -> Tensor:
    """Concatenate the batches of an iterable, until there are enough images."""
    parts: list[Tensor] = []
    number = 0
    for index, item in enumerate(items):
        batch = plain(_images_in(item, dims, index), _NAME)
        check_inputs(batch, dims)
        if parts and batch.shape[1:] != parts[0].shape[1:]:
            raise DataError(
                f"calibration: item {index} has images of {times(batch.shape[1:])}, those "
                f"before {times(parts[0].shape[1:])}; "
                "give images of one size"
            )
        parts.append(batch[: most - number].detach().to(parts[0] if parts else batch.device))
        number += len(parts[-1])
        if number >= most:
            break
    if not parts:
        raise DataError("calibration gives no images: it is empty, or a generator that was read before")
    return torch.cat(parts)


def _items(given: Any) -> Iterator[Any]:
    """Iterate; a Dataset that has only a length and `[i]` is read by index."""
    if hasattr(given, "__iter__"):
        return iter(given)
    return (given[i] for i in range(len(given)))


def _images_in(item: object, dims: int, index: int) -> Tensor:
    """Return the images of one batch, or a single image as a batch of one."""
    values = [item]
    if isinstance(item, Mapping):
        values = list(item.values())
    elif isinstance(item, Sequence) and not isinstance(item, (str, bytes)):
        values = list(item)
    for value in values:
        if isinstance(value, Tensor) and value.dim() in (dims, dims + 1):
            return value if value.dim() == dims + 1 else value.unsqueeze(0)
    kinds = ", ".join(f"{tuple(v.shape)}" if isinstance(v, Tensor) else type(v).__name__ for v in values[:4])
    raise DataError(
        f"calibration: item {index} holds no images ({kinds}); each must be a tensor (N, C, H, W), or (images, labels)"
    )
