"""Check records that nothing else is made from, such as remarks, by the hashes taken when the work ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from surgeon.ownership import read_manifest, unsealed
from surgeon.pipeline.chain.checking import Misfit, checked, some
from surgeon.verification import Check


def record_checks(folder: Path, before: Sequence[Check]) -> list[Check]:
    """The check of a finished folder's records by their hashes; empty where the work has not ended.

    Args:
        folder: the folder.
        before: earlier checks; if one of them failed, it names the fault, and nothing is added.
    """
    known = read_manifest(folder)
    if known is None or not known.texts or any(c.ok is False for c in before):
        return []
    return [checked("records", lambda: _unchanged(folder, list(known.texts)))]


def _unchanged(folder: Path, names: list[str]) -> str:
    if changed := unsealed(folder):
        raise Misfit(f"changed since they were written: {some(changed)}")
    return some(names, len(names))
