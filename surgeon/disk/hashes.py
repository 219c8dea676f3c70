"""Hashes of files: sha256, by which others refer to a checkpoint, and XXH3 for surgeon's own folders.

XXH3 is as fast as reading, so that a gigabyte can be checked on every load. It does not resist forgery, and
need not: whoever can write a folder's weights can also write the hash beside them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import xxhash

BLOCK = 1 << 22
XXH3 = "xxh3-128:"


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal.

    Args:
        path: the file.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def own_hash(path: Path) -> str:
    """The 128-bit XXH3 of a file: `xxh3-128:` and hexadecimal digits as `xxh128sum` prints them.

    Args:
        path: the file.
    """
    digest, block = xxhash.xxh3_128(), memoryview(bytearray(BLOCK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
    return XXH3 + digest.hexdigest()
