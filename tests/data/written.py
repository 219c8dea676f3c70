"""Images that the tests of the policy for data write, and an object that must not be loaded."""

import io
import struct
import zlib
from pathlib import Path

from PIL import Image

SIZE = (3, 4, 4)
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n"


class Evil:
    """An object whose unpickling writes a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.write_text, (self.mark, "executed")


def write(path, value=0, size=(4, 4), mode="RGB", **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    color = value if mode in ("L", "P", "I", "I;16") else (value,) * len(Image.new(mode, (1, 1)).getbands())
    Image.new(mode, size, color).save(path, **more)
    return path


def encoded(value=0, kind="PNG", mode="RGB", **more):
    buffer = io.BytesIO()
    Image.new(mode, (4, 4), value if mode in ("L", "P") else (value,) * 3).save(buffer, kind, **more)
    return buffer.getvalue()


def png_header(width, height):
    """A PNG that says it is so large, and has no pixels."""
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [ihdr, b"IDAT" + zlib.compress(b"")]
    packed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)
