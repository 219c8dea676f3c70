"""Folders that nothing else is written into: parts of a run, and what was written as a whole, such as a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from surgeon.errors import ArtifactError
from surgeon.ownership.manifest import read_manifest

CUT, TRAINED, TRAINING = "cut", "trained", "training"
EVALUATION = "evaluation"
"""Sub-folder of a run that holds what its trained network withstands."""
PARTS = (CUT, TRAINED, TRAINING)
"""Sub-folders of a run. The run goes on from them, and is evaluated by them, whatever they hold."""


def check_no_part(folder: Path, shown: object, held: Callable[[Path], bool]) -> None:
    """Check that a place is not a part of a run, nor in one, nor in a folder that was written as a whole, unless the
    job that has these writes it.

    Args:
        folder: the folder or file to write, with links resolved.
        shown: what to call it in the error.
        held: whether this job has the lock of a folder.

    Raises:
        ArtifactError: the place is a part of a run, which would go on with what is written there, or lies in a
            network's folder, which is replaced and pushed with all that is in it.
    """
    inner = folder
    for outer in folder.parents:
        known = read_manifest(outer)
        if known is None or held(outer):
            inner = outer
            continue
        why = ""
        if known.what == "run" and inner.name in PARTS:
            where = "is" if inner == folder else "lies in"
            why = f"{where} a part of the run {outer}, which would go on with what is written there"
        elif known.files is not None:
            why = f"lies in the {known.what} {outer}, which was written as a whole and holds nothing else"
        if why:
            place = outer.parent / folder.name
            raise ArtifactError(f"{shown} {why}; choose a place outside it, such as {place}")
        inner = outer
