"""The classes of published sets in their order, from what is installed: nothing is downloaded."""

from __future__ import annotations

import functools
import pkgutil

from surgeon.results.benchmark import CIFAR10 as CIFAR10
from surgeon.results.benchmark import CIFAR100 as CIFAR100

CUES: dict[str, tuple[int, ...]] = {
    "airplane": (404,),
    "bear": (294, 295, 296, 297),
    "bicycle": (444, 671),
    "bird": (
        *(8, *range(10, 17), *range(18, 21), *range(22, 25), *range(80, 84), *range(87, 97)),
        *(*range(98, 101), *range(127, 134), *range(135, 146)),
    ),
    "boat": (472, 554, 625, 814, 914),
    "bottle": (440, 720, 737, 898, 899, 901, 907),
    "car": (436, 511, 817),
    "cat": (281, 282, 283, 284, 285, 286),
    "chair": (423, 559, 765, 857),
    "clock": (409, 530, 892),
    "dog": tuple(i for i in range(152, 269) if i not in (192, 204, 227, 242, 251, 258, 260, 264)),
    "elephant": (385, 386),
    "keyboard": (508, 878),
    "knife": (499,),
    "oven": (766,),
    "truck": (555, 569, 656, 675, 717, 734, 864, 867),
}
"""Class → its outputs of ImageNet's 1,000, by WordNet: the 16 classes of Geirhos et al. (2018, 2019), as in
the authors' code (github.com/rgeirhos/texture-vs-shape)."""


@functools.cache
def imagenet() -> tuple[str, ...]:
    """The 1,000 WordNet ids of ImageNet's classes, in the order of outputs, as timm has them."""
    from timm.data import ImageNetInfo

    return tuple(ImageNetInfo().label_names())


@functools.cache
def imagenet_subset(letter: str) -> tuple[str, ...]:
    """The 200 WordNet ids of ImageNet-A or ImageNet-R, as timm has them.

    Args:
        letter: "a" or "r".
    """
    held = pkgutil.get_data("timm.data", f"_info/imagenet_{letter}_synsets.txt") or b""
    return tuple(held.decode().split())
