"""scikit-learn's scanned digits."""

from __future__ import annotations

import torch

from surgeon.data.images import SPLITS, Images
from surgeon.errors import DataError, MissingPackageError
from surgeon.host import in_own_state

DIGITS_SIZE = 16
"""Pixels a side of the digits as `digits` gives them by default."""


@in_own_state()
def digits(size: int = DIGITS_SIZE, *, seed: int = 0) -> dict[str, Images]:
    """scikit-learn's 1,797 scanned digits, in the splits train, val and test (60/20/20 %).

    The splits are stratified by class and fixed by `seed`. The 8×8 scans, with values from 0 to 16, are
    divided by 16 and resized by bilinear interpolation.

    Args:
        size: height and width.
        seed: seed of the splits.

    Returns:
        Split → Images, x (N, 1, size, size) float32 in [0, 1].

    Raises:
        MissingPackageError: scikit-learn is not installed.
        DataError: `size` is below 1.

    Examples:
        >>> from surgeon.data import digits
        >>> {split: tuple(result.x.shape) for split, result in digits().items()}
        {'train': (1077, 1, 16, 16), 'val': (360, 1, 16, 16), 'test': (360, 1, 16, 16)}
    """
    if size < 1:
        raise DataError(f"size={size} pixels are not an image; the scans are 8 wide")
    return digits_as((1, size, size), seed=seed)


def digits_as(shape: tuple[int, ...], *, seed: int = 0) -> dict[str, Images]:
    """scikit-learn's digits as images (C, H, W): `digits` for sides that differ, and for RGB.

    Args:
        shape: channels, height and width.
        seed: seed of the splits.

    Returns:
        Split → Images, x (N, C, H, W) float32 in [0, 1]; all channels are the same memory.

    Raises:
        MissingPackageError: scikit-learn is not installed.
    """
    channels, height, width = shape
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError:
        raise MissingPackageError(
            "the digits come with scikit-learn: pip install 'fx-surgeon[train]'"
        ) from None
    loaded = load_digits()
    x = torch.tensor(loaded.images, dtype=torch.float32).unsqueeze(1) / 16
    if (height, width) != (8, 8):
        x = torch.nn.functional.interpolate(x, (height, width), mode="bilinear", antialias=False).clamp(0, 1)
    y = torch.tensor(loaded.target, dtype=torch.int64)
    rest, test = train_test_split(range(len(y)), test_size=0.2, random_state=seed, stratify=y)
    train, val = train_test_split(rest, test_size=0.25, random_state=seed, stratify=y[rest])
    parts = zip(SPLITS, (train, val, test), strict=True)
    return {n: Images(x[part].expand(-1, channels, -1, -1), y[part]) for n, part in parts}
