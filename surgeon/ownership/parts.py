"""Parts of a run: its networks and its training are written by the run alone."""

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
    """Check that a folder is not a part of a run, or in one, unless the run's own job writes it.

    Args:
        folder: the folder to write, with links resolved.
        shown: what to call it in the error.
        held: whether this job has the lock of a folder.

    Raises:
        ArtifactError: the folder is a part of a run, which would go on with what is written there.
    """
    inner = folder
    for outer in folder.parents:
        known = read_manifest(outer) if inner.name in PARTS else None
        if known is not None and known.what == "run" and not held(outer):
            where = "is" if inner == folder else "lies in"
            raise ArtifactError(
                f"{shown} {where} a part of the run {outer}, which would go on with what "
                f"is written there; choose a place outside it, such as {outer.parent / folder.name}"
            )
        inner = outer
