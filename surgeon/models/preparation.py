"""How a network's configuration says that images are resized, and whose weights it tells of."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from surgeon.images import channels_of
from surgeon.wrappers import unwrapped

STRETCHED: Mapping[str, Any] = {"interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "squash"}
"""How surgeon resizes images, in timm's words: to the input size, whatever their shape, without a crop."""
OF_WEIGHTS = (
    "tag",
    "test_input_size",
    "test_crop_pct",
    "test_pool_size",
    "license",
    "description",
    "origin_url",
    "paper_name",
    "paper_ids",
    "notes",
)
"""Keys of timm's `pretrained_cfg` that tell of one set of weights, or how these are best tested."""


def without_weights(model: nn.Module, keep: Collection[str] = ()) -> None:
    """Take out of a network's configuration what tells of weights that are not its own.

    Args:
        model: the network.
        keep: keys that stay.
    """
    cfg = configured(model)
    if cfg is not None:
        configure(model, {k: v for k, v in cfg.items() if k not in OF_WEIGHTS or k in keep})


def trained_on_stretched(model: nn.Module) -> None:
    """Say in a network's configuration that its images are stretched to the input size, as surgeon trains.

    Where its weights come from others, their licence stays. A mean of three numbers for a network of another number of
    channels, as timm leaves it, is not that of its training, whose images were pixels.

    Args:
        model: the network; nothing is done where its configuration does not say how images are resized.
    """
    if resizing_of(model) is None:
        return
    without_weights(model, keep=("license",))
    cfg, channels = configured(model) or {}, channels_of(model)
    pixels: dict[str, Any] = {}
    if channels and cfg.get("mean") and len(cfg["mean"]) != channels:
        pixels = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
    configure(model, {**cfg, **STRETCHED, **pixels})


def resize_as(model: nn.Module, said: Mapping[str, Any]) -> None:
    """Say in a network's configuration how images of its weights are resized.

    Args:
        model: the network; nothing is done where its configuration does not say how images are resized.
        said: timm's `interpolation`, `crop_pct` and `crop_mode`, or some of them.
    """
    if said and resizing_of(model) is not None:
        configure(model, {**(configured(model) or {}), **said})


def resizing_of(model: nn.Module) -> dict[str, Any] | None:
    """How images are resized for a network, by its configuration.

    Args:
        model: the network.

    Returns:
        timm's `interpolation`, `crop_pct` and `crop_mode`; None where the configuration does not say.
    """
    cfg = configured(model) or {}
    if cfg.get("interpolation") is None and cfg.get("crop_pct") is None:
        return None
    usual = {"interpolation": "bicubic", "crop_pct": 0.875, "crop_mode": "center"}
    return {key: default if cfg.get(key) is None else cfg[key] for key, default in usual.items()}


def resized_otherwise(model: nn.Module) -> str:
    """Say how images are resized by a network's configuration, where surgeon does it otherwise.

    Args:
        model: the network.

    Returns:
        What the configuration says, such as `a center crop of 95 %, bicubic`; '' where there is no difference.
    """
    said = resizing_of(model)
    if said is None or all(said[k] == v for k, v in STRETCHED.items()):
        return ""
    return f"a {said['crop_mode']} crop of {100 * said['crop_pct']:.4g} %, {said['interpolation']}"


def configured(model: nn.Module) -> Mapping[str, Any] | None:
    """Return a network's configuration, timm's `pretrained_cfg`.

    Args:
        model: the network, or a wrapper around it.

    Returns:
        The configuration; None where the network has nothing of the kind.
    """
    config = unwrapped(model, sharded=True).__dict__.get("pretrained_cfg")
    return config if isinstance(config, Mapping) else None


def configure(model: nn.Module, cfg: Mapping[str, Any]) -> None:
    """Give a network a configuration, under both of timm's names for it.

    Args:
        model: the network, or a wrapper around it.
        cfg: what `pretrained_cfg` is to hold, and `default_cfg` where the network has one.
    """
    model = unwrapped(model, sharded=True)
    model.__dict__["pretrained_cfg"] = dict(cfg)
    if "default_cfg" in model.__dict__:
        model.__dict__["default_cfg"] = dict(cfg)
