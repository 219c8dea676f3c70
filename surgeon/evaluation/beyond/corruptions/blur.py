"""Blurs: out of focus, through glass, by motion and by zoom. Each maps one image (H, W, C) to another."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from surgeon.evaluation.beyond.corruptions.parameters import Array, Settings


def defocus_blur(x: Array, c: Settings, rng: Generator) -> Array:
    """Blur as by a lens out of focus: each point becomes a disk with a soft rim.

    Args:
        x: The image (H, W, C) in [0, 1].
        c: (radius of the disk, softness of its rim), in pixels.
        rng: Source of the draws, unused.

    Returns:
        (H, W, C); values may leave [0, 1].
    """
    from scipy.signal import fftconvolve

    kernel = disk(*c)
    half = len(kernel) // 2
    padded = np.pad(x, ((half, half), (half, half), (0, 0)), mode="reflect")
    return fftconvolve(padded, kernel[..., None], mode="valid", axes=(0, 1))


def disk(radius: float, soft: float) -> Array:
    """Make a disk with a rim softened by a Gaussian.

    Args:
        radius: Radius in pixels.
        soft: Standard deviation of the Gaussian in pixels.

    Returns:
        (K, K) weights with sum 1, K odd.
    """
    from scipy.ndimage import gaussian_filter

    rim = 1 if radius <= 8 else 2
    half = math.ceil(radius) + rim
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    kernel = gaussian_filter((x**2 + y**2 <= radius**2).astype(np.float64), soft, radius=rim)
    return kernel / kernel.sum()


def glass_blur(x: Array, c: Settings, rng: Generator) -> Array:
    """Blur as through frosted glass: blur, replace each pixel by a nearby one, and blur again.

    The published code means to swap two pixels, but assigns numpy views of one array, which copies the second
    over the first. Here: copied, as the published images were made.

    Args:
        x: The image (H, W, C) in [0, 1].
        c: (standard deviation of the blur in pixels, largest shift in pixels, number of rounds of shifts).
        rng: Source of the draws.

    Returns:
        (H, W, C); values may leave [0, 1].
    """
    sigma, reach = c[0], max(1, round(c[1]))
    height, width, channels = x.shape
    rows, columns = np.arange(height - reach, reach, -1), np.arange(width - reach, reach, -1)
    at = (rows[:, None] * width + columns).ravel()
    source = list(range(height * width))
    for _ in range(int(c[2])):
        down, right = rng.integers(-reach, reach, (2, len(at)))
        for to, of in zip(at.tolist(), (at + down * width + right).tolist(), strict=True):
            source[to] = source[of]
    return _blur(_blur(x, sigma).reshape(-1, channels)[source].reshape(x.shape), sigma)


def _blur(x: Array, sigma: float) -> Array:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(x, (sigma, sigma, 0), mode="nearest")


def motion_blur(x: Array, c: Settings, rng: Generator) -> Array:
    """Blur along a line within 45° of horizontal.

    Args:
        x: The image (H, W, C) in [0, 1].
        c: (radius, standard deviation of the weights), in pixels.
        rng: Source of the draws.

    Returns:
        (H, W, C); values may leave [0, 1].
    """
    return smear(x, c[0], c[1], rng.uniform(-45, 45))


def smear(x: Array, radius: float, sigma: float, degrees: float) -> Array:
    """Average pixels along a ray with half a Gaussian as weights, as ImageMagick's motion blur does.

    Args:
        x: (H, W, C).
        radius: Sets the length of the ray: 2⌈radius⌉ + 1 whole steps.
        sigma: Standard deviation of the Gaussian in pixels.
        degrees: Direction of the ray.

    Returns:
        (H, W, C).
    """
    steps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    angle = math.radians(degrees)
    down = np.ceil(steps * math.sin(angle) - 0.5).astype(int)
    right = np.ceil(steps * math.cos(angle) - 0.5).astype(int)
    height, width, _ = x.shape
    room = len(steps)
    padded = np.pad(x, ((room, room), (room, room), (0, 0)), mode="edge")
    smeared = np.zeros_like(x)
    for weight, i, j in zip(weights, room + down, room + right, strict=True):
        smeared += weight * padded[i : i + height, j : j + width]
    return smeared


def zoom_blur(x: Array, c: Settings, rng: Generator) -> Array:
    """Average the image and enlarged copies of it, by factors 1, 1 + c[1], … up to c[0].

    Args:
        x: The image (H, W, C) in [0, 1].
        c: (largest factor, step of the factors).
        rng: Source of the draws, unused.

    Returns:
        (H, W, C); values may leave [0, 1].
    """
    factors = np.arange(1, c[0], c[1])
    return (x + sum(enlarge(x, float(factor)) for factor in factors)) / (len(factors) + 1)


def enlarge(x: Array, factor: float) -> Array:
    """Enlarge the centre of an image to the size of the image, by bilinear interpolation.

    Args:
        x: (H, W, C).
        factor: Factor, at least 1.

    Returns:
        (H, W, C).
    """
    from scipy.ndimage import zoom

    if factor == 1:
        return x
    height, width, _ = x.shape
    x = _middle(x, math.ceil(height / factor), math.ceil(width / factor))
    return _middle(zoom(x, (factor, factor, 1), order=1), height, width)


def _middle(x: Array, height: int, width: int) -> Array:
    top, left = (x.shape[0] - height) // 2, (x.shape[1] - width) // 2
    return x[top : top + height, left : left + width]
