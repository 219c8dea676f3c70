"""A seal in an exported file: a hash of all else in it, by which a file that was changed later is known."""

from __future__ import annotations

import zipfile
from pathlib import Path

import xxhash

SEAL = "surgeon-seal"
"""The name of the seal: of a metadata property of ONNX, of an entry of torch's archive."""
_MARK = "surgeon-seal:"
_OPEN = "0" * 32
OPEN = _MARK + _OPEN
"""What stands in an ONNX file in the seal's place until the file is complete."""


def seal(path: Path) -> None:
    """Seal a complete file.

    Args:
        path: The file; an ONNX file has `OPEN` as its property `SEAL`.
    """
    if zipfile.is_zipfile(path):
        digest = _of_entries(path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(f"{_root(archive)}/extra/{SEAL}", digest)
        return
    content = path.read_bytes()
    place = _place(content)
    with path.open("r+b") as file:
        file.seek(place)
        file.write(xxhash.xxh3_128(content).hexdigest().encode())


def intact(path: Path) -> bool:
    """Whether a file is as it was sealed.

    Args:
        path: The file.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            own = [n for n in archive.namelist() if n.endswith(f"/extra/{SEAL}")]
            return len(own) == 1 and archive.read(own[0]).decode() == _of_entries(path)
    content = path.read_bytes()
    place = _place(content)
    if place < 0:
        return False
    end = place + len(_OPEN)
    digest = content[place:end]
    open_again = content[:place] + _OPEN.encode() + content[end:]
    return xxhash.xxh3_128(open_again).hexdigest().encode() == digest


def _place(content: bytes) -> int:
    """Where the digits of the seal begin; -1 without one."""
    at = content.rfind(_MARK.encode())
    return at + len(_MARK) if at >= 0 else -1


def _of_entries(path: Path) -> str:
    """Hash names, sizes and check sums of the entries of an archive, but for the seal."""
    digest = xxhash.xxh3_128()
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if not entry.filename.endswith(f"/extra/{SEAL}"):
                digest.update(f"{entry.filename} {entry.file_size} {entry.CRC}".encode())
    return digest.hexdigest()


def _root(archive: zipfile.ZipFile) -> str:
    return archive.namelist()[0].partition("/")[0]
