"""The 15 common corruptions of Hendrycks & Dietterich 2019, for images of any size.

"Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019. The parameters
are those of CIFAR-10-C and ImageNet-C (github.com/hendrycks/robustness); the code is new, on numpy, scipy and
pillow. Accuracies are comparable among models measured here, and close but not equal to those on the
published files.

Here: frost's pictures of ice are not in this package; an ice texture is synthesised by seeded procedural
noise. Values are not rounded to 8 bits, except by pixelate and jpeg_compression, which work on 8-bit
pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from surgeon.arguments import checked_seed
from surgeon.errors import DataError, nearest
from surgeon.evaluation.beyond.corruptions import blur, digital, sensors, weather
from surgeon.evaluation.beyond.corruptions.parameters import KINDS, SEVERITIES, Array, Settings, settings
from surgeon.images import check_images, plain

__all__ = ["KINDS", "SEVERITIES", "corrupt"]

_APPLY: dict[str, Callable[[Array, Settings, Generator], Array]] = {
    "gaussian_noise": sensors.gaussian_noise,
    "shot_noise": sensors.shot_noise,
    "impulse_noise": sensors.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
}


def corrupt(
    images: Tensor, kind: str, severity: int, *, seed: int = 0, indices: Sequence[int] | None = None
) -> Tensor:
    """Apply one corruption to images.

    The result for an image depends only on (seed, kind, severity, its index), not on other images.

    Source: Hendrycks & Dietterich 2019, with CIFAR-10-C's parameters for a shorter side up to 64 pixels,
    ImageNet-C's above. Here: above, lengths in pixels are scaled by side/224; the frost is synthetic.

    Args:
        images: (N, C, H, W) float32 in [0, 1], C 1 or 3.
        kind: One of KINDS.
        severity: 1 (weak) to 5.
        seed: Seed of the draws.
        indices: Index of each image in its data set; by default 0 to N − 1.

    Returns:
        (N, C, H, W) float32 in [0, 1] on the device of `images`.

    Raises:
        DataError: An unknown kind, a severity outside 1–5, images of another kind, or indices that do not
            fit.

    Examples:
        >>> import torch
        >>> from surgeon.evaluation.beyond.corruptions import corrupt
        >>> corrupt(torch.rand(2, 3, 8, 8), "gaussian_noise", 3).shape
        torch.Size([2, 3, 8, 8])
    """
    if kind not in KINDS:
        raise DataError(f"corruption {kind!r} is not known; {nearest(str(kind), KINDS)}")
    if severity not in SEVERITIES:
        raise DataError(f"severity={severity} must be one of 1, 2, 3, 4, 5")
    seed = checked_seed(seed)
    check_images(images)
    if images.shape[1] not in (1, 3):
        raise DataError(f"images have {images.shape[1]} channels; corruptions are for gray (1) and RGB (3)")
    places = range(len(images)) if indices is None else [int(i) for i in indices]
    if len(places) != len(images):
        raise DataError(f"there are {len(places)} indices for {len(images)} images; give one an image")
    if min(places, default=0) < 0:
        raise DataError(f"indices must be from 0 on, and {min(places)} is among them")
    if images.numel() == 0:
        return images.clone()
    severity = int(severity)
    given = settings(kind, severity, min(images.shape[-2:]))
    pixels = plain(images.detach(), "images").permute(0, 2, 3, 1).cpu().numpy()
    corrupted = np.empty(pixels.shape, np.float32)
    for i, place in enumerate(places):
        rng = np.random.default_rng([seed, KINDS.index(kind), severity, place])
        corrupted[i] = np.clip(_APPLY[kind](np.clip(pixels[i].astype(np.float64), 0, 1), given, rng), 0, 1)
    return torch.from_numpy(corrupted).permute(0, 3, 1, 2).contiguous().to(images.device)
