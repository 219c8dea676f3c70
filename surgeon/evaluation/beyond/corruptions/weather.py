"""Snow, frost, fog and bright light. Each maps one image (H, W, C) in [0, 1] to another."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from surgeon.evaluation.beyond.corruptions.blur import enlarge, smear
from surgeon.evaluation.beyond.corruptions.parameters import Array, Settings

_GRAY = np.array((0.299, 0.587, 0.114))
_ICE = np.array((0.9, 0.97, 1.0))  # a bluish white


def snow(x: Array, c: Settings, rng: Generator) -> Array:
    """Add falling flakes to an image that is whitened by 1 − c[6].

    Flakes are normal noise (mean c[0], deviation c[1]) enlarged by c[2], where it is above c[3], smeared over
    a radius of c[4] pixels with a deviation of c[5].

    Args:
        x: The image (H, W, C) in [0, 1].
        c: (mean and standard deviation of the noise, size of a flake, threshold, radius in pixels and
            standard deviation of the smear, share of the image that is kept).
        rng: Source of the draws.

    Returns:
        (H, W, C); values may leave [0, 1].
    """
    mean, deviation, size, threshold, radius, sigma, kept = c
    flakes = enlarge(rng.normal(mean, deviation, (*x.shape[:2], 1)), max(1.0, size))
    flakes = np.clip(np.where(flakes < threshold, 0, flakes), 0, 1)
    flakes = smear(flakes, radius, sigma, rng.uniform(-135, -45))
    gray = x if x.shape[2] == 1 else (x @ _GRAY)[..., None]
    white = kept * x + (1 - kept) * np.maximum(x, 1.5 * gray + 0.5)
    return white + flakes + flakes[::-1, ::-1]


def frost(x: Array, c: Settings, rng: Generator) -> Array:
    """Mix the image with a picture of ice.

    Here: the ice is synthetic; the paper takes crops of six photographs.

    Args:
        x: The image (H, W, C) in [0, 1].
        c: (share of the image, share of the ice).
        rng: Source of the draws.

    Returns:
        (H, W, C); values may leave [0, 1].
    """
    tint = _ICE if x.shape[2] == 3 else _ICE.mean(keepdims=True)
    return c[0] * x + c[1] * ice(x.shape[0], x.shape[1], rng)[..., None] * tint


def ice(height: int, width: int, rng: Generator) -> Array:
    """Draw ice: bright needles over cloudy glass. Needles are where a rough height map crosses its median.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        rng: Source of the draws.

    Returns:
        (H, W) in [0, 1].
    """
    side = max(height, width)
    needles = np.zeros((height, width))
    for _ in range(3):
        level = plasma(side, 1.3, rng)[:height, :width]
        needles = np.maximum(needles, (1 - np.abs(level - np.median(level))) ** 24)
    glass = plasma(side, 1.4, rng)[:height, :width]
    return np.clip(0.15 + 0.45 * glass + 0.6 * glass * needles, 0, 1)


def fog(x: Array, c: Settings, rng: Generator) -> Array:
    """Lay fog, a plasma fractal, over the image; the brightest value is preserved.

    Args:
        x: The image (H, W, C) in [0, 1].
        c: (thickness of the fog, decay of its detail).
        rng: Source of the draws.

    Returns:
        (H, W, C); values may leave [0, 1].
    """
    height, width, _ = x.shape
    top = x.max()
    thick = plasma(max(height, width), c[1], rng)[:height, :width, None]
    return (x + c[0] * thick) * top / (top + c[0])


def plasma(side: int, decay: float, rng: Generator) -> Array:
    """Draw a random height map by the diamond-square algorithm, on a torus.

    Each halving of the mesh sets its new points to the mean of the four around them plus uniform noise, whose
    range falls by decay² with each halving.

    Args:
        side: The smallest side of the map in pixels.
        decay: Its larger values make a smoother map.
        rng: Source of the draws.

    Returns:
        (S, S) from 0 to 1, S the next power of two.
    """
    level, reach = np.zeros((1, 1)), 1.0
    while len(level) < max(side, 2):
        n = len(level)
        below, beside = np.roll(level, -1, 0), np.roll(level, -1, 1)
        centre = _shaken((level, below, beside, np.roll(below, -1, 1)), reach, rng)
        finer = np.empty((2 * n, 2 * n))
        finer[::2, ::2], finer[1::2, 1::2] = level, centre
        finer[::2, 1::2] = _shaken((level, beside, centre, np.roll(centre, 1, 0)), reach, rng)
        finer[1::2, ::2] = _shaken((level, below, centre, np.roll(centre, 1, 1)), reach, rng)
        level, reach = finer, reach / decay**2
    level = level - level.min()
    return level / level.max()


def _shaken(around: tuple[Array, Array, Array, Array], reach: float, rng: Generator) -> Array:
    return sum(around, start=np.zeros(())) / 4 + rng.uniform(-reach, reach, around[0].shape)


def brightness(x: Array, c: Settings, rng: Generator) -> Array:
    """Raise the value of HSV, keeping hue and saturation: each pixel is scaled by new over old value.

    Args:
        x: The image (H, W, C) in [0, 1].
        c: (amount,).
        rng: Source of the draws, unused.

    Returns:
        (H, W, C).
    """
    value = x.max(2, keepdims=True)
    raised = np.minimum(value + c[0], 1)
    return np.where(value > 0, x * raised / np.where(value > 0, value, 1), raised)
