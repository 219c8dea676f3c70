"""Noise of sensors and of transmission. Each takes one image (H, W, C) in [0, 1] and gives one."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from surgeon.evaluation.beyond.corruptions.parameters import Array, Settings


def gaussian_noise(x: Array, c: Settings, rng: Generator) -> Array:
    """Normal noise with the standard deviation c[0] on each value."""
    return x + rng.normal(0, c[0], x.shape)


def shot_noise(x: Array, c: Settings, rng: Generator) -> Array:
    """Photons counted: c[0] of them make white."""
    return rng.poisson(x * c[0]) / c[0]


def impulse_noise(x: Array, c: Settings, rng: Generator) -> Array:
    """A share c[0] of all values becomes 0 or 1."""
    hit = rng.random(x.shape) < c[0]
    return np.where(hit, rng.integers(0, 2, x.shape), x)
