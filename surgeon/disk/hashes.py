"""Hashes of files: sha256, by which others name a checkpoint, and XXH3, by which a folder knows its own files again.

XXH3 keeps pace with reading, so that a gigabyte is checked whenever it is loaded. It is not made against forgery, and need
not be: who can write a folder's weights can write the hash beside them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import xxhash

BLOCK = 1 << 22
XXH3 = "xxh3-128:"


def sha256_of(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def own_hash(path: Path) -> str:
    """`xxh3-128:` and 128 bits of a file, in hexadecimal, as `xxh128sum` prints them."""
    digest, block = xxhash.xxh3_128(), memoryview(bytearray(BLOCK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
    return XXH3 + digest.hexdigest()


def same_kind(path: Path, wanted: str) -> str:
    """The file's hash of the kind that `wanted` is of: folders of surgeon 0.1 before XXH3 have sha256, without a word before it."""
    return own_hash(path) if wanted.startswith(XXH3) else sha256_of(path)
