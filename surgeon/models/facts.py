"""Facts about a network: its name, input size, number of classes, and the normalisation of its images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from surgeon.images import channels_of, may_take
from surgeon.wrappers import unwrapped

ORIGIN = "surgeon_origin"
ASSUMED = "assumed"
"""Key of the origin: nobody said how the images of the weights were normalised."""
"""Attribute of a created model that stores how it was made: {"name", "args", "input_size"}."""


def name_of(model: nn.Module) -> str:
    """The name of a network.

    Args:
        model: the network.

    Returns:
        The name that it was created by, else timm's architecture, else its class's name.

    Examples:
        >>> import surgeon
        >>> surgeon.models.name_of(surgeon.create_model("zoo/lenet5"))
        'zoo/lenet5'
    """
    model = unwrapped(model, sharded=True)
    origin = model.__dict__.get(ORIGIN)
    if origin:
        return str(origin["name"])
    architecture = _config(model).get("architecture")
    stock = model.__dict__.get("_stock_class", type(model))
    return str(architecture or stock.__name__)


def input_size_of(model: nn.Module) -> tuple[int, ...] | None:
    """The size of image that a network is made for.

    Args:
        model: the network.

    Returns:
        (C, H, W), or (C, T, H, W) for video; None where neither the network nor its library states it.

    Examples:
        >>> import surgeon
        >>> surgeon.models.input_size_of(surgeon.create_model("zoo/lenet5"))
        (1, 28, 28)
    """
    model = unwrapped(model, sharded=True)
    origin = model.__dict__.get(ORIGIN) or {}
    if origin.get("input_size"):
        return tuple(origin["input_size"])
    channels = in_channels_of(model)
    size = _config(model).get("input_size")
    if size:
        return (channels or size[0], *size[1:])
    stock = model.__dict__.get("_stock_class", type(model))
    module_name = stock.__module__
    if not module_name.startswith("torchvision.models"):
        return None
    if _has_other_outputs(model):
        return None
    if ".video" in module_name:
        return (channels or 3, 16, 112, 112)
    side = 299 if stock.__name__ == "Inception3" else 224
    return (channels or 3, side, side)


def _has_other_outputs(model: nn.Module) -> bool:
    """Whether a torchvision network predicts boxes or flow: its last layer then does not count classes."""
    module_name = model.__dict__.get("_stock_class", type(model)).__module__
    return module_name.startswith(("torchvision.models.detection", "torchvision.models.optical_flow"))


def in_channels_of(model: nn.Module) -> int | None:
    """The input channels of a network's first convolution, or of the weight map in its place.

    Args:
        model: the network.

    Returns:
        The number of channels; None for a network without either.

    Examples:
        >>> import surgeon
        >>> surgeon.models.in_channels_of(surgeon.create_model("zoo/lenet5"))
        1
    """
    return channels_of(model)


def input_std_of(model: nn.Module) -> tuple[float, ...] | None:
    """The standard deviation that a network's images are divided by, from its configuration.

    Args:
        model: the network.

    Returns:
        One number per channel, in units of [0, 1] pixels; None where the configuration states no fitting one.

    Examples:
        >>> import surgeon
        >>> surgeon.models.input_std_of(surgeon.create_model("zoo/lenet5")) is None
        True
    """
    std = _config(model).get("std")
    return tuple(float(s) for s in std) if std and may_take(model, len(std)) else None


def normalization_of(model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """The mean and standard deviation that a network's images are normalised by, from its configuration.

    Args:
        model: the network.

    Returns:
        (mean, std), one number per channel each, in units of [0, 1] pixels; None where the configuration
        does not have both.

    Examples:
        >>> import surgeon
        >>> surgeon.models.normalization_of(surgeon.create_model("resnet10t"))
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    """
    std, mean = input_std_of(model), _config(model).get("mean")
    if std is None or not mean or len(mean) != len(std):
        return None
    return tuple(float(m) for m in mean), std


def assumes_normalization(model: nn.Module) -> bool:
    """Whether how a network's images are normalised is the default of its name alone, and its weights came in a file.

    Args:
        model: the network.
    """
    return bool((unwrapped(model, sharded=True).__dict__.get(ORIGIN) or {}).get(ASSUMED))


def normalised_in_words(model: nn.Module) -> str:
    """Say how a network's images are normalised, by its configuration.

    Args:
        model: the network.

    Returns:
        What was done to the images, as the end of a sentence.

    Examples:
        >>> import surgeon
        >>> from surgeon.models.facts import normalised_in_words
        >>> normalised_in_words(surgeon.create_model("resnet10t"))
        'normalised by mean 0.485, 0.456, 0.406 and std 0.229, 0.224, 0.225'
        >>> normalised_in_words(surgeon.create_model("zoo/lenet5"))
        'pixels in [0, 1], not normalised'
    """
    normalisation = normalization_of(model)
    if normalisation is None:
        return "pixels in [0, 1], not normalised"
    mean, std = (", ".join(f"{v:.4g}" for v in values) for values in normalisation)
    return f"normalised by mean {mean} and std {std}"


def num_classes_of(model: nn.Module) -> int | None:
    """The number of classes of a network.

    Args:
        model: the network.

    Returns:
        Its attribute `num_classes`, else the outputs of its last linear layer, else the number that it was
        created with; None where it is not known, and for a network whose `num_classes` is 0 (no head).

    Examples:
        >>> import surgeon
        >>> surgeon.models.num_classes_of(surgeon.create_model("zoo/lenet5"))
        10
    """
    model = unwrapped(model, sharded=True)
    model = unwrapped(model, sharded=True)
    number = getattr(model, "num_classes", None)
    if isinstance(number, int):
        return number if number > 0 else None
    last = [m for m in model.modules() if isinstance(m, nn.Linear)]
    if last and not _has_other_outputs(model):
        return last[-1].out_features
    given = (model.__dict__.get(ORIGIN) or {}).get("args", {}).get("num_classes")
    return int(given) if given else None


def _config(model: nn.Module) -> Mapping[str, Any]:
    config = unwrapped(model, sharded=True).__dict__.get("pretrained_cfg")
    return config if isinstance(config, Mapping) else {}
