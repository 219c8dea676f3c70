"""What a network says of itself: its name, its input, its classes, and how its images are normalised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.torch_private import ConvNd

ORIGIN = "surgeon_origin"
"""Attribute of a created model that remembers how it was made: {"name", "args", "input_size"}."""


def name_of(model: nn.Module) -> str:
    """The name a model was created by, or timm's architecture, or its class."""
    origin = model.__dict__.get(ORIGIN)
    if origin:
        return str(origin["name"])
    architecture = _config(model).get("architecture")
    stock = model.__dict__.get("_stock_class", type(model))
    return str(architecture or stock.__name__)


def input_size_of(model: nn.Module) -> tuple[int, ...] | None:
    """The (C, H, W), or (C, T, H, W), that a model is made for, as far as it or its library says; else None."""
    origin = model.__dict__.get(ORIGIN) or {}
    if origin.get("input_size"):
        return tuple(origin["input_size"])
    channels = in_channels_of(model)
    size = _config(model).get("input_size")
    if size:
        return (channels or size[0], *size[1:])
    stock = model.__dict__.get("_stock_class", type(model))
    home = stock.__module__
    if not home.startswith("torchvision.models"):
        return None
    if _has_other_outputs(model):
        return None
    if ".video" in home:
        return (channels or 3, 16, 112, 112)
    side = 299 if stock.__name__ == "Inception3" else 224
    return (channels or 3, side, side)


def _has_other_outputs(model: nn.Module) -> bool:
    """Whether a network of torchvision gives boxes or flow, so that its last layer does not count classes."""
    home = model.__dict__.get("_stock_class", type(model)).__module__
    return home.startswith(("torchvision.models.detection", "torchvision.models.optical_flow"))


def in_channels_of(model: nn.Module) -> int | None:
    """The channels that the first convolution takes; None where there is none."""
    first = next((m for m in model.modules() if isinstance(m, ConvNd)), None)
    return None if first is None else first.in_channels


def input_std_of(model: nn.Module) -> tuple[float, ...] | None:
    """The standard deviation by which a model's images are divided before it, as its configuration says."""
    std = _config(model).get("std")
    channels = in_channels_of(model)
    return tuple(float(s) for s in std) if std and (channels is None or len(std) == channels) else None


def normalization_of(model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """(mean, std) per channel that a model's images are normalised by before it, as its configuration says; or None."""
    std, mean = input_std_of(model), _config(model).get("mean")
    if std is None or not mean or len(mean) != len(std):
        return None
    return tuple(float(m) for m in mean), std


def normalized(images: Tensor, model: nn.Module) -> Tensor:
    """Images in [0, 1], (N, C, H, W), as the model takes them: normalised where its configuration says so."""
    given = normalization_of(model)
    if given is None:
        return images
    mean, std = (torch.tensor(v, dtype=torch.float32, device=images.device).view(1, -1, 1, 1) for v in given)
    return (images - mean) / std


def num_classes_of(model: nn.Module) -> int | None:
    """The number of classes: the model's own attribute, the outputs of its last linear layer, or what it was made with.

    None for a model that says that it has none, as timm's without a head do.
    """
    number = getattr(model, "num_classes", None)
    if isinstance(number, int):
        return number if number > 0 else None
    last = [m for m in model.modules() if isinstance(m, nn.Linear)]
    if last and not _has_other_outputs(model):
        return last[-1].out_features
    given = (model.__dict__.get(ORIGIN) or {}).get("args", {}).get("num_classes")
    return int(given) if given else None


def _config(model: nn.Module) -> Mapping[str, Any]:
    found = model.__dict__.get("pretrained_cfg")
    return found if isinstance(found, Mapping) else {}
