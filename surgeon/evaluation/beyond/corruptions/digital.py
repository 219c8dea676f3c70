"""Contrast, stretching, coarse pixels and JPEG. Each takes one image (H, W, C) in [0, 1] and gives one."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator

from surgeon.evaluation.beyond.corruptions.parameters import Array, Settings

if TYPE_CHECKING:
    from PIL.Image import Image


def contrast(x: Array, c: Settings, rng: Generator) -> Array:
    """The distance of each value to the mean of its channel times c[0]."""
    mean = x.mean((0, 1), keepdims=True)
    return mean + c[0] * (x - mean)


def elastic_transform(x: Array, c: Settings, rng: Generator) -> Array:
    """A random affine map, then random shifts that vary smoothly.

    All settings are shares of the shorter side. Three points move by up to c[2] on each axis and carry the image
    along; then the pixels are shifted by uniform noise up to c[0], smoothed by a Gaussian with the deviation c[1].
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
    """x (H, W, C) read at places (2, H, W) in pixels, row and column, bilinear; `mode` says what is outside."""
    from scipy.ndimage import map_coordinates

    return np.stack([map_coordinates(x[..., k], places, order=1, mode=mode) for k in range(x.shape[2])], -1)


def pixelate(x: Array, c: Settings, rng: Generator) -> Array:
    """Shrunk to c[0] of each side and enlarged again, by box filters."""
    from PIL.Image import Resampling

    height, width, _ = x.shape
    small = max(1, int(width * c[0])), max(1, int(height * c[0]))
    return _values(_picture(x).resize(small, Resampling.BOX).resize((width, height), Resampling.BOX))


def jpeg_compression(x: Array, c: Settings, rng: Generator) -> Array:
    """Saved as JPEG with the quality c[0], as pillow does it, and read back."""
    from PIL import Image

    stored = io.BytesIO()
    _picture(x).save(stored, "JPEG", quality=int(c[0]))
    return _values(Image.open(stored))


def _picture(x: Array) -> Image:
    """8-bit, gray or RGB."""
    from PIL import Image

    levels = np.rint(255 * x).astype(np.uint8)
    return Image.fromarray(levels[..., 0] if x.shape[2] == 1 else levels)


def _values(picture: Image) -> Array:
    levels = np.asarray(picture, np.float64) / 255
    return levels if levels.ndim == 3 else levels[..., None]
