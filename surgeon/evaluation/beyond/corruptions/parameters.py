"""The parameters of CIFAR-10-C and ImageNet-C, by kind and severity.

Source: github.com/hendrycks/robustness, make_cifar_c.py and imagenet_c/corruptions.py. The function that
takes the numbers documents them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
"""An image (H, W, C) with values in [0, 1]."""

Settings = tuple[float, ...]

SMALL_UP_TO = 64
"""Images with a shorter side up to this many pixels use CIFAR-10-C's parameters, others ImageNet-C's."""

LARGE_SIDE = 224
"""The side, in pixels, that ImageNet-C's parameters are for."""

CIFAR: dict[str, tuple[Settings, ...]] = {
    "gaussian_noise": ((0.04,), (0.06,), (0.08,), (0.09,), (0.10,)),
    "shot_noise": ((500,), (250,), (100,), (75,), (50,)),
    "impulse_noise": ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "brightness": ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,)),
    "contrast": ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,)),
    "elastic_transform": (
        (0, 0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    ),
    "pixelate": ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,)),
    "jpeg_compression": ((80,), (65,), (58,), (50,), (40,)),
}

_E = 244 / 224  # the published elastic_transform counts in 244ths of a side
IMAGENET: dict[str, tuple[Settings, ...]] = {
    "gaussian_noise": ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),
    "shot_noise": ((60,), (25,), (12,), (5,), (3,)),
    "impulse_noise": ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)),
    "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    "snow": (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "brightness": ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
    "contrast": ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),
    "elastic_transform": (
        (2 * _E, 0.7 * _E, 0.1 * _E),
        (2 * _E, 0.08 * _E, 0.2 * _E),
        (0.05 * _E, 0.01 * _E, 0.02 * _E),
        (0.07 * _E, 0.01 * _E, 0.02 * _E),
        (0.12 * _E, 0.01 * _E, 0.02 * _E),
    ),
    "pixelate": ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,)),
    "jpeg_compression": ((25,), (18,), (15,), (10,), (7,)),
}

IN_PIXELS = {"defocus_blur": (0,), "glass_blur": (0, 1), "motion_blur": (0, 1), "snow": (2, 4, 5)}
"""Indices of ImageNet-C's parameters that are lengths in pixels, which scale with the shorter side."""

KINDS: tuple[str, ...] = tuple(CIFAR)
"""The corruptions, in the paper's order."""

SEVERITIES = (1, 2, 3, 4, 5)


def settings(kind: str, severity: int, side: int) -> Settings:
    """Return the parameters of a corruption.

    Args:
        kind: One of KINDS.
        severity: 1 to 5.
        side: Shorter side of the images in pixels.

    Returns:
        The parameters.
    """
    if side <= SMALL_UP_TO:
        return CIFAR[kind][severity - 1]
    scale, lengths = side / LARGE_SIDE, IN_PIXELS.get(kind, ())
    given = IMAGENET[kind][severity - 1]
    return tuple(value * scale if i in lengths else value for i, value in enumerate(given))
