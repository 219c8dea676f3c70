"""One image from a file, or from its bytes."""

from __future__ import annotations

import io
from typing import Any

import torch
from torch import Tensor

from surgeon.errors import DataError


def read(item: Any, input_size: tuple[int, ...] | None) -> Tensor:
    """(C, H, W) float32 in [0, 1] of a file, or of a pair of a name and a file's bytes."""
    return (
        to_bytes(picture_of(item, None if input_size is None else input_size[0] == 1), input_size).float()
        / 255
    )


def picture_of(item: Any, gray: bool | None = None) -> Any:
    """The image as a PIL image, gray or RGB; by default as it is stored. Raises DataError for one that cannot be read."""
    import numpy
    from PIL import Image

    name, content = item if isinstance(item, tuple) else (str(item), None)
    try:
        with Image.open(io.BytesIO(content) if content is not None else name) as file:
            opened: Image.Image = file
            if opened.mode == "F":
                raise ValueError("its values are floats, of a range that nothing tells")
            gray = opened.mode in ("1", "L") or opened.mode.startswith("I") if gray is None else gray
            if opened.mode.startswith("I"):  # 16 bits, which convert would cut off at 255
                wide = numpy.asarray(opened).astype(numpy.float64)
                opened = Image.fromarray(numpy.round(wide.clip(0, 65535) / 257).astype(numpy.uint8))
            return opened.convert("L" if gray else "RGB")
    except Exception as error:  # decoders raise nearly anything, and a bomb is none of OSError
        raise DataError(f"{name} cannot be read as an image: {error}") from error


def to_bytes(picture: Any, input_size: tuple[int, ...] | None = None) -> Tensor:
    """(C, H, W) uint8 of a PIL image, resized and made gray or RGB where input_size (C, H, W) asks for it."""
    import numpy
    from PIL import Image

    if input_size is not None:
        picture = picture.convert("L" if input_size[0] == 1 else "RGB")
        if picture.size != (input_size[2], input_size[1]):
            picture = picture.resize((input_size[2], input_size[1]), Image.Resampling.BILINEAR)
    values = torch.from_numpy(numpy.asarray(picture).copy())
    return values.unsqueeze(0) if values.dim() == 2 else values.permute(2, 0, 1)
