"""Decode one image from a file or from its bytes."""

from __future__ import annotations

import io
import threading
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import torch
from torch import Tensor

from surgeon.data.names import shown
from surgeon.errors import DataError
from surgeon.warned import warn

if TYPE_CHECKING:
    from PIL.Image import Image


Item = Path | tuple[str, "bytes | IO[bytes]"]
"""A file, or a name with the bytes of a file."""
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "TIFF", "GIF")
"""Formats that are read, recognised by a file's bytes and not by its name. Pillow supports others, and starts
programs for some of them."""
PIXELS = 89_478_485
"""The most pixels of one image: Pillow's own limit, at which it only warns (it raises at twice as many)."""

_DARK = 2**12
"""Values of 16 bits that are all below are those of fewer bits, or of a very dark picture."""


def read(item: Item, input_size: tuple[int, ...] | None) -> Tensor:
    """Decode an image to a tensor.

    Args:
        item: a file, or a name with a file's bytes.
        input_size: (C, H, W) to convert and resize to; None to keep the image's own.

    Returns:
        (C, H, W) float32 in [0, 1].

    Raises:
        DataError: as for `picture_of`.
    """
    return (
        to_bytes(picture_of(item, None if input_size is None else input_size[0] == 1), input_size).float()
        / 255
    )


def picture_of(item: Item, gray: bool | None = None) -> Image:
    """Decode an image to a PIL image.

    Of several frames the first is taken. Transparency is dropped; 9 to 16 bits become 8; CMYK and palettes become
    RGB. EXIF's orientation is not applied.

    Args:
        item: a file's path, or (name, bytes or open file).
        gray: True for gray, False for RGB, None for whichever is stored.

    Raises:
        DataError: the image cannot be read, has a format that is not in FORMATS, or has more than PIXELS
            pixels (checked before they are decoded). The message names it.
    """
    name, content = item if isinstance(item, tuple) else (str(item), None)
    try:
        return _decoded(io.BytesIO(content) if isinstance(content, bytes) else content or name, gray)
    except Exception as error:  # decoders raise almost anything; DecompressionBombError is not an OSError
        raise DataError(f"{shown(name)} cannot be read as an image: {shown(_reason(error))}") from error


def _decoded(source: Any, gray: bool | None) -> Image:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        # Opening reads the header alone, so that a decompression bomb is refused before it is decoded.
        opened: Image.Image = Image.open(source, formats=FORMATS)
    with opened, _strict:
        if _signed(opened):
            raise ValueError("its values have a sign, and 8 or 16 bits without one are read")
        width, height = opened.size
        most = min(PIXELS, Image.MAX_IMAGE_PIXELS or PIXELS)
        if width * height > most:
            raise ValueError(
                f"it has {width:,} × {height:,} pixels, more than the {most:,} that an image may have"
            )
        gray = opened.mode in ("1", "L") or opened.mode.startswith("I") if gray is None else gray
        return whole(opened).convert("L" if gray else "RGB")


class _Strict:
    """Inside, Pillow raises for a truncated image, also where other code of the process asked it to fill it up.

    The switch is the process's: the first thread that enters turns it off, the last that leaves puts it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside, self._before = 0, False

    def __enter__(self) -> None:
        from PIL import ImageFile

        with self._lock:
            if not self._inside:
                self._before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        from PIL import ImageFile

        with self._lock:
            self._inside -= 1
            if not self._inside:
                ImageFile.LOAD_TRUNCATED_IMAGES = self._before


_strict = _Strict()


def _eight_bits(picture: Image) -> Image:
    """Scale a gray image of more than 8 bits to 8; PIL's convert would clip it at 255."""
    import numpy
    from PIL import Image

    bits = _bits(picture)
    most = 2 ** min(bits, 16) - 1
    wide = numpy.asarray(picture).astype(numpy.float64)
    if wide.min() < 0 or wide.max() > most:
        raise ValueError(f"its values run from {wide.min():g} to {wide.max():g}, and 8 or 16 bits are read")
    if bits > 16 and 0 < wide.max() <= 255:
        raise ValueError(
            f"its values of {bits} bits run to {wide.max():g}: whether white is 255 or 65535 is not known; write 8 or "
            "16 bits"
        )
    if bits >= 16 and 0 < wide.max() < _DARK:
        warn(
            f"a gray image of {bits} bits has no value of {_DARK} or more: white is taken as 65535, so that it "
            "comes out nearly black; where a camera gave 8, 10 or 12 bits, scale them to 16 first"
        )
    if getattr(picture, "tag_v2", {}).get(262) == 0:  # WhiteIsZero: Pillow turns 8 bits round, and no more
        if bits > 16:
            raise ValueError(f"its white is 0 and its values have {bits} bits; write 8 or 16 bits")
        wide = most - wide
    return Image.fromarray(numpy.round(wide * (255 / most)).astype(numpy.uint8))


def whole(picture: Image) -> Image:
    """Return a PIL image that a library has decoded, of 8 bits a value.

    Args:
        picture: The image; gray ones of more bits are scaled, where PIL's convert would clip them at 255.

    Raises:
        ValueError: Its values are of no range that is known.
    """
    if picture.mode == "F":
        raise ValueError("its values are floats, whose range is not known")
    return _eight_bits(picture) if picture.mode.startswith("I") else picture


def _signed(picture: Image) -> bool:
    """Whether a TIFF says that its values of at most 16 bits have a sign; Pillow reads them as unsigned."""
    tag = getattr(picture, "tag_v2", {}).get(339, 1)
    return 2 in (tag if isinstance(tag, tuple) else (tag,)) and _bits(picture) <= 16


def _bits(picture: Image) -> int:
    """How many bits a gray image's values have: a TIFF says so; PIL scales those of other formats to 16."""
    tag = getattr(picture, "tag_v2", {}).get(258)
    return 16 if tag is None else int(tag[0] if isinstance(tag, tuple) else tag)


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return f"its bytes are not of {', '.join(FORMATS)}"
    return str(error) or type(error).__name__


def start_no_programs() -> None:
    """Keep Pillow from starting Ghostscript, for images that a library opens in its own way."""
    from PIL import EpsImagePlugin

    EpsImagePlugin.gs_binary = False


def to_bytes(picture: Image, input_size: tuple[int, ...] | None = None) -> Tensor:
    """Convert a PIL image to a tensor.

    Args:
        picture: the image.
        input_size: (C, H, W) to convert (gray or RGB) and resize to (bilinear); None to keep the image's own.

    Returns:
        (C, H, W) uint8.
    """
    import numpy
    from PIL import Image

    if input_size is not None:
        picture = picture.convert("L" if input_size[0] == 1 else "RGB")
        if picture.size != (input_size[2], input_size[1]):
            picture = picture.resize((input_size[2], input_size[1]), Image.Resampling.BILINEAR)
    values = torch.from_numpy(numpy.asarray(picture).copy())
    return values.unsqueeze(0) if values.dim() == 2 else values.permute(2, 0, 1)
