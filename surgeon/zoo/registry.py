"""The names of the zoo's networks, and how each is built."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn

from surgeon.errors import ModelError, SurgeonError, nearest
from surgeon.zoo import parts
from surgeon.zoo.cifar_resnet import CifarResNet
from surgeon.zoo.cnn import PlainCNN
from surgeon.zoo.fits import FITS
from surgeon.zoo.lenet import LeNet5
from surgeon.zoo.pyramidnet import PyramidNet
from surgeon.zoo.shallow import Shallow
from surgeon.zoo.wm_densenet import WeightMapDenseNet
from surgeon.zoo.wm_resnet import WeightMapResNet

PREFIX = "zoo/"
"""What the names of the zoo's networks begin with."""
MNIST, CIFAR = (1, 28, 28), (3, 32, 32)
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
"""Also the normalisation of the public CIFAR weights; omitted unless there are three channels."""


@dataclass(frozen=True)
class Entry:
    """How a network is built, and for which images.

    Attributes:
        build: Returns the network.
        input_size: (C, H, W) of its images.
        normalised: "mean" and "std" per channel that its images are normalised by; empty for [0, 1] pixels.
    """

    build: Callable[..., nn.Module]
    input_size: tuple[int, int, int]
    normalised: Mapping[str, Any] = field(default_factory=dict)


ENTRIES: dict[str, Entry] = {
    "lenet5": Entry(LeNet5, MNIST),
    "cnn": Entry(PlainCNN, MNIST),
    "cnn_wide": Entry(partial(PlainCNN, widths=(200, 500, 8)), MNIST),
    "wm_cnn": Entry(partial(PlainCNN, widths=(32, 32, 8)), MNIST),
    "wm_resnet": Entry(WeightMapResNet, MNIST),
    "wm_densenet": Entry(WeightMapDenseNet, MNIST),
    **{f"shallow{n}": Entry(partial(Shallow, n), CIFAR, IMAGENET) for n in (1, 2, 3)},
    **{f"cifar_resnet{n}": Entry(partial(CifarResNet, n), CIFAR, IMAGENET) for n in (20, 32, 44, 56, 110)},
    **{f"pyramidnet{n}": Entry(partial(PyramidNet, alpha=n), CIFAR, IMAGENET) for n in (48, 270)},
    **{
        name: Entry(partial(build, *fixed, **changed), (3, side, side), IMAGENET)
        for name, (build, fixed, changed, side) in FITS.items()
    },
}


def names() -> list[str]:
    """List the names, with the prefix `zoo/`.

    Returns:
        The names, sorted.

    Examples:
        >>> "zoo/lenet5" in names()
        True
    """
    return [PREFIX + name for name in sorted(ENTRIES)]


def create(
    name: str,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    input_size: tuple[int, ...] | None = None,
    args: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        name: Its name, with or without `zoo/`.
        num_classes: Number of classes. Default: the network's own.
        in_chans: Channels of the images. Default: the network's own.
        input_size: (C, H, W). Its channels are the network's, and a network for one size is built for it.
        args: Further arguments of the network's class.

    Returns:
        The network, with its configuration in `pretrained_cfg`.

    Raises:
        ModelError: The name is unknown (the nearest are given), the network lacks an argument (its own are
            given), or the input size contradicts the arguments.

    Examples:
        >>> create("zoo/lenet5", num_classes=3).fc3.out_features
        3
    """
    entry = ENTRIES.get(name.removeprefix(PREFIX))
    if entry is None:
        raise ModelError(f"unknown model {name!r}; {nearest(name, names())}")
    given = dict(args or {})
    given.update({k: v for k, v in (("num_classes", num_classes), ("in_chans", in_chans)) if v is not None})
    signature = inspect.signature(entry.build).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in signature.values()):
        for argument in given:
            if argument not in signature:
                raise ModelError(f"{name} takes no argument {argument!r}; {nearest(argument, signature)}")
    size = _sized(name, entry, input_size, given, fixed="img_size" in signature)
    try:
        model = entry.build(**given)
    except SurgeonError:
        raise
    except Exception as error:  # whatever a library's own code raises on arguments that do not fit
        raise ModelError(f"{name} with {given}: {' '.join(str(error).split())[:300]}") from error
    classes = given.get("num_classes", signature["num_classes"].default)
    model.__dict__["num_classes"] = classes
    model.__dict__["pretrained_cfg"] = {
        **(entry.normalised if size[0] == 3 else {}),
        "architecture": PREFIX + name.removeprefix(PREFIX),
        "input_size": size,
        "num_classes": classes,
    }
    return model


def _sized(
    name: str, entry: Entry, input_size: tuple[int, ...] | None, given: dict[str, Any], *, fixed: bool
) -> tuple[int, ...]:
    """Return the size of image that the network is for, and write what `input_size` implies into `given`."""
    own = entry.input_size
    if fixed and "img_size" in given:
        own = (own[0], *parts.sides(given["img_size"]))
    if input_size is None:
        return (given.get("in_chans", own[0]), *own[1:])
    size = tuple(input_size)
    if len(size) != 3:
        raise ModelError(f"{name} takes images (C, H, W), not {size}")
    for argument, agrees in (
        ("in_chans", given.get("in_chans") == size[0]),
        ("img_size", own[1:] == size[1:]),
    ):
        if argument in given and not agrees:
            raise ModelError(f"{name}: {argument}={given[argument]} contradicts the input size {size}")
    given["in_chans"] = size[0]
    if fixed:
        given["img_size"] = size[1:]
    return size
