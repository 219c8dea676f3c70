"""Checks of images that networks are planned for, rewritten with, trained and attacked on.

There are two kinds of images. *Pixels* are in [0, 1], as evaluation and training take them. *Inputs* are in
the form that the network takes, mostly normalised, so that no range is wrong by itself; calibration takes
those.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.errors import ArgumentError, CalibrationWarning, DataError, either
from surgeon.kept_modes import modes_kept
from surgeon.tensors.instead import convolves
from surgeon.values import has_values
from surgeon.warned import warn

_SLACK = 1e-6
_BYTES = 2.0
"""Non-negative images with a maximum above this are assumed to be 0–255."""
_FEW_LEVELS = 32.0
"""With a maximum up to this, to be of that many levels: scikit-learn's digits have 16."""


def image_size(given: Any, model: nn.Module | None = None) -> tuple[int, ...] | None:
    """Return the size of one image, from a value given as `input_size`.

    Args:
        given: (C, H, W), (C, T, H, W), or (C, L) for a network with one-dimensional convolutions; None.
        model: The network; its convolutions decide whether (C, L) is accepted. None to refuse it.

    Returns:
        The size as a tuple; None for None.

    Raises:
        ArgumentError: The value is not a size.

    Examples:
        >>> from surgeon.images import image_size
        >>> image_size([3, 32, 32])
        (3, 32, 32)
    """
    if given is None:
        return None
    try:
        numbers = () if isinstance(given, (str, bytes, Mapping)) else tuple(operator.index(n) for n in given)
    except TypeError:
        numbers = ()
    flat = len(numbers) == 2 and model is not None and any(_is_flat(m) for m in model.modules())
    if len(numbers) in (3, 4) and min(numbers) > 0 or flat:
        return numbers
    taken = (channels_of(model) if model is not None else None) or 3
    why = "; write " + either(
        f"(channels, height, width), such as input_size=({taken}, 32, 32)",
        f"--input-size C,H,W, such as {taken},32,32",
    )
    if isinstance(given, int) and given > 0:
        why = f": {given} alone says neither channels nor both sides; write input_size=({taken}, {given}, {given})"
    elif len(numbers) == 2 and min(numbers) > 0:
        why = f": the channels are missing; write input_size=({taken}, {numbers[0]}, {numbers[1]})"
    raise ArgumentError(f"input_size={shown(given)} is not a size of an image{why}")


def check_images(x: object, channels: int | None = None) -> None:
    """Check that a value is a batch of pixels: (N, C, H, W) float32, finite, in [0, 1].

    Args:
        x: The value.
        channels: Required number of channels; None for any.

    Raises:
        DataError: It is not.

    Examples:
        >>> import torch
        >>> from surgeon.images import check_images
        >>> check_images(torch.rand(1, 3, 2, 2))
    """
    x = _batch(x, "images", (4,))
    if x.dtype == torch.uint8:
        raise DataError("images are uint8; convert them: images.float() / 255")
    if x.dtype != torch.float32:
        raise DataError(f"images are {x.dtype}; attacks need float32, as lower precision weakens them")
    if channels is not None and x.shape[1] != channels:
        raise DataError(f"images have {x.shape[1]} channels, the normalisation has {channels}")
    low, high = _range(x, "images")
    if low < -_SLACK or high > 1 + _SLACK:
        raise DataError(f"images range over [{low:.3g}, {high:.3g}], not [0, 1]; {_hint(low, high)}")


def check_stored(x: object, name: str, *, pixels: bool) -> None:
    """Check that a value is a batch of images to train on: uint8, or finite floats.

    Args:
        x: The value.
        name: Name of the images in error messages.
        pixels: Whether floats must be in [0, 1], because attacks or a normalisation need that; if not, only
            values that look like 0–255 are refused.

    Raises:
        DataError: It is not.
    """
    x = _batch(x, name, (3, 4, 5))
    if x.dtype == torch.uint8:
        return
    if not x.is_floating_point():
        raise DataError(
            f"{name} has images of {x.dtype}; give bytes (uint8, 0–255) or floats in [0, 1]: images.float() / 255"
        )
    low, high = _range(x, f"{name}: images")
    bytes_like = low >= 0 and high > _BYTES
    if bytes_like or (pixels and (low < -_SLACK or high > 1 + _SLACK)):
        raise DataError(f"{name} has images over [{low:.3g}, {high:.3g}], not [0, 1]; {_hint(low, high)}")


def tell_dark(x: Tensor, name: str) -> None:
    """Warn of pixels of which none has a tenth of white's value: they are of another range, or were divided twice.

    Args:
        x: (N, C, …), uint8 or floats, checked. A single image may be dark.
        name: Name of the images in the message.

    Warns:
        CalibrationWarning: They are that dark, and not all the same.
    """
    if len(x) < 2 or not x.numel():
        return
    low, high = (v.item() for v in x.detach().aminmax())
    white = 255 if x.dtype == torch.uint8 else 1
    if 0 <= low < high <= white / 10:
        warn(
            f"{name}: the brightest pixel of {len(x)} images is {high:.3g}, and white is {white}: they are taken so; "
            f"if {high:.3g} is white, multiply them by {white / high:.3g}",
            CalibrationWarning,
        )


def check_inputs(x: object, dims: int = 3) -> None:
    """Check that a value is a batch of images in the form that a network takes: finite floats, not empty.

    Args:
        x: The value.
        dims: Number of dimensions of one image.

    Raises:
        DataError: It is not.
    """
    name = "calibration: images"
    x = _batch(x, name, (dims + 1,))
    if not x.is_floating_point():
        raise DataError(
            f"calibration images are {x.dtype}, and a network takes floats as it was trained "
            "on: images.float() / 255, then "
            "normalised where the training did (surgeon.models.normalized(images.float() / "
            "255, model) does as the model's "
            "configuration says)"
        )
    if len(x) == 0:
        raise DataError(
            "calibration images must be a batch (N, C, H, W) with N ≥ 1, not empty; give some or None"
        )
    _range(x, name)


def check_taken(x: Tensor, model: nn.Module, name: str = "images", *, sizes: bool = False) -> None:
    """Check that a network accepts images of this shape.

    Nothing is run where channels alone are asked for and match the network's first convolution; otherwise the network
    is tried on two images.

    Args:
        x: (N, C, …).
        model: The network; its modes are restored afterwards.
        name: Name of the images in error messages.
        sizes: Whether height and width, or the channels of a network without convolutions, may not fit either.

    Raises:
        DataError: The network fails.
    """
    channels, like = channels_of(model), next((p for p in model.parameters() if p.is_floating_point()), None)
    other = channels is not None and x.dim() >= 3 and x.shape[1] != channels
    if len(x) == 0 or like is None or not (other or sizes):
        return
    try:
        with modes_kept(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
            model.eval()
            two = x[:2].expand(2, *x.shape[1:])  # one image alone may be too few for the network's own norms
            two = (two / 255 if x.dtype == torch.uint8 else two).to(like, copy=True)
            try:
                # A copy, as code may write into its input. The caller's hooks on the network see no trial.
                model.forward(two.clone())
            except Exception:  # unless it needs one of them
                model(two)
    except Exception as error:  # the network's own code, on images that it may not take
        if channels is None or not other:
            raise DataError(
                f"{name} are {times(x.shape[1:])}, and the network does not take them "
                f"({_reason(error)}): give images of the size that it was made for"
            ) from error
        raise DataError(
            f"{name} have {x.shape[1]} channels ({times(x.shape[1:])}), and the network takes {channels}: "
            f"{_remedy(x.shape[1], channels)}"
        ) from error


def plain(x: Tensor, name: str) -> Tensor:
    """Return a tensor whose memory holds the numbers themselves, as all that reads images takes them.

    Args:
        x: Images, or their labels.
        name: Name of them in error messages.

    Returns:
        The tensor; a copy where it is a view whose numbers torch negates or conjugates as they are read.

    Raises:
        DataError: It is nested, sparse, quantised or of floats of 8 bits or less, which few functions of torch take.

    Examples:
        >>> import torch
        >>> from surgeon.images import plain
        >>> x = torch.zeros(1, 1, 2, 2)
        >>> plain(x, "images") is x
        True
    """
    if x.is_nested:
        raise DataError(f"{name} are a nested tensor; give one of a single size: torch.stack(…)")
    if x.layout != torch.strided:
        layout = str(x.layout).removeprefix("torch.").removeprefix("_")
        raise DataError(f"{name} are a tensor of layout {layout}; give a dense one, by .to_dense()")
    if x.is_quantized:
        raise DataError(f"{name} are quantised ({x.dtype}); give floats, by .dequantize()")
    if x.is_floating_point() and x.element_size() == 1:
        raise DataError(f"{name} are {x.dtype}; give floats of 16 bits or more, by .float()")
    return x.resolve_conj().resolve_neg()


def channels_of(model: nn.Module) -> int | None:
    """Return the number of channels that a network's first convolution takes, or the weight map in its place.

    Args:
        model: The network.

    Returns:
        The number; None without convolutions.
    """
    first: Any = next((m for m in model.modules() if convolves(m) and hasattr(m, "in_channels")), None)
    return first.in_channels if first else None


def may_take(model: nn.Module, channels: int) -> bool:
    """Say whether a network may take images of so many channels; which convolution comes first, its code alone says.

    Args:
        model: The network.
        channels: The number.

    Returns:
        Whether a convolution takes so many, or it has no convolution.
    """
    taken = {m.in_channels for m in model.modules() if convolves(m) and hasattr(m, "in_channels")}
    return not taken or channels in taken


def times(shape: Iterable[int]) -> str:
    """Format a shape as 3×32×32.

    Args:
        shape: The sizes.

    Returns:
        The text.
    """
    return "×".join(map(str, shape))


def shown(value: object) -> str:
    """Format a value as Python writes it, in one line of at most 60 characters.

    Args:
        value: Any value.

    Returns:
        The text.
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:59]}…"


def _batch(x: object, name: str, dims: tuple[int, ...]) -> Tensor:
    """`x`, checked to be a tensor of plain numbers with one of these numbers of dimensions."""
    if not isinstance(x, Tensor):
        one = "torch.from_numpy(…)" if type(x).__module__ == "numpy" else "torch.stack(…)"
        raise DataError(f"{name} must be one tensor (N, C, H, W), not a {type(x).__name__}: {one} makes one")
    plain(x, name)
    if x.dim() not in dims:
        raise DataError(f"{name} must be a batch (N, C, H, W), not {tuple(x.shape)}")
    return x


def _range(x: Tensor, name: str) -> tuple[float, float]:
    """The least and the greatest value, (0, 0) if empty; DataError for non-finite or missing values."""
    if not has_values(x):
        raise DataError(f"{name} are on the meta device, or fake, without values; give images that have some")
    if x.numel() == 0:
        return 0.0, 0.0
    low, high = (float(v) for v in x.detach().aminmax())
    if low != low or high != high:
        raise DataError(f"{name} have values that are not a number")
    if low == -torch.inf or high == torch.inf:
        raise DataError(f"{name} have values that are not finite")
    return low, high


def _hint(low: float, high: float) -> str:
    if low >= 0 and high > _BYTES:
        scale = 255 if high > _FEW_LEVELS else high
        return f"they look like 0–{scale:g}: divide them by {scale:g}"
    if low < 0:
        return "they look normalised already: give pixels, and mean and std apart (Normalized, `normalize`)"
    return "clip them, or look for what scaled them"


def _reason(error: Exception) -> str:
    """The first line of an error of other code."""
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0][:160]


def _remedy(have: int, want: int) -> str:
    if have == 1 and want == 3:
        return "images.expand(-1, 3, -1, -1) makes gray images RGB"
    if have == 3 and want == 1:
        return "images.mean(1, keepdim=True) makes RGB images gray"
    return f"give images (N, {want}, H, W)"


def _is_flat(module: nn.Module) -> bool:
    return isinstance(module, (nn.Conv1d, nn.ConvTranspose1d, nn.LazyConv1d))
