"""Records of a folder that nothing else is made from, such as remarks: they are as they were when its work ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from surgeon.ownership import read_manifest, unsealed
from surgeon.pipeline.chain.checking import Misfit, checked, some
from surgeon.verification import Check


def record_checks(folder: Path, before: Sequence[Check]) -> list[Check]:
    """A check of the files by their hashes; nothing for a folder whose work has not ended, or where `before` names the fault."""
    known = read_manifest(folder)
    if known is None or not known.texts or any(c.ok is False for c in before):
        return []
    return [checked("records", lambda: _unchanged(folder, list(known.texts)))]


def _unchanged(folder: Path, names: list[str]) -> str:
    if changed := unsealed(folder):
        raise Misfit(f"changed since they were written: {some(changed)}")
    return some(names, len(names))
