"""Noise of sensors and of transmission. Each maps one image (H, W, C) in [0, 1] to another."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from surgeon.evaluation.beyond.corruptions.parameters import Array, Settings


def gaussian_noise(x: Array, c: Settings, rng: Generator) -> Array:
    """Add Gaussian noise to each value.

    Args:
        x: The image (H, W, C) in [0, 1].
        c: (standard deviation,).
        rng: Source of the draws.

    Returns:
        (H, W, C); values may leave [0, 1].
    """
    return x + rng.normal(0, c[0], x.shape)


def shot_noise(x: Array, c: Settings, rng: Generator) -> Array:
    """Replace each value by a Poisson count of photons.

    Args:
        x: The image (H, W, C) in [0, 1].
        c: (number of photons that make white,).
        rng: Source of the draws.

    Returns:
        (H, W, C); values may leave [0, 1].
    """
    return rng.poisson(x * c[0]) / c[0]


def impulse_noise(x: Array, c: Settings, rng: Generator) -> Array:
    """Set a share of all values to 0 or 1.

    Args:
        x: The image (H, W, C) in [0, 1].
        c: (share,).
        rng: Source of the draws.

    Returns:
        (H, W, C); values may leave [0, 1].
    """
    hit = rng.random(x.shape) < c[0]
    return np.where(hit, rng.integers(0, 2, x.shape), x)
