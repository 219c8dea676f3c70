"""A page's origin: the evaluations that it was made from, and its own hash, which reveals changes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import xxhash

from surgeon.disk.hashes import XXH3, own_hash
from surgeon.errors import ArtifactError
from surgeon.report.reading import RESULT, Run

GENERATOR = b'<meta name="generator" content="surgeon">'
_HEAD = 1000
"""Number of bytes at the start of a page that contain the name of its generator."""
_PAGE = '<meta name="surgeon-page" content="{}">'
_EVALUATIONS = re.compile(r'<meta name="surgeon-evaluations" content="([^"]*)">')
_OWN = re.compile(_PAGE.format('([^"]*)'))


def is_page(path: Path) -> bool:
    """Return whether a file is a page that surgeon wrote.

    Args:
        path: The file.
    """
    return path.is_file() and GENERATOR in path.read_bytes()[:_HEAD]


def is_unchanged_page(path: Path) -> bool:
    """Return whether a file is a page as surgeon wrote it.

    Args:
        path: The file.
    """
    try:
        origin_of(path)
    except (ArtifactError, UnicodeDecodeError):
        return False
    return True


def made_of(path: Path) -> list[str]:
    """Return the hashes of the evaluations that a page says it was made from, also where it was changed since.

    Args:
        path: The page.

    Returns:
        The hashes in order; none for a file that is no page.
    """
    named = _EVALUATIONS.search(path.read_bytes().decode("utf-8", "replace")) if is_page(path) else None
    return named[1].split() if named else []


def hashes_of(runs: Sequence[Run]) -> str:
    """Return the hashes of the runs' evaluation.json.

    Args:
        runs: The runs.

    Returns:
        The hashes in order, separated by spaces.
    """
    return " ".join(own_hash(run.folder / RESULT) for run in runs)


def signed(page: str) -> str:
    """Insert a page's own hash, which is computed of the page without it.

    Args:
        page: The page's HTML.

    Returns:
        The page with its hash.
    """
    # Bytes of names that are not UTF-8 are written as text: the hash is of what the file will hold.
    page = page.encode("utf-8", "backslashreplace").decode("utf-8")
    return page.replace(_PAGE.format(""), _PAGE.format(_hash(page)), 1)


def origin_of(path: Path) -> list[str]:
    """Return the hashes of the evaluations that a page was made from.

    Args:
        path: The page.

    Returns:
        The hashes in order.

    Raises:
        ArtifactError: Surgeon did not write the file, or it has changed since.
    """
    if not is_page(path):
        raise ArtifactError(f"{path} is not a page that surgeon wrote")
    text = path.read_bytes().decode("utf-8")
    evaluations, page_hash = _EVALUATIONS.search(text), _OWN.search(text)
    if not evaluations or not page_hash:
        raise ArtifactError(f"{path} does not say what it was made from")
    if page_hash[1] != _hash(text.replace(page_hash[0], _PAGE.format(""), 1)):
        raise ArtifactError(f"{path} has changed since it was written")
    return evaluations[1].split()


def _hash(text: str) -> str:
    return XXH3 + xxhash.xxh3_128(text.encode("utf-8")).hexdigest()
