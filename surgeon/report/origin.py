"""What a page says of its origin: which evaluations it was made from, and its own hash, by which a change is seen."""

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
"""Bytes of a page among which its generator is told."""
_PAGE = '<meta name="surgeon-page" content="{}">'
_EVALUATIONS = re.compile(r'<meta name="surgeon-evaluations" content="([^"]*)">')
_OWN = re.compile(_PAGE.format('([^"]*)'))


def is_page(path: Path) -> bool:
    """Whether a file is a page of surgeon's."""
    return path.is_file() and GENERATOR in path.read_bytes()[:_HEAD]


def hashes_of(runs: Sequence[Run]) -> str:
    """The hashes of the runs' evaluation.json, in order."""
    return " ".join(own_hash(run.folder / RESULT) for run in runs)


def signed(page: str) -> str:
    """A page with its own hash in it, which is of the page without."""
    return page.replace(_PAGE.format(""), _PAGE.format(_hash(page)), 1)


def origin_of(path: Path) -> list[str]:
    """The hashes of the evaluations that a page was made from, in order.

    Raises ArtifactError for a file that is no page of surgeon's, and one that has changed since it was written.
    """
    if not is_page(path):
        raise ArtifactError(f"{path} is no page that surgeon wrote")
    text = path.read_bytes().decode("utf-8")
    told, own = _EVALUATIONS.search(text), _OWN.search(text)
    if not told or not own:
        raise ArtifactError(f"{path} does not say what it was made from")
    if own[1] != _hash(text.replace(own[0], _PAGE.format(""), 1)):
        raise ArtifactError(f"{path} has changed since it was written")
    return told[1].split()


def _hash(text: str) -> str:
    return XXH3 + xxhash.xxh3_128(text.encode("utf-8")).hexdigest()
