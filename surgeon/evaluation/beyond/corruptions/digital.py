"""Contrast, stretching, coarse pixels and JPEG. Each maps one image (H, W, C) in [0, 1] to another."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator

from surgeon.evaluation.beyond.corruptions.parameters import Array, Settings

if TYPE_CHECKING:
    from PIL.Image import Image


def contrast(x: Array, c: Settings, rng: Generator) -> Array:
    """Scale the distance of each value to the mean of its channel.

    Args:
        x: The image (H, W, C) in [0, 1].
        c: (scale,).
        rng: Source of the draws, unused.

    Returns:
        (H, W, C); values may leave [0, 1].
    """
    mean = x.mean((0, 1), keepdims=True)
    return mean + c[0] * (x - mean)


def elastic_transform(x: Array, c: Settings, rng: Generator) -> Array:
    """Apply a random affine map, then random shifts that vary smoothly.

    Three points move by up to c[2] on each axis and carry the image along; then the pixels are shifted by
    uniform noise up to c[0], smoothed by a Gaussian with the standard deviation c[1].

    Args:
        x: The image (H, W, C) in [0, 1].
        c: (largest shift, standard deviation of its smoothing, largest move of a point), as shares of the
            shorter side.
        rng: Source of the draws.

    Returns:
        (H, W, C).
    """
    from scipy.ndimage import gaussian_filter

    height, width, _ = x.shape
    side = min(height, width)
    middle, arm = np.array((height // 2, width // 2)), side // 3
    corners = middle + arm * np.array(((1, 1), (-1, 1), (-1, -1)))
    moved = corners + rng.uniform(-c[2] * side, c[2] * side, corners.shape)
    back = np.linalg.solve(np.c_[moved, np.ones(3)], corners)
    places = np.indices((height, width)).astype(np.float64)
    x = _taken(x, np.einsum("ihw,ij->jhw", places, back[:2]) + back[2, :, None, None], "mirror")
    shift = rng.uniform(-1, 1, places.shape)
    shift = gaussian_filter(shift, (0, c[1] * side, c[1] * side), mode="reflect", truncate=3)
    return _taken(x, places + c[0] * side * shift, "reflect")


def _taken(x: Array, places: Array, mode: str) -> Array:
    """Read x (H, W, C) at `places` (2, H, W), rows and columns, bilinear; `mode` extends x outside."""
    from scipy.ndimage import map_coordinates

    return np.stack([map_coordinates(x[..., k], places, order=1, mode=mode) for k in range(x.shape[2])], -1)


def pixelate(x: Array, c: Settings, rng: Generator) -> Array:
    """Shrink the image and enlarge it again, by box filters.

    Args:
        x: The image (H, W, C) in [0, 1].
        c: (share of each side,).
        rng: Source of the draws, unused.

    Returns:
        (H, W, C).
    """
    from PIL.Image import Resampling

    height, width, _ = x.shape
    small = max(1, int(width * c[0])), max(1, int(height * c[0]))
    return _values(_picture(x).resize(small, Resampling.BOX).resize((width, height), Resampling.BOX))


def jpeg_compression(x: Array, c: Settings, rng: Generator) -> Array:
    """Save the image as JPEG with pillow, and read it back.

    Args:
        x: The image (H, W, C) in [0, 1].
        c: (quality,).
        rng: Source of the draws, unused.

    Returns:
        (H, W, C).
    """
    from PIL import Image

    stored = io.BytesIO()
    _picture(x).save(stored, "JPEG", quality=int(c[0]))
    return _values(Image.open(stored))


def _picture(x: Array) -> Image:
    """Convert to an 8-bit picture, gray or RGB."""
    from PIL import Image

    levels = np.rint(255 * x).astype(np.uint8)
    return Image.fromarray(levels[..., 0] if x.shape[2] == 1 else levels)


def _values(picture: Image) -> Array:
    levels = np.asarray(picture, np.float64) / 255
    return levels if levels.ndim == 3 else levels[..., None]
