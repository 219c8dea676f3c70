"""The names of the zoo, and what each is built by."""

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
from surgeon.zoo.shallow import Shallow
from surgeon.zoo.wm_densenet import WeightMapDenseNet
from surgeon.zoo.wm_resnet import WeightMapResNet

PREFIX = "zoo/"
"""What the names of the zoo's networks begin with."""
MNIST, CIFAR = (1, 28, 28), (3, 32, 32)
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
"""How the public CIFAR weights' images were normalised too; left out for other than three channels."""


@dataclass(frozen=True)
class Entry:
    """How a network is built, the images that it is for, and how they are normalised."""

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
    **{
        name: Entry(partial(build, *fixed, **changed), (3, side, side), IMAGENET)
        for name, (build, fixed, changed, side) in FITS.items()
    },
}


def names() -> list[str]:
    """All names, with the prefix `zoo/`."""
    return [PREFIX + name for name in sorted(ENTRIES)]


def create(
    name: str,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    input_size: tuple[int, ...] | None = None,
    args: Mapping[str, Any] | None = None,
) -> nn.Module:
    """The network called `name`, with fresh weights.

    input_size: (C, H, W); its channels are the network's, and a network built for one size is built for it.

    Raises ModelError for an unknown name (with the nearest ones), arguments that the network does not take
    (with those that it does), and an input size that contradicts them.
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
    """The size of image that the network is for; what `input_size` says of it is written into `given`."""
    own = entry.input_size
    if fixed and "img_size" in given:
        own = (own[0], *parts.sides(given["img_size"]))
    if input_size is None:
        return (given.get("in_chans", own[0]), *own[1:])
    size = tuple(input_size)
    if len(size) != 3:
        raise ModelError(f"{name} takes images (C, H, W), not {size}")
    for argument, agrees in (
        ("in_chans", given.get("in_chans") == size[0]), ("img_size", own[1:] == size[1:]),
    ):  # fmt: skip
        if argument in given and not agrees:
            raise ModelError(f"{name}: {argument}={given[argument]} contradicts the input size {size}")
    given["in_chans"] = size[0]
    if fixed:
        given["img_size"] = size[1:]
    return size
